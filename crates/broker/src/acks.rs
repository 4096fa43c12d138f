//! What a session's Publish frames wait for, in order.

use std::collections::VecDeque;

use trunkline_log::{DiskError, DiskErrorKind, State};
use trunkline_wire::record::ADDRESS_BYTES;
use trunkline_wire::{Ack, AckLevel, ErrorBody, ErrorCode, ErrorFlags};

use crate::catalog::SYSTEM_PREFIX;
use crate::out::{Out, SessionId};
use crate::slab::Key;
use crate::stream::Stream;
use crate::unopened::Unopened;

/// The frames of one session that are not answered yet: a row for each stream that a frame has records in, one for its refusal.
#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    rows: VecDeque<Row>,
    /// Rows at the back that belong to the frame that is still coming in.
    open: usize,
    /// The session is in the list of sessions to look at, or waits for a stream.
    pub(crate) listed: bool,
}

/// A part of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) frame: u16,
    /// What it waits for.
    pub(crate) level: AckLevel,
    /// What the Ack says: the weakest level of the frame's rows.
    pub(crate) told: AckLevel,
    /// The last row of its frame that is acknowledged: it has the numbers of all.
    pub(crate) ends: bool,
    /// It ends a frame without records, whose Ack is sent for itself.
    pub(crate) alone: bool,
    /// It ends a frame whose Ack is not joined with those of earlier frames.
    pub(crate) apart: bool,
    /// [`Key::NONE`]: there is nothing to wait for.
    pub(crate) stream: Key,
    /// The last sequence in the stream.
    pub(crate) upto: u64,
    pub(crate) count: u32,
    pub(crate) stream_sequence: u64,
    pub(crate) producer_first: u64,
    pub(crate) producer_last: u64,
    pub(crate) refused: Option<ErrorCode>,
    /// What there is to say of that beyond its code.
    pub(crate) why: Why,
}

/// More about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nothing: the code says it.
    Code,
    /// The first refused record was over this limit; both are `payload_len`s.
    Over { payload_len: u32, payload_max: u32 },
    /// What the stream's disk answered.
    Disk(DiskError),
    /// The session has all the subjects that it may have: so many, whose names have at most so many bytes.
    SessionSubjects { subjects: u32, bytes: u32 },
    /// So has this stream.
    StreamSubjects { stream: Key },
    /// The subject is one of those that the server answers itself.
    Reserved,
    /// The stream of this number could not be opened.
    Unopened { number: u32 },
    /// This stream is in memory, and the frame asks for more than that.
    Volatile { stream: Key },
}

impl Why {
    /// What a stream in this state has to say.
    pub(crate) fn of(state: State) -> Self {
        match state {
            State::Poisoned(error) => Self::Disk(error),
            // That there is no space is what the code says.
            State::NoSpace(error) if error.kind != DiskErrorKind::NoSpace => Self::Disk(error),
            State::Ok | State::NoSpace(_) => Self::Code,
        }
    }
}

/// What the first row waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) stream: Key,
    pub(crate) level: AckLevel,
    pub(crate) upto: u64,
}

impl Row {
    pub(crate) const fn new(frame: u16) -> Self {
        Self {
            frame,
            level: AckLevel::Received,
            told: AckLevel::Received,
            ends: false,
            alone: false,
            apart: false,
            stream: Key::NONE,
            upto: 0,
            count: 0,
            stream_sequence: 0,
            producer_first: 0,
            producer_last: 0,
            refused: None,
            why: Why::Code,
        }
    }
}

impl AckQueue {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are complete frames.
    pub(crate) fn has_work(&self) -> bool {
        self.rows.len() > self.open
    }

    /// The row of the frame that is coming in for this stream.
    pub(crate) fn row(&mut self, stream: Key) -> Option<&mut Row> {
        self.rows
            .iter_mut()
            .rev()
            .take(self.open)
            .find(|row| row.stream == stream)
    }

    /// Adds a row to the frame that is coming in.
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push_back(row);
        self.open += 1;
    }

    pub(crate) fn last_open(&mut self) -> Option<&mut Row> {
        if self.open == 0 {
            None
        } else {
            self.rows.back_mut()
        }
    }

    /// The frame is complete.
    pub(crate) fn close_frame(&mut self) {
        self.open = 0;
    }

    /// Answers what can be answered, Acks coalesced, refusals in their place. Returns how many frames that were, and what the
    /// first row that is left waits for.
    pub(crate) fn answer<'s>(
        &mut self,
        session: SessionId,
        stream: impl Fn(Key) -> Option<&'s Stream>,
        unopened: &[Unopened],
        out: &mut impl Out,
    ) -> (usize, Option<Wait>) {
        let mut pending: Option<(u16, Ack)> = None;
        let mut answered = 0;
        let mut wait = None;
        while self.rows.len() > self.open {
            let row = self.rows[0];
            if row.refused.is_some() {
                answered += 1;
                match pending.take_if(|(frame, _)| *frame == row.frame) {
                    Some((frame, ack)) => out.acked_in_part(session, frame, ack),
                    None => emit(&mut pending, session, out),
                }
                refuse(session, &row, &stream, unopened, out);
                self.rows.pop_front();
                continue;
            }
            match state(&row, &stream) {
                RowState::Reached => {
                    self.rows.pop_front();
                    if row.ends {
                        answered += 1;
                        merge(&mut pending, &row, session, out);
                    }
                }
                RowState::Waits => {
                    wait = Some(Wait {
                        stream: row.stream,
                        level: row.level,
                        upto: row.upto,
                    });
                    break;
                }
                RowState::Never(code, why) => {
                    answered += 1;
                    emit(&mut pending, session, out);
                    self.fail_frame(session, code, why, &stream, out);
                }
            }
        }
        emit(&mut pending, session, out);
        (answered, wait)
    }

    /// The first frame will never get to its level. What can be said of it is that it was not acknowledged.
    #[cold]
    fn fail_frame<'s>(
        &mut self,
        session: SessionId,
        code: ErrorCode,
        why: Why,
        stream: &impl Fn(Key) -> Option<&'s Stream>,
        out: &mut impl Out,
    ) {
        while let Some(row) = self.rows.pop_front() {
            if row.ends {
                // What was refused at once, if anything, is the rest of what this names: a frame has one Error.
                let is_rest = |next: &mut Row| next.frame == row.frame && next.refused.is_some();
                let rest = self.rows.pop_front_if(is_rest);
                refuse(
                    session,
                    &Row {
                        refused: Some(code),
                        why,
                        count: row.count + rest.map_or(0, |rest| rest.count),
                        ..row
                    },
                    stream,
                    &[],
                    out,
                );
                return;
            }
        }
    }
}

