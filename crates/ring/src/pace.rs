//! When a consumer should let its producer get ahead.
//!
//! A consumer that follows close behind finds one or two elements each time it looks, and each look
//! takes the producer's line away while it writes the next: both then run at the speed of lines
//! crossing between cores instead of that of their caches. A pause of some tens of nanoseconds, and
//! a batch has gathered. It must not delay a lone element, so it is made only in a stream: after
//! several looks in a row that found few, without long emptiness in between. And it must be of use:
//! when nothing came during a pause, as when both ends are on one thread, there is none for long.

use crate::atomic::spin_loop;

/// Rises with each look that finds few and falls with each that finds nothing.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A pause is due at [`PAUSE_AT`]. Negative while pauses have proved useless.
    closeness: i32,
}

impl Pace {
    /// A look found nothing.
    #[inline(always)]
    pub(crate) fn found_nothing(&mut self) {
        self.closeness -= i32::from(self.closeness > 0);
    }

    /// A look found many elements.
    #[inline(always)]
    pub(crate) fn found_many(&mut self) {
        self.closeness = self.closeness.min(0);
    }

    /// A look found few elements, up to the position `found`. Returns how far they reach; when few
    /// have become the rule, that is what `look` answers after a pause.
    #[inline(always)]
    pub(crate) fn found_few(&mut self, found: usize, look: impl FnOnce() -> usize) -> usize {
        self.closeness += FEW;
        if self.closeness < PAUSE_AT {
            return found;
        }
        let now = pause(look);
        self.closeness = if now == found {
            USELESS
        } else {
            PAUSE_AT - FEW
        };
        now
    }
}

#[cold]
#[inline(never)]
fn pause(look: impl FnOnce() -> usize) -> usize {
    (0..SPINS).for_each(|_| spin_loop());
    look()
}

/// A stream has fewer than this many empty looks between two that find few; a lone element more.
const FEW: i32 = 4;
const PAUSE_AT: i32 = 4 * FEW;
/// So many looks that find few pass before the next pause is tried.
const USELESS: i32 = -2048 * FEW;
const SPINS: u32 = 3;
