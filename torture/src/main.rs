//! Kills the real server at random moments under load, and holds what is left against the ledgers of its clients.
//!
//! One [`arena`] for each io back-end, side by side: a data directory, a [`server`] on it, [`publisher`]s and a [`watcher`] over
//! TCP, and a [`ledger`] of what was sent, acknowledged, seen and found. What comes by chance comes from the seed, but the
//! moments at which things happen are the machine's: a failure keeps the directory, and is not replayed. With `--power-loss`
//! the same clients see the [`power`] fail instead.
#![forbid(unsafe_code)]

mod arena;
mod arguments;
mod ledger;
mod load;
mod power;
mod publisher;
mod reader;
mod record;
mod rng;
mod server;
mod side_by_side;
mod tally;
mod watcher;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use self::arena::Arena;
use self::arguments::Arguments;
use self::side_by_side::side_by_side;
use self::tally::Tally;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprint!("{message}");
            return ExitCode::from(2);
        }
    };
    if arguments.missing {
        for reason in power::missing() {
            println!("{reason}");
        }
        return ExitCode::SUCCESS;
    }
    let done = if arguments.power_loss {
        power::run(&arguments)
    } else {
        run(&arguments)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("torture: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    eprintln!("torture: seed {}", arguments.seed);
    let begin = Instant::now();
    let tally = Tally::default();
    let failed = AtomicBool::new(false);
    let mut arenas = Vec::new();
    let (mut used, mut left_out) = (Vec::new(), Vec::new());
    for io in &arguments.io {
        match Arena::new(arguments, io, &tally, &failed)? {
            Some(arena) => {
                arenas.push(arena);
                used.push(io.as_str());
            }
            None => {
                let name = io.to_uppercase();
                eprintln!("torture: {name} SKIPPED: this machine has none");
                left_out.push(io.as_str());
            }
        }
    }
    let Some(share) = arguments.kills.checked_div(arenas.len() as u64) else {
        return Err("no io back-end can be used".into());
    };
    let done = side_by_side(
        arenas,
        &failed,
        |arena| arena.torture(share.max(1)),
        || tally.line(arguments.kills, begin.elapsed()),
    );
    tally.findings.count(&done);
    if let Some(path) = &arguments.counts {
        let mut head = format!("seed\t{}\nback-ends\t{}\n", arguments.seed, used.join(", "));
        if !left_out.is_empty() {
            head.push_str(&format!("back-ends left out\t{}\n", left_out.join(", ")));
        }
        tally.write(path, head, begin.elapsed())?;
    }
    done?;
    tally.print(begin.elapsed());
    if arguments.all_kinds {
        tally.require_all(&[])?;
    }
    Ok(())
}
