//! The beginning of an incarnation: recovery, and everything that must be true of what it finds.

use trunkline_log::{Cursor, Log, LogId, Loss, Mark, OpenError, Seek};

use super::World;
use crate::client::RECORD_BYTES_MAX;
use crate::disk::StreamFiles;
use crate::faults::Fault;
use crate::invariant::{Invariant, Violation};
use crate::ledger::Ledger;
use crate::model::StreamModel;
use crate::server::{Found, Process, replay};

impl World {
    /// Starts the server.
    pub(super) fn start(&mut self) -> Result<(), Violation> {
        if !self.drive.lock(self.epoch + 1) {
            return self.checks.check(Invariant::Lock, false, || {
                "the lock of a process that is gone is held".into()
            });
        }
        self.interrupt_recovery();
        let now = self.clock.now();
        let power = std::mem::take(&mut self.power_failed);
        let mut process = Process::new(self.epoch + 1, RECORD_BYTES_MAX);
        for number in 0..self.models.len() {
            if self.models[number].is_volatile() {
                let (log, _) =
                    Log::open_in_memory(LogId(number as u32), &self.models[number].config)
                        .map_err(|error| opens(&self.models[number], &error))?;
                self.models[number].forget(self.epoch);
                self.add(&mut process, number, log)?;
                continue;
            }
            let mut log = self.open(number)?;
            self.check_recovered(number, &mut log, power)?;
            self.models[number].recover(power, log.received(), self.epoch);
            self.models[number].first = log.first().sequence;
            self.add(&mut process, number, log)?;
        }
        let destroyed = self.drive.destroyed.take().map_or(Ok(()), Err);
        self.checks.result(Invariant::Kept, destroyed)?;
        self.epoch += 1;
        self.clock.on_start();
        self.misreads.fill(0);
        self.trace
            .event(now.mono_ns, "start", &[u64::from(self.epoch)]);
        self.process = Some(process);
        // What is served now survives the next power loss.
        if self.rng.below(4) == 0 {
            self.try_crash(true, Invariant::Idempotent)?;
        }
        Ok(())
    }

    fn add(&mut self, process: &mut Process, number: usize, log: Log) -> Result<(), Violation> {
        let model = &self.models[number];
        let (levels, now) = ((model.level, model.visible), self.clock.now());
        let added = process.add(model.name, levels, log, now);
        self.checks.result(Invariant::Opens, added)
    }

    /// Another process starts beside the server that runs, and goes as far as it gets. Whether it was kept out.
    pub(super) fn start_beside(&mut self) -> bool {
        if !self.drive.lock(BESIDE) {
            return true;
        }
        for number in 0..self.models.len() {
            if !self.models[number].is_volatile() && self.try_open(number).is_err() {
                break;
            }
        }
        false
    }

    /// Recovery is killed, and power fails meanwhile, up to three times.
    fn interrupt_recovery(&mut self) {
        for _ in 0..3 {
            if !self.faults.would_strike(Fault::KillInRecovery) {
                return;
            }
            let left = self.faults.below(Fault::KillInRecovery, 60);
            self.drive.operations_left = left;
            for number in 0..self.models.len() {
                if !self.models[number].is_volatile() && self.try_open(number).is_err() {
                    // Otherwise it had other reasons, or was done before.
                    if self.drive.operations_left == 0 {
                        self.faults.count(Fault::KillInRecovery);
                    }
                    break;
                }
            }
            self.drive.operations_left = u64::MAX;
            if self.faults.strikes(Fault::PowerLossInRecovery) {
                self.lose_power();
            }
        }
    }

    fn try_open(&mut self, number: usize) -> Result<Log, OpenError> {
        self.stats.recoveries += 1;
        let mut files = StreamFiles {
            drive: &mut self.drive,
            directory: number as u32,
            faults: &mut self.faults,
        };
        Log::open(
            LogId(number as u32),
            &self.models[number].config,
            &mut files,
        )
        .map(|(log, _)| log)
    }

