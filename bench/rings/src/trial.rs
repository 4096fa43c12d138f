//! A sample's threads: when they start, how they wait, and how all of them end when one cannot go on.

use std::any::Any;
use std::hint::spin_loop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_harness::cores::{self, Ball, Gate, pin, preemptions};
use bench_harness::{Failure, Figure, Sample};

/// The most that a batch has.
pub const BATCH: usize = 64;

/// The cores that are used.
pub fn core(side: usize) -> usize {
    cores::pair().expect("two cores are needed")[side]
}

pub fn sample(elapsed: Duration, operations: u64) -> Sample {
    let ns = elapsed.as_nanos() as f64 / operations as f64;
    Sample::default()
        .with(Figure::Ns, ns)
        .with(Figure::PerSecond, 1e9 / ns)
}

/// So many operations warm up before those that are measured: a tenth, in whole batches.
pub fn warm_up(operations: u64) -> u64 {
    (operations / 10).next_multiple_of(BATCH as u64)
}

/// Whether a sample can still be had.
pub struct Trial {
    failed: AtomicBool,
    why: Mutex<Option<Failure>>,
    end: Instant,
}

impl Trial {
    pub fn new() -> Self {
        Self {
            failed: AtomicBool::new(false),
            why: Mutex::new(None),
            end: Instant::now() + PATIENCE,
        }
    }

    /// Does a part of a thread's work. A check that panics in it fails the sample and ends the waits of the other threads,
    /// which would spin for ever.
    pub fn part(&self, run: impl FnOnce(&mut Idle<'_>)) {
        let mut idle = Idle {
            trial: self,
            turns: 0,
        };
        if self.failed.load(Ordering::Acquire) {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&mut idle))) {
            let mut why = self.why.lock().expect("nobody panics with it");
            why.get_or_insert_with(|| words(&*panic));
            self.failed.store(true, Ordering::Release);
        }
    }

    /// # Errors
    /// The first reason for which a part failed.
    pub fn verdict(&self) -> Result<(), Failure> {
        let why = self.why.lock().expect("nobody panics with it");
        why.clone().map_or(Ok(()), Err)
    }
}

fn words(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()))
        .unwrap_or_else(|| "a thread panicked".into())
}

/// Turns of a thread that finds its ring full or empty. Only these look whether the sample can still be had, so that it
/// costs nothing where items move.
pub struct Idle<'a> {
    trial: &'a Trial,
    turns: u32,
}

impl Idle<'_> {
    /// The thread has its core for itself.
    #[inline(always)]
    pub fn spin(&mut self) {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(SPINS_PER_LOOK) {
            self.look();
        }
    }

    /// Threads share the core: it tries some times more and then lets the others run.
    #[inline(always)]
    pub fn share(&mut self) {
        self.turns = self.turns.wrapping_add(1);
        if !self.turns.is_multiple_of(TRIES) {
            return spin_loop();
        }
        std::thread::yield_now();
        if self.turns.is_multiple_of(TRIES * YIELDS_PER_LOOK) {
            self.look();
        }
    }

    /// Something moved.
    #[inline(always)]
    pub fn over(&mut self) {
        self.turns = 0;
    }

    #[cold]
    #[inline(never)]
    fn look(&self) {
        if self.trial.failed.load(Ordering::Acquire) {
            resume_unwind(Box::new("another thread failed"));
        }
        if Instant::now() > self.trial.end {
            resume_unwind(Box::new(format!(
                "not all has come after {} s",
                PATIENCE.as_secs()
            )));
        }
    }
}

/// Two threads on two cores, with a calibration before and after. `first` runs on core 0, `second` on core 1, each at first
/// with the numbers that warm up; the time is that from a common start to the end of the later one. The ends of the rings
/// come back with what is left in them.
pub fn on_two_cores<A: Send, B: Send>(
    operations: u64,
    (mut first, mut second): (A, B),
    mut run_first: impl FnMut(&mut A, Range<u64>, &mut Idle<'_>) + Send,
    mut run_second: impl FnMut(&mut B, Range<u64>, &mut Idle<'_>) + Send,
) -> Result<(Sample, A, B), Failure> {
    let shared = Shared {
        balls: Default::default(),
        gate: Gate::default(),
        trial: Trial::new(),
    };
    let measured = warm_up(operations)..warm_up(operations) + operations;
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            shared.side(1, &measured, |numbers, idle| {
                run_second(&mut second, numbers, idle);
            })
        });
        let one = scope.spawn(|| {
            shared.side(0, &measured, |numbers, idle| {
                run_first(&mut first, numbers, idle)
            })
        });
        (one.join(), other.join())
    });
    let ended = |side: std::thread::Result<Side>| side.map_err(|panic| words(&*panic));
    let (one, other) = (ended(one)?, ended(other)?);
    shared.trial.verdict()?;
    let elapsed = one.end.max(other.end) - one.start.min(other.start);
    let sample = Sample {
        crossing_ns: [
            one.crossing_ns[0].min(other.crossing_ns[0]),
            one.crossing_ns[1].min(other.crossing_ns[1]),
        ],
        preemptions: one.preemptions + other.preemptions,
        ..sample(elapsed, operations)
    };
    Ok((sample, first, second))
}

struct Shared {
    balls: [Ball; 2],
    gate: Gate,
    trial: Trial,
}

struct Side {
    start: Instant,
    end: Instant,
    crossing_ns: [f64; 2],
    preemptions: u64,
}

impl Shared {
    fn side(
        &self,
        number: usize,
        measured: &Range<u64>,
        mut run: impl FnMut(Range<u64>, &mut Idle<'_>),
    ) -> Side {
        pin(core(number));
        self.gate.pass(2);
        let before = self.balls[0].crossing_ns(number as u64);
        self.gate.pass(2);
        self.trial.part(|idle| run(0..measured.start, idle));
        let preempted = preemptions();
        self.gate.pass(2);
        let start = Instant::now();
        self.trial.part(|idle| run(measured.clone(), idle));
        let end = Instant::now();
        self.gate.pass(2);
        let preempted = preemptions() - preempted;
        self.gate.pass(2);
        let after = self.balls[1].crossing_ns(number as u64);
        Side {
            start,
            end,
            crossing_ns: [before, after],
            preemptions: preempted,
        }
    }
}

/// Samples last for some milliseconds.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 20 });
const SPINS_PER_LOOK: u32 = 1 << 14;
const TRIES: u32 = 16;
const YIELDS_PER_LOOK: u32 = 64;
