//! What comes in: runs of records.

use trunkline_log::{AppendError, Log, Now};
use trunkline_route::{Subject, Table};
use trunkline_wire::record::RunRecords;
use trunkline_wire::{
    AckLevel, ErrorCode, FrameFlags, FrameHeader, Kind, Oversized, RawRecord, RecordError, Run,
};

use crate::acks::{Row, Why};
use crate::catalog::SYSTEM_PREFIX;
use crate::out::SessionId;
use crate::refusal::{PublishError, PublishFault};
use crate::shard::Shard;
use crate::slab::{Key, Slab};
use crate::stream::Stream;
use crate::subjects::{Meaning, SubjectTable};
use crate::unopened::{self, Unopened};

/// The Publish frame that a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishFrame {
    /// Its sequence, which names it in its Ack.
    pub sequence: u16,
    /// What its records are to have survived when it is acknowledged.
    pub level: AckLevel,
    /// Whether it is acknowledged. Refusals are told in any case.
    pub expects_ack: bool,
    /// Whether the frame ends with this run.
    pub last: bool,
    /// Whether its Ack is told apart from those of the frames before it: of a session that also publishes to other shards, one may lie between.
    /// Counts where the frame ends.
    pub apart: bool,
}

impl PublishFrame {
    /// From the header of the frame and whether the run is its last.
    pub fn new(header: FrameHeader, last: bool) -> Self {
        Self {
            sequence: header.sequence,
            level: header.flags.ack_level(),
            expects_ack: header.flags.contains(FrameFlags::EXPECTS_RESPONSE),
            last,
            apart: false,
        }
    }
}

/// How far publishing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Bytes of the run that were taken.
    pub bytes: usize,
    /// Not all of it: call again with the rest after a later turn, and with nothing else of this session before.
    pub full: bool,
    /// From one of its records on, the rest of the frame is refused.
    pub refused: bool,
}

/// The Publish frame of a session that is coming in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFrame {
    accepted: u32,
    stream_sequence: u64,
    producer_first: u64,
    producer_last: u64,
    level: AckLevel,
    refused: Option<Refused>,
}

/// From one record on, the rest of a frame is refused.
#[derive(Clone, Copy, Debug)]
struct Refused {
    code: ErrorCode,
    producer_sequence: u64,
    count: u32,
    /// What there is to say beyond the code.
    why: Why,
}

impl OpenFrame {
    const NEW: Self = Self {
        accepted: 0,
        stream_sequence: 0,
        producer_first: 0,
        producer_last: 0,
        level: AckLevel::Received,
        refused: None,
    };
}

impl Shard {
    /// Takes records of a Publish frame.
    ///
    /// # Errors
    /// When they break the protocol: the session is to be closed with the error's code.
    pub fn publish(
        &mut self,
        session: SessionId,
        frame: PublishFrame,
        run: Run<'_>,
        now: Now,
    ) -> Result<Published, PublishError> {
        let Some(key) = self.session_key(session) else {
            return Err(PublishError {
                fault: PublishFault::NoSession,
                offset: 0,
            });
        };
        let mut published = Published {
            bytes: 0,
            full: false,
            refused: false,
        };
        if !self.open_frame(key) {
            return Ok(Published {
                full: true,
                ..published
            });
        }
        let mut records = run.records();
        while published.bytes < run.len() {
            let taken = run.len() - records.rest().len();
            let result = match self.next_stretch(key, frame, &mut records, now) {
                Ok(stretch) => stretch,
                Err(fault) => {
                    return Err(PublishError {
                        fault,
                        offset: run.len() - records.rest().len(),
                    });
                }
            };
            published.bytes = run.len() - records.rest().len();
            debug_assert!(
                result == Stretch::Full || published.bytes > taken,
                "a stretch takes something or says why not"
            );
            match result {
                Stretch::Goes => {}
                Stretch::Refused => published.refused = true,
                Stretch::Full => {
                    published.full = true;
                    return Ok(published);
                }
            }
        }
        if frame.last {
            self.end_frame(key, frame);
        }
        Ok(published)
    }

