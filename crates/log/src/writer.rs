//! What is on its way to the disk, and how far the disk has come.

use std::collections::VecDeque;

use crate::disk::{DiskError, Token};
use crate::layout::{BLOCK_BYTES, PAGE_BYTES};
use crate::mark::Mark;

/// Frontiers, requests in flight, and what somebody waits for.
///
/// ```text
/// synced ≤ stored ≤ submitted ≤ received        (positions)
/// ```
/// A frontier moves only when everything before it is done, whatever the order of completions.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Up to where writes were submitted.
    pub(crate) submitted: u64,
    /// Written: the last record boundary, and the byte.
    pub(crate) stored: Mark,
    pub(crate) stored_position: u64,
    /// On the device: likewise.
    pub(crate) synced: Mark,
    pub(crate) synced_position: u64,
    /// Writes in flight, in order of position.
    ops: VecDeque<WriteOp>,
    /// Record boundaries that are not submitted yet, at which a long stretch may be cut.
    checkpoints: VecDeque<Mark>,
    /// The sync in flight and up to where it counts.
    pub(crate) sync: Option<(Token, Mark)>,
    /// Up to where the next sync is to count: the end of a page or of a segment.
    pub(crate) commit: Option<Mark>,
    /// Somebody waits for everything before this sequence to be synced.
    pub(crate) wanted: u64,
    /// End of the last thing that is worth a sync: any record but a mark that only repeats what is known.
    pub(crate) significant: u64,
    /// When the background sync is due.
    pub(crate) sync_due_ns: Option<u64>,
    /// When a mark is to tell that the last sync succeeded.
    pub(crate) frontier_due_ns: Option<u64>,
    /// The highest durable frontier that a mark tells.
    pub(crate) told: Mark,
    next_token: u64,
}

/// A write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteOp {
    pub(crate) token: Token,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The last record boundary that it reaches, if it reaches one.
    pub(crate) mark: Option<Mark>,
    pub(crate) sync: bool,
    done: bool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is counted.
    Done,
    /// Submit this again.
    Again(WriteOp),
    /// Nothing more can be said about the file.
    Failed(DiskError),
    /// Not one of ours.
    Unknown,
}

/// Writes in flight at a time.
pub(crate) const WRITES_MAX: usize = 4;
/// Bytes of one write.
pub(crate) const WRITE_BYTES_MAX: u64 = 256 << 10;

impl Writer {
    /// Everything before `start` is on the device.
    pub(crate) fn new(start: Mark, tail_bytes: u64) -> Self {
        Self {
            submitted: start.position,
            stored: start,
            stored_position: start.position,
            synced: start,
            synced_position: start.position,
            ops: VecDeque::with_capacity(WRITES_MAX),
            checkpoints: VecDeque::with_capacity((tail_bytes / BLOCK_BYTES) as usize * 2 + 8),
            sync: None,
            commit: None,
            wanted: 0,
            significant: start.position,
            sync_due_ns: None,
            frontier_due_ns: None,
            told: Mark::default(),
            next_token: 0,
        }
    }

    pub(crate) fn token(&mut self, class: TokenClass) -> Token {
        self.next_token += 1;
        Token(self.next_token << 3 | class as u64)
    }

    /// Whether something is worth a sync.
    #[inline]
    pub(crate) fn is_dirty(&self) -> bool {
        self.significant > self.synced_position
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.ops.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ops.len() == WRITES_MAX
    }

    /// Notes a record boundary.
    pub(crate) fn checkpoint(&mut self, mark: Mark) {
        if self
            .checkpoints
            .back()
            .is_none_or(|last| last.position < mark.position)
        {
            self.checkpoints.push_back(mark);
        }
    }

    /// Decides the next write from `submitted` towards `next`, within the segment that ends at `segment_end`. A synced write that does not reach `next`
    /// ends with a page.
    pub(crate) fn cut(&mut self, next: Mark, segment_end: u64, sync: bool) -> WriteOp {
        let start = self.submitted;
        let limit = segment_end.min(start + WRITE_BYTES_MAX);
        let token = self.token(TokenClass::Write);
        let (end, mark) = if next.position <= limit {
            self.pass(next.position);
            (next.position, Some(next))
        } else if sync && limit < segment_end {
            let end = limit / PAGE_BYTES * PAGE_BYTES;
            (end, self.pass(end))
        } else {
            match self.pass(limit) {
                Some(mark) => (mark.position, Some(mark)),
                None => (limit, None),
            }
        };
        let op = WriteOp {
            token,
            start,
            end,
            mark,
            sync,
            done: false,
        };
        self.submitted = end;
        self.ops.push_back(op);
        op
    }

