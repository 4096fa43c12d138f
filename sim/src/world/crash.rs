//! The end of an incarnation, however it comes.

use trunkline_log::testing::Rng;
use trunkline_log::{Log, LogId, Mark, Seek};

use super::World;
use super::start::check_replay;
use crate::disk::{Drive, StreamFiles};
use crate::faults::{Fault, Faults};
use crate::invariant::{Invariant, Violation};
use crate::ledger::Ledger;
use crate::model::StreamModel;

impl World {
    /// The process is killed, or power fails.
    pub(super) fn crash(&mut self, power: bool) {
        let now_ns = self.clock.now().mono_ns;
        if let Some(mut process) = self.process.take() {
            let requests = std::mem::take(&mut process.requests);
            let shard = &process.shard;
            let bytes = |log: LogId, position, len| {
                let log = shard.log(log).expect("a log submits while it is there");
                log.bytes(position, len)
            };
            requests.abandon(bytes, &mut self.drive, &mut self.faults, &mut self.rng);
        }
        self.drive.unlock();
        if power {
            self.lose_power();
        }
        for link in self.links.values_mut() {
            match self.rng.below(3) {
                _ if self.faults.is_calm() => link.reset(),
                // What the kernel has is still sent.
                0 if !power => {
                    link.down.finish();
                    link.up.finish();
                }
                0 | 1 => link.reset(),
                _ => {
                    link.go_silent(true);
                    link.go_silent(false);
                }
            }
        }
        self.stopped_until_ns = 0;
        self.trace
            .event(now_ns, if power { "power loss" } else { "kill" }, &[]);
    }

    pub(super) fn lose_power(&mut self) {
        let loss = Drive::draw_power_loss(&mut self.faults);
        self.drive.lose_power(loss, &mut self.faults, &mut self.rng);
        self.power_failed = true;
    }

    /// What would be there if the machine crashed now: tried on a copy of its disk, with what is in flight lost.
    pub(super) fn try_crash(&mut self, power: bool, invariant: Invariant) -> Result<(), Violation> {
        let power = power || self.power_failed;
        let mut drive = self.drive.clone();
        let mut faults = Faults::new(self.rng.bits(), &[]);
        let mut rng = self.rng.clone();
        if power {
            let loss = Drive::draw_power_loss(&mut faults);
            drive.lose_power(loss, &mut faults, &mut rng);
        }
        // The crash is the fault here; what is opened afterwards is opened on a disk that works.
        faults.calm_down();
        for (number, model) in self.models.iter().enumerate() {
            if model.is_volatile() {
                continue;
            }
            self.stats.crash_states += 1;
            let mut files = StreamFiles {
                drive: &mut drive,
                directory: number as u32,
                faults: &mut faults,
            };
            let opened = Log::open(LogId(number as u32), &model.config, &mut files);
            let (mut log, _) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    return self.checks.check(invariant, false, || {
                        format!(
                            "{} after a crash now (power loss: {power}): {error}",
                            model.name
                        )
                    });
                }
            };
            let (found, promised) = (log.received().sequence, model.promised(power));
            self.checks
                .check(invariant, found >= promised, || {
                    format!(
                        "after a crash now (power loss: {power}), {} has everything before {found}; promised is everything before {promised}",
                        model.name
                    )
                })?;
            let read = read_some(model, &self.ledger, &mut log, &drive, promised, &mut rng);
            self.checks.result(
                invariant,
                read.map_err(|reason| format!("after a crash now (power loss: {power}), {reason}")),
            )?;
        }
        Ok(())
    }

    /// A second process tries to open the directories.
    pub(super) fn try_second_process(&mut self) -> Result<(), Violation> {
        if self.process.is_none() || !self.faults.strikes(Fault::SecondProcess) {
            return Ok(());
        }
        let before: Vec<u64> = (0..self.models.len() as u32)
            .map(|number| self.drive.fingerprint(number))
            .collect();
        let held = self.start_beside();
        let after: Vec<u64> = (0..self.models.len() as u32)
            .map(|number| self.drive.fingerprint(number))
            .collect();
        self.checks
            .check(Invariant::Lock, held && before == after, || {
                "a second process got into the directories".into()
            })
    }
}

/// Reads some of what a log has after a crash, and holds it against the model: the last records that were promised, which are the likeliest to be wrong, or some
/// from anywhere. All of them would take as long as the rest of a run.
fn read_some(
    model: &StreamModel,
    ledger: &Ledger,
    log: &mut Log,
    drive: &Drive,
    promised: u64,
    rng: &mut Rng,
) -> Result<(), String> {
    let (first, end) = (log.first().sequence, log.received());
    if end.sequence > model.next() {
        let (name, next) = (model.name, model.next());
        return Err(format!("{name} has {end}, and {next} was never given"));
    }
    let from = if rng.below(2) == 0 {
        promised.saturating_sub(READ_RECORDS).max(first)
    } else {
        first + rng.below(end.sequence - first + 1)
    };
    let last = from + READ_RECORDS;
    let upto = match model.get(last) {
        Some(entry) if last < end.sequence => Mark {
            sequence: last,
            position: entry.position,
        },
        _ => end,
    };
    let Seek::At(cursor) = log.seek(from) else {
        return Err(format!("sequence {from} of {} is out of range", model.name));
    };
    check_replay(model, ledger, log, drive, (cursor, upto), from)
}

/// How many are read after a crash that was only tried.
const READ_RECORDS: u64 = 64;