    /// Takes a definition of the session that is in no frame. Returns the name, unless records of its id are refused: because it is no subject, or
    /// because the session has as many as it may.
    ///
    /// # Errors
    /// When it breaks the protocol: the session is to be closed with the error's code.
    pub fn define(
        &mut self,
        session: SessionId,
        record: RawRecord<'_>,
    ) -> Result<Option<&str>, PublishFault> {
        let session = self
            .session_key(session)
            .and_then(|key| self.sessions.at_mut(key))
            .ok_or(PublishFault::NoSession)?;
        let id = record.subject_id();
        define(&mut session.subjects, record)?;
        let name = session
            .subjects
            .find(id)
            .map(|index| session.subjects.name(index));
        Ok(name.filter(|name| !name.is_empty()))
    }

    /// Takes the end of a Publish frame whose rest was skipped because of a record over the limit. With `full`, it was not taken: call again
    /// after a later turn.
    pub fn publish_oversized(
        &mut self,
        session: SessionId,
        frame: PublishFrame,
        oversized: &Oversized,
    ) -> Published {
        let taken = Published {
            bytes: 0,
            full: false,
            refused: true,
        };
        let Some(key) = self.session_key(session) else {
            return taken;
        };
        if !self.open_frame(key) {
            return Published {
                full: true,
                ..taken
            };
        }
        if let Some(open) = self
            .sessions
            .at_mut(key)
            .and_then(|session| session.frame.as_mut())
        {
            refuse(
                open,
                ErrorCode::RECORD_TOO_LONG,
                oversized.sequence,
                oversized.records,
                Why::Over {
                    payload_len: oversized.payload_len,
                    payload_max: oversized.payload_max,
                },
            );
        }
        self.end_frame(key, frame);
        taken
    }

    /// Makes sure that there is a frame for what comes. False: too much waits for acks.
    #[inline]
    fn open_frame(&mut self, key: Key) -> bool {
        // One row for each stream that a frame can touch, and one for its refusal.
        let room = self.streams.len() as usize + 2;
        let max = (self.config.limits.session_acks as usize).max(2 * room);
        let Some(session) = self.sessions.at_mut(key) else {
            return false;
        };
        if session.frame.is_none() {
            if session.acks.len() + room > max {
                return false;
            }
            session.frame = Some(OpenFrame::NEW);
        }
        true
    }

