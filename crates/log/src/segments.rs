//! The segments that exist: their bases, and whether the next one is prepared.

use std::collections::VecDeque;

use crate::mark::Mark;

/// Segments in order; the last one is in use.
#[derive(Debug)]
pub(crate) struct Segments {
    bases: VecDeque<Base>,
    segment_bytes: u64,
    next_prepared: bool,
}

/// Where a segment starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) index: u64,
    /// Its first data record.
    pub(crate) sequence: u64,
    /// Time of the record before; the youngest of the segment before.
    pub(crate) before_ns: u64,
}

impl Segments {
    /// `bases` in order, without a gap, at least one.
    pub(crate) fn new(bases: VecDeque<Base>, segment_bytes: u64) -> Self {
        debug_assert!(!bases.is_empty());
        Self {
            bases,
            segment_bytes,
            next_prepared: false,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.bases.len() as u64
    }

    fn active(&self) -> &Base {
        self.bases.back().expect("there is always a segment in use")
    }

    pub(crate) fn active_index(&self) -> u64 {
        self.active().index
    }

    pub(crate) fn active_start(&self) -> u64 {
        self.active().index * self.segment_bytes
    }

    pub(crate) fn active_end(&self) -> u64 {
        self.active_start().saturating_add(self.segment_bytes)
    }

    pub(crate) fn first_index(&self) -> u64 {
        self.bases.front().map_or(0, |base| base.index)
    }

    /// Segment and offset of a position.
    pub(crate) fn locate(&self, position: u64) -> (u64, u64) {
        (position / self.segment_bytes, position % self.segment_bytes)
    }

    /// End of the segment that holds `position`.
    pub(crate) fn end_of(&self, position: u64) -> u64 {
        (position / self.segment_bytes + 1).saturating_mul(self.segment_bytes)
    }

    pub(crate) fn is_next_prepared(&self) -> bool {
        self.next_prepared
    }

    pub(crate) fn on_prepared(&mut self) {
        self.next_prepared = true;
    }

    /// The next segment is in use from now on.
    pub(crate) fn rotate(&mut self, sequence: u64, before_ns: u64) {
        let index = self.active_index() + 1;
        self.bases.push_back(Base {
            index,
            sequence,
            before_ns,
        });
        self.next_prepared = false;
    }

    /// The second segment: what is oldest once the first is removed. `None` while there is only the one in use.
    pub(crate) fn second(&self) -> Option<&Base> {
        self.bases.get(1)
    }

    pub(crate) fn remove_first(&mut self) {
        self.bases.pop_front();
    }

    /// The start of the last segment at or before a sequence.
    pub(crate) fn at_sequence(&self, sequence: u64) -> Option<(Mark, u64)> {
        self.start(self.bases.partition_point(|base| base.sequence <= sequence))
    }

    /// The start of the last segment before which everything is older.
    pub(crate) fn at_time(&self, timestamp_ns: u64) -> Option<(Mark, u64)> {
        self.start(
            self.bases
                .partition_point(|base| base.before_ns < timestamp_ns),
        )
    }

    /// The start of the first segment behind a position.
    pub(crate) fn after_position(&self, position: u64) -> Option<Mark> {
        let count = self
            .bases
            .partition_point(|base| base.index * self.segment_bytes <= position);
        self.bases.get(count).map(|base| self.mark(base))
    }

    fn start(&self, count: usize) -> Option<(Mark, u64)> {
        let base = self.bases.get(count.checked_sub(1)?)?;
        Some((self.mark(base), base.before_ns))
    }

    fn mark(&self, base: &Base) -> Mark {
        Mark {
            sequence: base.sequence,
            position: base.index * self.segment_bytes,
        }
    }
}
