//! The two indices of a ring, each on lines that only one side writes.

use crate::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::padded::CachePadded;

/// What the two sides tell each other.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Indices {
    /// Written by the producer.
    producer: CachePadded<Line>,
    /// Written by the consumer.
    consumer: CachePadded<Line>,
}

#[derive(Debug)]
struct Line {
    /// How many elements this side is done with: published, or released.
    position: AtomicUsize,
    /// There is no such half: it was not made yet, or was dropped.
    gone: AtomicBool,
}

impl Indices {
    /// An empty ring without halves, whose history begins at `position`.
    pub(super) fn new(position: usize) -> Self {
        let line = || {
            CachePadded::new(Line {
                position: AtomicUsize::new(position),
                gone: AtomicBool::new(true),
            })
        };
        Self {
            producer: line(),
            consumer: line(),
        }
    }

    /// Makes the elements before `position` the consumer's. Pairs with [`published`](Self::published).
    #[inline(always)]
    pub(super) fn publish(&self, position: usize) {
        self.producer.position.store(position, Ordering::Release);
    }

    /// The elements before this position are there: their slots were written before [`publish`](Self::publish).
    #[inline(always)]
    pub(super) fn published(&self) -> usize {
        self.producer.position.load(Ordering::Acquire)
    }

    /// Makes the slots before `position` the producer's. Pairs with [`released`](Self::released).
    #[inline(always)]
    pub(super) fn release(&self, position: usize) {
        self.consumer.position.store(position, Ordering::Release);
    }

    /// The slots before this position are free: they were read before [`release`](Self::release).
    #[inline(always)]
    pub(super) fn released(&self) -> usize {
        self.consumer.position.load(Ordering::Acquire)
    }

    /// Says that the producer was dropped; what it published stays. Pairs with `is_producer_gone`.
    pub(super) fn leave_producer(&self) {
        self.producer.gone.store(true, Ordering::Release);
    }

    /// After `true`, `published` is final: whoever saw it loads `published` again for the last elements.
    pub(super) fn is_producer_gone(&self) -> bool {
        self.producer.gone.load(Ordering::Acquire)
    }

    pub(super) fn leave_consumer(&self) {
        self.consumer.gone.store(true, Ordering::Release);
    }

    pub(super) fn is_consumer_gone(&self) -> bool {
        self.consumer.gone.load(Ordering::Acquire)
    }

    /// The elements that are in the ring and nobody's, when no half is left: from, to.
    ///
    /// None when the consumer was forgotten instead of dropped: it may have popped elements that it
    /// had not given back yet, and nobody knows which.
    pub(super) fn left_over(&self) -> (usize, usize) {
        let published = self.published();
        let first = if self.is_consumer_gone() {
            self.released()
        } else {
            published
        };
        (first, published)
    }

    /// Makes the ring ready for two new halves. What is [left over](Self::left_over) stays.
    pub(super) fn rejoin(&mut self) {
        let (first, _) = self.left_over();
        self.release(first);
        self.producer.gone = AtomicBool::new(false);
        self.consumer.gone = AtomicBool::new(false);
    }
}