    /// Takes records up to the first that goes to another stream or needs a closer look, or takes care of that one.
    fn next_stretch(
        &mut self,
        key: Key,
        frame: PublishFrame,
        records: &mut RunRecords<'_>,
        now: Now,
    ) -> Result<Stretch, PublishFault> {
        let Some(session) = self.sessions.at_mut(key) else {
            return Err(PublishFault::NoSession);
        };
        let Some(open) = session.frame.as_mut() else {
            return Ok(Stretch::Full);
        };
        let Some(record) = records.clone().next() else {
            return Ok(Stretch::Full);
        };
        match record.kind() {
            Kind::Data => {}
            Kind::Definition => {
                define(&mut session.subjects, record)?;
                records.next();
                return Ok(Stretch::Goes);
            }
            kind => return Err(PublishFault::Record(RecordError::Kind { kind: kind as u8 })),
        }
        if let Some(refused) = &mut open.refused {
            refused.count = refused.count.saturating_add(1);
            records.next();
            return Ok(Stretch::Refused);
        }
        let id = record.subject_id();
        let epoch = self.epoch;
        let meaning = match session.subjects.find(id) {
            Some(index) => match session.subjects.meaning(index, epoch) {
                Meaning::Unknown => {
                    let meaning = resolve(
                        &self.routes,
                        &mut self.streams,
                        &self.unopened,
                        session.subjects.name(index),
                    );
                    session.subjects.set_meaning(index, epoch, meaning);
                    meaning
                }
                known => known,
            },
            None if session.subjects.overflowed() => Meaning::Over,
            None => return Err(PublishFault::Undefined { subject_id: id }),
        };
        let found = match meaning {
            Meaning::Subject { stream, subject } => match self.streams.at_mut(stream) {
                None => Err((ErrorCode::NO_STREAM, Why::Code)),
                Some(own) if own.can_give(frame.level) => Ok((stream, subject, own)),
                Some(_) => Err((ErrorCode::LEVEL, Why::Volatile { stream })),
            },
            Meaning::Refused(code) => Err((code, Why::Code)),
            Meaning::Over => {
                let (subjects, bytes) = session.subjects.limits();
                Err((
                    ErrorCode::TOO_MANY,
                    Why::SessionSubjects { subjects, bytes },
                ))
            }
            Meaning::Full(stream) => Err((ErrorCode::TOO_MANY, Why::StreamSubjects { stream })),
            Meaning::Reserved => Err((ErrorCode::SUBJECT, Why::Reserved)),
            Meaning::Unopened(number) => Err((ErrorCode::READ_ONLY, Why::Unopened { number })),
            // `resolve` gives one of the others.
            Meaning::Unknown => return Err(PublishFault::Undefined { subject_id: id }),
        };
        let (stream_key, subject, stream) = match found {
            Ok(found) => found,
            Err((code, why)) => {
                refuse(open, code, record.sequence(), 1, why);
                records.next();
                return Ok(Stretch::Refused);
            }
        };

        let first = record.sequence();
        let known = Known {
            stream: stream_key,
            id,
            subject,
            epoch,
        };
        let appended = append_all(
            &mut stream.log,
            &session.subjects,
            known,
            records,
            now.wall_ns,
        );
        if !stream.listed {
            stream.listed = true;
            self.attention.push(stream_key);
        }
        if appended.count > 0 {
            let level = stream.level(frame.level);
            if open.accepted == 0 {
                open.producer_first = first;
                open.level = level;
            }
            open.level = open.level.min(level);
            open.accepted = open.accepted.saturating_add(appended.count);
            open.stream_sequence = appended.stream_sequence;
            open.producer_last = appended.producer_sequence;
            if level == AckLevel::Synced {
                stream.log.want_synced(appended.stream_sequence);
            }
            if frame.expects_ack {
                match session.acks.row(stream_key) {
                    Some(row) => row.upto = appended.stream_sequence,
                    None => session.acks.push(Row {
                        stream: stream_key,
                        upto: appended.stream_sequence,
                        level,
                        ..Row::new(frame.sequence)
                    }),
                }
            }
        }
        let (code, why) = match appended.stopped {
            None => return Ok(Stretch::Goes),
            Some(AppendError::Full) => {
                stream.pressed = true;
                self.pressed = true;
                return Ok(Stretch::Full);
            }
            Some(AppendError::Record(error)) => return Err(PublishFault::Record(error)),
            Some(AppendError::NoSpace) => (ErrorCode::NO_SPACE, Why::of(stream.log.state())),
            Some(AppendError::Poisoned) => (ErrorCode::READ_ONLY, Why::of(stream.log.state())),
            Some(AppendError::TooLarge {
                payload_len,
                payload_max,
            }) => {
                let why = Why::Over {
                    payload_len,
                    payload_max,
                };
                (ErrorCode::RECORD_TOO_LONG, why)
            }
            Some(AppendError::Subject(_)) => (ErrorCode::TOO_MANY, Why::Code),
        };
        if let Some(record) = records.next() {
            refuse(open, code, record.sequence(), 1, why);
        }
        Ok(Stretch::Refused)
    }

    /// Leaves rows for what the frame waits for.
    fn end_frame(&mut self, key: Key, frame: PublishFrame) {
        let Some(session) = self.sessions.at_mut(key) else {
            return;
        };
        let Some(mut open) = session.frame.take() else {
            return;
        };
        if frame.expects_ack
            && frame.level != AckLevel::Stream
            && open.accepted == 0
            && open.refused.is_none()
        {
            self.wait_for_everything(key, frame.sequence, frame.level);
            return self.close_frame(key);
        }
        let acks = &mut session.acks;
        if frame.expects_ack && (open.accepted > 0 || open.refused.is_none()) {
            if acks.last_open().is_none() {
                acks.push(Row::new(frame.sequence));
                open.level = frame.level.max(AckLevel::Received);
            }
            if let Some(row) = acks.last_open() {
                row.ends = true;
                row.apart = frame.apart;
                row.told = open.level;
                row.count = open.accepted;
                row.stream_sequence = open.stream_sequence;
                row.producer_first = open.producer_first;
                row.producer_last = open.producer_last;
            }
        }
        if let Some(refused) = open.refused {
            acks.push(Row {
                refused: Some(refused.code),
                level: frame.level,
                count: refused.count,
                why: refused.why,
                producer_first: refused.producer_sequence,
                ..Row::new(frame.sequence)
            });
        }
        self.close_frame(key);
    }

