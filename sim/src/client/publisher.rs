//! A client that publishes: what it sent, what was answered.

use std::collections::{BTreeMap, VecDeque};

use trunkline_wire::{
    Ack, AckLevel, ErrorBody, ErrorCode, Event, FRAME_HEADER_BYTES, FrameEncoder, FrameFlags, Kind,
    Opcode, Stamp, record_bytes,
};

use super::{Desk, Next, RECORD_BYTES_MAX};
use crate::faults::Fault;
use crate::invariant::{Invariant, Violation};
use crate::ledger::{Fate, RecordId};
use crate::model::StreamModel;
use crate::net::Link;

/// What a publisher knows of its connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// What it publishes to.
    subjects: Vec<&'static str>,
    /// Bytes of an ordinary record, at most.
    usual_bytes: u64,
    /// Subjects that the server knows on this connection.
    defined: BTreeMap<&'static str, u32>,
    /// Frames that are not answered.
    frames: VecDeque<Frame>,
    next_frame: u16,
    next_record: u64,
    /// When nothing goes wrong any more: one record for each subject, synced.
    last_words: LastWords,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastWords {
    NotYet,
    Wanted,
    Said,
}

#[derive(Debug)]
struct Frame {
    sequence: u16,
    level: AckLevel,
    /// Producer sequences and the records of them that are not answered.
    records: VecDeque<(u64, RecordId)>,
}

impl Publisher {
    /// One that publishes to these subjects records of up to so many bytes, now and then longer ones.
    pub(crate) fn new(subjects: Vec<&'static str>, usual_bytes: u64) -> Self {
        Self {
            subjects,
            usual_bytes,
            defined: BTreeMap::new(),
            frames: VecDeque::new(),
            next_frame: 0,
            next_record: 0,
            last_words: LastWords::NotYet,
        }
    }

    /// Nothing goes wrong any more: it says one thing more, which must be answered.
    pub(crate) fn begin_last_words(&mut self) {
        self.last_words = LastWords::Wanted;
    }

    pub(super) fn connected(&mut self) {
        self.defined.clear();
        (self.next_frame, self.next_record) = (0, 0);
    }

    pub(super) fn disconnected(&mut self) {
        self.frames.clear();
        if self.last_words == LastWords::Said {
            self.last_words = LastWords::Wanted;
        }
    }

