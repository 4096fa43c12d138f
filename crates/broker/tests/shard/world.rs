//! A shard with everything around it in memory: disks that answer when told, sessions that take what they get when told.
#![allow(dead_code, reason = "each test uses a part")]

mod producer;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use trunkline_broker::{
    Limits, Now, PublishError, PublishFrame, Published, Refusal, SessionId, Shard, ShardConfig,
    StreamPlan, Turn,
};
use trunkline_log::testing::{MemoryFiles, Queue, execute};
use trunkline_log::{
    DiskError, Durability, Log, LogConfig, LogId, Request, Retention, Storage, Token,
};
use trunkline_route::Pattern;
use trunkline_wire::{AckLevel, Policy, Positions, Run, Start, Subscribe, SubscribeFlags};

use self::producer::Producer;
pub use self::producer::push;
use self::sessions::Sessions;
pub use self::sessions::{Got, as_record};

pub struct World {
    pub shard: Shard,
    pub out: Sessions,
    pub disk: Queue,
    pub files: BTreeMap<u32, MemoryFiles>,
    pub now: Now,
    configs: BTreeMap<u32, LogConfig>,
    producers: HashMap<SessionId, Producer>,
    buffers: HashMap<u32, Vec<u8>>,
    next_buffer: u32,
    next_frame: u16,
    /// Sessions that take nothing of what they are sent.
    pub stuck: BTreeSet<SessionId>,
    /// Requests that fail, by what the function says.
    pub fail: Option<fn(&Request) -> Option<DiskError>>,
}

pub const MS: u64 = 1_000_000;

pub fn session(slot: u32) -> SessionId {
    SessionId::new(0, slot, 1)
}

