//! The end that pops.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::indices::Indices;
use super::ring_buffer::Keep;
use crate::atomic::Arc;
use crate::capacity::{Capacity, Dynamic};
use crate::pace::Pace;
use crate::slots::Slots;

/// Pops elements from a ring, in the order in which they were pushed. There is one per ring; it may
/// move to another thread.
pub struct Consumer<'a, T, C: Capacity = Dynamic> {
    slots: Slots<T, C>,
    /// The next element. Ahead of `indices.released` by less than a group between calls.
    position: usize,
    /// The position at which the ring is empty by what was last seen of `indices.published`.
    limit: usize,
    pace: Pace,
    indices: NonNull<Indices>,
    _keep: Option<Arc<dyn Keep>>,
    _ring: PhantomData<&'a T>,
}

// SAFETY: it is the only consumer, and what it shares is in atomics; elements cross: `T: Send`.
unsafe impl<T: Send, C: Capacity> Send for Consumer<'_, T, C> {}

impl<T, C: Capacity> Consumer<'_, T, C> {
    /// # Safety
    /// As for `ring_buffer::halves`; it is the ring's only consumer.
    pub(super) unsafe fn new(
        indices: NonNull<Indices>,
        slots: Slots<T, C>,
        keep: Option<Arc<dyn Keep>>,
    ) -> Self {
        let mut consumer = Self {
            slots,
            position: 0,
            limit: 0,
            pace: Pace::new(),
            indices,
            _keep: keep,
            _ring: PhantomData,
        };
        consumer.position = consumer.indices().released();
        consumer.limit = consumer.indices().published();
        consumer
    }

    /// Pops the oldest element, or `None` when the ring is empty.
    ///
    /// The slots of elements popped one by one are given back in groups
    /// ([`Capacity::group`]), when the ring is found empty, or by [`give_back`](Self::give_back):
    /// a store for each would take the index's line away from a producer that waits for room,
    /// again and again.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        if self.position == self.limit && !self.refill() {
            return None;
        }
        // SAFETY: `position` is before `limit`: the producer published this element (`published`),
        // and moving `position` on sees to it that it is not read again.
        let value = unsafe { self.slots.read(self.position) };
        self.advance(1);
        Some(value)
    }

    /// The oldest element, left in the ring.
    pub fn peek(&mut self) -> Option<&T> {
        if self.position == self.limit && !self.refill() {
            return None;
        }
        // SAFETY: published, and not released before the borrow of `self` ends.
        Some(unsafe { self.slots.peek(self.position) })
    }

    /// Copies as many elements to `out` as there are, and releases them at once. Returns how many.
    #[inline]
    pub fn pop_into(&mut self, out: &mut [T]) -> usize
    where
        T: Copy,
    {
        let len = out.len().min(self.ready(out.len()));
        // SAFETY: the `len` elements from `position` are before `limit`: published, at most `capacity`.
        unsafe { self.slots.read_slice(self.position, &mut out[..len]) };
        self.release_to(self.position.wrapping_add(len));
        len
    }

    /// The elements that are there, at most `max`, where they lie: two slices, because they may
    /// wrap. They stay until [`release`](Self::release).
    #[cfg(not(loom))]
    #[inline]
    pub fn chunk(&mut self, max: usize) -> (&[T], &[T]) {
        let len = max.min(self.ready(max));
        // SAFETY: published, and not released before the borrow of `self` ends; at most `capacity`.
        unsafe { self.slots.slices(self.position, len) }
    }

    /// Drops the `count` oldest elements. Their slots are given back like those of [`pop`](Self::pop).
    ///
    /// # Panics
    /// When fewer are there.
    #[inline]
    pub fn release(&mut self, count: usize) {
        let ready = self.ready(count);
        assert!(
            count <= ready,
            "{count} elements to be released, {ready} are there"
        );
        if std::mem::needs_drop::<T>() {
            self.pop_each(count, drop);
        } else {
            self.advance(count);
        }
    }

    /// Hands the elements that are there, at most `max`, to `take` and releases them at once.
    /// Returns how many.
    #[inline]
    pub fn pop_each(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        let len = max.min(self.ready(max));
        let first = self.position;
        let end = first.wrapping_add(len);
        // Releases also when `take` panics: what it was handed is no longer in the ring.
        let batch = ReleaseOnDrop { consumer: self };
        while batch.consumer.position != end {
            let position = batch.consumer.position;
            batch.consumer.position = position.wrapping_add(1);
            // SAFETY: published, being before `limit`; `position` has moved on, so that the element
            // is not read again.
            take(unsafe { batch.consumer.slots.read(position) });
        }
        len
    }

    /// Gives the slots of all elements that were popped back to the producer.
    #[inline(always)]
    pub fn give_back(&mut self) {
        self.indices().release(self.position);
    }

    /// How many elements can be popped now; looks at the producer's index.
    pub fn available(&mut self) -> usize {
        self.ready(usize::MAX)
    }

    /// Nothing can be popped now; looks at the producer's index.
    pub fn is_empty(&mut self) -> bool {
        self.position == self.limit && !self.refill()
    }

    /// How many elements the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.slots.capacity().slots()
    }

    /// The producer was dropped. What it pushed is still to be popped: the end is `is_abandoned`,
    /// asked first, and then an empty ring.
    pub fn is_abandoned(&self) -> bool {
        self.indices().is_producer_gone()
    }

    /// How many elements are there, looking at the producer's index only if fewer than `wanted` seem to be.
    #[inline(always)]
    fn ready(&mut self, wanted: usize) -> usize {
        if self.limit.wrapping_sub(self.position) < wanted {
            self.refill();
        }
        self.limit.wrapping_sub(self.position)
    }

    /// Looks how far the producer is. Returns whether there is an element.
    ///
    /// If not, gives back what was popped: whoever finds the ring empty may go to sleep, and the
    /// producer must then see all the room that there is.
    #[inline(always)]
    fn refill(&mut self) -> bool {
        self.limit = self.indices().published();
        let ready = self.limit.wrapping_sub(self.position);
        if ready == 0 {
            self.give_back();
            self.pace.found_nothing();
            return false;
        }
        let (position, enough) = (self.position, self.slots.capacity().group() / 2);
        // SAFETY: as in `indices`, which would borrow all of `self`.
        let indices = unsafe { self.indices.as_ref() };
        let look = || indices.published().wrapping_sub(position);
        let ready = self.pace.found(ready, enough, look);
        self.limit = position.wrapping_add(ready);
        true
    }

    /// Moves on by `count` popped elements, and gives back when that completes a group.
    #[inline(always)]
    fn advance(&mut self, count: usize) {
        let group = self.slots.capacity().group();
        let into_group = self.position & (group - 1);
        self.position = self.position.wrapping_add(count);
        if into_group + count >= group {
            self.give_back();
        }
    }

    #[inline(always)]
    fn release_to(&mut self, position: usize) {
        self.position = position;
        self.indices().release(position);
    }

    #[inline(always)]
    fn indices(&self) -> &Indices {
        // SAFETY: they stay where they are while this half lives (`new`), and are only shared.
        unsafe { self.indices.as_ref() }
    }
}

impl<T, C: Capacity> Drop for Consumer<'_, T, C> {
    fn drop(&mut self) {
        self.give_back();
        self.indices().leave_consumer();
    }
}

impl<T, C: Capacity> fmt::Debug for Consumer<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("position", &self.position)
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// Releases what was taken.
struct ReleaseOnDrop<'c, 'a, T, C: Capacity> {
    consumer: &'c mut Consumer<'a, T, C>,
}

impl<T, C: Capacity> Drop for ReleaseOnDrop<'_, '_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.consumer.release_to(self.consumer.position);
    }
}
