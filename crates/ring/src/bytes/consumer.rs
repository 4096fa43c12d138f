//! The end that reads messages where they lie.

use std::fmt;

use super::memory::Ring;
use super::{HEADER_BYTES, frame_bytes};
use crate::atomic::Arc;

/// Reads messages from a byte ring, in order. There is one per ring; it may move to another thread.
pub struct Consumer {
    ring: Arc<Ring>,
    /// The next frame; all before it is released.
    position: u64,
    /// What was last seen of `published`.
    limit: u64,
}

impl Consumer {
    pub(super) fn new(ring: Arc<Ring>) -> Self {
        let (position, limit) = (ring.released(), ring.published());
        Self {
            ring,
            position,
            limit,
        }
    }

    /// Hands all messages that are there to `each` and releases them at once. Returns how many.
    ///
    /// When `each` panics, nothing is released: the run will be read again.
    #[inline]
    pub fn read(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        let run = self.run(usize::MAX);
        for message in &run {
            each(message);
            count += 1;
        }
        run.release();
        count
    }

    /// The oldest message, left in the ring.
    #[inline]
    pub fn peek(&mut self) -> Option<&[u8]> {
        self.look_if_empty();
        Messages {
            bytes: self.unreleased(),
        }
        .next()
    }

    /// The messages that are there, as one stretch of whole frames of at most `max_bytes`
    /// (but at least one frame, if there is one). They stay until [`Run::release`].
    #[inline]
    pub fn run(&mut self, max_bytes: usize) -> Run<'_> {
        self.look_if_empty();
        let all = self.unreleased();
        let len = if all.len() <= max_bytes {
            all.len()
        } else {
            whole_frames(all, max_bytes)
        };
        // Not the slice itself: its bytes become the producer's within `Run::release`, while a
        // reference that was passed to it would still count as held.
        Run {
            start: all.as_ptr(),
            len,
            consumer: self,
        }
    }

    /// How many bytes of frames are there; looks at the producer's index.
    pub fn available(&mut self) -> usize {
        self.limit = self.ring.published();
        (self.limit - self.position) as usize
    }

    /// Nothing is there; looks at the producer's index.
    pub fn is_empty(&mut self) -> bool {
        self.look_if_empty();
        self.position == self.limit
    }

    /// The ring's capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    #[inline(always)]
    fn look_if_empty(&mut self) {
        if self.position == self.limit {
            self.limit = self.ring.published();
        }
    }

    /// The frames that are known to be there. The lifetime is free: callers bind it to `&mut self`.
    #[inline(always)]
    fn unreleased<'a>(&self) -> &'a [u8] {
        let len = (self.limit - self.position) as usize;
        // No mirror in a model: there a run ends where the memory does.
        #[cfg(any(miri, loom))]
        let len = len.min(self.capacity() - self.position as usize % self.capacity());
        let start = self.ring.source(self.position, len);
        // SAFETY: `start` is good for `len` bytes, which are published and not released: the
        // producer does not write them. Callers return them under a borrow of `self` that ends
        // before anything is released.
        unsafe { std::slice::from_raw_parts(start, len) }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("position", &self.position)
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// A run of messages, still in the ring. Dropped without [`release`](Self::release) it stays there.
#[derive(Debug)]
pub struct Run<'c> {
    /// Addresses `len` bytes of whole frames from `consumer.position` on.
    start: *const u8,
    len: usize,
    consumer: &'c mut Consumer,
}

// SAFETY: it reads bytes that nobody writes while it exists, like `&[u8]`.
unsafe impl Send for Run<'_> {}
// SAFETY: as above.
unsafe impl Sync for Run<'_> {}

impl Run<'_> {
    /// The messages.
    #[inline(always)]
    pub fn messages(&self) -> Messages<'_> {
        Messages {
            bytes: self.bytes(),
        }
    }

    /// The frames as they lie in the ring: header, payload, padding, again and again.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: published and not released while this run exists (`Consumer::unreleased`).
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// No message is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the whole run's room back to the producer, with one store.
    #[inline(always)]
    pub fn release(self) {
        if self.len > 0 {
            self.consumer.position += self.len as u64;
            self.consumer.ring.release(self.consumer.position);
        }
    }
}

impl<'r> IntoIterator for &'r Run<'_> {
    type Item = &'r [u8];
    type IntoIter = Messages<'r>;

    fn into_iter(self) -> Messages<'r> {
        self.messages()
    }
}

/// The messages of a [`Run`], oldest first.
#[derive(Clone, Debug)]
pub struct Messages<'r> {
    /// Whole frames.
    bytes: &'r [u8],
}

impl<'r> Iterator for Messages<'r> {
    type Item = &'r [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'r [u8]> {
        let (header, rest) = self.bytes.split_first_chunk::<HEADER_BYTES>()?;
        let len = message_bytes(header);
        self.bytes = &rest[frame_bytes(len) - HEADER_BYTES..];
        Some(&rest[..len])
    }
}

#[inline(always)]
fn message_bytes(header: &[u8; HEADER_BYTES]) -> usize {
    u64::from_le_bytes(*header) as u32 as usize
}

/// The length of the longest stretch of whole frames of at most `max_bytes`, or of the first frame.
fn whole_frames(all: &[u8], max_bytes: usize) -> usize {
    let mut messages = Messages { bytes: all };
    let mut end = 0;
    while messages.next().is_some() {
        let next = all.len() - messages.bytes.len();
        if next > max_bytes && end > 0 {
            break;
        }
        end = next;
    }
    end
}
