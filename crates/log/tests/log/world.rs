//! A log on a disk in memory, the clock, and what should be in it.

use trunkline_log::testing::{self, MemoryFiles, Queue, Rng};
use trunkline_log::{
    AppendError, Cursor, DiskError, FetchedRun, Log, LogConfig, LogId, Loss, Mark, Now, OpenError,
    ReadDone, Recovery, Request, Run, SEQUENCE_FIRST, State, Token,
};
use trunkline_wire::record::{self, Kind, RawRecord, Stamp};

pub(crate) const SECOND: u64 = 1_000_000_000;

/// Small enough to rotate often: 64 KiB segments, a tail of 256 KiB.
pub(crate) fn small() -> LogConfig {
    LogConfig {
        tail_bytes: 256 << 10,
        segment_bytes: 64 << 10,
        record_bytes_max: 8 << 10,
        read_bytes: 16 << 10,
        subjects_max: 100,
        entropy: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
        ..LogConfig::default()
    }
}

/// What was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) subject: String,
    pub(crate) body: Vec<u8>,
    pub(crate) timestamp_ns: u64,
}

pub(crate) struct World {
    pub(crate) config: LogConfig,
    pub(crate) files: MemoryFiles,
    pub(crate) queue: Queue,
    pub(crate) log: Log,
    pub(crate) recovery: Recovery,
    pub(crate) now: Now,
    pub(crate) rng: Rng,
    /// By sequence, from `SEQUENCE_FIRST`.
    pub(crate) told: Vec<Told>,
    /// What readers were told they will not get.
    pub(crate) lost: Vec<(u64, u64, Loss)>,
    /// Reads from files so far.
    pub(crate) cold: u64,
    buffer: Vec<u8>,
}

impl World {
    pub(crate) fn new(config: LogConfig, seed: u64) -> Self {
        Self::on(config, MemoryFiles::default(), seed).expect("a new stream opens")
    }

    pub(crate) fn on(
        config: LogConfig,
        mut files: MemoryFiles,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let (log, recovery) = Log::open(LogId(7), &config, &mut files)?;
        Ok(Self {
            config,
            files,
            queue: Queue::default(),
            log,
            recovery,
            now: Now {
                mono_ns: SECOND,
                wall_ns: 1_700_000_000 * SECOND,
            },
            rng: Rng(seed),
            told: Vec::new(),
            lost: Vec::new(),
            cold: 0,
            buffer: Vec::new(),
        })
    }

    pub(crate) fn advance(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        self.now.wall_ns += ns;
    }

    /// Appends a record of `len` bytes; what is in it depends on the seed.
    pub(crate) fn append(&mut self, subject: &str, len: usize) -> Result<u64, AppendError> {
        let body: Vec<u8> = (0..len.div_ceil(8))
            .flat_map(|_| self.rng.bits().to_le_bytes())
            .take(len)
            .collect();
        self.append_body(subject, &body)
    }

    pub(crate) fn append_body(&mut self, subject: &str, body: &[u8]) -> Result<u64, AppendError> {
        let id = self.log.define(subject).expect("few subjects");
        let bytes = published(body);
        let raw = RawRecord::peek(&bytes, u32::MAX)
            .expect("framed")
            .expect("whole");
        let last_ns = self.log.last_timestamp_ns();
        let sequence = self.log.append(&raw, id, self.now.wall_ns)?;
        assert_eq!(
            sequence,
            SEQUENCE_FIRST + self.told.len() as u64,
            "sequences are dense"
        );
        let timestamp_ns = last_ns.max(self.now.wall_ns);
        self.told.push(Told {
            subject: subject.into(),
            body: body.to_vec(),
            timestamp_ns,
        });
        Ok(sequence)
    }

