//! Memory mapped twice in a row, so that a ring of bytes never wraps.
//!
//! ```text
//! addresses   |<------ capacity ------>|<------ capacity ------>|
//! memory      | 0 1 2 …            c-1 | 0 1 2 …            c-1 |
//!                             |<-- any stretch of ≤ c bytes ->|
//! ```
//!
//! A *position* counts bytes from the beginning of a history and only grows; the byte at position
//! `p` is kept at offset `p & (capacity - 1)`. Any stretch of up to `capacity` bytes is one slice.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use super::mapping::invalid;
use super::{Mapping, Pinned};

/// The newest `capacity` bytes of a history, any stretch of which is one slice.
///
/// Anonymous shared memory (memfd) mapped twice, present and zeroed; one owner reads and writes it
/// through borrows, and [`pin`](Self::pin) keeps it mapped for a kernel.
///
/// ```
/// let mut mirror = trunkline_ring::Mirror::new(65536)?;
/// let position = 5_000_000_000 * 65536 - 2; // two bytes before the end of a lap
/// mirror.slice_mut(position, 4).copy_from_slice(b"wrap");
/// assert_eq!(mirror.slice(position + 2, 2), b"ap");
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Mirror {
    mapping: Arc<Mapping>,
    /// The first address of `mapping`, kept here to save the walk through the `Arc`.
    base: *mut u8,
    /// A power of two; half of what is addressable.
    capacity: usize,
}

// SAFETY: `base` is an address within `mapping`, which is `Send`; all access is through borrows.
unsafe impl Send for Mirror {}
// SAFETY: `&Mirror` only reads; writing needs `&mut Mirror`.
unsafe impl Sync for Mirror {}

impl Mirror {
    /// Maps `bytes` twice: a power of two and a multiple of the page size.
    ///
    /// # Errors
    /// `InvalidInput` for a size that is not one; otherwise what the system answered (out of
    /// memory, out of file descriptors; `Unsupported` where memory cannot be mapped twice).
    pub fn new(bytes: usize) -> io::Result<Self> {
        if !bytes.is_power_of_two() {
            return Err(invalid(format!(
                "a mirror's capacity must be a power of two: {bytes} bytes"
            )));
        }
        let mapping = Arc::new(Mapping::mirrored(bytes)?);
        Ok(Self {
            base: mapping.as_ptr(),
            capacity: bytes,
            mapping,
        })
    }

    /// How many bytes it keeps.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The `len` bytes from `position`, which may be any position: it is taken modulo the capacity.
    ///
    /// # Panics
    /// When `len` exceeds the capacity.
    #[inline]
    pub fn slice(&self, position: u64, len: usize) -> &[u8] {
        let start = self.start(position, len);
        // SAFETY: the offset is below the capacity and `len` is at most the capacity (`start`), so
        // that the stretch lies within the two mappings, which are initialized (zeroed) and live as
        // long as `self`. Writers need `&mut self`.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The `len` bytes from `position`, to be written.
    ///
    /// # Panics
    /// When `len` exceeds the capacity.
    #[inline]
    pub fn slice_mut(&mut self, position: u64, len: usize) -> &mut [u8] {
        let start = self.start(position, len);
        // SAFETY: as in `slice`; `&mut self` excludes every other slice. At most `capacity` bytes:
        // no byte of memory appears twice in the slice.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// A share in the mapping, for a kernel that reads from it. Its length is twice the capacity.
    pub fn pin(&self) -> Pinned {
        Pinned::new(&self.mapping)
    }

    /// The address of `position`, from which `len` bytes may be accessed.
    #[inline]
    pub(crate) fn start(&self, position: u64, len: usize) -> *mut u8 {
        if len > self.capacity {
            too_long(len, self.capacity);
        }
        let offset = position as usize & (self.capacity - 1);
        #[cfg(any(miri, loom))]
        assert!(
            offset + len <= self.capacity,
            "no mirror in a model: a stretch must not cross the end"
        );
        // The same byte has two addresses, and the compiler takes different addresses of one
        // mapping for different bytes. The fence makes it forget what it knows of either, so that
        // a store through one is seen by a later load through the other. It costs no instruction.
        compiler_fence(Ordering::SeqCst);
        self.base.wrapping_add(offset)
    }
}

#[cold]
#[inline(never)]
fn too_long(len: usize, capacity: usize) -> ! {
    panic!("{len} bytes asked of a mirror of {capacity}")
}
