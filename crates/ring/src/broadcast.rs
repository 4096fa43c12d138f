//! One thread tells many: every receiver sees every value, or learns how many it missed.
//!
//! The sender never waits: it overwrites the oldest value. A receiver that was overtaken is told
//! how many values it lost and goes on with what is there, a quarter of the ring ahead of the
//! oldest, so that it is not overtaken again at once.
//!
//! Each slot is a sequence lock: the stamp is odd while the slot is written, and a receiver that
//! finds another stamp after copying than before throws the copy away. Values are copied word by
//! word with atomics, so that a copy that is thrown away was torn, but not undefined: they must be
//! [`Plain`].
//!
//! ```text
//! stamp of the slot of position p    2 p + 1   being written for p
//!                                    2 p + 2   holds the value of p
//! ```
//!
//! ```
//! use trunkline_ring::broadcast::{self, Received};
//!
//! let (mut sender, mut receiver) = broadcast::channel::<u64>(4)?;
//! let mut late = receiver.clone();
//! sender.send(1);
//! assert_eq!(receiver.receive(), Received::Value(1));
//! assert_eq!(receiver.receive(), Received::Empty);
//! (2..=6).for_each(|value| sender.send(value));
//! assert_eq!(late.receive(), Received::Lost(3));
//! assert_eq!(late.receive(), Received::Value(4));
//! # std::io::Result::Ok(())
//! ```

use std::fmt;
use std::io;
use std::marker::PhantomData;

use crate::atomic::{Arc, AtomicU64, Ordering, fence};
use crate::capacity::{BadCapacity, Capacity, Dynamic};
use crate::padded::CachePadded;
use crate::plain::{self, Plain, words_of};

/// A ring that keeps the newest `capacity` values, a power of two of at least 2.
///
/// # Errors
/// `InvalidInput` for a capacity that is none.
pub fn channel<T: Plain>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    starting_at(capacity, 0)
}

/// A ring whose positions begin at `position`, a multiple of the capacity: for tests of large ones.
#[doc(hidden)]
pub fn starting_at<T: Plain>(
    capacity: usize,
    position: u64,
) -> io::Result<(Sender<T>, Receiver<T>)> {
    let capacity = Dynamic::new(capacity)?;
    if capacity.slots() < 2 {
        return Err(BadCapacity(capacity.slots()).into());
    }
    let words = capacity.slots() * (1 + words_of::<T>());
    // Even, and older than the stamp of any position to come.
    let ring = Ring {
        capacity,
        sent: CachePadded::new(AtomicU64::new(position)),
        words: (0..words).map(|_| AtomicU64::new(2 * position)).collect(),
        values: PhantomData,
    };
    let ring = Arc::new(ring);
    Ok((
        Sender {
            ring: Arc::clone(&ring),
            position,
        },
        Receiver { ring, position },
    ))
}

#[derive(Debug)]
struct Ring<T> {
    capacity: Dynamic,
    /// How many values were sent. Only overtaken receivers and new ones look at it.
    sent: CachePadded<AtomicU64>,
    /// For each slot its stamp and the words of its value.
    words: Box<[AtomicU64]>,
    values: PhantomData<T>,
}

impl<T: Plain> Ring<T> {
    #[inline(always)]
    fn slot(&self, position: u64) -> (&AtomicU64, &[AtomicU64]) {
        let stride = 1 + words_of::<T>();
        let start = self.capacity.index(position as usize) * stride;
        self.words[start..start + stride]
            .split_first()
            .expect("a slot begins with its stamp")
    }
}

/// Sends values. There is one per ring; it may move to another thread.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    position: u64,
}

impl<T: Plain> Sender<T> {
    /// Sends a value to all receivers, in place of the oldest one.
    #[inline]
    pub fn send(&mut self, value: T) {
        let (stamp, words) = self.ring.slot(self.position);
        stamp.store(2 * self.position + 1, Ordering::Relaxed);
        // The odd stamp before the words: who sees one of the new words sees this stamp, or a later
        // one, when it looks again. Partner: the fence in `receive`.
        fence(Ordering::Release);
        for (index, word) in words.iter().enumerate() {
            word.store(plain::word(&value, index), Ordering::Relaxed);
        }
        // The words before the even stamp. Partner: the first load in `receive`.
        stamp.store(2 * self.position + 2, Ordering::Release);
        self.position += 1;
        self.ring.sent.store(self.position, Ordering::Release);
    }

    /// A receiver of what will be sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver {
            ring: Arc::clone(&self.ring),
            position: self.position,
        }
    }

    /// How many values the ring keeps.
    pub fn capacity(&self) -> usize {
        self.ring.capacity.slots()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// What a receiver found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The next value.
    Value(T),
    /// Nothing new.
    Empty,
    /// So many values were overwritten before they were received; the next call goes on after them.
    Lost(u64),
}

/// Receives values. A clone goes on from the same place.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    /// The next value to be received.
    position: u64,
}

impl<T: Plain> Receiver<T> {
    /// Receives the next value, if it is there.
    #[inline]
    pub fn receive(&mut self) -> Received<T> {
        let (stamp, words) = self.ring.slot(self.position);
        let wanted = 2 * self.position + 2;
        let before = stamp.load(Ordering::Acquire);
        if before < wanted {
            return Received::Empty;
        }
        if before == wanted {
            let value = plain::from_words(|index| words[index].load(Ordering::Relaxed));
            // The words before the second look. Partner: the fence in `send`.
            fence(Ordering::Acquire);
            if stamp.load(Ordering::Relaxed) == wanted {
                self.position += 1;
                return Received::Value(value);
            }
        }
        self.catch_up()
    }

    /// Skips what was overwritten, and a quarter of the ring more.
    #[cold]
    #[inline(never)]
    fn catch_up(&mut self) -> Received<T> {
        let sent = self.ring.sent.load(Ordering::Acquire);
        let kept = self.ring.capacity.slots() as u64;
        let next = sent.saturating_sub(kept - kept / 4).max(self.position + 1);
        let lost = next - self.position;
        self.position = next;
        Received::Lost(lost)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            ring: Arc::clone(&self.ring),
            position: self.position,
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
