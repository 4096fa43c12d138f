//! What a worker does when it has nothing to do: the largest term of its latency.
//!
//! Waking a parked thread on another core costs tens of microseconds, a spinning one sees its work in a fraction of one. The
//! strategy sees only how much work the last turn did.

use crate::op::Wait;

/// An idle strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Never parks: the lowest latency, for a core of one's own.
    Spin,
    /// Looks for work for so long after the last of it, then parks. While nothing comes it costs nothing. An answer that is on its way, such as that
    /// to a sync, is waited for [`EXPECTING`] times as long: parking just before it comes would cost a wake-up for each of them.
    Adaptive {
        /// How long, in nanoseconds. Default 50,000.
        spin_ns: u64,
    },
    /// Parks at once: the least CPU.
    Park,
}

/// How many times longer [`Idle::Adaptive`] looks while it expects an answer: by default 0.2 ms, longer than most syncs take on a good device.
pub const EXPECTING: u64 = 4;

/// One worker's idle strategy at work.
#[derive(Clone, Copy, Debug)]
pub struct Idler {
    idle: Idle,
    idle_since_ns: Option<u64>,
}

impl Idle {
    /// [`Idle::Adaptive`] when the machine has more cores than workers, so that whoever produces the work has one; [`Idle::Park`] otherwise.
    pub fn for_machine(workers: usize, cores: usize) -> Self {
        if cores > workers {
            Self::default()
        } else {
            Self::Park
        }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::Adaptive { spin_ns: 50_000 }
    }
}

impl Idler {
    /// Starts awake.
    pub fn new(idle: Idle) -> Self {
        Self {
            idle,
            idle_since_ns: None,
        }
    }

    /// How to wait after a turn that did `work` and, if it `expects` so, will be answered soon.
    #[inline]
    pub fn next(&mut self, work: usize, expects: bool, now_ns: u64) -> Wait {
        if work > 0 {
            self.idle_since_ns = None;
            return Wait::Poll;
        }
        match self.idle {
            Idle::Spin => Wait::Poll,
            Idle::Park => Wait::Forever,
            Idle::Adaptive { spin_ns } => {
                let since_ns = *self.idle_since_ns.get_or_insert(now_ns);
                let most_ns = if expects {
                    EXPECTING * spin_ns
                } else {
                    spin_ns
                };
                if now_ns.saturating_sub(since_ns) < most_ns {
                    Wait::Poll
                } else {
                    Wait::Forever
                }
            }
        }
    }
}

impl Wait {
    /// The same wait, ended by a deadline.
    pub fn before(self, deadline_ns: Option<u64>) -> Self {
        match (self, deadline_ns) {
            (Self::Forever, Some(deadline_ns)) => Self::Until(deadline_ns),
            (Self::Until(at_ns), Some(deadline_ns)) => Self::Until(at_ns.min(deadline_ns)),
            (wait, _) => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_never_parks_and_parking_never_spins() {
        assert_eq!(Idler::new(Idle::Spin).next(0, false, u64::MAX), Wait::Poll);
        assert_eq!(Idler::new(Idle::Park).next(0, false, 0), Wait::Forever);
        assert_eq!(Idler::new(Idle::Park).next(1, false, 0), Wait::Poll);
    }

    #[test]
    fn the_adaptive_strategy_parks_after_its_time_and_starts_again_with_work() {
        let mut idler = Idler::new(Idle::Adaptive { spin_ns: 100 });
        assert_eq!(idler.next(0, false, 1000), Wait::Poll);
        assert_eq!(idler.next(0, false, 1099), Wait::Poll);
        assert_eq!(idler.next(0, false, 1100), Wait::Forever);
        assert_eq!(idler.next(0, false, 5000), Wait::Forever);
        assert_eq!(idler.next(3, false, 5001), Wait::Poll);
        assert_eq!(idler.next(0, false, 5002), Wait::Poll);
    }

    #[test]
    fn the_adaptive_strategy_waits_longer_for_an_answer_that_is_on_its_way() {
        let mut idler = Idler::new(Idle::Adaptive { spin_ns: 100 });
        assert_eq!(idler.next(0, true, 1000), Wait::Poll);
        assert_eq!(idler.next(0, true, 1399), Wait::Poll);
        assert_eq!(idler.next(0, true, 1400), Wait::Forever);
        assert_eq!(Idler::new(Idle::Park).next(0, true, 0), Wait::Forever);
    }

    #[test]
    fn a_deadline_only_shortens_a_wait() {
        assert_eq!(Wait::Poll.before(Some(5)), Wait::Poll);
        assert_eq!(Wait::Forever.before(Some(5)), Wait::Until(5));
        assert_eq!(Wait::Until(3).before(Some(5)), Wait::Until(3));
        assert_eq!(Wait::Forever.before(None), Wait::Forever);
    }
}
