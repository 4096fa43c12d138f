//! The machine's two clocks: a steady one, and a wall clock that people and time servers set.

use trunkline_log::Now;

use crate::faults::{Fault, Faults};

/// Both clocks.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    mono_ns: u64,
    wall_ns: u64,
    wall_stands_until_ns: u64,
    /// When the wall clock went forward by years.
    jumps: Vec<u64>,
    started_ns: u64,
    /// What the wall clock lost since then, going back or standing still.
    lost_ns: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            mono_ns: 5 * SECOND,
            wall_ns: 1_700_000_000 * SECOND,
            wall_stands_until_ns: 0,
            jumps: Vec::new(),
            started_ns: 0,
            lost_ns: 0,
        }
    }
}

impl Clock {
    /// What time it is.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono_ns: self.mono_ns,
            wall_ns: self.wall_ns,
        }
    }

    /// The wall clock's time without what it gained by years in less than the last `ns`: nobody should believe that yet.
    pub(crate) fn wall_ns_believed_after(&self, ns: u64) -> u64 {
        let recent = self.jumps.iter().rev();
        match recent.take_while(|at| **at + ns > self.mono_ns).count() as u64 {
            0 => self.wall_ns,
            // What it lost meanwhile, or shortly before, is not believed either.
            count => self.wall_ns - count * JUMP_NS + self.lost_ns,
        }
    }

    /// A new process knows nothing of what the clocks did before.
    pub(crate) fn on_start(&mut self) {
        self.jumps.clear();
        self.lost_ns = 0;
        self.started_ns = self.mono_ns;
    }

    /// How long that is ago.
    pub(crate) fn since_start_ns(&self) -> u64 {
        self.mono_ns - self.started_ns
    }

    /// Time passes.
    pub(crate) fn advance(&mut self, ns: u64) {
        self.mono_ns += ns;
        if self.mono_ns >= self.wall_stands_until_ns {
            self.wall_ns += ns;
        } else {
            self.lost_ns += ns;
        }
    }

    /// What may happen to the clocks at any moment.
    pub(crate) fn suffer(&mut self, faults: &mut Faults) {
        if faults.strikes(Fault::ClockBack) {
            let ns = faults.below(Fault::ClockBack, 2 * 3600 * SECOND);
            self.wall_ns -= ns;
            self.lost_ns += ns;
        }
        if faults.strikes(Fault::ClockForward) {
            self.wall_ns += JUMP_NS;
            self.jumps.push(self.mono_ns);
        }
        if faults.strikes(Fault::ClockFreeze) {
            let ns = faults.below(Fault::ClockFreeze, 20 * SECOND);
            self.wall_stands_until_ns = self.mono_ns + ns;
        }
        if faults.strikes(Fault::ClockJitter) {
            let ns = faults.below(Fault::ClockJitter, 2 * SECOND);
            self.wall_ns = self.wall_ns + ns - SECOND;
            self.lost_ns += SECOND.saturating_sub(ns);
        }
        if faults.strikes(Fault::Suspend) {
            self.advance(3600 * SECOND);
        }
    }
}

const JUMP_NS: u64 = 10 * 365 * 86_400 * SECOND;
/// A second.
pub(crate) const SECOND: u64 = 1_000_000_000;
