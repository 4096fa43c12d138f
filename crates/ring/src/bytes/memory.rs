//! What both ends of a byte ring share: the mirrored bytes and the two indices.

use std::io;

#[cfg(loom)]
use crate::atomic::UnsafeCell;
use crate::atomic::{AtomicU64, Ordering};
use crate::memory::Mirror;
use crate::padded::CachePadded;

#[derive(Debug)]
pub(super) struct Ring {
    mirror: Mirror,
    /// The bytes before it are the consumer's. Written by the producer.
    published: CachePadded<AtomicU64>,
    /// The bytes before it are the producer's again. Written by the consumer.
    released: CachePadded<AtomicU64>,
    /// One per word, only to show loom who touches which.
    #[cfg(loom)]
    words: Vec<UnsafeCell<()>>,
}

// SAFETY: loom's cells hold nothing; all else is `Sync` by itself.
#[cfg(loom)]
unsafe impl Sync for Ring {}

impl Ring {
    pub(super) fn new(capacity: usize, position: u64) -> io::Result<Self> {
        debug_assert!(position.is_multiple_of(super::ALIGN as u64));
        Ok(Self {
            mirror: Mirror::new(capacity)?,
            published: CachePadded::new(AtomicU64::new(position)),
            released: CachePadded::new(AtomicU64::new(position)),
            #[cfg(loom)]
            words: (0..capacity / 8).map(|_| UnsafeCell::new(())).collect(),
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.mirror.capacity()
    }

    /// Makes the bytes before `position` the consumer's. Pairs with [`published`](Self::published).
    #[inline(always)]
    pub(super) fn publish(&self, position: u64) {
        self.published.store(position, Ordering::Release);
    }

    /// The bytes before it were written before [`publish`](Self::publish).
    #[inline(always)]
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Makes the bytes before `position` the producer's. Pairs with [`released`](Self::released).
    #[inline(always)]
    pub(super) fn release(&self, position: u64) {
        self.released.store(position, Ordering::Release);
    }

    /// The bytes before it were read before [`release`](Self::release).
    #[inline(always)]
    pub(super) fn released(&self) -> u64 {
        self.released.load(Ordering::Acquire)
    }

    /// The address of `position`, about to be read.
    #[inline(always)]
    pub(super) fn source(&self, position: u64, len: usize) -> *const u8 {
        #[cfg(loom)]
        self.touch(position, len, |word| word.with(|_| ()));
        self.mirror.start(position, len)
    }

    /// The address of `position`, about to be written.
    #[inline(always)]
    pub(super) fn target(&self, position: u64, len: usize) -> *mut u8 {
        #[cfg(loom)]
        self.touch(position, len, |word| word.with_mut(|_| ()));
        self.mirror.start(position, len)
    }

    #[cfg(loom)]
    fn touch(&self, position: u64, len: usize, access: impl Fn(&UnsafeCell<()>)) {
        for word in position / 8..(position + len as u64).div_ceil(8) {
            access(&self.words[word as usize % self.words.len()]);
        }
    }
}
