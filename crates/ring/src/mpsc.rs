//! A bounded ring from many threads to one.
//!
//! Producers take positions by advancing one shared index, one for an element or a run of them for a batch, write
//! their elements there and stamp the first; the consumer takes run after run, as far as they are stamped, and says in an
//! index of its own how far it is. A producer looks at that index only when the copy it keeps is used up.
//!
//! ```text
//! claimed   ──►  one index, compare-and-swap by the producers
//! slots          a  b  c  d  e  f  g          elements next to each other
//! stamps         1  5  ·  ·  ·  6  7          where a run begins: the position behind it, once its elements are there
//! released  ──►  one index, stored by the consumer, once per batch
//! ```
//!
//! Invariants: `released <= claimed <= released + capacity`; a stamp that was written for an earlier lap, or for a run that
//! began there once, is not above its slot's position, as no run is longer than the ring: it says that nothing is there.
//! Elements of one producer keep their order. A producer that stops between taking positions and stamping them holds up the
//! consumer, not other producers (until the ring is full).
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

use crate::atomic::{Arc, AtomicU64, Ordering};
use crate::block::Block;
use crate::capacity::Capacity;
use crate::full::Full;
use crate::memory::Region;
use crate::pace::Pace;
use crate::padded::CachePadded;
use crate::stamp::Stamp;

/// A ring of `capacity` elements, a power of two, on the heap.
///
/// # Errors
/// `InvalidInput` for a capacity that is none; otherwise what the system answered.
pub fn channel<T: Send>(capacity: usize) -> io::Result<(Producer<T>, Consumer<T>)> {
    starting_at(capacity, 0)
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
        |_| Stamp::new(0),
    )?))
}

/// A ring whose positions begin at `position`: for tests of what happens when they wrap.
#[doc(hidden)]
pub fn starting_at<T: Send>(
    capacity: usize,
    position: u64,
) -> io::Result<(Producer<T>, Consumer<T>)> {
    // No stamp may be above a position of the first lap.
    Ok(halves(Block::on_heap(
        capacity,
        Header::new(position),
        |_| Stamp::new(position),
    )?))
}

fn halves<T: Send>(block: Block<Header, T, Stamp>) -> (Producer<T>, Consumer<T>) {
    let position = block.header().released.load(Ordering::Relaxed);
    let ring = Arc::new(Ring { block });
    let limit = position.wrapping_add(ring.capacity() as u64);
    (
        Producer {
            ring: Arc::clone(&ring),
            limit,
        },
        Consumer {
            ring,
            position,
            ready: position,
            pace: Pace::new(),
        },
    )
}

#[derive(Debug)]
struct Header {
    /// The next position to be taken. Advanced by the producers.
    claimed: CachePadded<AtomicU64>,
    /// The slots before it are free. Stored by the consumer.
    released: CachePadded<AtomicU64>,
}

impl Header {
    fn new(position: u64) -> Self {
        let index = || CachePadded::new(AtomicU64::new(position));
        Self {
            claimed: index(),
            released: index(),
        }
    }
}

#[derive(Debug)]
struct Ring<T> {
    block: Block<Header, T, Stamp>,
}

impl<T> Ring<T> {
    fn capacity(&self) -> usize {
        self.block.capacity().slots()
    }

    /// The position at which the ring is full.
    #[cold]
    #[inline(never)]
    fn look_for_limit(&self) -> u64 {
        // Acquire: the consumer read the slots before it released them.
        self.block
            .header()
            .released
            .load(Ordering::Acquire)
            .wrapping_add(self.capacity() as u64)
    }

    /// The end of the run that begins at `position`, for the consumer at that position; `None` as long as it is not there.
    #[inline(always)]
    fn run_end(&self, position: u64) -> Option<u64> {
        let end = self.block.stamp(position as usize).load();
        let is_there = end.wrapping_sub(position).wrapping_sub(1) < self.capacity() as u64;
        is_there.then_some(end)
    }

    /// How many elements are there from `position` on, of no more runs than make up a group.
    #[inline(always)]
    fn look(&self, position: u64) -> usize {
        let group = self.block.capacity().group() as u64;
        let mut end = position;
        while end.wrapping_sub(position) < group
            && let Some(next) = self.run_end(end)
        {
            end = next;
        }
        end.wrapping_sub(position) as usize
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            let mut position = self.block.header().released.load(Ordering::Acquire);
            // Elements that need dropping are pushed one by one: no run was released in part.
            while let Some(end) = self.run_end(position) {
                // SAFETY: stamped and not released: elements, and nobody else is left.
                unsafe {
                    self.block
                        .slots()
                        .drop_range(position as usize, end as usize)
                };
                position = end;
            }
        }
    }
}

