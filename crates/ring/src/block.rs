//! A ring's memory in a region: a header, the slots of its elements, and a stamp for each where the ring has stamps.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::atomic::UnsafeCell;
use crate::capacity::{BadCapacity, Capacity, Dynamic};
use crate::fetch::{self, AHEAD};
use crate::memory::Region;
use crate::padded::CachePadded;
use crate::slots::{Slot, Slots};

/// One `H`, `capacity` slots for elements and as many `S`, initialized, at fixed places of a region that it owns. `S` is `()`
/// in a ring without stamps.
///
/// Elements and stamps are apart: elements lie next to each other, to be copied and read as slices, and who asks a stamp again
/// and again takes no line away in which an element is being written.
///
/// Dropping it gives the region back and drops nothing else: atomics and cells need none, and which slots hold elements only
/// the ring knows.
#[derive(Debug)]
pub(crate) struct Block<H, T, S = ()> {
    region: Region,
    capacity: Dynamic,
    /// From the region's beginning.
    stamps_offset: usize,
    content: PhantomData<(H, Slot<T>, S)>,
}

// SAFETY: it gives out `&H` and `&S` like a shared container of both; what happens to the slots is the ring's, which hands
// elements over: `T: Send`.
unsafe impl<H: Send + Sync, T: Send, S: Send + Sync> Sync for Block<H, T, S> {}
// SAFETY: as above.
unsafe impl<H: Send, T: Send, S: Send> Send for Block<H, T, S> {}

impl<H, T, S> Block<H, T, S> {
    /// The bytes of a region that takes `capacity` slots.
    pub(crate) fn bytes(capacity: Dynamic) -> Result<usize, BadCapacity> {
        let (offset, stamps) = Self::stamps(capacity)?;
        offset
            .checked_add(stamps.size())
            .ok_or(BadCapacity(capacity.slots()))
    }

    /// Where the stamps begin, behind the slots, on a line of their own; and what they need.
    fn stamps(capacity: Dynamic) -> Result<(usize, Layout), BadCapacity> {
        let bad = BadCapacity(capacity.slots());
        let slots = Layout::array::<Slot<T>>(capacity.slots()).map_err(|_| bad)?;
        let stamps = Layout::array::<S>(capacity.slots()).map_err(|_| bad)?;
        let end = slots.size().checked_add(Self::SLOTS_OFFSET).ok_or(bad)?;
        let offset = end
            .checked_next_multiple_of(align_of::<CachePadded<S>>())
            .ok_or(bad)?;
        Ok((offset, stamps))
    }

    /// A block on the heap.
    pub(crate) fn on_heap(
        capacity: usize,
        header: H,
        stamp: impl FnMut(usize) -> S,
    ) -> std::io::Result<Self> {
        let region = Region::heap(Self::bytes(Dynamic::new(capacity)?)?)?;
        Ok(Self::new(region, capacity, header, stamp)?)
    }

    /// Writes the header and each stamp, by its index, to `region`. The slots hold nothing.
    pub(crate) fn new(
        region: Region,
        capacity: usize,
        header: H,
        mut stamp: impl FnMut(usize) -> S,
    ) -> Result<Self, BadCapacity> {
        const {
            assert!(
                align_of::<T>() <= 4096 && align_of::<H>() <= 4096 && align_of::<S>() <= 4096,
                "regions are aligned to a page"
            )
        };
        let dynamic = Dynamic::new(capacity)?;
        if region.len() < Self::bytes(dynamic)? {
            return Err(BadCapacity(capacity));
        }
        let (stamps_offset, _) = Self::stamps(dynamic)?;
        let block = Self {
            region,
            capacity: dynamic,
            stamps_offset,
            content: PhantomData,
        };
        // SAFETY: the region is page aligned, large enough, and nobody else's.
        unsafe { block.header_ptr().write(header) };
        for index in 0..capacity {
            // SAFETY: within the region, whose size was checked.
            let place = unsafe { block.first_slot().add(index) };
            // SAFETY: aligned by `SLOTS_OFFSET`, and nobody else's.
            unsafe { place.write(UnsafeCell::new(MaybeUninit::uninit())) };
            // SAFETY: within the region, whose size was checked.
            let place = unsafe { block.first_stamp().add(index) };
            // SAFETY: aligned by `stamps`, and nobody else's.
            unsafe { place.write(stamp(index)) };
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

    /// The slots, to be used as long as the block is there.
    #[inline(always)]
    pub(crate) fn slots(&self) -> Slots<T, Dynamic> {
        // SAFETY: `new` checked that the region holds `capacity` slots, which stay where they are.
        unsafe { Slots::new(self.first_slot(), self.capacity) }
    }

    /// Begins to fetch the lines that are so many slots ahead of `position`, of elements and of stamps, if those slots are free,
    /// below `limit`.
    #[inline(always)]
    pub(crate) fn fetch_ahead(&self, position: usize, limit: usize) {
        self.slots().fetch_ahead(position, limit);
        if fetch::is_due::<S>(position, limit) {
            fetch::for_writing(self.stamp(position.wrapping_add(AHEAD)));
        }
    }

    /// The stamp of `position`.
    #[inline(always)]
    pub(crate) fn stamp(&self, position: usize) -> &S {
        // SAFETY: an index is below the capacity, and `new` checked that the region holds so many.
        let place = unsafe { self.first_stamp().add(self.capacity.index(position)) };
        // SAFETY: `new` initialized it; it is only ever shared.
        unsafe { place.as_ref() }
    }

    pub(crate) fn header_ptr(&self) -> NonNull<H> {
        NonNull::new(self.region.as_ptr())
            .expect("a region has an address")
            .cast()
    }

    #[inline(always)]
    fn first_slot(&self) -> NonNull<Slot<T>> {
        // SAFETY: the offset lies within the region, which `new` compared with `bytes`.
        unsafe { self.header_ptr().cast::<u8>().add(Self::SLOTS_OFFSET) }.cast()
    }

    #[inline(always)]
    fn first_stamp(&self) -> NonNull<S> {
        // SAFETY: as above.
        unsafe { self.header_ptr().cast::<u8>().add(self.stamps_offset) }.cast()
    }

    const SLOTS_OFFSET: usize = size_of::<H>().next_multiple_of(align_of::<CachePadded<Slot<T>>>());
}
