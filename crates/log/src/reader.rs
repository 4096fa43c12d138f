//! Readers: from a sequence or a time to runs of records, out of the tail or out of files.

use crate::disk::{Disk, DiskError, DiskErrorKind, Request, Token};
use crate::layout;
use crate::log::{Log, State};
use crate::mark::Mark;
use crate::writer::TokenClass;

/// Where a reader stands. Plain data: the log keeps nothing about readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// A record starts here, or will.
    pub(crate) position: u64,
    /// The sequence of the next data record there.
    pub(crate) at: u64,
    /// Data records before this sequence are passed over.
    pub(crate) target: u64,
    /// Data records older than this are passed over.
    pub(crate) not_before_ns: u64,
    /// Bytes of the record at `position`, where it is known that a usual read does not hold it.
    pub(crate) need: u32,
}

impl Cursor {
    pub(crate) fn at(mark: Mark) -> Self {
        Self {
            position: mark.position,
            at: mark.sequence,
            target: mark.sequence,
            not_before_ns: 0,
            need: 0,
        }
    }

    /// The next sequence that comes. After [`Log::seek_time`] into a file, a lower bound of it.
    pub fn sequence(&self) -> u64 {
        self.at.max(self.target)
    }

    /// Where in the stream it stands: how far behind a reader is, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether it still looks for the first record of a time: what it passes over is not for whoever reads.
    pub fn is_seeking(&self) -> bool {
        self.not_before_ns > 0
    }

    pub(crate) fn moved(self, position: u64, at: u64) -> Self {
        Self {
            position,
            at,
            need: 0,
            ..self
        }
    }

    /// Whether a data record of this time, which has the sequence `at`, is to come.
    #[inline]
    pub(crate) fn wants(&self, timestamp_ns: u64) -> bool {
        self.at >= self.target && timestamp_ns >= self.not_before_ns
    }

    #[inline]
    fn skips(&self) -> bool {
        self.at < self.target || self.not_before_ns > 0
    }

    /// Everything that had to be passed over has been.
    #[inline]
    pub(crate) fn arrived(self) -> Self {
        Self {
            target: self.at,
            not_before_ns: 0,
            ..self
        }
    }
}

/// Where a sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// Read from here. For the sequence after the last, reading waits for it.
    At(Cursor),
    /// The stream does not hold it. It holds `first..=last`, nothing when `last < first`.
    OutOfRange {
        /// The oldest sequence kept.
        first: u64,
        /// The newest sequence.
        last: u64,
    },
}

/// What there is to read at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Whole records, contiguous in the tail: [`Log::bytes`]`(position, len)`. Data, and definitions between them.
    Hot {
        /// Where in the tail.
        position: u64,
        /// Bytes.
        len: u32,
        /// Data records.
        records: u32,
        /// Sequence of the first of them.
        first: u64,
        /// Where to go on.
        next: Cursor,
    },
    /// A read was submitted. Its answer goes to [`Log::on_read`], then to [`Log::read_fetched`].
    Cold {
        /// The read.
        token: Token,
    },
    /// As many reads are in flight as may be: try again after one is answered.
    Busy,
    /// Nothing up to where it may be read.
    CaughtUp,
    /// These records will not come.
    Lost {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Why not.
        why: Loss,
        /// Where to go on.
        next: Cursor,
    },
}

/// Why records will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Retention removed them, or a stream without files had no more room for them.
    Removed,
    /// The file does not hold what was written there, or cannot be read.
    Damaged,
}

/// A read that was answered: `len` bytes of the stream from `position`, in a buffer that the caller keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub(crate) position: u64,
    pub(crate) len: u32,
    /// Sequence of the next data record at `position`.
    pub(crate) at: u64,
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadDone {
    /// Bytes came: go on with [`Log::read_fetched`].
    Fetched(Fetched),
    /// It was interrupted: [`Log::read`] again, with the same cursor.
    Again,
    /// It failed for these records.
    Lost {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Why.
        why: Loss,
        /// Where to go on.
        next: Cursor,
    },
    /// Not a read of this log, or answered before.
    Unknown,
}

/// Reads in flight.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pending: [Option<Pending>; READS_MAX],
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    token: Token,
    cursor: Cursor,
    segment: u64,
    len: u32,
    upto: Mark,
}

pub(crate) const READS_MAX: usize = 32;

impl Reads {
    /// Whether one of them is of this segment.
    pub(crate) fn touch(&self, segment: u64) -> bool {
        self.pending
            .iter()
            .flatten()
            .any(|read| read.segment == segment)
    }

    fn take(&mut self, token: Token) -> Option<Pending> {
        self.pending
            .iter_mut()
            .find_map(|slot| slot.take_if(|read| read.token == token))
    }
}

