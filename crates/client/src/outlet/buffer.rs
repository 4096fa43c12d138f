//! Bytes on their way out, and where each of them is among all that ever were.

use std::ops::Range;

/// `start..end` of the memory is to be sent. All of it is initialised, so that frames are encoded in place.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    /// Position of the memory's first byte among everything that was ever put in.
    base: u64,
}

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes that are to be sent.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Position of the next byte that is put in.
    pub(super) fn position(&self) -> u64 {
        self.base + self.end as u64
    }

    /// Position of the next byte that is sent.
    pub(super) fn sent_position(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Everything from `position` on, to be changed.
    pub(super) fn tail_mut(&mut self, position: u64) -> &mut [u8] {
        let at = (position - self.base) as usize;
        &mut self.memory[at..self.end]
    }

    /// What was put in at `position`.
    pub(super) fn at(&self, position: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(position.checked_sub(self.base)?).ok()?;
        self.memory[..self.end].get(at..at + len)
    }

    /// The free memory behind what was put in: at least what was [`reserve`](Self::reserve)d.
    #[inline]
    pub(super) fn free_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    /// `len` bytes of the free memory are to be sent, too.
    #[inline]
    pub(super) fn advance(&mut self, len: usize) {
        self.end += len;
        debug_assert!(self.end <= self.memory.len());
    }

    /// Makes room for `len` bytes, as long as no more than `limit` wait; what is longer than the limit passes alone. `None`
    /// when there is no room.
    #[inline]
    pub(super) fn reserve(&mut self, len: usize, limit: usize) -> Option<()> {
        if self.end + len > self.memory.len() {
            self.grow(len, limit)
        } else {
            Some(())
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, len: usize, limit: usize) -> Option<()> {
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end + len;
        if needed > limit && self.end > 0 {
            return None;
        }
        if needed > self.memory.len() {
            let bytes = needed.next_power_of_two().max(BYTES_MIN);
            self.memory.resize(bytes.min(limit).max(needed), 0);
        }
        Some(())
    }

    /// `len` bytes were sent.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.forget();
        }
    }

    /// Gives the memory away in exchange for `spare`, whose contents are lost, and says where in it is what is to be sent.
    pub(super) fn take(&mut self, spare: &mut Vec<u8>) -> Range<usize> {
        std::mem::swap(&mut self.memory, spare);
        let range = self.start..self.end;
        self.forget();
        range
    }

    /// Starts anew behind what there is, which is returned.
    pub(super) fn replace(&mut self) -> Self {
        let base = self.position();
        std::mem::replace(
            self,
            Self {
                base,
                ..Self::default()
            },
        )
    }

    fn forget(&mut self) {
        self.base += self.end as u64;
        (self.start, self.end) = (0, 0);
    }
}

/// What the memory starts with.
const BYTES_MIN: usize = 16 << 10;