enum RowState {
    Reached,
    Waits,
    Never(ErrorCode, Why),
}

fn state<'s>(row: &Row, stream: &impl Fn(Key) -> Option<&'s Stream>) -> RowState {
    if row.stream == Key::NONE {
        return RowState::Reached;
    }
    let Some(stream) = stream(row.stream) else {
        return RowState::Never(ErrorCode::NOT_FOUND, Why::Code);
    };
    if !stream.can_give(row.level) {
        let stream = row.stream;
        return RowState::Never(ErrorCode::LEVEL, Why::Volatile { stream });
    }
    if stream.mark(row.level).sequence > row.upto {
        RowState::Reached
    } else if stream.is_poisoned() {
        RowState::Never(ErrorCode::READ_ONLY, Why::of(stream.log.state()))
    } else {
        RowState::Waits
    }
}

fn merge(pending: &mut Option<(u16, Ack)>, row: &Row, session: SessionId, out: &mut impl Out) {
    if row.alone {
        emit(pending, session, out);
        let ack = Ack {
            level: row.told,
            count: 0,
            stream_sequence: 0,
            producer_sequence: 0,
        };
        return out.acked(session, row.frame, ack);
    }
    if row.apart {
        emit(pending, session, out);
    }
    if let (0, Some((frame, _))) = (row.count, pending.as_mut()) {
        // A frame without records has no last record, and no level of its own.
        *frame = row.frame;
        return;
    }
    if pending.is_some_and(|(_, ack)| ack.level != row.told) {
        emit(pending, session, out);
    }
    let before = pending.map_or(0, |(_, ack)| ack.count);
    let ack = Ack {
        level: row.told,
        count: before.saturating_add(row.count),
        stream_sequence: row.stream_sequence,
        producer_sequence: row.producer_last,
    };
    *pending = Some((row.frame, ack));
}

fn emit(pending: &mut Option<(u16, Ack)>, session: SessionId, out: &mut impl Out) {
    if let Some((frame, ack)) = pending.take() {
        out.acked(session, frame, ack);
    }
}

fn refuse<'s>(
    session: SessionId,
    row: &Row,
    stream: &impl Fn(Key) -> Option<&'s Stream>,
    unopened: &[Unopened],
    out: &mut impl Out,
) {
    let code = row.refused.unwrap_or(ErrorCode::NONE);
    let more = match row.why {
        Why::Code => None,
        // A payload_len counts the address, too, which nobody who publishes has written.
        Why::Over {
            payload_len,
            payload_max,
        } => Some(format!(
            "{}: it has {} bytes of payload, the limit is {}",
            code.description(),
            payload_len.saturating_sub(ADDRESS_BYTES as u32),
            payload_max.saturating_sub(ADDRESS_BYTES as u32)
        )),
        Why::Disk(error) if code == ErrorCode::NO_SPACE => Some(format!(
            "the stream is full, and its next segment cannot be made: {error}"
        )),
        Why::Disk(error) => Some(format!("{}: {error}", code.description())),
        Why::SessionSubjects { subjects, bytes } => Some(format!(
            "this connection has published to as many subjects as it may (`limits.session_subjects`: {subjects}, names of {bytes} bytes in all); \
             further ones need another connection"
        )),
        Why::StreamSubjects { stream: key } => stream(key).map(|stream| {
            format!(
                "stream {} has as many subjects as it may (`limits.stream_subjects`: {})",
                stream.plan.name,
                stream.log.config().subjects_max
            )
        }),
        Why::Reserved => Some(format!(
            "{}: those below `{SYSTEM_PREFIX}` are the server's own, and nobody can publish to them",
            code.description()
        )),
        Why::Unopened { number } => unopened
            .iter()
            .find(|known| known.number == number)
            .map(|known| format!("stream {} is not served: {}", known.name, known.reason)),
        Why::Volatile { stream: key } => stream(key).map(|stream| {
            format!(
                "stream {} is in memory, where nothing survives the server: it can acknowledge `received`, not {}",
                stream.plan.name, row.level
            )
        }),
    };
    let error = ErrorBody {
        code,
        flags: ErrorFlags::empty(),
        count: row.count,
        offset: 0,
        producer_sequence: row.producer_first,
        message: more.as_deref().unwrap_or(code.description()),
    };
    out.refused(session, row.frame, &error);
}
