//! Rings, mapped memory, counters and waits: every byte that two threads or two processes share.

mod atomic;
mod capacity;
mod full;
pub mod memory;
mod padded;
mod slots;
pub mod spsc;

pub use capacity::{BadCapacity, Capacity, Dynamic, Fixed};
pub use full::Full;
pub use memory::{Buffer, Mirror, Pinned, Region};
pub use padded::CachePadded;
