//! The end that claims, fills and commits.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::memory::Ring;
use super::{HEADER_BYTES, frame_bytes};
use crate::atomic::Arc;

/// Writes messages into a byte ring. There is one per ring; it may move to another thread.
pub struct Producer {
    ring: Arc<Ring>,
    /// Where the next frame goes: after all that is staged.
    position: u64,
    /// The position up to which the ring has room, by what was last seen of `released`.
    limit: u64,
}

impl Producer {
    pub(super) fn new(ring: Arc<Ring>) -> Self {
        let position = ring.published();
        let limit = ring.released() + ring.capacity() as u64;
        Self {
            ring,
            position,
            limit,
        }
    }

    /// Room for a message of `len` bytes, or `None` while there is none.
    ///
    /// A claim that is dropped leaves no trace. A message longer than
    /// [`message_bytes_max`](Self::message_bytes_max) never finds room.
    #[inline(always)]
    pub fn claim(&mut self, len: usize) -> Option<Claim<'_>> {
        if len > self.message_bytes_max() {
            return None;
        }
        let bytes = frame_bytes(len);
        if self.limit - self.position < bytes as u64 && !self.refill(bytes) {
            return None;
        }
        // A raw pointer and not a slice: the bytes become the consumer's within `commit`, while a
        // reference that was passed to it would still count as held.
        let frame = self.ring.target(self.position, bytes);
        Some(Claim {
            frame,
            len,
            producer: self,
        })
    }

    /// Copies one message in and publishes it. Returns whether there was room.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> bool {
        match self.claim(message.len()) {
            Some(mut claim) => {
                claim.copy_from_slice(message);
                claim.commit();
                true
            }
            None => false,
        }
    }

    /// Publishes what was [staged](Claim::stage).
    #[inline(always)]
    pub fn publish(&mut self) {
        self.ring.publish(self.position);
    }

    /// The longest message that an empty ring takes.
    #[inline(always)]
    pub fn message_bytes_max(&self) -> usize {
        (self.ring.capacity() - HEADER_BYTES).min(u32::MAX as usize)
    }

    /// How many bytes are free, frames' headers included; looks at the consumer's index.
    pub fn free(&mut self) -> usize {
        self.refill(0);
        (self.limit - self.position) as usize
    }

    /// The ring's capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, bytes: usize) -> bool {
        self.limit = self.ring.released() + self.ring.capacity() as u64;
        self.limit - self.position >= bytes as u64
    }
}

impl Drop for Producer {
    /// Publishes what was staged.
    fn drop(&mut self) {
        self.publish();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("position", &self.position)
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// Room for one message: fill it, then [`commit`](Self::commit) or [`stage`](Self::stage).
///
/// Derefs to the payload, which holds whatever was there before.
#[derive(Debug)]
#[must_use = "a claim that is dropped leaves no message"]
pub struct Claim<'p> {
    /// Addresses `frame_bytes(len)` bytes from `producer.position` on, all of them free.
    frame: *mut u8,
    len: usize,
    producer: &'p mut Producer,
}

// SAFETY: it is the only access to these bytes, like `&mut [u8]`.
unsafe impl Send for Claim<'_> {}
// SAFETY: `&Claim` only reads, like `&&mut [u8]`.
unsafe impl Sync for Claim<'_> {}

impl Claim<'_> {
    /// Publishes the message, and what was staged before it.
    #[inline(always)]
    pub fn commit(self) {
        let len = self.len;
        self.commit_first(len);
    }

    /// Publishes the first `len` bytes as the message; the rest of the claim is given back.
    ///
    /// # Panics
    /// When `len` exceeds the claim.
    #[inline(always)]
    pub fn commit_first(mut self, len: usize) {
        self.seal(len);
        self.producer.publish();
    }

    /// Counts the message in without publishing it: [`Producer::publish`] or the next commit does.
    #[inline(always)]
    pub fn stage(self) {
        let len = self.len;
        self.stage_first(len);
    }

    /// Counts the first `len` bytes in as the message, without publishing it.
    ///
    /// # Panics
    /// When `len` exceeds the claim.
    #[inline(always)]
    pub fn stage_first(mut self, len: usize) {
        self.seal(len);
    }

    #[inline(always)]
    fn seal(&mut self, len: usize) {
        assert!(len <= self.len, "{len} bytes of a claim of {}", self.len);
        // One store for both halves: `claim` limits lengths to 32 bits, the upper half stays zero.
        let header = (len as u64).to_le_bytes();
        // SAFETY: the frame begins with `HEADER_BYTES` free bytes, which are ours (`claim`).
        unsafe { self.frame.cast::<[u8; HEADER_BYTES]>().write(header) };
        self.producer.position += frame_bytes(len) as u64;
    }

    #[inline(always)]
    fn payload(&self) -> *mut u8 {
        self.frame.wrapping_add(HEADER_BYTES)
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` free bytes follow the header, initialized, and only this claim accesses them.
        unsafe { std::slice::from_raw_parts(self.payload(), self.len) }
    }
}

impl DerefMut for Claim<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` rules out another slice.
        unsafe { std::slice::from_raw_parts_mut(self.payload(), self.len) }
    }
}