impl Log {
    /// The cursor of a sequence.
    pub fn seek(&self, sequence: u64) -> Seek {
        let (first, next) = (self.first.sequence, self.next.sequence);
        if sequence < first || sequence > next {
            return Seek::OutOfRange {
                first,
                last: next - 1,
            };
        }
        if sequence == next {
            return Seek::At(self.seek_end());
        }
        let mut place = self.first;
        if let Some((start, _)) = self
            .segments
            .at_sequence(sequence)
            .filter(|_| !self.is_volatile())
        {
            place = place.max(start);
        }
        if let Some(entry) = self.index.at_sequence(sequence) {
            place = place.max(Mark {
                sequence: entry.sequence,
                position: entry.position,
            });
        }
        let cursor = Cursor {
            target: sequence,
            ..Cursor::at(place)
        };
        Seek::At(self.walk_to(cursor))
    }

    /// The cursor of the first record that is not older than `timestamp_ns`.
    pub fn seek_time(&self, timestamp_ns: u64) -> Cursor {
        let mut place = self.first;
        if let Some((start, _)) = self
            .segments
            .at_time(timestamp_ns)
            .filter(|_| !self.is_volatile())
        {
            place = place.max(start);
        }
        if let Some(entry) = self.index.at_time(timestamp_ns) {
            place = place.max(Mark {
                sequence: entry.sequence,
                position: entry.position,
            });
        }
        self.walk_to(Cursor {
            not_before_ns: timestamp_ns,
            ..Cursor::at(place)
        })
    }

    /// The cursor of the oldest record.
    pub fn seek_first(&self) -> Cursor {
        Cursor::at(self.first)
    }

    /// The cursor of the newest record; of the end when there is none.
    pub fn seek_last(&self) -> Cursor {
        match self.seek(self.next.sequence.saturating_sub(1)) {
            Seek::At(cursor) => cursor,
            Seek::OutOfRange { .. } => self.seek_end(),
        }
    }

    /// The cursor behind the newest record.
    pub fn seek_end(&self) -> Cursor {
        Cursor::at(self.next)
    }

    /// What there is at `cursor`, not beyond `upto` (one of [`received`](Self::received), [`stored`](Self::stored),
    /// [`synced`](Self::synced)). A hot run has at most `bytes_max` bytes, but at least one record.
    ///
    /// After a device error nothing is given that was not synced.
    pub fn read(
        &mut self,
        cursor: &Cursor,
        upto: Mark,
        bytes_max: u32,
        disk: &mut impl Disk,
    ) -> Run {
        let mut upto = upto.min(self.next);
        if matches!(self.state, State::Poisoned(_)) {
            upto = upto.min(self.writer.synced);
        }
        let mut cursor = *cursor;
        if cursor.position < self.first.position {
            let (first, last) = (cursor.sequence(), self.first.sequence - 1);
            let next = Cursor {
                target: cursor.target,
                not_before_ns: cursor.not_before_ns,
                ..Cursor::at(self.first)
            };
            if first <= last && cursor.not_before_ns == 0 {
                return Run::Lost {
                    first,
                    last,
                    why: Loss::Removed,
                    next,
                };
            }
            cursor = next;
        }
        // Between the last record that was there at opening and the first one since, there are only the log's own.
        if cursor.at == self.opened_at.sequence && cursor.position < self.opened_at.position {
            cursor = cursor.moved(self.opened_at.position, cursor.at);
        }
        if cursor.position >= self.tail.oldest() {
            self.read_hot(cursor, upto, bytes_max)
        } else {
            // What is in neither the tail nor the file as a whole comes when it is written.
            self.read_cold(cursor, upto.min(self.writer.stored), disk)
        }
    }

    #[inline]
    fn read_hot(&self, mut cursor: Cursor, upto: Mark, bytes_max: u32) -> Run {
        loop {
            let mut end = upto;
            if let Some(own) = self.breaks.after(cursor.position) {
                if own.start.position <= cursor.position {
                    cursor = cursor.moved(own.end, cursor.at);
                    continue;
                }
                end = end.min(own.start);
            }
            if cursor.position >= upto.position {
                return Run::CaughtUp;
            }
            if cursor.skips() {
                cursor = self.skip(cursor, end.position);
                if cursor.position >= end.position {
                    continue;
                }
            }
            let len = end.position - cursor.position;
            if len > u64::from(bytes_max) {
                end = self.walk(cursor, end, bytes_max);
            }
            return Run::Hot {
                position: cursor.position,
                len: (end.position - cursor.position) as u32,
                records: (end.sequence - cursor.at) as u32,
                first: cursor.at,
                next: Cursor::at(end),
            };
        }
    }

    /// Passes over records that are not wanted. Everything up to `end` is data and definitions.
    fn skip(&self, mut cursor: Cursor, end: u64) -> Cursor {
        while cursor.position < end {
            let head = self.head(cursor.position);
            if head.is_data && cursor.wants(head.timestamp_ns) {
                return cursor.arrived();
            }
            cursor = cursor.moved(
                cursor.position + head.len,
                cursor.at + u64::from(head.is_data),
            );
        }
        cursor
    }

