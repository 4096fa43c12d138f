//! A stamp says whose turn a slot is.

use crate::atomic::{AtomicU64, Ordering};

/// A number beside a slot. What it means is the ring's: here, storing one hands the slot over and loading one takes it.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Stamp(AtomicU64);

impl Stamp {
    pub(crate) fn new(stamp: u64) -> Self {
        Self(AtomicU64::new(stamp))
    }

    /// Whose turn it is. What was done to the slot before the [`store`](Self::store) is seen.
    #[inline(always)]
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Hands the slot over. Pairs with [`load`](Self::load).
    #[inline(always)]
    pub(crate) fn store(&self, stamp: u64) {
        self.0.store(stamp, Ordering::Release);
    }
}
