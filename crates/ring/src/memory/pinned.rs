//! A share in a mapping: keeps the memory in place without giving access to it.

use std::fmt;
use std::sync::Arc;

use super::Mapping;

/// Keeps a [`Mirror`](super::Mirror)'s or [`Buffer`](super::Buffer)'s memory mapped.
///
/// For whoever gives its address to a kernel that reads or writes there after the call returned:
/// the mapping stays until the last clone is gone, also when the owner was dropped long before.
/// It exposes the address and the length and no byte: what is written through the address while
/// the owner has a slice of the same stretch is for the holder to rule out.
///
/// ```
/// let buffer = trunkline_ring::Buffer::new(4096)?;
/// let pinned = buffer.pin();
/// drop(buffer);
/// assert_eq!(pinned.len(), 4096); // still mapped
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Pinned {
    mapping: Arc<Mapping>,
}

impl Pinned {
    pub(super) fn new(mapping: &Arc<Mapping>) -> Self {
        Self {
            mapping: Arc::clone(mapping),
        }
    }

    /// The first byte. Valid for [`len`](Self::len) bytes while this value or a clone of it lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// The addressable bytes: the size of a `Buffer`, twice the capacity of a `Mirror`.
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.mapping.len()
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