    /// The last record boundary within `bytes_max`, but behind the first record.
    #[cold]
    fn walk(&self, cursor: Cursor, end: Mark, bytes_max: u32) -> Mark {
        let limit = cursor.position + u64::from(bytes_max);
        let mut here = Mark {
            sequence: cursor.at,
            position: cursor.position,
        };
        // Most of a long way is in the index.
        if let Some(entry) = self
            .index
            .at_position(limit.min(end.position))
            .filter(|entry| entry.position > here.position)
        {
            here = Mark {
                sequence: entry.sequence,
                position: entry.position,
            };
        }
        while here.position < end.position {
            let head = self.head(here.position);
            if here.position + head.len > limit && here.position > cursor.position {
                break;
            }
            here.position += head.len;
            here.sequence += u64::from(head.is_data);
        }
        here
    }

    /// Goes on to the record that the cursor is for, as far as it lies in the tail.
    fn walk_to(&self, mut cursor: Cursor) -> Cursor {
        while cursor.position >= self.tail.oldest()
            && cursor.position < self.next.position
            && cursor.skips()
        {
            match self.breaks.after(cursor.position) {
                Some(own) if own.start.position <= cursor.position => {
                    cursor = cursor.moved(own.end, cursor.at)
                }
                Some(own) => {
                    cursor = self.skip(cursor, own.start.position);
                }
                None => {
                    cursor = self.skip(cursor, self.next.position);
                }
            }
        }
        cursor
    }

    /// The header of a data or definition record in the tail. It is ours: nothing to check.
    #[inline]
    fn head(&self, position: u64) -> Head {
        let bytes = self
            .tail
            .slice(position, trunkline_wire::record::HEADER_BYTES);
        let payload_len = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        let timestamp_ns = u64::from_le_bytes([
            bytes[16], bytes[17], bytes[18], bytes[19], bytes[20], bytes[21], bytes[22], bytes[23],
        ]);
        let is_data = bytes[5] == trunkline_wire::record::Kind::Data as u8;
        Head {
            len: layout::record_bytes(payload_len),
            timestamp_ns,
            is_data,
        }
    }

    #[cold]
    fn read_cold(&mut self, cursor: Cursor, upto: Mark, disk: &mut impl Disk) -> Run {
        if cursor.position >= upto.position {
            return Run::CaughtUp;
        }
        let Some(slot) = self.reads.pending.iter().position(Option::is_none) else {
            return Run::Busy;
        };
        let end = self
            .segments
            .end_of(cursor.position)
            .min(upto.position)
            .min(self.writer.stored_position);
        let len =
            u64::from(self.config.read_bytes.max(cursor.need)).min(end - cursor.position) as u32;
        let (segment, offset) = self.segments.locate(cursor.position);
        let token = self.writer.token(TokenClass::Read);
        self.reads.pending[slot] = Some(Pending {
            token,
            cursor,
            segment,
            len,
            upto,
        });
        self.stats.reads += 1;
        disk.submit(
            self.id,
            token,
            Request::Read {
                segment,
                offset,
                len,
            },
        );
        Run::Cold { token }
    }

    /// Takes the answer to a read: how many bytes came. Their place is in the [`Fetched`]; the bytes stay with the caller.
    pub fn on_read(&mut self, token: Token, result: Result<u32, DiskError>) -> ReadDone {
        let Some(read) = self.reads.take(token) else {
            return ReadDone::Unknown;
        };
        match result {
            Ok(len) if len > 0 && len <= read.len => ReadDone::Fetched(Fetched {
                position: read.cursor.position,
                len,
                at: read.cursor.at,
            }),
            Err(error) if error.kind == DiskErrorKind::Interrupted => ReadDone::Again,
            failed => {
                self.stats.last_error = failed.err().or(self.stats.last_error);
                match self.next_trusted(read.cursor, read.upto) {
                    next if read.cursor.sequence() < next.at => {
                        let (first, last) = (read.cursor.sequence(), next.at - 1);
                        self.stats.records_damaged += last - first + 1;
                        ReadDone::Lost {
                            first,
                            last,
                            why: Loss::Damaged,
                            next,
                        }
                    }
                    // Only what was to be passed over could not be read.
                    next => ReadDone::Lost {
                        first: next.at,
                        last: next.at - 1,
                        why: Loss::Damaged,
                        next,
                    },
                }
            }
        }
    }

    /// The next place that is known from memory to be a record's start; `upto` if there is none before it.
    pub(crate) fn next_trusted(&self, cursor: Cursor, upto: Mark) -> Cursor {
        let entry = self
            .index
            .after_position(cursor.position)
            .map(|entry| Mark {
                sequence: entry.sequence,
                position: entry.position,
            });
        let start = self.segments.after_position(cursor.position);
        let next = [entry, start]
            .into_iter()
            .flatten()
            .min_by_key(|mark| mark.position);
        match next.filter(|next| next.position < upto.position) {
            Some(next) => cursor.moved(next.position, next.sequence),
            None => cursor.moved(upto.position, upto.sequence),
        }
    }
}

/// A record's header in the tail.
struct Head {
    len: u64,
    timestamp_ns: u64,
    is_data: bool,
}
