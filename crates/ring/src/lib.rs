//! Rings, mapped memory, counters and waits: every byte that two threads or two processes share.

#![warn(missing_docs)]

pub mod memory;
mod padded;

pub use memory::{Buffer, Mirror, Pinned, Region};
pub use padded::CachePadded;
