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

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments 3, 4 and 5 of 1000 bytes, from sequences 10, 20 and 30 and times 100, 200 and 300 on.
    fn segments() -> Segments {
        let base = |index: u64| Base {
            index,
            sequence: (index - 2) * 10,
            before_ns: (index - 2) * 100,
        };
        Segments::new((3..=5).map(base).collect(), 1000)
    }

    fn mark(sequence: u64, position: u64) -> Mark {
        Mark { sequence, position }
    }

    #[test]
    fn a_position_belongs_to_one_segment() {
        let segments = segments();
        assert_eq!(segments.locate(3999), (3, 999));
        assert_eq!(segments.locate(4000), (4, 0));
        assert_eq!((segments.end_of(3999), segments.end_of(4000)), (4000, 5000));
        assert_eq!(
            (segments.active_start(), segments.active_end()),
            (5000, 6000)
        );
        assert_eq!((segments.first_index(), segments.active_index()), (3, 5));
        assert_eq!(segments.count(), 3);
    }

    #[test]
    fn starts_are_found_by_sequence_time_and_position() {
        let segments = segments();
        assert_eq!(segments.at_sequence(9), None);
        assert_eq!(segments.at_sequence(10), Some((mark(10, 3000), 100)));
        assert_eq!(segments.at_sequence(19), Some((mark(10, 3000), 100)));
        assert_eq!(segments.at_sequence(20), Some((mark(20, 4000), 200)));
        assert_eq!(segments.at_sequence(99), Some((mark(30, 5000), 300)));
        // A record of that very time may be the last one before it.
        assert_eq!(segments.at_time(100), None);
        assert_eq!(segments.at_time(101), Some((mark(10, 3000), 100)));
        assert_eq!(segments.at_time(200), Some((mark(10, 3000), 100)));
        assert_eq!(segments.at_time(201), Some((mark(20, 4000), 200)));
        assert_eq!(segments.after_position(2999), Some(mark(10, 3000)));
        assert_eq!(segments.after_position(3000), Some(mark(20, 4000)));
        assert_eq!(segments.after_position(4999), Some(mark(30, 5000)));
        assert_eq!(segments.after_position(5000), None);
    }

    #[test]
    fn the_next_segment_is_used_once_it_is_prepared_and_the_first_goes() {
        let mut segments = segments();
        assert!(!segments.is_next_prepared());
        segments.on_prepared();
        assert!(segments.is_next_prepared());
        segments.rotate(40, 400);
        assert!(!segments.is_next_prepared());
        assert_eq!((segments.active_index(), segments.count()), (6, 4));
        assert_eq!(segments.second().map(|base| base.index), Some(4));
        segments.remove_first();
        assert_eq!((segments.first_index(), segments.count()), (4, 3));
    }
}
