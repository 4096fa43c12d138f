//! A bounded ring from many threads to one.
//!
//! Producers take a position each by advancing one shared index, write their element there and
//! stamp the slot; the consumer takes the slots in order, as far as they are stamped, and says in
//! an index of its own how far it is. A producer looks at that index only when the copy it keeps
//! is used up, and at no slot before it owns it.
//!
//! ```text
//! claimed   ──►  one index, compare-and-swap by the producers
//! slots          [stamp | element] …    stamp = position + 1 once the element of that position is there
//! released  ──►  one index, stored by the consumer, once per batch
//! ```
//!
//! Invariant: `released <= claimed <= released + capacity`. Elements of one producer keep their
//! order. A producer that stops between taking a position and stamping it holds up the consumer,
//! not other producers (until the ring is full).
//!
//! ```
//! let (producer, mut consumer) = trunkline_ring::mpsc::channel::<u64>(64)?;
//! std::thread::scope(|scope| {
//!     for number in [1, 2, 3] {
//!         let mut producer = producer.clone();
//!         scope.spawn(move || producer.push(number).unwrap());
//!     }
//! });
//! let mut sum = 0;
//! assert_eq!(consumer.pop_each(64, |number| sum += number), 3);
//! assert_eq!(sum, 6);
//! # std::io::Result::Ok(())
//! ```

use std::fmt;
use std::io;

use crate::atomic::{Arc, AtomicUsize, Ordering, spin_loop};
use crate::block::Block;
use crate::capacity::Capacity;
use crate::full::Full;
use crate::memory::Region;
use crate::pace::Pace;
use crate::padded::CachePadded;
use crate::stamped::Stamped;

/// A ring of `capacity` elements, a power of two, on the heap.
///
/// # Errors
/// `InvalidInput` for a capacity that is none; otherwise what the system answered.
pub fn channel<T: Send>(capacity: usize) -> io::Result<(Producer<T>, Consumer<T>)> {
    Ok(halves(Block::on_heap(capacity, Header::new(0), |_| {
        Stamped::new(0)
    })?))
}

/// A ring of `capacity` elements, a power of two, laid out in `region`.
///
/// # Errors
/// `InvalidInput` for a capacity that is none, or when the region is too small for it.
pub fn in_region<T: Send>(
    region: Region,
    capacity: usize,
) -> io::Result<(Producer<T>, Consumer<T>)> {
    Ok(halves(Block::new(
        region,
        capacity,
        Header::new(0),
        |_| Stamped::new(0),
    )?))
}

/// A ring whose positions begin at `position`: for tests of what happens when they wrap.
#[doc(hidden)]
pub fn starting_at<T: Send>(
    capacity: usize,
    position: usize,
) -> io::Result<(Producer<T>, Consumer<T>)> {
    // No stamp may look like one of the first lap, `position + 1` and following.
    Ok(halves(Block::on_heap(
        capacity,
        Header::new(position),
        |_| Stamped::new(position),
    )?))
}

fn halves<T: Send>(block: Block<Header, Stamped<T>>) -> (Producer<T>, Consumer<T>) {
    let position = block.header().released.load(Ordering::Relaxed);
    let ring = Arc::new(Ring { block });
    let limit = position.wrapping_add(ring.capacity());
    (
        Producer {
            ring: Arc::clone(&ring),
            limit,
        },
        Consumer {
            ring,
            position,
            ready: position,
            pace: Pace::default(),
        },
    )
}

#[derive(Debug)]
struct Header {
    /// The next position to be taken. Advanced by the producers.
    claimed: CachePadded<AtomicUsize>,
    /// The slots before it are free. Stored by the consumer.
    released: CachePadded<AtomicUsize>,
}

impl Header {
    fn new(position: usize) -> Self {
        let index = || CachePadded::new(AtomicUsize::new(position));
        Self {
            claimed: index(),
            released: index(),
        }
    }
}