/// Pushes elements. Clone it for each thread that pushes.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// The position at which the ring is full, by what this producer last saw of `released`.
    limit: u64,
}

impl<T: Send> Producer<T> {
    /// Pushes one element.
    ///
    /// # Errors
    /// [`Full`] with the element when the ring holds `capacity` of them, or up to
    /// [`withheld_max`](Self::withheld_max) fewer that the consumer popped but did not give back yet.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        let Some((position, one)) = self.claim(1) else {
            return Err(Full(value));
        };
        // SAFETY: `claim` gave this position to nobody else, and below `limit` it is released.
        unsafe { self.ring.block.slots().write(position as usize, value) };
        self.stamp(position, one);
        self.ring
            .block
            .fetch_ahead(position as usize, self.limit as usize);
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
        let slots = self.ring.block.slots();
        // SAFETY: as in `push`, for each of the positions; there are at most `capacity`.
        unsafe { slots.write_slice(position as usize, &values[..count]) };
        self.stamp(position, count);
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
    fn claim(&mut self, wanted: usize) -> Option<(u64, usize)> {
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
            let next = position.wrapping_add(count as u64);
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
    fn room(&self, position: u64) -> usize {
        let room = self.limit.wrapping_sub(position);
        if room <= self.capacity() as u64 {
            room as usize
        } else {
            0
        }
    }

    /// Hands a run to the consumer.
    #[inline(always)]
    fn stamp(&self, position: u64, count: usize) {
        let end = position.wrapping_add(count as u64);
        self.ring.block.stamp(position as usize).store(end);
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
    position: u64,
    /// The elements before it are there, as the last look found.
    ready: u64,
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
        // SAFETY: a look saw its run's stamp: an element; moving on sees to it that it is not read again.
        let value = unsafe { self.ring.block.slots().read(self.position as usize) };
        self.advance(1);
        Some(value)
    }

    /// Elements that are there, at most `max`, where they lie: two slices, because they may wrap. They stay until
    /// [`release`](Self::release). There may be more behind them, as in [`pop_each`](Self::pop_each).
    #[cfg(not(loom))]
    #[inline]
    pub fn chunk(&mut self, max: usize) -> (&[T], &[T]) {
        let len = self.known().min(max);
        // SAFETY: a look saw their runs' stamps, and none is released before the borrow of `self` ends; at most `capacity`.
        unsafe { self.ring.block.slots().slices(self.position as usize, len) }
    }

    /// Drops the `count` oldest elements of a [`chunk`](Self::chunk). Their slots are given back like those of [`pop`](Self::pop).
    ///
    /// # Panics
    /// When that chunk had fewer.
    #[inline]
    pub fn release(&mut self, count: usize) {
        let known = self.ready.wrapping_sub(self.position) as usize;
        assert!(
            count <= known,
            "{count} elements to be released, {known} are known to be there"
        );
        if std::mem::needs_drop::<T>() {
            self.pop_each(count, drop);
        } else {
            self.advance(count);
        }
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
            take(unsafe { consumer.ring.block.slots().read(position as usize) });
            count += 1;
        }
        debug_assert_eq!(count as u64, consumer.position.wrapping_sub(first));
        count
    }

    /// No element is there to be popped.
    pub fn is_empty(&self) -> bool {
        self.position == self.ready && self.ring.run_end(self.position).is_none()
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
        let count = ring.look(position);
        if count == 0 {
            self.pace.found_nothing();
            return false;
        }
        let enough = ring.block.capacity().group();
        let count = self.pace.found(count, enough, || ring.look(position));
        self.ready = position.wrapping_add(count as u64);
        true
    }

    /// How many elements are known to be there; looks only when there are none.
    #[cfg(not(loom))]
    #[inline(always)]
    fn known(&mut self) -> usize {
        if self.position == self.ready && !self.look() {
            self.give_back();
        }
        self.ready.wrapping_sub(self.position) as usize
    }

    /// Moves on by `count` popped elements, and gives back when that completes a group.
    #[inline(always)]
    fn advance(&mut self, count: usize) {
        let group = self.ring.block.capacity().group();
        let into_group = self.position as usize & (group - 1);
        self.position = self.position.wrapping_add(count as u64);
        if into_group + count >= group {
            self.give_back();
        }
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
