//! Zeroed memory for a ring, from the heap or shared.

use std::io;

use super::Mapping;

/// A stretch of zeroed, present, page-aligned memory in which a ring can be laid out.
///
/// Where it comes from is chosen here and nowhere else: a ring's code is the same over both.
///
/// ```
/// let region = trunkline_ring::Region::shared(100_000)?;
/// assert!(region.len() >= 100_000);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Region {
    mapping: Mapping,
}

impl Region {
    /// Private memory of at least `bytes`, rounded up to whole pages.
    ///
    /// # Errors
    /// `InvalidInput` for zero bytes or more than the address space; else what the system answered.
    pub fn heap(bytes: usize) -> io::Result<Self> {
        Ok(Self {
            mapping: Mapping::private(whole_pages(bytes))?,
        })
    }

    /// Anonymous shared memory (memfd) of at least `bytes`, rounded up to whole pages.
    ///
    /// # Errors
    /// As for [`heap`](Self::heap).
    pub fn shared(bytes: usize) -> io::Result<Self> {
        Ok(Self {
            mapping: Mapping::shared(whole_pages(bytes))?,
        })
    }

    /// The first byte, aligned to a page.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// The size in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.mapping.len()
    }
}

/// Rounds up to a multiple of every page size in use; what overflows becomes a size that is refused.
fn whole_pages(bytes: usize) -> usize {
    const PAGE_BYTES_MAX: usize = 16384;
    bytes
        .checked_next_multiple_of(PAGE_BYTES_MAX)
        .unwrap_or(usize::MAX)
}
