//! A slot with a stamp that says whose turn it is.

use std::mem::MaybeUninit;

use crate::atomic::{AtomicUsize, Ordering, UnsafeCell};

/// One element and the position that it was written for, in one place, so that seeing the one
/// fetches the other.
///
/// What a stamp means is the ring's: here, storing one hands the value over and loading one takes it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stamped<T> {
    stamp: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is accessed by whoever the stamp names, alone; elements cross: `T: Send`.
unsafe impl<T: Send> Sync for Stamped<T> {}

impl<T> Stamped<T> {
    /// An empty slot.
    pub(crate) fn new(stamp: usize) -> Self {
        Self {
            stamp: AtomicUsize::new(stamp),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Whose turn it is. What was done to the value before the [`store`](Self::store) is seen.
    #[inline(always)]
    pub(crate) fn load(&self) -> usize {
        self.stamp.load(Ordering::Acquire)
    }

    /// Hands the slot over. Pairs with [`load`](Self::load).
    #[inline(always)]
    pub(crate) fn store(&self, stamp: usize) {
        self.stamp.store(stamp, Ordering::Release);
    }

    /// # Safety
    /// It is the caller's turn, and the slot holds no element.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, value: T) {
        self.value.with_mut(|slot| {
            // SAFETY: the cell's own pointer; the caller has the slot alone.
            unsafe { slot.write(MaybeUninit::new(value)) }
        });
    }

    /// # Safety
    /// It is the caller's turn, and the slot holds an element, which is not used again.
    #[inline(always)]
    pub(crate) unsafe fn read(&self) -> T {
        self.value.with(|slot| {
            // SAFETY: the cell's own pointer; the caller vouches for the element.
            unsafe { slot.cast::<T>().read() }
        })
    }
}
