//! Memory with an owner: the bytes that rings, tails and pools of buffers live in.
//!
//! | type | what it is | for |
//! |---|---|---|
//! | [`Mirror`] | one stretch mapped twice in a row, so that nothing ever wraps | byte rings, the tail of a stream |
//! | [`Buffer`] | one stretch, page aligned | pools that a kernel reads and writes |
//! | [`Region`] | zeroed bytes on the heap or in anonymous shared memory | the typed rings |
//! | [`Pinned`] | a share in a `Mirror`'s or `Buffer`'s mapping, without access to its bytes | whoever hands the address to a kernel |
//!
//! Every page is present and writable when a constructor returns: the first store to a page costs
//! 1.2 µs in a page fault, which belongs to start-up and not to the first lap of a ring.
//! Mappings are kept out of forked children, where copy-on-write would bring the faults back.

mod buffer;
mod mapping;
mod mirror;
mod pinned;
mod region;

pub use buffer::Buffer;
pub use mirror::Mirror;
pub use pinned::Pinned;
pub use region::Region;

pub(crate) use mapping::Mapping;

/// The page size that every supported system accepts as a multiple of its own or equals.
///
/// Larger pages (16 KiB on some arm64 systems) are asked for at run time by the constructors.
pub(crate) const PAGE_BYTES_MIN: usize = 4096;