pub fn small_log(storage: Storage) -> LogConfig {
    LogConfig {
        storage,
        tail_bytes: 256 << 10,
        segment_bytes: 128 << 10,
        record_bytes_max: 16 << 10,
        read_bytes: 16 << 10,
        ..LogConfig::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::with_config(ShardConfig {
            limits,
            ..ShardConfig::default()
        })
    }

    pub fn with_config(config: ShardConfig) -> Self {
        Self {
            shard: Shard::new(config),
            out: Sessions::default(),
            disk: Queue::default(),
            files: BTreeMap::new(),
            now: Now {
                mono_ns: 1_000 * MS,
                wall_ns: 1_700_000_000_000 * MS,
            },
            configs: BTreeMap::new(),
            producers: HashMap::new(),
            buffers: HashMap::new(),
            next_buffer: 0,
            next_frame: 0,
            stuck: BTreeSet::new(),
            fail: None,
        }
    }

    /// A world with one stream `main` that captures everything, visible when stored.
    pub fn with_main() -> Self {
        Self::with_main_and(Limits::default())
    }

    /// The same with limits.
    pub fn with_main_and(limits: Limits) -> Self {
        let mut world = Self::with_limits(limits);
        world.add(
            "main",
            0,
            &[">"],
            AckLevel::Stored,
            small_log(Storage::Files),
        );
        world
    }

    /// The same without files.
    pub fn with_volatile_main() -> Self {
        let mut world = Self::new();
        world.add(
            "main",
            0,
            &[">"],
            AckLevel::Received,
            small_log(Storage::Memory),
        );
        world
    }

    pub fn add(
        &mut self,
        name: &str,
        id: u32,
        patterns: &[&str],
        level: AckLevel,
        config: LogConfig,
    ) {
        self.try_add(name, id, patterns, level, level, config)
            .unwrap();
    }

    pub fn try_add(
        &mut self,
        name: &str,
        id: u32,
        patterns: &[&str],
        level: AckLevel,
        visible: AckLevel,
        mut config: LogConfig,
    ) -> Result<(), Refusal> {
        if level == AckLevel::Synced {
            config.durability = Durability::Synced;
        }
        let files = self.files.entry(id).or_default();
        let (log, _) = Log::open(LogId(id), &config, files).unwrap();
        self.configs.insert(id, config);
        let plan = StreamPlan {
            name: name.into(),
            patterns: patterns
                .iter()
                .map(|text| Pattern::new(text).unwrap())
                .collect(),
            level,
            visible,
        };
        self.shard
            .add_stream(plan, log, self.now, &mut self.out)
            .map_err(|(refusal, _)| refusal)
    }

    pub fn add_cursors(&mut self, id: u32) {
        let config = Shard::cursor_log_config(0);
        let (log, _) = Log::open(LogId(id), &config, self.files.entry(id).or_default()).unwrap();
        self.shard.add_cursors(log).unwrap();
        for _ in 0..1000 {
            if self.shard.is_ready() {
                return;
            }
            self.settle();
        }
        panic!("the cursors are never read");
    }

    /// The server ends (in good order or not) and starts again on the same files, without its streams.
    pub fn restart(&mut self) {
        let mut other = Self::with_config(*self.shard.config());
        other.files = std::mem::take(&mut self.files);
        other.now = self.now;
        *self = other;
    }

    pub fn open(&mut self, slot: u32) -> SessionId {
        let id = session(slot);
        self.shard.open_session(id).unwrap();
        id
    }

    /// As [`Producer::run`].
    pub fn run(&mut self, session: SessionId, records: &[(&str, &[u8])]) -> Vec<u8> {
        self.producers.entry(session).or_default().run(records)
    }

    pub fn publish_run(
        &mut self,
        session: SessionId,
        frame: PublishFrame,
        run: &[u8],
    ) -> Result<Published, PublishError> {
        let run = Run::check(run, 1 << 24).unwrap();
        self.shard.publish(session, frame, run, self.now)
    }

    /// One frame that expects an Ack at the stream's level. Returns the frame's sequence.
    pub fn publish(&mut self, session: SessionId, records: &[(&str, &[u8])]) -> u16 {
        self.publish_at(session, AckLevel::Stream, records)
    }

    pub fn publish_at(
        &mut self,
        session: SessionId,
        level: AckLevel,
        records: &[(&str, &[u8])],
    ) -> u16 {
        let run = self.run(session, records);
        self.next_frame = self.next_frame.wrapping_add(1);
        let frame = PublishFrame {
            sequence: self.next_frame,
            level,
            expects_ack: true,
            last: true,
            apart: false,
        };
        let published = self.publish_run(session, frame, &run).unwrap();
        assert_eq!(
            published,
            Published {
                bytes: run.len(),
                full: false,
                refused: published.refused,
            },
            "there is room"
        );
        self.next_frame
    }

    /// `count` records with bodies of `bytes` bytes, settling now and then.
    pub fn fill(&mut self, session: SessionId, subject: &str, count: u64, bytes: usize) {
        for nth in 0..count {
            let mut body = vec![b'.'; bytes];
            let number = nth.to_string();
            body[..number.len()].copy_from_slice(number.as_bytes());
            self.publish(session, &[(subject, &body)]);
            if nth % 16 == 15 {
                self.settle();
            }
        }
        self.settle();
    }

    pub fn subscribe(
        &mut self,
        session: SessionId,
        subscription: u16,
        pattern: &str,
        start: Start,
    ) -> u32 {
        self.subscribe_with(
            session,
            &Subscribe {
                start,
                ..request(subscription, pattern)
            },
        )
        .unwrap()
    }

    pub fn subscribe_with(
        &mut self,
        session: SessionId,
        subscribe: &Subscribe<'_>,
    ) -> Result<u32, Refusal> {
        self.shard
            .subscribe(session, subscribe, self.now, &mut self.out)
    }

    pub fn credit(&mut self, session: SessionId, channel: u16, bytes: u64) {
        self.shard.credit(session, channel, bytes).unwrap();
    }

    pub fn confirm(&mut self, session: SessionId, channel: u16, first: u64, last: u64) {
        self.shard
            .confirm(session, channel, first, last, self.now)
            .unwrap();
    }

    pub fn close(&mut self, session: SessionId) {
        self.shard.close_session(session, self.now, &mut self.out);
        self.drop_waiting(session);
    }

    /// What waits for a session will never leave.
    pub fn drop_waiting(&mut self, session: SessionId) {
        for hold in self.out.give_up(session) {
            self.shard.on_dropped(hold);
        }
    }

    pub fn advance(&mut self, ms: u64) {
        self.now.mono_ns += ms * MS;
        self.now.wall_ns += ms * MS;
    }

    pub fn turn(&mut self) -> Turn {
        self.shard.turn(self.now, &mut self.disk, &mut self.out)
    }

    /// Turns, disk and sends until nothing happens any more.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let turn = self.turn();
            let answered = self.answer_disk(usize::MAX);
            let sent = self.send();
            if turn.work == 0 && answered == 0 && sent == 0 {
                assert_eq!(self.turn().work, 0);
                return;
            }
        }
        panic!("the world does not settle");
    }

    /// Executes and answers the first `most` requests of the disk.
    pub fn answer_disk(&mut self, most: usize) -> usize {
        let count = self.disk.requests.len().min(most);
        let requests: Vec<_> = self.disk.requests.drain(..count).collect();
        for (log, token, request) in requests {
            self.answer(log, token, request);
        }
        count
    }

    pub fn answer(&mut self, log: LogId, token: Token, request: Request) {
        let mut buffer = Vec::new();
        let failed = self.fail.and_then(|fail| fail(&request));
        // The log of a stream that was removed has nothing to write any more.
        let Some(state) = self.shard.log(log) else {
            return;
        };
        let result = match failed {
            Some(error) => Err(error),
            None => execute(
                state,
                self.files.get_mut(&log.0).unwrap(),
                request,
                &mut buffer,
            ),
        };
        let is_read = matches!(request, Request::Read { .. });
        match result {
            Ok(_) if is_read => {
                let id = self.next_buffer;
                self.next_buffer += 1;
                self.buffers.insert(id, buffer);
                let bytes = self.buffers[&id].clone();
                self.shard.on_read(
                    log,
                    token,
                    id,
                    &bytes,
                    self.now,
                    &mut self.disk,
                    &mut self.out,
                );
            }
            Err(error) if is_read => {
                self.shard.on_read_failed(
                    log,
                    token,
                    error,
                    self.now,
                    &mut self.disk,
                    &mut self.out,
                );
            }
            result => self
                .shard
                .on_disk(log, token, result, self.now, &mut self.disk),
        }
        self.drop_released();
    }

    fn drop_released(&mut self) {
        for buffer in self.out.released.drain(..) {
            assert!(
                self.buffers.remove(&buffer).is_some(),
                "buffer {buffer} is released twice"
            );
        }
    }

    pub fn buffers_out(&self) -> usize {
        self.buffers.len()
    }
}

/// A subscription with a lot of credit.
pub fn request(subscription: u16, pattern: &str) -> Subscribe<'_> {
    Subscribe {
        subscription,
        start: Start::New,
        policy: Policy::Spill,
        flags: SubscribeFlags::empty(),
        credit_bytes: 1 << 40,
        pattern,
        group: "",
        cursor: "",
        stream: "",
        positions: Positions::NONE,
    }
}

/// A stream with files and one without, and the level at which each shows its records.
pub fn storages() -> [(Storage, AckLevel); 2] {
    [
        (Storage::Files, AckLevel::Stored),
        (Storage::Memory, AckLevel::Received),
    ]
}

pub fn retention(segments: u64) -> Retention {
    Retention {
        bytes_max: Some(segments * (128 << 10)),
        ..Retention::default()
    }
}
