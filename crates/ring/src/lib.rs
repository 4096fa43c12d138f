//! Rings, mapped memory, counters and waits: every byte that two threads or two processes share.

mod atomic;
mod block;
pub mod broadcast;
pub mod bytes;
mod capacity;
pub mod counter;
mod full;
pub mod memory;
pub mod mpmc;
pub mod mpsc;
mod pace;
mod padded;
mod plain;
mod slots;
pub mod spsc;
mod stamped;
pub mod wait;

pub use capacity::{BadCapacity, Capacity, Dynamic, Fixed};
pub use counter::{Counter, CounterReader};
pub use full::Full;
pub use memory::{Buffer, Mirror, Pinned, Region};
pub use padded::CachePadded;
pub use plain::Plain;
