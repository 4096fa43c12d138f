//! The machine's two clocks: a steady one, and a wall clock that people and time servers set.

use trunkline_log::Now;

use crate::faults::{Fault, Faults};

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    mono_ns: u64,
    wall_ns: u64,
    wall_stands_until_ns: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            mono_ns: 5 * SECOND,
            wall_ns: 1_700_000_000 * SECOND,
            wall_stands_until_ns: 0,
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

    /// Time passes.
    pub(crate) fn advance(&mut self, ns: u64) {
        self.mono_ns += ns;
        if self.mono_ns >= self.wall_stands_until_ns {
            self.wall_ns += ns;
        }
    }

    /// What may happen to the clocks at any moment.
    pub(crate) fn suffer(&mut self, faults: &mut Faults) {
        if faults.strikes(Fault::ClockBack) {
            self.wall_ns -= faults.below(Fault::ClockBack, 2 * 3600 * SECOND);
        }
        if faults.strikes(Fault::ClockForward) {
            self.wall_ns += 10 * 365 * 86_400 * SECOND;
        }
        if faults.strikes(Fault::ClockFreeze) {
            let ns = faults.below(Fault::ClockFreeze, 20 * SECOND);
            self.wall_stands_until_ns = self.mono_ns + ns;
        }
        if faults.strikes(Fault::ClockJitter) {
            let ns = faults.below(Fault::ClockJitter, 2 * SECOND);
            self.wall_ns = self.wall_ns + ns - SECOND;
        }
        if faults.strikes(Fault::Suspend) {
            self.advance(3600 * SECOND);
        }
    }
}

/// A second.
pub(crate) const SECOND: u64 = 1_000_000_000;
