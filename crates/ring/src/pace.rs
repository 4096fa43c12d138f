//! When a consumer should let its producer get ahead.
//!
//! A consumer that follows close behind finds one or two elements each time it looks, and each look
//! takes the line away in which the producer says how far it is: both then run at the speed of lines
//! crossing between cores instead of that of their caches. A pause of a fraction of a microsecond, and
//! a batch has gathered. It must not delay a lone element, so it is made only in a stream: after
//! several looks in a row that found few, without long emptiness in between. And it must be of use:
//! when nothing came during a pause, as when both ends are on one thread, there is none for long.

use crate::atomic::spin_loop;

/// Rises with each look that finds few and falls with each that finds nothing.
#[derive(Debug)]
pub(crate) struct Pace {
    /// A pause is due at [`PAUSE_AT`]. Negative while pauses have proved useless.
    closeness: i32,
    /// How long the next pause is: it grows until a pause gathers enough.
    hints: u32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            closeness: 0,
            hints: HINTS_MIN,
        }
    }

    /// A look found nothing.
    #[inline(always)]
    pub(crate) fn found_nothing(&mut self) {
        self.closeness -= i32::from(self.closeness > 0);
    }

    /// A look found `count` elements, where `enough` would be worth it. Returns how many there are; when few have become
    /// the rule, that is what `look` counts after a pause.
    #[inline(always)]
    pub(crate) fn found(
        &mut self,
        count: usize,
        enough: usize,
        look: impl FnOnce() -> usize,
    ) -> usize {
        if count >= enough {
            self.closeness = self.closeness.min(0);
            return count;
        }
        self.closeness += FEW;
        if self.closeness < PAUSE_AT {
            return count;
        }
        self.pause(count, enough, look)
    }

    #[cold]
    #[inline(never)]
    fn pause(&mut self, count: usize, enough: usize, look: impl FnOnce() -> usize) -> usize {
        (0..self.hints).for_each(|_| spin_loop());
        let now = look();
        (self.closeness, self.hints) = if now == count {
            (USELESS, HINTS_MIN)
        } else if now < enough {
            (PAUSE_AT - FEW, HINTS_MAX.min(2 * self.hints))
        } else if now > 4 * enough {
            (PAUSE_AT - FEW, HINTS_MIN.max(self.hints / 2))
        } else {
            (PAUSE_AT - FEW, self.hints)
        };
        now
    }
}

/// A stream has fewer than this many empty looks between two that find few; a lone element more.
const FEW: i32 = 4;
const PAUSE_AT: i32 = 4 * FEW;
/// So many looks that find few pass before the next pause is tried.
const USELESS: i32 = -4096 * FEW;
/// A hint takes 10 to 50 ns, by processor.
const HINTS_MIN: u32 = 8;
const HINTS_MAX: u32 = 64;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How many of `looks`, each finding `count` and after a pause `later`, made a pause.
    fn pauses(pace: &mut Pace, looks: usize, count: usize, later: usize) -> usize {
        let mut pauses = 0;
        for _ in 0..looks {
            pace.found(count, 32, || {
                pauses += 1;
                later
            });
        }
        pauses
    }

    #[test]
    fn a_stream_that_is_followed_closely_makes_it_pause_and_a_lone_element_does_not() {
        let mut pace = Pace::new();
        assert_eq!(pauses(&mut pace, 3, 1, 9), 0);
        assert_eq!(pauses(&mut pace, 10, 1, 9), 10);
        assert_eq!(pauses(&mut pace, 1, 32, 0), 0);
        let mut pace = Pace::new();
        for _ in 0..100 {
            assert_eq!(pauses(&mut pace, 1, 1, 1), 0);
            (0..FEW).for_each(|_| pace.found_nothing());
        }
    }

    #[test]
    fn pauses_that_bring_nothing_end_for_long() {
        let mut pace = Pace::new();
        assert_eq!(pauses(&mut pace, 4096, 1, 1), 1);
        assert_eq!(pauses(&mut pace, 4096, 1, 1), 1);
    }

    #[test]
    fn pauses_grow_until_they_gather_enough_and_shrink_when_they_gather_much() {
        let mut pace = Pace::new();
        pauses(&mut pace, 20, 1, 2);
        assert_eq!(pace.hints, HINTS_MAX);
        pauses(&mut pace, 1, 1, 32);
        assert_eq!(pace.hints, HINTS_MAX);
        pauses(&mut pace, 20, 1, 129);
        assert_eq!(pace.hints, HINTS_MIN);
    }
}