    /// Forgets the checkpoints up to `position` and returns the last of them.
    fn pass(&mut self, position: u64) -> Option<Mark> {
        let mut last = None;
        while let Some(mark) = self
            .checkpoints
            .front()
            .filter(|mark| mark.position <= position)
        {
            last = Some(*mark);
            self.checkpoints.pop_front();
        }
        last
    }

    /// Takes the answer to a write and moves the frontiers over everything that is done without a gap.
    pub(crate) fn on_write(&mut self, token: Token, result: Result<u32, DiskError>) -> Written {
        let Some(op) = self.ops.iter_mut().find(|op| op.token == token) else {
            return Written::Unknown;
        };
        let len = op.end - op.start;
        match result {
            Ok(written) if u64::from(written) == len => op.done = true,
            // Nothing of a plain write was promised: the rest may be written again.
            Ok(written) if !op.sync && written > 0 && u64::from(written) < len => {
                op.start += u64::from(written);
                return Written::Again(*op);
            }
            Ok(_) => return Written::Failed(DiskError::SHORT),
            Err(error) if error.kind == crate::disk::DiskErrorKind::Interrupted => {
                return Written::Again(*op);
            }
            Err(error) => return Written::Failed(error),
        }
        while let Some(op) = self.ops.front().filter(|op| op.done).copied() {
            self.ops.pop_front();
            self.stored_position = op.end;
            if let Some(mark) = op.mark {
                self.stored = mark;
            }
            if op.sync {
                self.synced_position = op.end;
                if let Some(mark) = op.mark {
                    self.synced = mark;
                }
            }
        }
        Written::Done
    }
}

/// Which kind of request a token belongs to; its low three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenClass {
    Write = 0,
    Sync = 1,
    Prepare = 2,
    Remove = 3,
    Read = 4,
}

impl TokenClass {
    pub(crate) fn of(token: Token) -> Option<Self> {
        Some(match token.0 & 7 {
            0 => Self::Write,
            1 => Self::Sync,
            2 => Self::Prepare,
            3 => Self::Remove,
            4 => Self::Read,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sequence: u64, position: u64) -> Mark {
        Mark { sequence, position }
    }

    #[test]
    fn frontier_waits_for_the_gap() {
        let mut writer = Writer::new(mark(1, 0), 1 << 20);
        let a = writer.cut(mark(2, 100), 1 << 16, false);
        let b = writer.cut(mark(3, 200), 1 << 16, false);
        assert_eq!(writer.on_write(b.token, Ok(100)), Written::Done);
        assert_eq!(writer.stored, mark(1, 0));
        assert_eq!(writer.on_write(a.token, Ok(100)), Written::Done);
        assert_eq!((writer.stored, writer.stored_position), (mark(3, 200), 200));
        assert_eq!(writer.on_write(a.token, Ok(100)), Written::Unknown);
    }

    #[test]
    fn rest_of_a_short_write_is_written_again_but_a_synced_one_fails() {
        let mut writer = Writer::new(mark(1, 0), 1 << 20);
        let op = writer.cut(mark(2, 100), 1 << 16, false);
        let Written::Again(rest) = writer.on_write(op.token, Ok(40)) else {
            panic!("short")
        };
        assert_eq!((rest.start, rest.end), (40, 100));
        assert_eq!(writer.on_write(op.token, Ok(60)), Written::Done);
        let op = writer.cut(mark(3, 200), 1 << 16, true);
        assert_eq!(
            writer.on_write(op.token, Ok(40)),
            Written::Failed(DiskError::SHORT)
        );
        assert_eq!(writer.synced_position, 0);
    }

    #[test]
    fn long_stretch_is_cut_at_a_record_boundary_or_a_page() {
        let mut writer = Writer::new(mark(1, 0), 1 << 20);
        writer.checkpoint(mark(5, 70_000));
        writer.checkpoint(mark(9, 200_000));
        writer.checkpoint(mark(12, 270_000));
        let next = mark(20, 600_000);
        let op = writer.cut(next, 1 << 20, true);
        assert_eq!((op.end, op.mark), (WRITE_BYTES_MAX, Some(mark(9, 200_000))));
        let op = writer.cut(next, 1 << 20, false);
        assert_eq!((op.end, op.mark), (270_000, Some(mark(12, 270_000))));
        let op = writer.cut(next, 300_000, false);
        assert_eq!((op.end, op.mark), (300_000, None), "the segment ends");
    }
}
