//! A log on a small disk, the few things that can happen to it, and what it has promised.

use trunkline_log::testing::{Queue, Rng};
use trunkline_log::{
    AppendError, DiskError, Durability, Files, Log, LogConfig, LogId, Mark, Now, Request,
    Retention, SEQUENCE_FIRST, Seek, Token,
};
use trunkline_wire::Stamp;
use trunkline_wire::record::{self, RawRecord};

use super::disk::SmallDisk;
use crate::server::{Found, replay};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// A record that shares its page with others is appended.
    Small,
    /// One that takes three pages.
    Large,
    /// The log's turn.
    Turn,
    /// The disk answers the oldest request.
    Oldest,
    /// The disk answers the newest one, before others.
    Newest,
    /// Turns and answers until nothing is left to do.
    Settle,
    /// Somebody waits for everything to be synced; a turn.
    WantSynced,
    /// So much time goes by that everything is due that ever is; a turn.
    Idle,
    /// The process is killed, and the log opened again.
    Kill,
    /// Power fails, nothing that was not synced is left, and the log is opened again.
    PowerLoss,
}

impl Operation {
    pub(super) const ALL: [Self; 10] = [
        Self::Small,
        Self::Large,
        Self::Turn,
        Self::Oldest,
        Self::Newest,
        Self::Settle,
        Self::WantSynced,
        Self::Idle,
        Self::Kill,
        Self::PowerLoss,
    ];
}

/// What a stream is before anything happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    durability: Durability,
    /// The second segment is all but full: the next record goes to another one, and the second is removed then. The first was removed before, which
    /// only a mark in the second tells, for its own record is older.
    is_full: bool,
}

impl Beginning {
    pub(super) const ALL: [Self; 4] = [
        Self::new(Durability::Stored, false),
        Self::new(Durability::Synced, false),
        Self::new(Durability::Stored, true),
        Self::new(Durability::Synced, true),
    ];

    const fn new(durability: Durability, is_full: bool) -> Self {
        Self {
            durability,
            is_full,
        }
    }

    /// The stream, as it is on the device.
    pub(super) fn build(self) -> Result<Start, String> {
        let config = LogConfig {
            durability: self.durability,
            tail_bytes: 256 << 10,
            segment_bytes: SEGMENT_BYTES,
            record_bytes_max: 12 << 10,
            read_bytes: 32 << 10,
            subjects_max: 8,
            retention: Retention {
                records_max: self.is_full.then_some(1),
                ..Retention::default()
            },
            entropy: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
            ..LogConfig::default()
        };
        let start = Start {
            config,
            disk: SmallDisk::new(),
            told: Vec::new(),
            read_from: SEQUENCE_FIRST,
        };
        let mut machine = Machine::new(&start)?;
        while self.is_full && machine.log.received().position < 2 * SEGMENT_BYTES - FULL_ROOM {
            machine.append(LARGE_BYTES)?;
            machine.work(Operation::Settle, &mut |_| Ok(()))?;
        }
        for operation in [
            Operation::WantSynced,
            Operation::Settle,
            Operation::Idle,
            Operation::Settle,
        ] {
            machine.work(operation, &mut |_| Ok(()))?;
        }
        machine.disk.lose_power([].into_iter());
        Ok(Start {
            disk: machine.disk,
            read_from: SEQUENCE_FIRST + (machine.told.len() as u64).saturating_sub(1),
            told: machine.told,
            config: start.config,
        })
    }
}

/// Where every sequence of operations begins.
#[derive(Clone, Debug)]
pub(super) struct Start {
    config: LogConfig,
    disk: SmallDisk,
    told: Vec<usize>,
    /// What is older is not read each time.
    read_from: u64,
}

/// The log and its disk.
pub(super) struct Machine<'s> {
    start: &'s Start,
    disk: SmallDisk,
    log: Log,
    queue: Queue,
    now: Now,
    /// Bytes of each record that was appended, from [`SEQUENCE_FIRST`]; they follow from these and its sequence.
    told: Vec<usize>,
    wanted: u64,
    /// Nobody looks at what is on the way: a recovery is not interrupted.
    pub(super) is_alone: bool,
}

/// What a disk may hold after a crash, and what it must hold.
pub(super) struct Crash<'m> {
    pub(super) disk: &'m SmallDisk,
    /// Requests that are under way, in order.
    pub(super) in_flight: &'m [(LogId, Token, Request)],
    /// Behind what is stored, what is synced, and what was appended.
    pub(super) stored: u64,
    pub(super) synced: u64,
    pub(super) received: u64,
    machine: &'m Machine<'m>,
}

