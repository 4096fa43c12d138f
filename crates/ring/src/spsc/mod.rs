//! A bounded ring from one thread to one other: a [`Producer`] pushes, a [`Consumer`] pops.
//!
//! ```text
//! producer's line   published ──►  ┌───┬───┬───┬───┬───┬───┬───┬───┐
//!                                  │   │   │ a │ b │ c │   │   │   │   slots
//! consumer's line   released  ──►  └───┴───┴─▲─┴───┴───┴─▲─┴───┴───┘
//!                                         released    published
//! ```
//!
//! Each side owns one index, on lines of its own, and keeps a copy of how far it may go by what it
//! last saw of the other's. It touches the other's line only when that copy is used up, so that on
//! a ring that is neither empty nor full no line but those of the slots moves between the cores.
//! A batch publishes once, and slots popped one by one are given back in groups of up to a
//! sixteenth of the capacity (`docs/decision/0101`): a producer may find the ring full while fewer
//! than a group are withheld. Who waits for room gets it as long as the consumer pops until it
//! finds nothing.
//!
//! Invariant: `released <= published <= released + capacity`, both counted over the whole history
//! and compared modulo 2⁶⁴ (2³² on 32-bit machines); slots in `released..published` hold elements
//! and are the consumer's, all others are the producer's.
//!
//! It does not wait: [`push`](Producer::push) answers [`Full`] and [`pop`](Consumer::pop) answers
//! `None`. Waiting is [`wait`](crate::wait).
//!
//! | made by | memory | capacity |
//! |---|---|---|
//! | [`RingBuffer::split`] | wherever the `RingBuffer` is, borrowed | constant |
//! | [`RingBuffer::channel`] | the heap, freed with the second half | constant |
//! | [`channel`] | a [`Region`] of the heap | chosen at run time |
//! | [`in_region`] | any [`Region`], shared memory included | chosen at run time |
//!
//! ```
//! use trunkline_ring::spsc::RingBuffer;
//!
//! let mut ring = RingBuffer::<u64, 8>::new();
//! let (mut producer, mut consumer) = ring.split();
//! std::thread::scope(|scope| {
//!     scope.spawn(move || {
//!         for value in 0..1000 {
//!             while producer.push(value).is_err() {
//!                 std::hint::spin_loop();
//!             }
//!         }
//!     });
//!     let mut expected = 0;
//!     while expected < 1000 {
//!         if let Some(value) = consumer.pop() {
//!             assert_eq!(value, expected);
//!             expected += 1;
//!         }
//!     }
//! });
//! ```

mod consumer;
mod indices;
mod producer;
mod ring_buffer;

use std::io;

pub use consumer::Consumer;
pub use producer::Producer;
pub use ring_buffer::RingBuffer;

pub use crate::capacity::{BadCapacity, Dynamic, Fixed};
pub use crate::full::Full;
use crate::memory::Region;
use ring_buffer::InRegion;

/// The end of a [`channel`] or [`in_region`] ring that pushes.
pub type DynamicProducer<T> = Producer<'static, T, Dynamic>;
/// The end of a [`channel`] or [`in_region`] ring that pops.
pub type DynamicConsumer<T> = Consumer<'static, T, Dynamic>;

/// A ring of `capacity` elements, a power of two, on the heap.
///
/// # Errors
/// `InvalidInput` for a capacity that is none; otherwise what the system answered.
pub fn channel<T: Send + 'static>(
    capacity: usize,
) -> io::Result<(DynamicProducer<T>, DynamicConsumer<T>)> {
    let region = Region::heap(region_bytes::<T>(capacity)?)?;
    in_region(region, capacity)
}

/// A ring of `capacity` elements, a power of two, laid out in `region`.
///
/// # Errors
/// `InvalidInput` for a capacity that is none, or when the region has fewer than
/// [`region_bytes`] bytes.
pub fn in_region<T: Send + 'static>(
    region: Region,
    capacity: usize,
) -> io::Result<(DynamicProducer<T>, DynamicConsumer<T>)> {
    Ok(InRegion::new(region, capacity)?.halves())
}

/// The bytes of a region that takes `capacity` elements of `T`.
///
/// # Errors
/// For a capacity that is not a power of two or exceeds the address space.
pub fn region_bytes<T>(capacity: usize) -> Result<usize, BadCapacity> {
    InRegion::<T>::bytes(Dynamic::new(capacity)?)
}
