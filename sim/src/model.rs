//! What a stream should hold: every record that its log took, in order, and what was promised of it.

use trunkline_log::{LogConfig, Mark, SEQUENCE_FIRST, Storage};
use trunkline_wire::AckLevel;

use crate::ledger::RecordId;

/// A stream's records as they should be.
#[derive(Debug)]
pub(crate) struct StreamModel {
    /// What it is called.
    pub name: &'static str,
    /// What its log is opened with.
    pub config: LogConfig,
    /// The level of its acks.
    pub level: AckLevel,
    /// What subscribers see.
    pub visible: AckLevel,
    /// By sequence, from [`SEQUENCE_FIRST`].
    entries: Vec<Entry>,
    /// Records that a crash took, and the last incarnation that had them.
    lost: Vec<(u64, u32, Entry)>,
    /// Where the log ends.
    pub end: Mark,
    /// The oldest record that is kept.
    pub first: u64,
    /// How each incarnation ended.
    crashes: Vec<Crash>,
    /// Everything before must survive a kill.
    pub stored: u64,
    /// Everything before must survive a power loss.
    pub synced: u64,
    /// The device dropped writes of this incarnation: what is only stored may go.
    pub stored_void: bool,
    /// Marks that were written: their end, and up to where they say that everything is durable.
    evidence: Vec<(u64, u64)>,
    /// Everything before this position is known on the device to be durable.
    pub proven: u64,
    /// Time of the newest record that recovery found.
    pub recovered_ns: u64,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Who it is.
    pub id: RecordId,
    /// What it was sent to.
    pub subject: &'static str,
    /// Its stamp.
    pub timestamp_ns: u64,
    /// When it was taken, by the steady clock.
    pub taken_ns: u64,
    /// Where it lies.
    pub position: u64,
    /// Bytes.
    pub len: u32,
    /// The incarnation that took it.
    pub epoch: u32,
}

/// How an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crash {
    power: bool,
    stored_void: bool,
    /// The next sequence after recovery.
    recovered: u64,
}

impl StreamModel {
    /// A stream of no records.
    pub(crate) fn new(
        name: &'static str,
        config: LogConfig,
        level: AckLevel,
        visible: AckLevel,
    ) -> Self {
        Self {
            name,
            config,
            level,
            visible,
            entries: Vec::new(),
            lost: Vec::new(),
            end: Mark {
                sequence: SEQUENCE_FIRST,
                position: 0,
            },
            first: SEQUENCE_FIRST,
            crashes: Vec::new(),
            stored: SEQUENCE_FIRST,
            synced: SEQUENCE_FIRST,
            stored_void: false,
            evidence: Vec::new(),
            proven: 0,
            recovered_ns: 0,
        }
    }

    /// Whether it has no files.
    pub(crate) fn is_volatile(&self) -> bool {
        self.config.storage == Storage::Memory
    }

    /// The next sequence.
    pub(crate) fn next(&self) -> u64 {
        SEQUENCE_FIRST + self.entries.len() as u64
    }

    /// A record by its sequence.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Entry> {
        let at = usize::try_from(sequence.checked_sub(SEQUENCE_FIRST)?).ok()?;
        self.entries.get(at)
    }

    /// A record that an incarnation had under this sequence.
    pub(crate) fn get_in(&self, sequence: u64, epoch: u32) -> Option<&Entry> {
        match self.get(sequence).filter(|entry| entry.epoch <= epoch) {
            Some(entry) => Some(entry),
            None => self
                .lost
                .iter()
                .rev()
                .find(|(s, until, entry)| *s == sequence && entry.epoch <= epoch && epoch <= *until)
                .map(|(_, _, entry)| entry),
        }
    }

    /// The log took a record.
    pub(crate) fn append(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// The first record, kept or not, that is not older.
    pub(crate) fn at_time(&self, timestamp_ns: u64) -> u64 {
        let count = self
            .entries
            .partition_point(|entry| entry.timestamp_ns < timestamp_ns);
        SEQUENCE_FIRST + count as u64
    }

    /// A record of an incarnation was promised at a level. The reason when the promise is broken already.
    pub(crate) fn promise(
        &mut self,
        level: AckLevel,
        sequence: u64,
        epoch: u32,
    ) -> Result<(), String> {
        if level < AckLevel::Stored || self.is_volatile() {
            return Ok(());
        }
        for crash in self.crashes.iter().skip(epoch as usize) {
            if sequence < crash.recovered {
                continue;
            }
            let covered = match level {
                AckLevel::Synced => true,
                _ => !crash.power && !crash.stored_void,
            };
            if covered {
                return Err(format!(
                    "sequence {sequence} of {} was promised as {level} and then lost: recovered up to {}",
                    self.name,
                    crash.recovered - 1
                ));
            }
            return Ok(());
        }
        self.stored = self.stored.max(sequence + 1);
        if level == AckLevel::Synced {
            self.synced = self.synced.max(sequence + 1);
        }
        Ok(())
    }

    /// What must be there after a crash now: everything before this sequence.
    pub(crate) fn promised(&self, power: bool) -> u64 {
        if power || self.stored_void {
            self.synced
        } else {
            self.stored
        }
    }

    /// An incarnation ended, and the next one found everything before `end`.
    pub(crate) fn recover(&mut self, power: bool, end: Mark, epoch: u32) {
        let kept = (end.sequence - SEQUENCE_FIRST) as usize;
        for (sequence, entry) in (end.sequence..).zip(self.entries.drain(kept..)) {
            self.lost.push((sequence, epoch, entry));
        }
        self.crashes.push(Crash {
            power,
            stored_void: self.stored_void,
            recovered: end.sequence,
        });
        self.end = end;
        self.stored_void = false;
        self.evidence.clear();
        // What is served from now on is on the device; that it is there is the log's promise.
        (self.stored, self.synced) = (end.sequence, end.sequence);
        self.proven = end.position;
        self.recovered_ns = self.entries.last().map_or(0, |entry| entry.timestamp_ns);
    }

    /// Without files, everything ends with the process.
    pub(crate) fn forget(&mut self, epoch: u32) {
        let end = Mark {
            sequence: SEQUENCE_FIRST,
            position: 0,
        };
        self.recover(true, end, epoch);
        self.first = SEQUENCE_FIRST;
    }

    /// A mark that ends at or before `end` says that everything before `durable` is on the device.
    pub(crate) fn marked(&mut self, end: u64, durable: u64) {
        self.evidence.push((end, durable));
    }

    /// Everything before this position is on the device, marks too.
    pub(crate) fn on_synced(&mut self, position: u64) {
        while let Some((_, durable)) = self
            .evidence
            .first()
            .filter(|(end, _)| *end <= position)
            .copied()
        {
            self.proven = self.proven.max(durable);
            self.evidence.remove(0);
        }
    }
}
