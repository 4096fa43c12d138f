//! The memory of a ring: indices and slots, inline with a constant capacity or laid out in a region.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::indices::Indices;
use super::{Consumer, Producer};
use crate::atomic::{Arc, UnsafeCell, adopt};
use crate::block::Block;
use crate::capacity::{BadCapacity, Capacity, Dynamic, Fixed};
use crate::memory::Region;
use crate::padded::CachePadded;
use crate::slots::{Slot, Slots};

/// A ring of `N` elements, `N` a power of two (checked when it is compiled), with its slots inline.
///
/// ```
/// use trunkline_ring::spsc::{Full, RingBuffer};
///
/// let (mut producer, mut consumer) = RingBuffer::<&str, 2>::channel();
/// producer.push("first").unwrap();
/// producer.push("second").unwrap();
/// assert_eq!(producer.push("third"), Err(Full("third")));
/// assert_eq!(consumer.pop(), Some("first"));
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct RingBuffer<T, const N: usize> {
    indices: Indices,
    slots: CachePadded<[Slot<T>; N]>,
}

// SAFETY: the slots are handed from the producer to the consumer and back by release and acquire;
// only elements cross threads, hence `T: Send`.
unsafe impl<T: Send, const N: usize> Sync for RingBuffer<T, N> {}

impl<T, const N: usize> RingBuffer<T, N> {
    /// An empty ring.
    pub fn new() -> Self {
        Self::starting_at(0)
    }

    /// An empty ring whose positions begin at `position`: for tests of what happens when they wrap.
    #[doc(hidden)]
    pub fn starting_at(position: usize) -> Self {
        let _checked = Fixed::<N>::NEW;
        Self {
            indices: Indices::new(position),
            slots: CachePadded::new(std::array::from_fn(|_| {
                UnsafeCell::new(MaybeUninit::uninit())
            })),
        }
    }

    /// The two ends, which borrow the ring. Elements that are left when both were dropped stay for
    /// the next split. (When the consumer is forgotten instead, they are leaked.)
    pub fn split(&mut self) -> (Producer<'_, T, Fixed<N>>, Consumer<'_, T, Fixed<N>>) {
        self.indices.rejoin();
        let indices = NonNull::from(&self.indices);
        // SAFETY: the ring is borrowed mutably for as long as the halves live: indices and slots
        // stay where they are, and no other halves exist.
        unsafe { halves(indices, self.slots(), None) }
    }

    /// The two ends of a new ring on the heap, which is freed when both were dropped.
    pub fn channel() -> (
        Producer<'static, T, Fixed<N>>,
        Consumer<'static, T, Fixed<N>>,
    )
    where
        T: Send + 'static,
    {
        let mut ring = Self::new();
        ring.indices.rejoin();
        let ring = std::sync::Arc::new(ring);
        let indices = NonNull::from(&ring.indices);
        let slots = ring.slots();
        // SAFETY: each half keeps the `Arc`, so that indices and slots stay where they are; the
        // ring was just made, no other halves exist.
        unsafe {
            halves(
                indices,
                slots,
                Some(adopt(ring as std::sync::Arc<dyn Keep>)),
            )
        }
    }

    fn slots(&self) -> Slots<T, Fixed<N>> {
        let first = NonNull::from(&*self.slots).cast();
        // SAFETY: `first` begins `N` slots, and the caller keeps the ring in place.
        unsafe { Slots::new(first, Fixed::NEW) }
    }
}

impl<T, const N: usize> Default for RingBuffer<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Drop for RingBuffer<T, N> {
    fn drop(&mut self) {
        let (first, end) = self.indices.left_over();
        // SAFETY: both halves are gone, and these elements are left in their slots.
        unsafe { self.slots().drop_range(first, end) };
    }
}

/// A ring laid out in a region.
#[derive(Debug)]
pub(super) struct InRegion<T> {
    block: Block<Indices, T>,
}

impl<T> InRegion<T> {
    pub(super) fn bytes(capacity: Dynamic) -> Result<usize, BadCapacity> {
        Block::<Indices, T>::bytes(capacity)
    }

    pub(super) fn new(region: Region, capacity: usize) -> Result<Self, BadCapacity> {
        let mut indices = Indices::new(0);
        indices.rejoin();
        Ok(Self {
            block: Block::new(region, capacity, indices, |_| ())?,
        })
    }

    pub(super) fn halves(self) -> (Producer<'static, T, Dynamic>, Consumer<'static, T, Dynamic>)
    where
        T: Send + 'static,
    {
        // The addresses are the region's: they do not change when `self` moves to the heap.
        let (indices, slots) = (self.block.header_ptr(), self.block.slots());
        // SAFETY: `new` initialized both; each half keeps the `Arc`; there are no other halves.
        unsafe { halves(indices, slots, Some(keep(self))) }
    }
}

impl<T> Drop for InRegion<T> {
    fn drop(&mut self) {
        let (first, end) = self.block.header().left_over();
        // SAFETY: both halves are gone, and these elements are left in their slots.
        unsafe { self.block.slots().drop_range(first, end) };
    }
}

/// Keeps a ring's memory where it is.
pub(super) trait Keep: Send + Sync {}
impl<T: Send, const N: usize> Keep for RingBuffer<T, N> {}
impl<T: Send> Keep for InRegion<T> {}

fn keep(ring: impl Keep + 'static) -> Arc<dyn Keep> {
    adopt(std::sync::Arc::new(ring))
}

/// # Safety
/// Indices and slots belong to one ring and stay where they are while the halves live (`'a`, or as
/// long as `keep` is held); no other halves of this ring exist.
unsafe fn halves<'a, T, C: Capacity>(
    indices: NonNull<Indices>,
    slots: Slots<T, C>,
    keep: Option<Arc<dyn Keep>>,
) -> (Producer<'a, T, C>, Consumer<'a, T, C>) {
    // SAFETY: the caller's promise, passed on; this is the one producer.
    let producer = unsafe { Producer::new(indices, slots.clone(), keep.clone()) };
    // SAFETY: as above; this is the one consumer.
    let consumer = unsafe { Consumer::new(indices, slots, keep) };
    (producer, consumer)
}