    /// Whether everything was answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.frames.is_empty() && self.last_words != LastWords::Wanted
    }

    /// Records that were sent on this connection and not answered.
    pub(crate) fn open_records(&self) -> usize {
        self.frames.iter().map(|frame| frame.records.len()).sum()
    }

    pub(super) fn publish(&mut self, link: u32, out: &mut Vec<u8>, desk: &mut Desk<'_>) {
        if self.frames.len() >= FRAMES_MAX || out.len() > OUT_BYTES_MAX {
            return;
        }
        let last = self.last_words == LastWords::Wanted;
        if self.last_words == LastWords::Said {
            return;
        }
        if last {
            self.last_words = LastWords::Said;
        }
        let mut count = 1 + desk.rng.below(8);
        if desk.faults.strikes(Fault::Burst) {
            count += 60;
        }
        let level = match desk.rng.below(5) {
            0 => AckLevel::Received,
            1 => AckLevel::Stored,
            2 => AckLevel::Synced,
            _ if last => AckLevel::Synced,
            _ => AckLevel::Stream,
        };
        let one_subject = (desk.rng.below(4) > 0).then(|| self.subject(desk));
        let mut subjects: Vec<&'static str> = (0..count)
            .map(|_| one_subject.unwrap_or_else(|| self.subject(desk)))
            .collect();
        if desk.faults.strikes(Fault::NoStream) {
            let at = desk.rng.below(count) as usize;
            subjects[at] = NO_STREAM;
        }
        let oversized = desk.faults.strikes(Fault::Oversized);
        // Where the record will lie can be known when nothing else is on its way.
        let forged = desk.faults.strikes(Fault::Forged);
        let lens: Vec<u32> = (0..count)
            .map(|nth| match desk.rng.below(12) {
                _ if oversized && nth == count / 2 => RECORD_BYTES_MAX + 100,
                0 => 1000 + desk.rng.below(3000) as u32,
                _ => 8 + desk.rng.below(self.usual_bytes) as u32,
            })
            .collect();
        self.next_frame = self.next_frame.wrapping_add(1).max(1);
        let mut frame = Frame {
            sequence: self.next_frame,
            level,
            records: VecDeque::new(),
        };
        let room: usize = lens.iter().map(|len| record_bytes(len + 8) + 512).sum();
        let start = out.len();
        out.resize(start + room + FRAME_HEADER_BYTES, 0);
        let mut encoder = FrameEncoder::new(&mut out[start..]);
        let flags = FrameFlags::EXPECTS_RESPONSE.with_ack_level(level);
        let mut builder = encoder
            .begin(Opcode::Publish, flags, frame.sequence)
            .expect("there is room");
        let undefined = desk.faults.strikes(Fault::Undefined);
        for (nth, (subject, len)) in subjects.iter().zip(&lens).enumerate() {
            let next = self.defined.len() as u32;
            let subject_id = *self.defined.entry(subject).or_insert_with(|| {
                let stamp = Stamp {
                    kind: Kind::Definition,
                    subject_id: next,
                    ..Stamp::DATA
                };
                if !undefined {
                    let pushed = builder.push_record(&stamp, subject.as_bytes());
                    pushed.expect("there is room");
                }
                next
            });
            self.next_record += 1;
            let end = model_of(desk.models, subject).map(|model| model.end.position);
            let id = match end.filter(|_| forged && nth == 0) {
                Some(end) => desk.ledger.send_forged(subject, link, end),
                None => desk.ledger.send(subject, *len, link),
            };
            let stamp = Stamp {
                sequence: self.next_record,
                subject_id,
                ..Stamp::DATA
            };
            let body = desk.ledger.body(id);
            builder.push_record(&stamp, &body).expect("there is room");
            frame.records.push_back((self.next_record, id));
        }
        builder.finish();
        let len = encoder.len();
        out.truncate(start + len);
        if desk.faults.strikes(Fault::BadChecksum) {
            // The last byte of the last body, or of its padding, which must be zero.
            let last = out.len() - 1;
            out[last] ^= 0x80;
        }
        desk.trace.event(
            desk.now_ns,
            "publish",
            &[
                u64::from(link),
                u64::from(frame.sequence),
                count,
                level as u64,
            ],
        );
        self.frames.push_back(frame);
    }

    fn subject(&self, desk: &mut Desk<'_>) -> &'static str {
        self.subjects[desk.rng.below(self.subjects.len() as u64) as usize]
    }

    pub(super) fn on_event(
        &mut self,
        event: &Event<'_>,
        link: &Link,
        desk: &mut Desk<'_>,
    ) -> Result<Next, Violation> {
        match event {
            Event::Ack(frame, ack) if link.tampered => {
                self.forget(frame.sequence);
                let _ = ack;
            }
            Event::Error(frame, _) if link.tampered => self.forget(frame.sequence),
            Event::Ack(frame, ack) => self.on_ack(frame.sequence, ack, desk)?,
            Event::Error(frame, error) => self.on_error(frame.sequence, error, desk)?,
            _ => {}
        }
        Ok(Next::Go)
    }

    /// On a connection that was tampered with, no answer is a promise.
    fn forget(&mut self, sequence: u16) {
        if let Some(at) = self
            .frames
            .iter()
            .position(|frame| frame.sequence == sequence)
        {
            self.frames.drain(..=at);
        }
    }

    fn on_ack(&mut self, sequence: u16, ack: &Ack, desk: &mut Desk<'_>) -> Result<(), Violation> {
        let Some(at) = self
            .frames
            .iter()
            .position(|frame| frame.sequence == sequence)
        else {
            return desk.checks.check(Invariant::Acks, false, || {
                format!("an Ack for frame {sequence}, which is answered or was never sent")
            });
        };
        let mut left = ack.count as usize;
        let mut last = None;
        for nth in 0..=at {
            let level = self.frames[nth].level;
            let take = self.frames[nth].records.len().min(left);
            let whole = take == self.frames[nth].records.len();
            desk.checks.check(Invariant::Acks, whole || nth == at, || {
                format!(
                    "an Ack for {} records up to frame {sequence} leaves some out",
                    ack.count
                )
            })?;
            desk.checks.check(
                Invariant::Acks,
                level == AckLevel::Stream || level == ack.level,
                || {
                    format!(
                        "frame {sequence} asked for {level}, its Ack says {}",
                        ack.level
                    )
                },
            )?;
            left -= take;
            for (producer, id) in self.frames[nth].records.drain(..take).collect::<Vec<_>>() {
                acked(id, level, desk)?;
                last = Some((producer, id));
            }
        }
        desk.checks.check(Invariant::Acks, left == 0, || {
            format!("an Ack for {left} records more than were sent")
        })?;
        if let Some((producer, id)) = last {
            let sequence = desk.ledger.get(id).map_or(0, |sent| sent.sequence);
            let holds = ack.producer_sequence == producer && ack.stream_sequence == sequence;
            desk.checks.check(Invariant::Acks, holds, || {
                format!("{ack:?} for record {producer}, which has sequence {sequence}")
            })?;
        }
        self.frames.drain(..at);
        if self
            .frames
            .front()
            .is_some_and(|frame| frame.records.is_empty())
        {
            self.frames.pop_front();
        }
        Ok(())
    }

    fn on_error(
        &mut self,
        sequence: u16,
        error: &ErrorBody<'_>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Violation> {
        let Some(frame) = self
            .frames
            .front_mut()
            .filter(|frame| frame.sequence == sequence)
        else {
            return desk.checks.check(Invariant::Acks, sequence == 0, || {
                format!("an Error for frame {sequence}, which is not the next: {error:?}")
            });
        };
        // After a device error nobody knows; otherwise what is refused is not there.
        let certain = !matches!(error.code, ErrorCode::READ_ONLY | ErrorCode::NOT_FOUND);
        let from = frame
            .records
            .iter()
            .position(|(producer, _)| *producer == error.producer_sequence);
        let count = error.count as usize;
        let holds = from.is_some_and(|from| from + count <= frame.records.len() && from == 0);
        desk.checks.check(Invariant::Acks, holds, || {
            format!(
                "{error:?} for frame {sequence}, of which {:?} are open",
                frame.records
            )
        })?;
        for (_, id) in frame.records.drain(..count) {
            let Some(sent) = desk.ledger.get_mut(id).filter(|_| certain) else {
                continue;
            };
            let (seen, subject) = (sent.sequence, sent.subject);
            sent.fate = Fate::Refused;
            desk.checks.check(Invariant::Phantom, seen == 0, || {
                format!("record {id} of {subject} was refused ({error:?}) and has sequence {seen}")
            })?;
        }
        if frame.records.is_empty() {
            self.frames.pop_front();
        }
        Ok(())
    }
}