#[derive(Debug)]
struct Ring<T> {
    block: Block<Header, Stamped<T>>,
}

impl<T> Ring<T> {
    fn capacity(&self) -> usize {
        self.block.capacity().slots()
    }

    /// The position at which the ring is full.
    #[cold]
    #[inline(never)]
    fn look_for_limit(&self) -> usize {
        // Acquire: the consumer read the slots before it released them.
        self.block
            .header()
            .released
            .load(Ordering::Acquire)
            .wrapping_add(self.capacity())
    }

    /// The end of the elements that are there from `position` on, at most a group of them.
    #[inline(always)]
    fn look(&self, position: usize) -> usize {
        let most = position.wrapping_add(self.block.capacity().group());
        let mut end = position;
        while end != most && self.is_ready(end) {
            end = end.wrapping_add(1);
        }
        end
    }

    /// As [`look`](Self::look), when a group is there or the time is over in which a busy stream makes one.
    fn look_at_leisure(&self, position: usize) -> usize {
        let last = position.wrapping_add(self.block.capacity().group() - 1);
        let mut spins = 0;
        while spins < SPINS && !self.is_ready(last) {
            spin_loop();
            spins += 1;
        }
        self.look(position)
    }

    /// Whether the element of `position` is there, for the consumer at that position.
    #[inline(always)]
    fn is_ready(&self, position: usize) -> bool {
        self.block.slot(position).load() == position.wrapping_add(1)
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let mut position = self.block.header().released.load(Ordering::Acquire);
        while std::mem::needs_drop::<T>() && self.is_ready(position) {
            // SAFETY: stamped and not released: an element, and nobody else is left.
            drop(unsafe { self.block.slot(position).read() });
            position = position.wrapping_add(1);
        }
    }
}

/// Pushes elements. Clone it for each thread that pushes.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// The position at which the ring is full, by what this producer last saw of `released`.
    limit: usize,
}

