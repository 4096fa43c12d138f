//! The slots of a ring: raw places for elements, addressed by position.
//!
//! Who may touch which slot is the business of the ring's indices; the functions here only compute
//! places and move elements, so that each ring's unsafe code is one call with one obligation.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::atomic::UnsafeCell;
use crate::capacity::Capacity;
use crate::fetch::{self, AHEAD, LINES_MAX, per_line};

/// One place, initialized or not.
pub(crate) type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// `capacity` slots in a row, borrowed from the ring that holds them.
pub(crate) struct Slots<T, C> {
    first: NonNull<Slot<T>>,
    capacity: C,
}

impl<T, C: Capacity> Slots<T, C> {
    /// # Safety
    /// `first` begins `capacity` slots that stay where they are while the result is used.
    #[inline]
    pub(crate) unsafe fn new(first: NonNull<Slot<T>>, capacity: C) -> Self {
        Self { first, capacity }
    }

    #[inline(always)]
    pub(crate) fn capacity(&self) -> C {
        self.capacity
    }

    /// # Safety
    /// The slot at `position` is the caller's alone, and holds no element.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, position: usize, value: T) {
        self.slot(position).with_mut(|slot| {
            // SAFETY: the pointer is the slot's own, and the caller owns the slot.
            unsafe { slot.write(MaybeUninit::new(value)) }
        });
    }

    /// Begins to fetch the line that is so many slots ahead of `position`, where that slot is free, below `limit`; once for
    /// each line.
    #[inline(always)]
    pub(crate) fn fetch_ahead(&self, position: usize, limit: usize) {
        if fetch::is_due::<T>(position, limit) {
            fetch::for_writing(self.slot_ptr(position.wrapping_add(AHEAD)));
        }
    }

    /// Begins to fetch the slots from `position` on that the next batch of `len` will fill, as many as are below `limit`.
    #[inline(always)]
    pub(crate) fn fetch_batch(&self, position: usize, limit: usize, len: usize) {
        let len = len
            .min(limit.wrapping_sub(position))
            .min(const { per_line::<T>() * LINES_MAX });
        for offset in (0..len).step_by(const { per_line::<T>() }) {
            fetch::for_writing(self.slot_ptr(position.wrapping_add(offset)));
        }
    }

    /// Moves the element out.
    ///
    /// # Safety
    /// The slot at `position` is the caller's alone, and holds an element that is not used again.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, position: usize) -> T {
        self.slot(position).with(|slot| {
            // SAFETY: the caller owns the slot and vouches for its element.
            unsafe { slot.cast::<T>().read() }
        })
    }

    /// # Safety
    /// The slot at `position` holds an element and nobody writes it for as long as `'a`.
    #[inline]
    pub(crate) unsafe fn peek<'a>(&self, position: usize) -> &'a T {
        self.slot(position).with(|slot| {
            // SAFETY: the caller vouches for the element and its lifetime.
            unsafe { &*slot.cast::<T>() }
        })
    }

    /// Copies `values` to the slots from `position` on, wrapping at the end.
    ///
    /// # Safety
    /// The `values.len()` slots are the caller's alone and hold no element that needs dropping;
    /// `values.len()` is at most the capacity.
    #[inline]
    pub(crate) unsafe fn write_slice(&self, position: usize, values: &[T])
    where
        T: Copy,
    {
        #[cfg(loom)]
        for (offset, value) in values.iter().enumerate() {
            // SAFETY: the caller owns each of these slots.
            unsafe { self.write(position.wrapping_add(offset), *value) };
        }
        #[cfg(not(loom))]
        {
            let (before, after) = values.split_at(self.until_wrap(position, values.len()));
            let first = self.slot_ptr(position).cast::<T>();
            // SAFETY: `before` fits between `position` and the end of the slots, the caller owns
            // them, and a borrowed slice cannot overlap them.
            unsafe { first.copy_from_nonoverlapping(before.as_ptr(), before.len()) };
            // Most do not wrap: that is cheaper to ask than to copy nothing.
            if !after.is_empty() {
                let start = self.first.as_ptr().cast::<T>();
                // SAFETY: `after` is what is left of at most `capacity` values, from the first slot
                // on; otherwise as above.
                unsafe { start.copy_from_nonoverlapping(after.as_ptr(), after.len()) };
            }
        }
    }

    /// Copies the slots from `position` on to `out`, wrapping at the end.
    ///
    /// # Safety
    /// The `out.len()` slots hold elements that nobody writes; `out.len()` is at most the capacity.
    #[inline]
    pub(crate) unsafe fn read_slice(&self, position: usize, out: &mut [T])
    where
        T: Copy,
    {
        #[cfg(loom)]
        for (offset, value) in out.iter_mut().enumerate() {
            // SAFETY: the caller vouches for each of these slots.
            *value = unsafe { self.read(position.wrapping_add(offset)) };
        }
        #[cfg(not(loom))]
        {
            let (before, after) = out.split_at_mut(self.until_wrap(position, out.len()));
            let first = self.slot_ptr(position).cast::<T>();
            // SAFETY: `before` fits between `position` and the end of the slots, which hold elements.
            unsafe { first.copy_to_nonoverlapping(before.as_mut_ptr(), before.len()) };
            if !after.is_empty() {
                let start = self.first.as_ptr().cast::<T>();
                // SAFETY: `after` is what is left of at most `capacity` elements, from the first slot on.
                unsafe { start.copy_to_nonoverlapping(after.as_mut_ptr(), after.len()) };
            }
        }
    }

    /// The `len` elements from `position` on, in two slices because they may wrap.
    ///
    /// # Safety
    /// The `len` slots hold elements and nobody writes them for as long as `'a`; `len` is at most
    /// the capacity.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) unsafe fn slices<'a>(&self, position: usize, len: usize) -> (&'a [T], &'a [T]) {
        let before = self.until_wrap(position, len);
        let first = self.slot_ptr(position).cast::<T>();
        // SAFETY: these slots lie before the end; the caller vouches for content and lifetime.
        let front = unsafe { std::slice::from_raw_parts(first, before) };
        // SAFETY: the rest of at most `capacity` elements begins at the first slot.
        let back =
            unsafe { std::slice::from_raw_parts(self.first.as_ptr().cast::<T>(), len - before) };
        (front, back)
    }

    /// Drops the elements of `positions`, a range that may wrap at the end of `usize`.
    ///
    /// # Safety
    /// They are the caller's alone, hold elements, and are not used again.
    pub(crate) unsafe fn drop_range(&self, from: usize, to: usize) {
        if std::mem::needs_drop::<T>() {
            let mut position = from;
            while position != to {
                // SAFETY: the caller owns the element at each position of the range.
                drop(unsafe { self.read(position) });
                position = position.wrapping_add(1);
            }
        }
    }

    /// How many of `len` elements from `position` on come before the end of the slots.
    #[cfg(not(loom))]
    #[inline(always)]
    fn until_wrap(&self, position: usize, len: usize) -> usize {
        debug_assert!(len <= self.capacity.slots());
        len.min(self.capacity.slots() - self.capacity.index(position))
    }

    #[inline(always)]
    fn slot_ptr(&self, position: usize) -> *mut Slot<T> {
        // SAFETY: an index is below the capacity, and that many slots follow `first` (`new`).
        unsafe { self.first.as_ptr().add(self.capacity.index(position)) }
    }

    #[inline(always)]
    fn slot(&self, position: usize) -> &Slot<T> {
        // SAFETY: within the slots, which stay where they are (`new`); a cell may be shared.
        unsafe { &*self.slot_ptr(position) }
    }
}

impl<T, C: Copy> Clone for Slots<T, C> {
    fn clone(&self) -> Self {
        Self {
            first: self.first,
            capacity: self.capacity,
        }
    }
}

impl<T, C: fmt::Debug> fmt::Debug for Slots<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