    fn close_frame(&mut self, key: Key) {
        let Some(session) = self.sessions.at_mut(key) else {
            return;
        };
        let acks = &mut session.acks;
        acks.close_frame();
        if acks.has_work() && !acks.listed {
            acks.listed = true;
            self.ack_ready.push(key);
        }
    }
}

/// Whether a run can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stretch {
    Goes,
    /// Likewise; what is left of the frame is refused.
    Refused,
    Full,
}

/// A subject id whose meaning is at hand.
#[derive(Clone, Copy)]
struct Known {
    stream: Key,
    id: u32,
    subject: u32,
    epoch: u32,
}

/// What became of a stretch of records.
struct Appended {
    count: u32,
    stream_sequence: u64,
    producer_sequence: u64,
    /// Why the next record was not taken by the log.
    stopped: Option<AppendError>,
}

/// Appends records to one log up to the first that is not data of it. This is the loop that the throughput stands on:
/// beside the log's own copy and checksum it does one comparison and, where the subject changes, one probe.
#[inline]
fn append_all(
    log: &mut Log,
    subjects: &SubjectTable,
    mut known: Known,
    records: &mut RunRecords<'_>,
    wall_ns: u64,
) -> Appended {
    let mut done = Appended {
        count: 0,
        stream_sequence: 0,
        producer_sequence: 0,
        stopped: None,
    };
    loop {
        let mut next = records.clone();
        let Some(record) = next.next() else {
            return done;
        };
        if record.subject_id() != known.id {
            let meaning = subjects
                .find(record.subject_id())
                .map(|index| subjects.meaning(index, known.epoch));
            match meaning {
                Some(Meaning::Subject { stream, subject }) if stream == known.stream => {
                    known = Known {
                        id: record.subject_id(),
                        subject,
                        ..known
                    };
                }
                _ => return done,
            }
        }
        if record.kind() != Kind::Data {
            return done;
        }
        match log.append(&record, known.subject, wall_ns) {
            Ok(sequence) => {
                done.count += 1;
                done.stream_sequence = sequence;
                done.producer_sequence = record.sequence();
                *records = next;
            }
            Err(error) => {
                done.stopped = Some(error);
                return done;
            }
        }
    }
}

#[cold]
fn define(subjects: &mut SubjectTable, record: RawRecord<'_>) -> Result<(), PublishFault> {
    let id = record.subject_id();
    let record = record.verify().map_err(PublishFault::Record)?;
    subjects
        .define(id, record.body())
        .map_err(|_| PublishFault::Redefined { subject_id: id })
}

/// Finds the stream of a subject, and the stream's number for it.
#[cold]
pub(crate) fn resolve(
    routes: &Table<Key>,
    streams: &mut Slab<Stream>,
    unopened: &[Unopened],
    name: &str,
) -> Meaning {
    let Ok(subject) = Subject::new(name) else {
        return Meaning::Refused(ErrorCode::SUBJECT);
    };
    if name.starts_with(SYSTEM_PREFIX) {
        return Meaning::Reserved;
    }
    let Some(&key) = routes.first(subject) else {
        return match unopened::capturing(unopened, subject) {
            Some(number) => Meaning::Unopened(number),
            None => Meaning::Refused(ErrorCode::NO_STREAM),
        };
    };
    let Some(stream) = streams.at_mut(key) else {
        return Meaning::Refused(ErrorCode::NO_STREAM);
    };
    match stream.intern(name) {
        Some(subject) => Meaning::Subject {
            stream: key,
            subject,
        },
        None => Meaning::Full(key),
    }
}

#[cold]
fn refuse(open: &mut OpenFrame, code: ErrorCode, producer_sequence: u64, count: u32, why: Why) {
    match &mut open.refused {
        Some(refused) => refused.count = refused.count.saturating_add(count),
        None => {
            open.refused = Some(Refused {
                code,
                producer_sequence,
                count,
                why,
            })
        }
    }
}