impl<T: Send> Producer<T> {
    /// Pushes one element.
    ///
    /// # Errors
    /// [`Full`] with the element when the ring holds `capacity` of them, or up to
    /// [`withheld_max`](Self::withheld_max) fewer that the consumer popped but did not give back yet.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        let Some((position, _one)) = self.claim(1) else {
            return Err(Full(value));
        };
        self.put(position, value);
        Ok(())
    }

    /// Copies as many of `values` as there is room for, next to each other. Returns how many.
    #[inline]
    pub fn push_slice(&mut self, values: &[T]) -> usize
    where
        T: Copy,
    {
        let Some((position, count)) = self.claim(values.len()) else {
            return 0;
        };
        for (offset, value) in values[..count].iter().enumerate() {
            self.put(position.wrapping_add(offset), *value);
        }
        count
    }

    /// How many elements the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// How many slots the consumer may hold back at most while it pops one by one: less than a
    /// sixteenth of the capacity. It gives all back when it finds nothing to pop.
    pub fn withheld_max(&self) -> usize {
        self.ring.block.capacity().group() - 1
    }

    /// Takes up to `wanted` positions in a row: the first, and how many. `None` for a full ring,
    /// or for nothing wanted.
    #[inline(always)]
    fn claim(&mut self, wanted: usize) -> Option<(usize, usize)> {
        let claimed = &self.ring.block.header().claimed;
        // Relaxed: a position orders nothing. That the slot is free comes from `released`, that it
        // is written goes by its stamp.
        let mut position = claimed.load(Ordering::Relaxed);
        loop {
            let mut room = self.room(position);
            if room < wanted {
                self.limit = self.ring.look_for_limit();
                room = self.room(position);
            }
            let count = room.min(wanted);
            if count == 0 {
                return None;
            }
            let next = position.wrapping_add(count);
            match claimed.compare_exchange_weak(
                position,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some((position, count)),
                Err(now) => position = now,
            }
        }
    }

    /// How many positions from `position` on are free by `limit`; none when others have passed it.
    #[inline(always)]
    fn room(&self, position: usize) -> usize {
        let room = self.limit.wrapping_sub(position);
        if room <= self.capacity() { room } else { 0 }
    }

    #[inline(always)]
    fn put(&self, position: usize, value: T) {
        let slot = self.ring.block.slot(position);
        // SAFETY: `claim` gave this position to nobody else, and below `limit` it is released.
        unsafe { slot.write(value) };
        slot.store(position.wrapping_add(1));
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self {
            ring: Arc::clone(&self.ring),
            limit: self.limit,
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

/// Pops elements. There is one per ring; it may move to another thread.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    /// The next element's position. Ahead of `released` by less than a group between calls.
    position: usize,
    /// The elements before it are there, as the last look found.
    ready: usize,
    pace: Pace,
}

impl<T: Send> Consumer<T> {
    /// Pops the oldest element, or `None` when it is not there yet.
    ///
    /// As in [`spsc`](crate::spsc::Consumer::pop), slots of elements popped one by one are given
    /// back in groups, when nothing is there, or by [`give_back`](Self::give_back).
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.position == self.ready && !self.look() {
            self.give_back();
            return None;
        }
        // SAFETY: a look saw its stamp: an element; moving on sees to it that it is not read again.
        let value = unsafe { self.ring.block.slot(self.position).read() };
        self.position = self.position.wrapping_add(1);
        if self.position & (self.ring.block.capacity().group() - 1) == 0 {
            self.give_back();
        }
        Some(value)
    }

    /// Hands the elements that are there, at most `max`, to `take` and releases them at once.
    /// Returns how many.
    #[inline]
    pub fn pop_each(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        let first = self.position;
        // Releases also when `take` panics: what it was handed is no longer in the ring.
        let ReleaseOnDrop { consumer } = &mut ReleaseOnDrop { consumer: self };
        let mut count = 0;
        while count < max && (consumer.position != consumer.ready || consumer.look()) {
            let position = consumer.position;
            consumer.position = position.wrapping_add(1);
            // SAFETY: as in `pop`.
            take(unsafe { consumer.ring.block.slot(position).read() });
            count += 1;
        }
        debug_assert_eq!(count, consumer.position.wrapping_sub(first));
        count
    }

    /// No element is there to be popped.
    pub fn is_empty(&self) -> bool {
        self.position == self.ready && !self.ring.is_ready(self.position)
    }

    /// How many elements the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Looks for elements behind those that are known, of which none is left. Each look that reaches the last takes the line
    /// away in which producers write, so few of them in a stream make it pause.
    #[inline(always)]
    fn look(&mut self) -> bool {
        let (ring, position) = (&self.ring, self.position);
        self.ready = ring.look(position);
        match self.ready.wrapping_sub(position) {
            0 => {
                self.pace.found_nothing();
                return false;
            }
            found if found == ring.block.capacity().group() => self.pace.found_many(),
            _ => {
                let look = || ring.look_at_leisure(position);
                self.ready = self.pace.found_few(self.ready, look);
            }
        }
        true
    }

    /// Gives the slots of all elements that were popped back to the producers.
    #[inline(always)]
    pub fn give_back(&mut self) {
        // Release: the slots were read before. Partner: the load in `look_for_limit`.
        self.ring
            .block
            .header()
            .released
            .store(self.position, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // What is left in the ring is dropped with it, from `released` on.
        let released = &self.ring.block.header().released;
        released.store(self.position, Ordering::Release);
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("position", &self.position)
            .field("capacity", &self.ring.capacity())
            .finish()
    }
}

/// Releases what was taken.
struct ReleaseOnDrop<'c, T: Send> {
    consumer: &'c mut Consumer<T>,
}

impl<T: Send> Drop for ReleaseOnDrop<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.consumer.give_back();
    }
}

/// How long a consumer that pauses waits for a group of elements: one to four microseconds, by processor.
const SPINS: u32 = 64;
