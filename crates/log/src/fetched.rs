//! What was read from a file: every record is verified again, runs are cut where the log's own records stand.

use trunkline_wire::record::{self, Kind, RawRecord};

use crate::config::RECORD_BYTES_MAX;
use crate::log::Log;
use crate::mark::Mark;
use crate::marks;
use crate::reader::{Cursor, Fetched, Loss};

/// What there is at a cursor in a buffer that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchedRun {
    /// Whole records, verified: `len` bytes of the buffer from `offset`.
    Run {
        /// Where in the buffer.
        offset: u32,
        /// Bytes.
        len: u32,
        /// Data records.
        records: u32,
        /// Sequence of the first of them.
        first: u64,
        /// Where to go on; first in the same buffer.
        next: Cursor,
    },
    /// The buffer holds no more of use: go on with [`Log::read`].
    Done {
        /// Where to go on.
        next: Cursor,
    },
    /// These records are damaged in the file, and will not come.
    Lost {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Why.
        why: Loss,
        /// Where to go on; first in the same buffer.
        next: Cursor,
    },
}

/// What a record in a buffer is to the reader.
enum Item {
    Data {
        len: u64,
        timestamp_ns: u64,
    },
    Definition {
        len: u64,
    },
    Own {
        len: u64,
    },
    /// Not whole: so many bytes are needed.
    Cut {
        need: u64,
    },
    Damaged,
}

impl Log {
    /// The next run at `cursor` in the buffer of a read, not beyond `upto` and of at most `bytes_max` bytes, but at least one record. Call it with
    /// the `next` of each answer until [`FetchedRun::Done`]; the buffer must stay until what was handed out is sent.
    pub fn read_fetched(
        &mut self,
        fetched: &Fetched,
        bytes: &[u8],
        cursor: &Cursor,
        upto: Mark,
        bytes_max: u32,
    ) -> FetchedRun {
        let bytes = &bytes[..bytes.len().min(fetched.len as usize)];
        let end = fetched.position + bytes.len() as u64;
        let mut cursor = *cursor;
        if cursor.position < fetched.position {
            // `read` began further on: there was nothing to read in between.
            cursor = cursor.moved(fetched.position, fetched.at);
        }
        let mut run: Option<Cursor> = None;
        // A record does not reach beyond the next place that is known to be one's start. Those are far apart: looked up when passed.
        let mut bound = cursor.position;
        loop {
            if run.is_none() && self.is_exhausted(&cursor) {
                let start = self
                    .segments
                    .after_position(cursor.position)
                    .map_or(end, |mark| mark.position);
                cursor = cursor.moved(start, cursor.at);
            }
            let inside =
                cursor.position >= fetched.position && cursor.position < end.min(upto.position);
            let item = if inside {
                if cursor.position >= bound {
                    bound = self.next_trusted(cursor, self.next).position;
                }
                let rest = &bytes[(cursor.position - fetched.position) as usize..];
                self.item(rest, &cursor, bound)
            } else {
                return finish(run, cursor, fetched, cursor);
            };
            match item {
                Item::Data { len, timestamp_ns } => {
                    if run.is_none() && !cursor.wants(timestamp_ns) {
                        cursor = cursor.moved(cursor.position + len, cursor.at + 1);
                        continue;
                    }
                    if run.is_none() {
                        cursor = cursor.arrived();
                    }
                    let start = *run.get_or_insert(cursor);
                    if cursor.position + len - start.position > u64::from(bytes_max)
                        && cursor.position > start.position
                    {
                        return finish(run, cursor, fetched, cursor);
                    }
                    cursor = Cursor::at(Mark {
                        sequence: cursor.at + 1,
                        position: cursor.position + len,
                    });
                }
                // A definition that stands at a run's start is not needed: the log knows its subjects.
                Item::Definition { len } | Item::Own { len } if run.is_none() => {
                    cursor = cursor.moved(cursor.position + len, cursor.at);
                }
                Item::Definition { len } => {
                    let start = run.map_or(cursor.position, |start| start.position);
                    if cursor.position + len - start > u64::from(bytes_max) {
                        return finish(run, cursor, fetched, cursor);
                    }
                    cursor = cursor.moved(cursor.position + len, cursor.at);
                }
                Item::Own { .. } => return finish(run, cursor, fetched, cursor),
                Item::Cut { need } if run.is_none() => {
                    let need = need.min(u64::from(u32::MAX)) as u32;
                    return FetchedRun::Done {
                        next: Cursor { need, ..cursor },
                    };
                }
                Item::Damaged if run.is_none() => {
                    match self.pass_damage(fetched, bytes, cursor, upto) {
                        Ok(next) => cursor = next,
                        Err(lost) => return lost,
                    }
                }
                Item::Cut { .. } | Item::Damaged => return finish(run, cursor, fetched, cursor),
            }
        }
    }

