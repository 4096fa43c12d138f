//! A ring's memory in a region: a header, then slots.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::capacity::{BadCapacity, Capacity, Dynamic};
use crate::memory::Region;
use crate::padded::CachePadded;

/// One `H` and `capacity` times `S`, initialized, at fixed places of a region that it owns.
///
/// Dropping it gives the region back and drops neither `H` nor the slots: atomics and cells need
/// none, and which slots hold elements only the ring knows.
#[derive(Debug)]
pub(crate) struct Block<H, S> {
    region: Region,
    capacity: Dynamic,
    content: PhantomData<(H, S)>,
}

// SAFETY: it gives out `&H` and `&S` like a shared container of both, and moves with them.
unsafe impl<H: Send + Sync, S: Send + Sync> Sync for Block<H, S> {}
// SAFETY: as above.
unsafe impl<H: Send, S: Send> Send for Block<H, S> {}

impl<H, S> Block<H, S> {
    /// The bytes of a region that takes `capacity` slots.
    pub(crate) fn bytes(capacity: Dynamic) -> Result<usize, BadCapacity> {
        let bad = BadCapacity(capacity.slots());
        let slots = Layout::array::<S>(capacity.slots()).map_err(|_| bad)?;
        slots.size().checked_add(Self::SLOTS_OFFSET).ok_or(bad)
    }

    /// A block on the heap.
    pub(crate) fn on_heap(
        capacity: usize,
        header: H,
        slot: impl FnMut(usize) -> S,
    ) -> std::io::Result<Self> {
        let region = Region::heap(Self::bytes(Dynamic::new(capacity)?)?)?;
        Ok(Self::new(region, capacity, header, slot)?)
    }

    /// Writes the header and each slot, by its index, to `region`.
    pub(crate) fn new(
        region: Region,
        capacity: usize,
        header: H,
        mut slot: impl FnMut(usize) -> S,
    ) -> Result<Self, BadCapacity> {
        const {
            assert!(
                align_of::<S>() <= 4096 && align_of::<H>() <= 4096,
                "regions are aligned to a page"
            )
        };
        let dynamic = Dynamic::new(capacity)?;
        if region.len() < Self::bytes(dynamic)? {
            return Err(BadCapacity(capacity));
        }
        let block = Self {
            region,
            capacity: dynamic,
            content: PhantomData,
        };
        // SAFETY: the region is page aligned, large enough, and nobody else's.
        unsafe { block.header_ptr().write(header) };
        for index in 0..capacity {
            // SAFETY: within the region, whose size was checked.
            let place = unsafe { block.first_slot().add(index) };
            // SAFETY: aligned by `SLOTS_OFFSET`, and nobody else's.
            unsafe { place.write(slot(index)) };
        }
        Ok(block)
    }

    pub(crate) fn capacity(&self) -> Dynamic {
        self.capacity
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &H {
        // SAFETY: `new` initialized it; it is only ever shared.
        unsafe { self.header_ptr().as_ref() }
    }

    /// The slot of `position`.
    #[inline(always)]
    pub(crate) fn slot(&self, position: usize) -> &S {
        // SAFETY: an index is below the capacity, and `new` checked that the region holds so many.
        let place = unsafe { self.first_slot().add(self.capacity.index(position)) };
        // SAFETY: `new` initialized it; it is only ever shared.
        unsafe { place.as_ref() }
    }

    pub(crate) fn header_ptr(&self) -> NonNull<H> {
        NonNull::new(self.region.as_ptr())
            .expect("a region has an address")
            .cast()
    }

    #[inline(always)]
    pub(crate) fn first_slot(&self) -> NonNull<S> {
        // SAFETY: the offset lies within the region, which `new` compared with `bytes`.
        unsafe { self.header_ptr().cast::<u8>().add(Self::SLOTS_OFFSET) }.cast()
    }

    const SLOTS_OFFSET: usize = size_of::<H>().next_multiple_of(align_of::<CachePadded<S>>());
}