/// Looks at a crash that may come now.
type Look<'l> = &'l mut dyn FnMut(&Crash<'_>) -> Result<(), String>;

impl<'s> Machine<'s> {
    pub(super) fn new(start: &'s Start) -> Result<Self, String> {
        let mut disk = start.disk.clone();
        let (log, _) = open(&start.config, &mut disk)?;
        Ok(Self {
            start,
            disk,
            log,
            queue: Queue::default(),
            now: Now {
                mono_ns: SECOND,
                wall_ns: 1_700_000_000 * SECOND,
            },
            told: start.told.clone(),
            wanted: 0,
            is_alone: false,
        })
    }

    /// Does it, and lets `look` see each moment on the way. Whether anything has changed.
    pub(super) fn work(&mut self, operation: Operation, look: Look<'_>) -> Result<bool, String> {
        let before = self.stand();
        match operation {
            Operation::Small => self.append(SMALL_BYTES)?,
            Operation::Large => self.append(LARGE_BYTES)?,
            Operation::Turn => self.turn(),
            Operation::Oldest if self.queue.requests.is_empty() => return Ok(false),
            Operation::Oldest => self.answer(0)?,
            // With one request it is the same as the oldest.
            Operation::Newest if self.queue.requests.len() < 2 => return Ok(false),
            Operation::Newest => self.answer(self.queue.requests.len() - 1)?,
            Operation::Settle => {
                self.turn();
                while !self.queue.requests.is_empty() {
                    look(&self.crash())?;
                    self.answer(0)?;
                }
            }
            Operation::WantSynced => {
                let last = self.log.received().sequence - 1;
                if last < SEQUENCE_FIRST || last == self.wanted {
                    return Ok(false);
                }
                self.wanted = last;
                self.log.want_synced(last);
                self.turn();
            }
            Operation::Idle => {
                self.now.mono_ns += 2 * SECOND;
                self.now.wall_ns += 2 * SECOND;
                self.turn();
            }
            Operation::Kill => self.reopen(false, look)?,
            Operation::PowerLoss => self.reopen(true, look)?,
        }
        if before == self.stand() {
            return Ok(false);
        }
        look(&self.crash())?;
        Ok(true)
    }

    /// Where it stands.
    fn stand(&self) -> ([Mark; 4], usize, u64, u64) {
        let log = &self.log;
        (
            [log.received(), log.stored(), log.synced(), log.first()],
            self.queue.requests.len(),
            self.wanted,
            self.disk.fingerprint(),
        )
    }

    fn crash(&self) -> Crash<'_> {
        Crash {
            disk: &self.disk,
            in_flight: &self.queue.requests,
            stored: self.log.stored().sequence,
            synced: self.log.synced().sequence,
            received: self.log.received().sequence,
            machine: self,
        }
    }

    fn append(&mut self, len: usize) -> Result<(), String> {
        let subject = if len == SMALL_BYTES { "small" } else { "large" };
        let id = self
            .log
            .define(subject)
            .map_err(|error| error.to_string())?;
        let sequence = SEQUENCE_FIRST + self.told.len() as u64;
        let bytes = published(sequence, len);
        let raw = RawRecord::peek(&bytes, u32::MAX);
        let raw = raw.ok().flatten().ok_or("a record that is none")?;
        match self.log.append(&raw, id, self.now.wall_ns) {
            Ok(given) if given == sequence => {
                self.told.push(len);
                Ok(())
            }
            Ok(given) => Err(format!("record {sequence} got sequence {given}")),
            // The next segment is not there yet: it comes when the disk answers.
            Err(AppendError::Full) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn turn(&mut self) {
        self.log.flush(self.now, &mut self.queue);
    }

    fn answer(&mut self, nth: usize) -> Result<(), String> {
        let (_, token, request) = self.queue.requests.remove(nth);
        let done = execute(&self.log, &mut self.disk, request, true);
        let done = done.map_err(|error| format!("{request:?}: {error}"))?;
        self.log
            .on_completion(token, Ok(done), self.now, &mut self.queue);
        Ok(())
    }

    /// Crashes, recovers, and lets `look` see each step of the recovery.
    fn reopen(&mut self, power: bool, look: Look<'_>) -> Result<(), String> {
        self.queue.requests.clear();
        let promised = if power {
            self.disk.lose_power([].into_iter());
            self.log.synced().sequence
        } else {
            self.log.stored().sequence
        };
        let first = if self.is_alone { u64::MAX / 2 } else { 0 };
        for operations in first.. {
            let mut disk = self.disk.clone();
            disk.operations_left = operations;
            if let Ok((log, _)) = Log::open(LOG, &self.start.config, &mut disk) {
                let found = log.received().sequence;
                let received = self.log.received().sequence;
                if !(promised..=received).contains(&found) {
                    return Err(format!(
                        "recovery has everything before {found}; promised is {promised}, appended {received}"
                    ));
                }
                disk.operations_left = u64::MAX;
                self.disk = disk;
                self.log = log;
                self.told.truncate((found - SEQUENCE_FIRST) as usize);
                self.wanted = 0;
                return Ok(());
            }
            if operations > RECOVERY_OPERATIONS_MAX {
                let reason = Log::open(LOG, &self.start.config, &mut self.disk).err();
                return Err(format!("recovery does not end: {reason:?}"));
            }
            look(&Crash {
                disk: &disk,
                in_flight: &[],
                stored: promised,
                synced: self.log.synced().sequence,
                received: self.log.received().sequence,
                machine: self,
            })?;
        }
        Ok(())
    }
}

impl Crash<'_> {
    /// Does a request that is under way, without the sync that it may end with.
    pub(super) fn execute(&self, disk: &mut SmallDisk, request: Request) {
        let _killed = execute(&self.machine.log, disk, request, false);
    }

    /// A number for what must be found.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = crate::trace::Hash::default();
        for number in [self.stored, self.synced, self.received] {
            hash.number(number);
        }
        for len in &self.machine.told {
            hash.number(*len as u64);
        }
        hash.finish()
    }

    /// Opens the log on what the crash has left: everything before `promised` must be there, and nothing that was not appended. Then
    /// power fails, and it must still be so.
    pub(super) fn check(&self, mut disk: SmallDisk, promised: u64) -> Result<(), String> {
        let start = self.machine.start;
        disk.operations_left = u64::MAX;
        let (mut log, _) = open(&start.config, &mut disk)?;
        let found = log.received();
        if !(promised..=self.received).contains(&found.sequence) {
            return Err(format!(
                "everything before {} is there; promised is {promised}, appended {}",
                found.sequence, self.received
            ));
        }
        let mut next = start.read_from.max(log.first().sequence);
        let Seek::At(cursor) = log.seek(next) else {
            return Err(format!("{next} is kept, and cannot be sought"));
        };
        let read = |segment, offset, len| disk.read(segment, offset, len);
        replay(&mut log, read, cursor, found, |found| {
            let Found::Record(record, subject) = found else {
                return Err(format!("from {next} on records are lost"));
            };
            let len = self.machine.told.get((next - SEQUENCE_FIRST) as usize);
            let is_right = len.is_some_and(|len| {
                let name = if *len == SMALL_BYTES {
                    "small"
                } else {
                    "large"
                };
                record.sequence() == next
                    && subject == Some(name)
                    && record.body() == body(next, *len)
            });
            if !is_right {
                return Err(format!("record {next} is another one"));
            }
            next += 1;
            Ok(())
        })?;
        if next != found.sequence {
            return Err(format!("reading ends before {next}"));
        }
        // What was served must stay.
        disk.lose_power([].into_iter());
        let (log, _) = open(&start.config, &mut disk)?;
        if log.received().sequence != found.sequence {
            return Err(format!(
                "after recovery everything before {} was there; after a power loss everything before {}",
                found.sequence,
                log.received().sequence
            ));
        }
        Ok(())
    }
}

