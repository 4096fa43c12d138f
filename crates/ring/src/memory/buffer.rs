//! Page-aligned memory, mapped once: the pools that a kernel reads from and writes to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use super::{Mapping, Pinned};

/// A stretch of private memory: page aligned, zeroed, present, not inherited by forks.
///
/// One owner reads and writes it through borrows; [`pin`](Self::pin) keeps it mapped for a kernel.
///
/// ```
/// let mut buffer = trunkline_ring::Buffer::new(8192)?;
/// buffer.slice_mut(4096, 5).copy_from_slice(b"hello");
/// assert_eq!(buffer.slice(4098, 3), b"llo");
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Buffer {
    mapping: Arc<Mapping>,
}

impl Buffer {
    /// Maps `bytes`, a positive multiple of the page size.
    ///
    /// # Errors
    /// `InvalidInput` for a size that is none; otherwise what the system answered.
    pub fn new(bytes: usize) -> io::Result<Self> {
        Ok(Self {
            mapping: Arc::new(Mapping::private(bytes)?),
        })
    }

    /// The size in bytes.
    pub fn capacity(&self) -> usize {
        self.mapping.len()
    }

    /// The `len` bytes from `offset`.
    ///
    /// # Panics
    /// When they do not lie within the buffer.
    #[inline]
    pub fn slice(&self, offset: usize, len: usize) -> &[u8] {
        let start = self.start(offset, len);
        // SAFETY: `start` checked that the stretch lies within the mapping, which is initialized
        // (zeroed) and lives as long as `self`; writers need `&mut self`. A kernel that was given
        // the address writes only to stretches that its driver has not handed out.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The `len` bytes from `offset`, to be written.
    ///
    /// # Panics
    /// When they do not lie within the buffer.
    #[inline]
    pub fn slice_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let start = self.start(offset, len);
        // SAFETY: as in `slice`; `&mut self` excludes every other slice of this buffer.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// A share in the mapping, for a kernel that works on it.
    pub fn pin(&self) -> Pinned {
        Pinned::new(&self.mapping)
    }

    #[inline]
    fn start(&self, offset: usize, len: usize) -> *mut u8 {
        let bytes = self.mapping.len();
        assert!(
            offset <= bytes && len <= bytes - offset,
            "{len} bytes at offset {offset} of a buffer of {bytes}"
        );
        // A kernel may have written here since the last look: what the compiler remembers is stale.
        compiler_fence(Ordering::SeqCst);
        self.mapping.as_ptr().wrapping_add(offset)
    }
}
