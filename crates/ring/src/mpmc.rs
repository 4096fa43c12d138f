//! A bounded ring from many threads to many.
//!
//! Each slot carries a stamp that says whose turn it is (after D. Vyukov's bounded queue); both
//! sides take positions by advancing a shared index, which they do only after the stamp has shown
//! that the slot is theirs to take:
//!
//! ```text
//! stamp of slot p & mask    p              free for the producer that takes position p
//!                           p + 1          holds the element of position p
//!                           p + capacity   free again, for the next lap
//! ```
//!
//! Hence a capacity of at least 2: with one slot, `p + 1` would mean both. Elements of one producer
//! keep their order. Who stops between taking a position and stamping it holds up those who reach
//! this slot a lap later, and the other side when it reaches it.
//!
//! ```
//! let (producer, consumer) = trunkline_ring::mpmc::channel::<u64>(64)?;
//! std::thread::scope(|scope| {
//!     for number in [1, 2] {
//!         let producer = producer.clone();
//!         scope.spawn(move || producer.push(number).unwrap());
//!     }
//! });
//! let other = consumer.clone();
//! assert_eq!(consumer.pop().unwrap() + other.pop().unwrap(), 3);
//! assert_eq!(consumer.pop(), None);
//! # std::io::Result::Ok(())
//! ```

use std::fmt;
use std::io;

use crate::atomic::{Arc, AtomicU64, Ordering};
use crate::block::Block;
use crate::capacity::{BadCapacity, Capacity};
use crate::full::Full;
use crate::memory::Region;
use crate::padded::CachePadded;
use crate::stamp::Stamp;

/// A ring of `capacity` elements, a power of two of at least 2, on the heap.
///
/// # Errors
/// `InvalidInput` for a capacity that is none; otherwise what the system answered.
pub fn channel<T: Send>(capacity: usize) -> io::Result<(Producer<T>, Consumer<T>)> {
    starting_at(capacity, 0)
}

/// A ring of `capacity` elements, a power of two of at least 2, laid out in `region`.
///
/// # Errors
/// `InvalidInput` for a capacity that is none, or when the region is too small for it.
pub fn in_region<T: Send>(
    region: Region,
    capacity: usize,
) -> io::Result<(Producer<T>, Consumer<T>)> {
    Ok(halves(Block::new(
        region,
        at_least_two(capacity)?,
        Header::new(0),
        |index| Stamp::new(index as u64),
    )?))
}

/// A ring whose positions begin at `position`, a multiple of the capacity: for tests of what
/// happens when they wrap.
#[doc(hidden)]
pub fn starting_at<T: Send>(
    capacity: usize,
    position: u64,
) -> io::Result<(Producer<T>, Consumer<T>)> {
    let stamp = |index| Stamp::new(position.wrapping_add(index as u64));
    Ok(halves(Block::on_heap(
        at_least_two(capacity)?,
        Header::new(position),
        stamp,
    )?))
}

fn at_least_two(capacity: usize) -> Result<usize, BadCapacity> {
    if capacity == 1 {
        Err(BadCapacity(capacity))
    } else {
        Ok(capacity)
    }
}

fn halves<T: Send>(block: Block<Header, T, Stamp>) -> (Producer<T>, Consumer<T>) {
    let ring = Arc::new(Ring { block });
    (
        Producer {
            ring: Arc::clone(&ring),
        },
        Consumer { ring },
    )
}

#[derive(Debug)]
struct Header {
    /// The next position to be pushed to.
    pushed: CachePadded<AtomicU64>,
    /// The next position to be popped from.
    popped: CachePadded<AtomicU64>,
}

impl Header {
    fn new(position: u64) -> Self {
        let index = || CachePadded::new(AtomicU64::new(position));
        Self {
            pushed: index(),
            popped: index(),
        }
    }
}

#[derive(Debug)]
struct Ring<T> {
    block: Block<Header, T, Stamp>,
}

impl<T> Ring<T> {
    /// Takes the next position of `index` whose slot has a stamp of `position + turn`; `None` when
    /// the slot is not that far.
    #[inline(always)]
    fn take(&self, index: &AtomicU64, turn: u64) -> Option<u64> {
        // Relaxed, here and below: a position orders nothing, the slot's stamp does.
        let mut position = index.load(Ordering::Relaxed);
        loop {
            let ahead = self
                .block
                .stamp(position as usize)
                .load()
                .wrapping_sub(position.wrapping_add(turn)) as i64;
            if ahead == 0 {
                let next = position.wrapping_add(1);
                match index.compare_exchange_weak(
                    position,
                    next,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(position),
                    Err(now) => position = now,
                }
            } else if ahead < 0 {
                return None;
            } else {
                // Another took this position since we looked.
                position = index.load(Ordering::Relaxed);
            }
        }
    }

    fn capacity(&self) -> usize {
        self.block.capacity().slots()
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let mut position = self.block.header().popped.load(Ordering::Acquire);
        while std::mem::needs_drop::<T>()
            && self.block.stamp(position as usize).load() == position.wrapping_add(1)
        {
            // SAFETY: stamped as holding an element, and nobody else is left.
            drop(unsafe { self.block.slots().read(position as usize) });
            position = position.wrapping_add(1);
        }
    }
}

/// Pushes elements. Clone it, or share it: it may be used by several threads at once.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
}

impl<T: Send> Producer<T> {
    /// Pushes one element.
    ///
    /// # Errors
    /// [`Full`] with the element when the slot of the next position is not free.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), Full<T>> {
        let Some(position) = self.ring.take(&self.ring.block.header().pushed, 0) else {
            return Err(Full(value));
        };
        // SAFETY: the stamp said that the slot is free, and `take` gave it to nobody else.
        unsafe { self.ring.block.slots().write(position as usize, value) };
        let stamp = self.ring.block.stamp(position as usize);
        stamp.store(position.wrapping_add(1));
        Ok(())
    }

    /// How many elements the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self {
            ring: Arc::clone(&self.ring),
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("capacity", &self.ring.capacity())
            .finish_non_exhaustive()
    }
}

/// Pops elements. Clone it, or share it: it may be used by several threads at once.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
}

impl<T: Send> Consumer<T> {
    /// Pops the oldest element that nobody else takes, or `None` when it is not there yet.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        let position = self.ring.take(&self.ring.block.header().popped, 1)?;
        // SAFETY: the stamp said that the element is there, and `take` gave it to nobody else.
        let value = unsafe { self.ring.block.slots().read(position as usize) };
        let stamp = self.ring.block.stamp(position as usize);
        stamp.store(position.wrapping_add(self.ring.capacity() as u64));
        Some(value)
    }

    /// How many elements the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl<T> Clone for Consumer<T> {
    fn clone(&self) -> Self {
        Self {
            ring: Arc::clone(&self.ring),
        }
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("capacity", &self.ring.capacity())
            .finish_non_exhaustive()
    }
}