fn open(
    config: &LogConfig,
    disk: &mut SmallDisk,
) -> Result<(Log, trunkline_log::Recovery), String> {
    Log::open(LOG, config, disk).map_err(|error| error.to_string())
}

/// Does a request; with `syncs`, a synced write as well as a sync makes durable what it says.
fn execute(
    log: &Log,
    disk: &mut SmallDisk,
    request: Request,
    syncs: bool,
) -> Result<u32, DiskError> {
    match request {
        Request::Write {
            segment,
            offset,
            position,
            len,
            sync,
        } => {
            disk.write_at(segment, offset, log.bytes(position, len))?;
            if sync && syncs {
                disk.sync_range(segment, offset, u64::from(len));
            }
            return Ok(len);
        }
        Request::Sync { segment } if syncs => disk.sync(segment)?,
        Request::Sync { .. } => {}
        Request::Prepare { segment, bytes } => disk.create(segment, bytes)?,
        Request::Remove { segment } => disk.remove(segment)?,
        Request::Read { .. } => {}
    }
    Ok(0)
}

/// What is in a record.
fn body(sequence: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng(sequence << 32 ^ len as u64);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8))
        .flat_map(|_| rng.bits().to_le_bytes())
        .collect();
    bytes.truncate(len);
    bytes
}

/// The record as a publisher sends it.
fn published(sequence: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; record::body_record_bytes(len)];
    let stamp = Stamp {
        sequence: 9,
        subject_id: 3,
        ..Stamp::DATA
    };
    let _fits = record::encode(&mut bytes, &stamp, &body(sequence, len));
    bytes
}

const LOG: LogId = LogId(0);
const SECOND: u64 = 1_000_000_000;
const SEGMENT_BYTES: u64 = 64 << 10;
/// Less than this is left of a segment that is full: not enough for a large record, and for what is kept free for marks and the seal.
const FULL_ROOM: u64 = 26 << 10;
const SMALL_BYTES: usize = 100;
const LARGE_BYTES: usize = 9000;
/// A recovery of so few segments takes fewer.
const RECOVERY_OPERATIONS_MAX: u64 = 500;
