//! Rings, mapped memory, counters and waits: every byte that two threads or two processes share.
//!
//! | want | take |
//! |---|---|
//! | values from one thread to one other | [`spsc`] |
//! | messages of any length from one thread to one other, read where they lie | [`bytes`] |
//! | from many threads to one | [`mpsc`] |
//! | from many to many, each value to one of them | [`mpmc`] |
//! | from one to many, each value to all of them, the sender never waiting | [`broadcast`] |
//! | to wait for one of these | [`wait`] |
//! | the newest bytes of a history without wrapping, memory for a kernel | [`Mirror`], [`Buffer`] |
//! | to count on one thread and read on others | [`counter`] |
//!
//! It does not know what bytes mean, starts no thread, and reads a clock only to end a wait.
//!
//! All is bounded, allocated and made present when it is built: afterwards nothing here allocates
//! or faults. A full ring gives the element back. This is the crate in which threads share memory,
//! hence one of the few with unsafe code; each ring is checked by a `VecDeque` oracle, under loom
//! (both are in `cargo xtask test`) and, where Miri can run it, under Miri (`cargo xtask miri`):
//!
//! ```text
//! cargo test -p trunkline-ring
//! RUSTFLAGS="--cfg loom" cargo test -p trunkline-ring --test loom --release
//! cargo +nightly miri test -p trunkline-ring --lib --tests
//! ```

mod atomic;
mod block;
pub mod broadcast;
pub mod bytes;
mod capacity;
pub mod counter;
mod fetch;
mod full;
pub mod memory;
pub mod mpmc;
pub mod mpsc;
mod pace;
mod padded;
mod plain;
mod slots;
pub mod spsc;
mod stamp;
pub mod wait;

pub use capacity::{BadCapacity, Capacity, Dynamic, Fixed};
pub use counter::{Counter, CounterReader};
pub use full::Full;
pub use memory::{Buffer, Mirror, Pinned, Region};
pub use padded::CachePadded;
pub use plain::Plain;
