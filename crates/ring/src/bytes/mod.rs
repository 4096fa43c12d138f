//! A ring of messages of any length, from one thread to one other, in which nothing wraps.
//!
//! ```text
//!          ┌ 8 bytes ┐
//! frame    │ length u32 │ zero u32 │ payload … │ up to 7 bytes of padding │
//!          └ at a multiple of 8: so is the payload
//! ```
//!
//! The bytes lie in a [`Mirror`](crate::Mirror), so that every message is one slice, whatever its
//! position, and so is a run of messages. The producer claims room, writes the message in place
//! and commits; a batch is staged and published with one store. The consumer reads messages where
//! they lie and releases a run with one store.
//!
//! The protocol is that of [`spsc`](crate::spsc): two indices, in bytes, on lines of their own, and
//! a cached limit on both sides. A producer that dies between claim and commit has published nothing.
//!
//! Costs per message: 8 bytes and up to 7 of padding; two stores to the data's own lines and one to
//! the index (fewer when staged).
//!
//! ```
//! let (mut producer, mut consumer) = trunkline_ring::bytes::channel(65536)?;
//! let mut claim = producer.claim(5).expect("an empty ring has room");
//! claim.copy_from_slice(b"hello");
//! claim.commit();
//! let count = consumer.read(|message| assert_eq!(message, b"hello"));
//! assert_eq!(count, 1);
//! # std::io::Result::Ok(())
//! ```

mod consumer;
mod memory;
mod producer;

use std::io;

pub use consumer::{Consumer, Messages, Run};
pub use producer::{Claim, Producer};

use crate::atomic::Arc;
use memory::Ring;

/// The bytes before each message's payload.
pub const HEADER_BYTES: usize = 8;

/// Frames begin at multiples of this, and so do payloads.
pub const ALIGN: usize = 8;

/// The bytes that a message of `len` bytes takes in a ring.
#[inline]
pub const fn frame_bytes(len: usize) -> usize {
    (HEADER_BYTES + len).next_multiple_of(ALIGN)
}

/// A ring of `capacity` bytes: a power of two and a multiple of the page size.
///
/// # Errors
/// As [`Mirror::new`](crate::Mirror::new).
pub fn channel(capacity: usize) -> io::Result<(Producer, Consumer)> {
    starting_at(capacity, 0)
}

/// A ring whose positions begin at `position`, a multiple of 8: for tests of large positions.
#[doc(hidden)]
pub fn starting_at(capacity: usize, position: u64) -> io::Result<(Producer, Consumer)> {
    let ring = Arc::new(Ring::new(capacity, position)?);
    Ok((Producer::new(Arc::clone(&ring)), Consumer::new(ring)))
}