    /// Opens a log; whoever starts the server tries again when the system refuses an operation.
    fn open(&mut self, number: usize) -> Result<Log, Violation> {
        for _ in 0..10 {
            match self.try_open(number) {
                Ok(log) => return Ok(log),
                Err(OpenError::Io { .. }) => {}
                Err(error) => return Err(opens(&self.models[number], &error)),
            }
        }
        // What refuses now and then ends at some time.
        let restless = self.faults.pause();
        let opened = self.try_open(number);
        self.faults.resume(restless);
        opened.map_err(|error| opens(&self.models[number], &error))
    }

    /// What recovery found is what was promised, and nothing else.
    fn check_recovered(
        &mut self,
        number: usize,
        log: &mut Log,
        power: bool,
    ) -> Result<(), Violation> {
        let model = &self.models[number];
        let (found, promised) = (log.received().sequence, model.promised(power));
        self.checks
            .check(Invariant::Durability, found >= promised, || {
                format!(
                    "{} has everything before {found} after a crash (power loss: {power}); promised is everything before {promised}",
                    model.name
                )
            })?;
        self.checks
            .check(Invariant::Prefix, found <= model.next(), || {
                format!(
                    "{} has sequences up to {}, {} were appended",
                    model.name,
                    found - 1,
                    model.next() - 1
                )
            })?;
        let first = log.first().sequence;
        self.checks
            .check(Invariant::Retention, first <= model.first, || {
                format!(
                    "{} starts at {first}, and started at {}",
                    model.name, model.first
                )
            })?;
        let (cursor, end) = (log.seek_first(), log.received());
        let replayed = check_replay(model, &self.ledger, log, &self.drive, (cursor, end), first);
        self.checks.result(Invariant::Replay, replayed)?;
        // From somewhere, by sequence and by time.
        let some = first + self.rng.below(found - first + 1);
        let Seek::At(cursor) = log.seek(some) else {
            return self.checks.check(Invariant::Replay, false, || {
                format!("sequence {some} of {} is out of range", model.name)
            });
        };
        let replayed = check_replay(model, &self.ledger, log, &self.drive, (cursor, end), some);
        self.checks.result(Invariant::Replay, replayed)?;
        let time = model.get(some).map_or(u64::MAX, |entry| entry.timestamp_ns);
        let expected = model.at_time(time).max(first).min(found);
        let cursor = log.seek_time(time);
        let replayed = check_replay(
            model,
            &self.ledger,
            log,
            &self.drive,
            (cursor, end),
            expected,
        );
        self.checks.result(Invariant::Replay, replayed)
    }
}

/// Everything from a cursor up to an end is what the model has from `next` on.
pub(super) fn check_replay(
    model: &StreamModel,
    ledger: &Ledger,
    log: &mut Log,
    drive: &crate::disk::Drive,
    (cursor, end): (Cursor, Mark),
    mut next: u64,
) -> Result<(), String> {
    let name = model.name;
    let directory = log.id().0;
    let read = |segment, offset, len| drive.read(directory, segment, offset, len);
    replay(log, read, cursor, end, |found| {
        let (record, subject) = match found {
            Found::Record(record, subject) => (record, subject),
            Found::Lost(lost) if lost.why == Loss::Removed => {
                return Err(format!("{name} lacks {lost:?}, which it said it has"));
            }
            Found::Lost(lost) => return Err(format!("{name} reports {lost:?} without a fault")),
        };
        let entry = model.get(next);
        let same = record.sequence() == next
            && entry.is_some_and(|entry| {
                ledger.recognise(record.body()) == Some(entry.id)
                    && entry.timestamp_ns == record.timestamp_ns()
                    && Some(entry.subject) == subject
            });
        if !same {
            return Err(format!(
                "{name} reads sequence {} (record {:?} of {subject:?}) where {next} is {entry:?}",
                record.sequence(),
                ledger.recognise(record.body())
            ));
        }
        next += 1;
        Ok(())
    })?;
    if next == end.sequence {
        Ok(())
    } else {
        Err(format!(
            "reading {name} ends before {next}, and not before {}",
            end.sequence
        ))
    }
}

fn opens(model: &StreamModel, error: &OpenError) -> Violation {
    Violation {
        invariant: Invariant::Opens,
        detail: format!("{}: {error}", model.name),
    }
}

/// The process that starts beside the server.
const BESIDE: u32 = u32::MAX;
