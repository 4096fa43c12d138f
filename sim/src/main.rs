//! Runs seeds and says what was checked; a seed that fails is replayed, shrunk, by the one command that is printed.
#![forbid(unsafe_code)]

mod arguments;
mod report;
mod shrink;

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim::{Options, Small};

use self::arguments::{Arguments, HELP};
use self::report::Totals;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprint!("{message}");
            return ExitCode::from(2);
        }
    };
    if let Some(length) = arguments.small_scope {
        return small_scope(length as usize, &arguments);
    }
    stop_at_panics(&arguments);
    let start = Instant::now();
    let totals = run_all(&arguments, start);
    if let Some(path) = &arguments.counts
        && let Err(message) = totals.write(path, start.elapsed())
    {
        eprintln!("sim: {message}");
        return ExitCode::FAILURE;
    }
    if let Some((options, violation)) = &totals.failure {
        if !arguments.quiet {
            report::failure(options, violation, arguments.shrink);
        }
        return ExitCode::FAILURE;
    }
    if arguments.quiet {
        return ExitCode::SUCCESS;
    }
    totals.print(start.elapsed());
    match arguments.all_faults.then(|| totals.require_all()) {
        Some(Err(message)) => {
            eprintln!("sim: {message}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Tries all sequences of so many operations.
fn small_scope(length: usize, arguments: &Arguments) -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let reason = info.to_string().replace('\n', " ");
        eprintln!("sim: {} failed: panic: {reason}", sim::current_small());
        std::process::exit(1);
    }));
    let start = Instant::now();
    let counts = Small::default();
    let tried = std::thread::scope(|scope| {
        let trying = scope.spawn(|| sim::run_small(length, arguments.jobs, &counts));
        let mut told = Instant::now();
        while !trying.is_finished() {
            std::thread::park_timeout(Duration::from_millis(20));
            if !arguments.quiet && told.elapsed() > Duration::from_secs(2) {
                told = Instant::now();
                let [(_, sequences), _, (_, states), (_, different)] = counts.rows();
                eprintln!(
                    "sim: {sequences} sequences, {states} crash states, {different} different ones"
                );
            }
        }
        trying.join().unwrap_or_else(|_| Err("panicked".into()))
    });
    if let Some(path) = &arguments.counts
        && let Err(message) = report::write_small(length, &counts, path, start.elapsed())
    {
        eprintln!("sim: {message}");
        return ExitCode::FAILURE;
    }
    if let Err(reason) = tried {
        eprintln!("sim: small scope failed: {reason}");
        return ExitCode::FAILURE;
    }
    if !arguments.quiet {
        report::small(length, &counts, start.elapsed());
    }
    ExitCode::SUCCESS
}

/// Runs the seeds on all cores until one fails.
fn run_all(arguments: &Arguments, start: Instant) -> Totals {
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let worker = || {
        while !failed.load(Ordering::Relaxed) {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= arguments.seeds {
                return;
            }
            let options = Options {
                seed: arguments.seed.wrapping_add(nth),
                ..arguments.options()
            };
            SEED.set(options.seed);
            let outcome = sim::run(&options);
            if outcome.violation.is_some() {
                failed.store(true, Ordering::Relaxed);
            }
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.add(options, outcome);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs).map(|_| scope.spawn(worker)).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(20));
            if !arguments.quiet && told.elapsed() > Duration::from_secs(2) {
                told = Instant::now();
                let totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                totals.progress(arguments.seeds, start.elapsed());
            }
        }
    });
    totals.into_inner().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// What this thread runs.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// A panic of the product is a failure of its seed, whether panics unwind or abort.
fn stop_at_panics(arguments: &Arguments) {
    let arguments = arguments.clone();
    std::panic::set_hook(Box::new(move |info| {
        if !arguments.quiet {
            let options = Options {
                seed: SEED.get(),
                ..arguments.options()
            };
            let reason = info.to_string().replace('\n', " ");
            report::failure(&options, &format!("panic: {reason}"), arguments.shrink);
        }
        std::process::exit(1);
    }));
}
