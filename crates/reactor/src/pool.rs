//! Equal buffers in one region, handed out with the bytes of a receive or a read and given back by `recycle`.
//!
//! A buffer is *free* (with the pool or with the kernel) or *leased* (with the caller). Only leased buffers can be looked
//! at, so nobody holds a `&[u8]` to memory that the kernel writes. The pages are touched on first use only, and the last
//! buffer given back is the first to go out again, so an idle server pays for what it used, not for what it may use.

use std::io;

use trunkline_ring::{Buffer, Pinned};

use crate::sys::{self, SpanMut};

pub(crate) struct Pool {
    memory: Buffer,
    base: *mut u8,
    bytes_each: u32,
    /// From one buffer to the next.
    stride: usize,
    /// Length of the leased bytes, or [`FREE`].
    leases: Box<[u32]>,
    free: Vec<u16>,
}

const FREE: u32 = u32::MAX;

/// The gap of a pool that short messages go through.
pub(crate) const LINE_BYTES: usize = 64;

/// A multiple of every page size that is in use.
const PAGE_BYTES: usize = 65_536;

impl Pool {
    /// `count` buffers, `gap` bytes apart. A gap of a cache line keeps the first lines of equal buffers, which short messages use,
    /// from all falling into one set of the cache.
    pub(crate) fn new(count: u16, bytes_each: u32, gap: usize) -> io::Result<Self> {
        let stride = bytes_each as usize + gap;
        let bytes = usize::from(count) * stride;
        let memory = Buffer::new(bytes.max(1).next_multiple_of(PAGE_BYTES))?;
        let base = memory.pin().as_ptr();
        sys::discard(SpanMut {
            address: base,
            len: memory.capacity(),
        });
        Ok(Self {
            memory,
            base,
            bytes_each,
            stride,
            leases: vec![FREE; usize::from(count)].into(),
            free: (0..count).rev().collect(),
        })
    }

    pub(crate) fn pin(&self) -> Pinned {
        self.memory.pin()
    }

    pub(crate) fn bytes_each(&self) -> u32 {
        self.bytes_each
    }

    /// Takes a free buffer out, for the kernel to write to.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Gives back what [`Self::take`] took and nobody filled.
    #[inline]
    pub(crate) fn untake(&mut self, index: u16) {
        self.free.push(index);
    }

    pub(crate) fn offset(&self, index: u16) -> u64 {
        u64::from(index) * self.stride as u64
    }

    /// Where the kernel may write `bytes_each` bytes.
    #[inline]
    pub(crate) fn address(&self, index: u16) -> *mut u8 {
        debug_assert!(usize::from(index) < self.leases.len());
        self.base.wrapping_add(self.offset(index) as usize)
    }

    #[inline]
    pub(crate) fn lease(&mut self, index: u16, len: u32) {
        debug_assert_eq!(self.leases[usize::from(index)], FREE);
        debug_assert!(len <= self.bytes_each);
        self.leases[usize::from(index)] = len;
    }

    /// Ends a lease; the buffer is with nobody until [`Self::untake`] or the kernel gets it. False when it was not leased.
    #[inline]
    pub(crate) fn end_lease(&mut self, index: u16) -> bool {
        match self.leases.get_mut(usize::from(index)) {
            Some(lease) if *lease != FREE => {
                *lease = FREE;
                true
            }
            _ => false,
        }
    }

    /// The leased bytes.
    ///
    /// # Panics
    /// When the buffer is not leased: its bytes belong to the kernel.
    #[inline]
    pub(crate) fn bytes(&self, index: u16) -> &[u8] {
        let len = self.leases[usize::from(index)];
        assert_ne!(len, FREE, "pool buffer {index} was recycled");
        self.memory.slice(self.offset(index) as usize, len as usize)
    }
}
