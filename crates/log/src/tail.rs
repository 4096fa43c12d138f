//! The newest bytes of the stream in memory: room for appends, holds of those who still read.

use std::io;

use trunkline_ring::{Mirror, Pinned};

use crate::layout::BLOCK_BYTES;

/// A ring over positions. What lies in `oldest()..limit()` is there; the log decides how much of it is written.
///
/// The ring is reused in blocks of 64 KiB, each with a count of the holds on it: appends need one comparison with `limit`,
/// and the blocks are looked at once for each 64 KiB.
#[derive(Debug)]
pub(crate) struct Tail {
    mirror: Mirror,
    capacity: u64,
    holds: Box<[u32]>,
    /// Where the tail began; what lies before was never in it.
    origin: u64,
    /// Up to where may be appended; a multiple of the block, at most `capacity` ahead of the oldest byte.
    limit: u64,
}

/// Keeps a stretch of the tail from being reused, until it is given back to [`Log::release`](crate::Log::release).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a hold that is not released blocks the stream for good"]
pub struct Hold {
    position: u64,
    len: u32,
}

impl Tail {
    pub(crate) fn new(bytes: u64, origin: u64) -> io::Result<Self> {
        let mirror = Mirror::new(bytes as usize)?;
        Ok(Self {
            mirror,
            capacity: bytes,
            holds: vec![0; (bytes / BLOCK_BYTES) as usize].into(),
            origin,
            limit: origin / BLOCK_BYTES * BLOCK_BYTES + bytes,
        })
    }

    #[inline]
    pub(crate) fn slice(&self, position: u64, len: usize) -> &[u8] {
        self.mirror.slice(position, len)
    }

    #[inline]
    pub(crate) fn slice_mut(&mut self, position: u64, len: usize) -> &mut [u8] {
        debug_assert!(position + len as u64 <= self.limit);
        self.mirror.slice_mut(position, len)
    }

    pub(crate) fn pin(&self) -> Pinned {
        self.mirror.pin()
    }

    /// Up to where may be appended without asking.
    #[inline]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The oldest position that is still there.
    #[inline]
    pub(crate) fn oldest(&self) -> u64 {
        self.origin.max(self.limit.saturating_sub(self.capacity))
    }

    /// Makes room up to `end` by giving up the oldest blocks, none that is held or reaches above `reusable`.
    pub(crate) fn extend(&mut self, end: u64, reusable: u64) -> bool {
        while self.limit < end {
            let block = (self.limit / BLOCK_BYTES) as usize & (self.holds.len() - 1);
            if self.holds[block] != 0
                || self.limit + BLOCK_BYTES > reusable.saturating_add(self.capacity)
            {
                return false;
            }
            self.limit += BLOCK_BYTES;
        }
        true
    }

    pub(crate) fn hold(&mut self, position: u64, len: u32) -> Hold {
        debug_assert!(position >= self.oldest() && position + u64::from(len) <= self.limit);
        for block in blocks(position, len) {
            let block = block as usize & (self.holds.len() - 1);
            self.holds[block] += 1;
        }
        Hold { position, len }
    }

    pub(crate) fn release(&mut self, hold: Hold) {
        for block in blocks(hold.position, hold.len) {
            let block = block as usize & (self.holds.len() - 1);
            debug_assert!(self.holds[block] > 0);
            self.holds[block] = self.holds[block].saturating_sub(1);
        }
    }
}

/// The blocks that a stretch touches; at least one.
fn blocks(position: u64, len: u32) -> std::ops::RangeInclusive<u64> {
    position / BLOCK_BYTES..=(position + u64::from(len.max(1)) - 1) / BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const K64: u64 = BLOCK_BYTES;

    #[test]
    fn gives_up_only_blocks_that_are_stored_and_not_held() {
        let mut tail = Tail::new(4 * K64, 0).expect("memory");
        assert_eq!((tail.limit(), tail.oldest()), (4 * K64, 0));
        assert!(
            !tail.extend(4 * K64 + 1, K64 - 1),
            "the first block is not stored whole"
        );
        assert!(tail.extend(4 * K64 + 1, K64));
        assert_eq!((tail.limit(), tail.oldest()), (5 * K64, K64));
        let hold = tail.hold(2 * K64 - 1, 2);
        assert!(!tail.extend(6 * K64, u64::MAX), "block 1 is held");
        tail.release(hold);
        assert!(tail.extend(6 * K64, u64::MAX));
    }

    #[test]
    fn starts_anywhere() {
        let tail = Tail::new(4 * K64, 10 * K64 + 5000).expect("memory");
        assert_eq!((tail.limit(), tail.oldest()), (14 * K64, 10 * K64 + 5000));
    }
}
