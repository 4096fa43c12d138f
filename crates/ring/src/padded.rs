//! A value that shares no cache line, and no pair of lines, with its neighbours.

use std::ops::{Deref, DerefMut};

/// Aligns and pads `T` to 128 bytes.
///
/// Two lines, not one: the prefetcher of most x86 processors fetches lines in aligned pairs, and
/// several arm64 ones have lines of 128 bytes. Two indices in one pair slow each other down as if
/// they shared a line.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C, align(128))]
pub struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    /// Pads `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, unpadded.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for CachePadded<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

const _: () = assert!(size_of::<CachePadded<u8>>() == 128 && align_of::<CachePadded<u8>>() == 128);
