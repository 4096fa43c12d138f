//! The end of an incarnation, however it comes.

use trunkline_log::{Log, LogId};

use super::World;
use crate::disk::{Drive, StreamFiles};
use crate::faults::{Fault, Faults};
use crate::invariant::{Invariant, Violation};

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
            let (log, _) = match opened {
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
