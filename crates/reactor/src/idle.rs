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
    /// Looks for work as long as that has paid lately, then parks. When it was woken soon after it had parked, it looks twice as long as
    /// that from then on; when it slept longer than it may look, half as long. So a steady stream of work is met awake, and rare work finds it
    /// asleep after a moment. An answer that is on its way, such as that to a sync, is waited for to the end.
    Adaptive {
        /// How long it looks at most, in nanoseconds. Default 200,000: longer than most syncs take on a good device.
        spin_ns: u64,
    },
    /// Parks at once: the least CPU.
    Park,
}

/// One worker's idle strategy at work.
#[derive(Clone, Copy, Debug)]
pub struct Idler {
    idle: Idle,
    idle_since_ns: Option<u64>,
    /// Since then it has parked.
    parked: bool,
    /// How long [`Idle::Adaptive`] looks at present.
    look_ns: u64,
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
        Self::Adaptive { spin_ns: 200_000 }
    }
}

impl Idler {
    /// Starts awake.
    pub fn new(idle: Idle) -> Self {
        let look_ns = match idle {
            Idle::Adaptive { spin_ns } => spin_ns / 4,
            Idle::Spin | Idle::Park => 0,
        };
        Self {
            idle,
            idle_since_ns: None,
            parked: false,
            look_ns,
        }
    }

    /// How to wait after a turn that did `work` and, if it `expects` so, will be answered soon.
    #[inline]
    pub fn next(&mut self, work: usize, expects: bool, now_ns: u64) -> Wait {
        if work > 0 {
            if let Some(since_ns) = self.idle_since_ns.take()
                && self.parked
            {
                self.learn(now_ns.saturating_sub(since_ns));
            }
            return Wait::Poll;
        }
        match self.idle {
            Idle::Spin => Wait::Poll,
            Idle::Park => Wait::Forever,
            Idle::Adaptive { spin_ns } => {
                let since_ns = *self.idle_since_ns.get_or_insert(now_ns);
                let most_ns = if expects { spin_ns } else { self.look_ns };
                if now_ns.saturating_sub(since_ns) < most_ns {
                    Wait::Poll
                } else {
                    self.parked = true;
                    Wait::Forever
                }
            }
        }
    }

    /// There was nothing to do for `gap_ns`, and it parked meanwhile.
    #[cold]
    fn learn(&mut self, gap_ns: u64) {
        self.parked = false;
        if let Idle::Adaptive { spin_ns } = self.idle {
            self.look_ns = if gap_ns <= spin_ns {
                self.look_ns.max((2 * gap_ns).min(spin_ns))
            } else {
                (self.look_ns / 2).max(spin_ns / LEAST)
            };
        }
    }
}

/// The least part of its time that [`Idle::Adaptive`] looks: what comes in bursts is met awake also when the bursts are rare.
const LEAST: u64 = 16;

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

    /// How long it looks before it parks, and that work wakes it `gap_ns` after the last.
    fn looks(idler: &mut Idler, gap_ns: u64) -> u64 {
        let looked = (0..gap_ns).find(|at| idler.next(0, false, 5000 + at) == Wait::Forever);
        assert_eq!(idler.next(3, false, 5000 + gap_ns), Wait::Poll);
        looked.unwrap_or(gap_ns)
    }

    #[test]
    fn the_adaptive_strategy_looks_less_the_rarer_work_is() {
        let mut idler = Idler::new(Idle::Adaptive { spin_ns: 160 });
        let looked: Vec<_> = (0..4).map(|_| looks(&mut idler, 1000)).collect();
        assert_eq!(looked, [40, 20, 10, 10]);
    }

    #[test]
    fn the_adaptive_strategy_is_awake_for_work_that_comes_steadily() {
        let mut idler = Idler::new(Idle::Adaptive { spin_ns: 160 });
        assert_eq!(looks(&mut idler, 60), 40, "it does not know yet");
        assert_eq!(looks(&mut idler, 60), 60);
        assert_eq!(looks(&mut idler, 119), 119, "twice as long");
        assert_eq!(looks(&mut idler, 130), 120);
        assert_eq!(looks(&mut idler, 1000), 160, "no longer than it may");
        assert_eq!(looks(&mut idler, 60), 60);
    }

    #[test]
    fn the_adaptive_strategy_waits_longer_for_an_answer_that_is_on_its_way() {
        let mut idler = Idler::new(Idle::Adaptive { spin_ns: 160 });
        assert_eq!(idler.next(0, true, 1000), Wait::Poll);
        assert_eq!(idler.next(0, true, 1159), Wait::Poll);
        assert_eq!(idler.next(0, true, 1160), Wait::Forever);
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
