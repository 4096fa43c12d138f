//! Looking at what logs took, right after they took it.

use trunkline_wire::Kind;
use trunkline_wire::record::{RawRecord, Records};

use super::World;
use crate::clock::Clock;
use crate::invariant::{Checks, Invariant, Violation};
use crate::ledger::{Fate, Ledger};
use crate::model::{Entry, StreamModel};
use crate::trace::Trace;

impl World {
    /// Notes what every log took since the last time.
    pub(super) fn observe(&mut self) -> Result<(), Violation> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let now = self.clock.now();
        for (number, model) in self.models.iter_mut().enumerate() {
            let Some(log) = process.log(number as u32) else {
                continue;
            };
            let received = log.received();
            let mut position = model.end.position;
            let len = (received.position - position) as u32;
            let mut records = Records::new(log.bytes(position, len), u32::MAX);
            for raw in &mut records {
                let raw = raw.map_err(|error| broken(model, position, &error.to_string()))?;
                match raw.kind() {
                    Kind::Data => {
                        let subject = log.subject(raw.subject_id());
                        let mut notes = Notes {
                            ledger: &mut self.ledger,
                            checks: &mut self.checks,
                            trace: &mut self.trace,
                            epoch: self.epoch,
                            now_ns: now.mono_ns,
                        };
                        notes.append(model, &raw, position, subject)?;
                    }
                    Kind::Batch | Kind::Seal => {
                        note_evidence(model, &raw, position, BATCH_DURABLE);
                    }
                    Kind::Segment => note_evidence(model, &raw, position, SEGMENT_DURABLE),
                    _ => {}
                }
                position += raw.len() as u64;
            }
            let whole = records.rest().is_empty() && received.sequence == model.next();
            self.checks.check(Invariant::Reuse, whole, || {
                format!(
                    "{} stands at {received}, the model at {}",
                    model.name,
                    model.next()
                )
            })?;
            model.end = received;
            model.on_synced(log.synced().position);
            let frontiers = log.synced().position <= log.stored().position
                && log.stored().position <= received.position;
            self.checks.check(Invariant::Acks, frontiers, || {
                format!(
                    "{}: synced {}, stored {}, received {received}",
                    model.name,
                    log.synced(),
                    log.stored()
                )
            })?;
            let first = log.first().sequence;
            if first != model.first {
                let allowed = may_remove(model, first, log.first().position, &self.clock);
                self.checks.result(Invariant::Retention, allowed)?;
                model.first = first;
            }
        }
        Ok(())
    }
}

/// What a look at a record may touch.
struct Notes<'a> {
    ledger: &'a mut Ledger,
    checks: &'a mut Checks,
    trace: &'a mut Trace,
    epoch: u32,
    now_ns: u64,
}

impl Notes<'_> {
    fn append(
        &mut self,
        model: &mut StreamModel,
        raw: &RawRecord<'_>,
        position: u64,
        subject: Option<&str>,
    ) -> Result<(), Violation> {
        let (sequence, name) = (raw.sequence(), model.name);
        let record = raw
            .verify()
            .map_err(|error| broken(model, position, &error.to_string()))?;
        let before = model
            .get(sequence.wrapping_sub(1))
            .map_or(0, |entry| entry.timestamp_ns);
        let in_order = sequence == model.next() && record.timestamp_ns() >= before;
        self.checks.check(Invariant::Reuse, in_order, || {
            format!(
                "{name} gives sequence {sequence} at {} after {before}, the next is {}",
                record.timestamp_ns(),
                model.next()
            )
        })?;
        let id = self.ledger.recognise(record.body());
        self.checks.check(Invariant::Phantom, id.is_some(), || {
            format!("{name} took sequence {sequence}, which nobody sent")
        })?;
        let Some(id) = id else { return Ok(()) };
        let Some(sent) = self.ledger.get(id).copied() else {
            return Ok(());
        };
        let doubled = sent.sequence != 0 && !self.ledger.may_be_doubled(&sent);
        let holds = !doubled && sent.fate != Fate::Refused && Some(sent.subject) == subject;
        self.checks.check(Invariant::Phantom, holds, || {
            format!("{name} took record {id} ({sent:?}) as sequence {sequence} of {subject:?}")
        })?;
        if let Some(sent) = self.ledger.get_mut(id) {
            (sent.sequence, sent.epoch) = (sequence, self.epoch);
        }
        model.append(Entry {
            id,
            subject: sent.subject,
            timestamp_ns: record.timestamp_ns(),
            taken_ns: self.now_ns,
            position,
            len: raw.len() as u32,
            epoch: self.epoch,
        });
        self.trace.event(
            self.now_ns,
            "append",
            &[id, sequence, record.timestamp_ns()],
        );
        Ok(())
    }
}

fn broken(model: &StreamModel, position: u64, error: &str) -> Violation {
    Violation {
        invariant: Invariant::Phantom,
        detail: format!("{} has in its tail at {position}: {error}", model.name),
    }
}

/// What a mark says is read by its place in docs/format/log.md.
fn note_evidence(model: &mut StreamModel, raw: &RawRecord<'_>, position: u64, at: usize) {
    if let Some(bytes) = raw.body().get(at..).and_then(|rest| rest.first_chunk()) {
        model.marked(position + raw.len() as u64, u64::from_le_bytes(*bytes));
    }
}

/// Whether the policy allows that `first` is the oldest record now.
fn may_remove(
    model: &StreamModel,
    first: u64,
    first_position: u64,
    clock: &Clock,
) -> Result<(), String> {
    let name = model.name;
    if first < model.first {
        return Err(format!(
            "{name} starts at {first} again, after {}",
            model.first
        ));
    }
    if model.is_volatile() {
        return Ok(());
    }
    let retention = model.config.retention;
    let removed_start = first_position.saturating_sub(model.config.segment_bytes);
    let bytes = retention
        .bytes_max
        .is_some_and(|max| model.end.position - removed_start > max);
    let records = retention
        .records_max
        .is_some_and(|max| model.next() - first >= max);
    // It is the log's own stamps that count. A clock that has just gone forward by years is not believed before they are too old by the steady clock as well, which
    // goes on from the newest record's time.
    // What was there for as long, since the start, is too old whatever its stamp.
    let youngest = model.get(first - 1);
    let (stamp_ns, taken_ns) =
        youngest.map_or((0, 0), |entry| (entry.timestamp_ns, entry.taken_ns));
    let age = retention.age_ns_max.is_some_and(|max| {
        let by_wall = clock.wall_ns_believed_after(max);
        let by_record = model.recovered_ns + clock.since_start_ns();
        let elapsed_ns = clock.since_start_ns().min(clock.now().mono_ns - taken_ns);
        stamp_ns + max < by_wall.max(by_record) || elapsed_ns >= max
    });
    if bytes || records || age {
        Ok(())
    } else {
        Err(format!(
            "{name} removed everything before {first} against its policy {retention:?}"
        ))
    }
}

/// Where `durable_position` is in the body of a batch or seal record.
const BATCH_DURABLE: usize = 24;
/// And in that of a segment record.
const SEGMENT_DURABLE: usize = 64;
