//! A run: one seed, from the first step to the last check.

use crate::faults::Fault;
use crate::invariant::{Invariant, Violation};
use crate::world::{Stats, World};

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Steps in which things go wrong.
    pub steps: u64,
    /// Kinds of faults that are switched off.
    pub without: Vec<Fault>,
    /// Print every event.
    pub trace: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// A number for everything that happened.
    pub hash: u64,
    /// Events that went into it.
    pub events: u64,
    /// How often each kind of fault struck.
    pub faults: Vec<u64>,
    /// How often each invariant was checked.
    pub checks: [u64; Invariant::COUNT],
    /// Records that were sent and acknowledged.
    pub records: (u64, u64),
    /// What was done.
    pub stats: Stats,
}

/// Steps of a run that does not say how many.
pub const STEPS: u64 = 2500;

impl Options {
    /// A seed as it is run by default.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            steps: STEPS,
            without: Vec::new(),
            trace: false,
        }
    }
}

/// Runs it.
pub fn run(options: &Options) -> Outcome {
    let mut world = World::new(options.seed, &options.without);
    world.trace.shown = options.trace;
    let violation = world.run(options.steps).err();
    Outcome {
        violation,
        hash: world.trace.hash(),
        events: world.trace.events(),
        faults: world.faults.counts(),
        checks: world.checks.counts(),
        records: (world.ledger.len() as u64, world.ledger.acked() as u64),
        stats: world.stats,
    }
}