    /// Appends, letting the disk work whenever there is no room.
    pub(crate) fn append_waiting(&mut self, subject: &str, len: usize) -> u64 {
        loop {
            match self.append(subject, len) {
                Ok(sequence) => return sequence,
                Err(AppendError::Full) => self.settle(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        self.log.flush(self.now, &mut self.queue);
    }

    /// Executes and answers one request, which must not be a read.
    pub(crate) fn complete(&mut self, nth: usize) {
        let (_, token, request) = self.queue.requests.remove(nth);
        let result = testing::execute(&self.log, &mut self.files, request, &mut self.buffer);
        self.answer(token, result);
    }

    pub(crate) fn answer(&mut self, token: Token, result: Result<u32, DiskError>) {
        self.log
            .on_completion(token, result, self.now, &mut self.queue);
    }

    /// Flushes and answers until the disk has nothing to do.
    pub(crate) fn settle(&mut self) {
        self.flush();
        while !self.queue.requests.is_empty() {
            self.complete(0);
        }
    }

    pub(crate) fn sync_all(&mut self) {
        self.settle();
        self.log.want_synced(self.log.received().sequence - 1);
        self.settle();
        assert_eq!(self.log.synced().sequence, self.log.received().sequence);
    }

    pub(crate) fn reopen(&mut self) -> Result<(), OpenError> {
        self.queue.requests.clear();
        let (log, recovery) = Log::open(LogId(7), &self.config, &mut self.files)?;
        self.log = log;
        self.recovery = recovery;
        self.told
            .truncate((self.log.received().sequence - SEQUENCE_FIRST) as usize);
        Ok(())
    }

    /// Everything from `cursor` up to `upto`, each record compared with what was appended. Returns the sequences.
    pub(crate) fn read(&mut self, mut cursor: Cursor, upto: Mark, bytes_max: u32) -> Vec<u64> {
        let mut sequences = Vec::new();
        loop {
            match self.log.read(&cursor, upto, bytes_max, &mut self.queue) {
                Run::CaughtUp => return sequences,
                Run::Busy => panic!("one read at a time"),
                Run::Lost {
                    first,
                    last,
                    why,
                    next,
                } => {
                    self.lost.push((first, last, why));
                    cursor = next;
                }
                Run::Hot {
                    position,
                    len,
                    records,
                    first,
                    next,
                } => {
                    let bytes = self.log.bytes(position, len).to_vec();
                    self.check_run(&bytes, records, first, bytes_max, &mut sequences);
                    assert_eq!(next.sequence(), first + u64::from(records));
                    cursor = next;
                }
                Run::Cold { token } => {
                    cursor = self.read_cold(token, cursor, upto, bytes_max, &mut sequences)
                }
            }
        }
    }

    fn read_cold(
        &mut self,
        token: Token,
        mut cursor: Cursor,
        upto: Mark,
        max: u32,
        sequences: &mut Vec<u64>,
    ) -> Cursor {
        self.cold += 1;
        let at = self
            .queue
            .requests
            .iter()
            .position(|(_, t, _)| *t == token)
            .expect("it was submitted");
        let (_, _, request) = self.queue.requests.remove(at);
        assert!(matches!(request, Request::Read { .. }));
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = testing::execute(&self.log, &mut self.files, request, &mut buffer);
        match self.log.on_read(token, result) {
            ReadDone::Fetched(fetched) => loop {
                match self.log.read_fetched(&fetched, &buffer, &cursor, upto, max) {
                    FetchedRun::Run {
                        offset,
                        len,
                        records,
                        first,
                        next,
                    } => {
                        let bytes = &buffer[offset as usize..(offset + len) as usize];
                        self.check_run(bytes, records, first, max, sequences);
                        cursor = next;
                    }
                    FetchedRun::Done { next } => {
                        cursor = next;
                        break;
                    }
                    FetchedRun::Lost {
                        first,
                        last,
                        why,
                        next,
                    } => {
                        self.lost.push((first, last, why));
                        cursor = next;
                    }
                }
            },
            ReadDone::Lost {
                first,
                last,
                why,
                next,
            } => {
                self.lost.push((first, last, why));
                cursor = next;
            }
            ReadDone::Again => {}
            ReadDone::Unknown => panic!("it was submitted"),
        }
        self.buffer = buffer;
        cursor
    }

    fn check_run(
        &self,
        bytes: &[u8],
        records: u32,
        first: u64,
        bytes_max: u32,
        sequences: &mut Vec<u64>,
    ) {
        let mut walk = record::Records::new(bytes, u32::MAX);
        let mut expected = first;
        let mut count = 0;
        for raw in &mut walk {
            let record = raw.expect("framed").verify().expect("intact");
            count += 1;
            match record.kind() {
                Kind::Data => {
                    assert_eq!(record.sequence(), expected);
                    let told = &self.told[(expected - SEQUENCE_FIRST) as usize];
                    assert_eq!(record.body(), told.body, "sequence {expected}");
                    assert_eq!(
                        record.timestamp_ns(),
                        told.timestamp_ns,
                        "sequence {expected}"
                    );
                    assert_eq!(
                        self.log.subject(record.subject_id()),
                        Some(&*told.subject),
                        "sequence {expected}"
                    );
                    sequences.push(expected);
                    expected += 1;
                }
                Kind::Definition => {
                    let name = std::str::from_utf8(record.body()).expect("a name");
                    assert_eq!(self.log.subject(record.subject_id()), Some(name));
                }
                kind => panic!("{kind:?} in a run"),
            }
        }
        assert!(walk.rest().is_empty(), "whole records");
        assert_eq!(expected - first, u64::from(records));
        assert!(
            bytes.len() <= bytes_max as usize || count == 1,
            "a run keeps to its limit"
        );
    }

    /// All that is kept, read and compared; panics if anything is missing.
    pub(crate) fn read_all(&mut self) -> Vec<u64> {
        let sequences = self.read(self.log.seek_first(), self.log.received(), 64 << 10);
        let all: Vec<u64> = (self.log.first().sequence..self.log.received().sequence).collect();
        assert_eq!(sequences, all);
        assert_eq!(self.lost, []);
        sequences
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self.log.state(), State::Poisoned(_))
    }
}

/// A record as a publisher sends it.
pub(crate) fn published(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; record::body_record_bytes(body.len())];
    record::encode(
        &mut bytes,
        &Stamp {
            sequence: 99,
            subject_id: 12_345,
            ..Stamp::DATA
        },
        body,
    )
    .expect("room");
    bytes
}
