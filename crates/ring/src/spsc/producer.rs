//! The end that pushes.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::indices::Indices;
use super::ring_buffer::Keep;
use crate::atomic::Arc;
use crate::capacity::{Capacity, Dynamic};
use crate::full::Full;
use crate::slots::Slots;

/// Pushes elements into a ring. There is one per ring; it may move to another thread.
pub struct Producer<'a, T, C: Capacity = Dynamic> {
    slots: Slots<T, C>,
    /// Where the next element goes; equal to `indices.published` between calls.
    position: usize,
    /// The position at which the ring is full by what was last seen of `indices.released`.
    limit: usize,
    indices: NonNull<Indices>,
    _keep: Option<Arc<dyn Keep>>,
    _ring: PhantomData<&'a T>,
}

// SAFETY: it is the only producer, and what it shares is in atomics; elements cross: `T: Send`.
unsafe impl<T: Send, C: Capacity> Send for Producer<'_, T, C> {}

impl<T, C: Capacity> Producer<'_, T, C> {
    /// # Safety
    /// As for `ring_buffer::halves`; it is the ring's only producer.
    pub(super) unsafe fn new(
        indices: NonNull<Indices>,
        slots: Slots<T, C>,
        keep: Option<Arc<dyn Keep>>,
    ) -> Self {
        let mut producer = Self {
            slots,
            position: 0,
            limit: 0,
            indices,
            _keep: keep,
            _ring: PhantomData,
        };
        producer.position = producer.indices().published();
        producer.limit = producer
            .indices()
            .released()
            .wrapping_add(producer.capacity());
        producer
    }

    /// Pushes one element.
    ///
    /// # Errors
    /// [`Full`] with the element when the ring holds `capacity` of them, or up to
    /// [`withheld_max`](Self::withheld_max) fewer that the consumer popped but did not give back yet.
    #[inline(always)]
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        if self.position == self.limit && !self.refill() {
            return Err(Full(value));
        }
        // SAFETY: `position` is before `limit`: the consumer released this slot (`released`).
        unsafe { self.slots.write(self.position, value) };
        self.slots.fetch_ahead(self.position, self.limit);
        self.position = self.position.wrapping_add(1);
        self.indices().publish(self.position);
        Ok(())
    }

    /// Copies as many of `values` as there is room for, and publishes them at once.
    /// Returns how many.
    #[inline]
    pub fn push_slice(&mut self, values: &[T]) -> usize
    where
        T: Copy,
    {
        let len = values.len().min(self.room(values.len()));
        // SAFETY: the `len` slots from `position` are before `limit`: released, at most `capacity`.
        unsafe { self.slots.write_slice(self.position, &values[..len]) };
        self.position = self.position.wrapping_add(len);
        self.indices().publish(self.position);
        self.slots.fetch_batch(self.position, self.limit, len);
        len
    }

    /// Pushes elements of `values` while there is room, and publishes them at once. Takes no
    /// element from `values` that it cannot push. Returns how many.
    #[inline]
    pub fn push_iter(&mut self, values: impl IntoIterator<Item = T>) -> usize {
        let mut values = values.into_iter();
        let room = self.room(values.size_hint().1.unwrap_or(usize::MAX));
        // Publishes also when the iterator panics: what was written is complete.
        let batch = PublishOnDrop {
            first: self.position,
            producer: self,
        };
        for _ in 0..room {
            let Some(value) = values.next() else { break };
            // SAFETY: at most `room` slots from `position` on, all before `limit`.
            unsafe { batch.producer.slots.write(batch.producer.position, value) };
            batch.producer.position = batch.producer.position.wrapping_add(1);
        }
        batch.producer.position.wrapping_sub(batch.first)
    }

    /// How many elements can be pushed now; looks at the consumer's index.
    pub fn free(&mut self) -> usize {
        self.room(usize::MAX)
    }

    /// How many elements the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.slots.capacity().slots()
    }

    /// How many slots the consumer may hold back at most while it pops one by one: less than a
    /// sixteenth of the capacity. It gives all back when it finds the ring empty.
    pub fn withheld_max(&self) -> usize {
        self.slots.capacity().group() - 1
    }

    /// The consumer was dropped: what is pushed now will not be popped.
    pub fn is_abandoned(&self) -> bool {
        self.indices().is_consumer_gone()
    }

    /// How many elements fit, looking at the consumer's index only if fewer than `wanted` seem to.
    #[inline(always)]
    fn room(&mut self, wanted: usize) -> usize {
        if self.limit.wrapping_sub(self.position) < wanted {
            self.refill();
        }
        self.limit.wrapping_sub(self.position)
    }

    /// Looks how far the consumer is. Returns whether there is room for an element.
    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> bool {
        self.limit = self.indices().released().wrapping_add(self.capacity());
        self.position != self.limit
    }

    #[inline(always)]
    fn indices(&self) -> &Indices {
        // SAFETY: they stay where they are while this half lives (`new`), and are only shared.
        unsafe { self.indices.as_ref() }
    }
}

impl<T, C: Capacity> Drop for Producer<'_, T, C> {
    fn drop(&mut self) {
        self.indices().leave_producer();
    }
}

impl<T, C: Capacity> fmt::Debug for Producer<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("position", &self.position)
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// Publishes what was written since `first`.
struct PublishOnDrop<'p, 'a, T, C: Capacity> {
    producer: &'p mut Producer<'a, T, C>,
    first: usize,
}

impl<T, C: Capacity> Drop for PublishOnDrop<'_, '_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.producer.indices().publish(self.producer.position);
    }
}