/// A record was acknowledged: from now on it is promised.
fn acked(id: RecordId, level: AckLevel, desk: &mut Desk<'_>) -> Result<(), Violation> {
    let Some(sent) = desk.ledger.get_mut(id) else {
        return Ok(());
    };
    let (sequence, epoch, subject) = (sent.sequence, sent.epoch, sent.subject);
    let fate = sent.fate;
    desk.checks.check(Invariant::Acks, sequence != 0 && fate == Fate::Open, || {
        format!("record {id} of {subject} is acknowledged, has sequence {sequence}, and was {fate:?}")
    })?;
    let Some(model) = model_of(desk.models, subject) else {
        return Ok(());
    };
    let level = if level == AckLevel::Stream {
        model.level
    } else {
        level
    };
    let true_word = level <= AckLevel::Received || !model.is_volatile();
    desk.checks.check(Invariant::Acks, true_word, || {
        format!("record {id} of {subject}, which is in memory, is acknowledged as {level}")
    })?;
    sent.fate = Fate::Acked(level);
    let promise = model.promise(level, sequence, epoch);
    desk.checks.result(Invariant::Durability, promise)
}

/// The stream of a subject.
pub(super) fn model_of<'m>(
    models: &'m mut [StreamModel],
    subject: &str,
) -> Option<&'m mut StreamModel> {
    let name = subject.split('.').next()?;
    models.iter_mut().find(|model| model.name == name)
}

/// Subject that no stream captures.
const NO_STREAM: &str = "nowhere.else";
const FRAMES_MAX: usize = 24;
const OUT_BYTES_MAX: usize = 48 << 10;
