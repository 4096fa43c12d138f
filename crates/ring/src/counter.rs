//! Counters that one thread writes and others read.
//!
//! Each has its lines to itself, so that counting does not slow down whatever lies beside it, and
//! adding is a load and a store (no locked instruction), because there is one writer.
//!
//! ```
//! let mut records = trunkline_ring::Counter::new();
//! let reader = records.reader();
//! records.add(3);
//! assert_eq!(std::thread::spawn(move || reader.value()).join().unwrap(), 3);
//! ```

use std::fmt;

use crate::atomic::{Arc, AtomicU64, Ordering};
use crate::padded::CachePadded;

/// A number that its one owner changes and any thread may read.
pub struct Counter {
    value: Arc<CachePadded<AtomicU64>>,
}

impl Counter {
    /// A counter at zero.
    pub fn new() -> Self {
        Self {
            value: Arc::new(CachePadded::new(AtomicU64::new(0))),
        }
    }

    /// Adds `count`, wrapping at 2⁶⁴.
    #[inline]
    pub fn add(&mut self, count: u64) {
        // Relaxed: the value orders nothing else. No read-modify-write: `&mut` is the only writer.
        let value = self.value.load(Ordering::Relaxed);
        self.value
            .store(value.wrapping_add(count), Ordering::Relaxed);
    }

    /// Replaces the value: for a gauge, such as a depth.
    #[inline]
    pub fn set(&mut self, value: u64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// The value, exact on the owner's thread.
    #[inline]
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// A view for other threads.
    pub fn reader(&self) -> CounterReader {
        CounterReader {
            value: Arc::clone(&self.value),
        }
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.value()).finish()
    }
}

/// Reads a [`Counter`] from any thread.
#[derive(Clone)]
pub struct CounterReader {
    value: Arc<CachePadded<AtomicU64>>,
}

impl CounterReader {
    /// A value that the counter had a moment ago; of several counters, not of the same moment.
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for CounterReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CounterReader").field(&self.value()).finish()
    }
}
