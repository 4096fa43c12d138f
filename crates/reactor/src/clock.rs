//! The only reader of time.

use rustix::time::{ClockId, clock_gettime};

/// Reads the machine's clocks. A worker reads once per turn and hands the value down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds that never go back and go on while the machine is suspended, from an arbitrary start (`CLOCK_BOOTTIME`).
    pub mono_ns: u64,
    /// Nanoseconds since 1970 (`CLOCK_REALTIME`); may be set back by the operator.
    pub wall_ns: u64,
}

impl Clock {
    /// Monotonic nanoseconds: what deadlines are compared with, and what tells whether the wall clock keeps pace. About 20 ns, no system call.
    ///
    /// Time that the machine is suspended counts: `CLOCK_MONOTONIC` would stand still meanwhile, and every suspend would look as if the wall clock had been set.
    pub fn now_ns(self) -> u64 {
        nanoseconds(ClockId::Boottime)
    }

    /// Nanoseconds since 1970.
    pub fn wall_ns(self) -> u64 {
        nanoseconds(ClockId::Realtime)
    }

    /// Both.
    pub fn now(self) -> Now {
        Now {
            mono_ns: self.now_ns(),
            wall_ns: self.wall_ns(),
        }
    }
}

fn nanoseconds(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