    /// All data of the cursor's segment has been read: what is left of it is the log's own.
    fn is_exhausted(&self, cursor: &Cursor) -> bool {
        self.segments
            .after_position(cursor.position)
            .is_some_and(|start| start.sequence == cursor.at)
    }

    /// The record at the cursor, with every check that there is; it does not reach beyond `bound`.
    fn item(&self, rest: &[u8], cursor: &Cursor, bound: u64) -> Item {
        let room = bound - cursor.position;
        let raw = match RawRecord::peek(rest, RECORD_BYTES_MAX) {
            Ok(Some(raw)) => raw,
            Ok(None) => {
                let need = match rest.get(24..28) {
                    Some(len) => {
                        record::record_bytes(u32::from_le_bytes([len[0], len[1], len[2], len[3]]))
                            as u64
                    }
                    None => record::PREFIX_BYTES as u64,
                };
                return if need > room {
                    Item::Damaged
                } else {
                    Item::Cut { need }
                };
            }
            Err(_) => return Item::Damaged,
        };
        let len = raw.len() as u64;
        if raw.sequence() != cursor.at || len > room {
            return Item::Damaged;
        }
        let own = match raw.kind() {
            Kind::Data | Kind::Definition => {
                let Ok(record) = raw.verify() else {
                    return Item::Damaged;
                };
                return match record.kind() {
                    Kind::Data => Item::Data {
                        len,
                        timestamp_ns: record.timestamp_ns(),
                    },
                    _ => Item::Definition { len },
                };
            }
            Kind::Batch => {
                marks::read_evidence(&raw, self.identity.salt, cursor.position).is_some()
            }
            Kind::Pad => raw.verify().is_ok(),
            Kind::Segment => {
                let (segment, offset) = self.segments.locate(cursor.position);
                offset == 0
                    && marks::read_segment(rest)
                        .is_ok_and(|head| head.index == segment && head.identity == self.identity)
            }
            // The data of a sealed segment ends before its seal, and the cursor never goes there.
            Kind::Seal => false,
        };
        if own {
            Item::Own { len }
        } else {
            Item::Damaged
        }
    }

    /// Finds where to go on behind a damaged record: at the next one if that follows provably, else at the next place that is known from memory.
    #[cold]
    fn pass_damage(
        &mut self,
        fetched: &Fetched,
        bytes: &[u8],
        cursor: Cursor,
        upto: Mark,
    ) -> Result<Cursor, FetchedRun> {
        let next = self
            .follower(fetched, bytes, cursor)
            .unwrap_or_else(|| self.next_trusted(cursor, upto));
        let (first, end) = (cursor.sequence(), next.at);
        // Records that were to be passed over anyway, and records of the log's own, are no loss.
        if first >= end || cursor.not_before_ns > 0 && next.at == cursor.at {
            return Ok(next);
        }
        self.stats.records_damaged += end - first;
        Err(FetchedRun::Lost {
            first,
            last: end - 1,
            why: Loss::Damaged,
            next,
        })
    }

    /// The record behind the damaged one, if the damaged one's length is right and the next one valid. One that is whole and only not due here belongs
    /// elsewhere, and so does what follows it.
    fn follower(&self, fetched: &Fetched, bytes: &[u8], cursor: Cursor) -> Option<Cursor> {
        let rest = bytes.get((cursor.position - fetched.position) as usize..)?;
        let raw = RawRecord::peek(rest, RECORD_BYTES_MAX).ok()??;
        if raw.verify().is_ok() {
            return None;
        }
        let behind = rest.get(raw.len()..).filter(|behind| !behind.is_empty())?;
        [cursor.at + 1, cursor.at].into_iter().find_map(|at| {
            let next = cursor.moved(cursor.position + raw.len() as u64, at);
            let bound = self.next_trusted(next, self.next).position;
            matches!(
                self.item(behind, &next, bound),
                Item::Data { .. } | Item::Own { .. }
            )
            .then_some(next)
        })
    }
}

/// The run from `start` to `here`, or nothing.
fn finish(start: Option<Cursor>, here: Cursor, fetched: &Fetched, next: Cursor) -> FetchedRun {
    match start {
        Some(start) if here.position > start.position => FetchedRun::Run {
            offset: (start.position - fetched.position) as u32,
            len: (here.position - start.position) as u32,
            records: (here.at - start.at) as u32,
            first: start.at,
            next,
        },
        _ => FetchedRun::Done { next },
    }
}
