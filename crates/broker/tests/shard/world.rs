//! A shard with everything around it in memory: disks that answer when told, sessions that take what they get when told.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use trunkline_broker::{
    HoldId, Limits, Now, Out, PublishError, PublishFrame, Published, Refusal, SessionId, Shard,
    ShardConfig, Source, Span, StreamPlan, Turn,
};
use trunkline_log::testing::{MemoryFiles, Queue, execute};
use trunkline_log::{
    DiskError, Durability, Log, LogConfig, LogId, Request, Retention, Storage, Token,
};
use trunkline_route::Pattern;
use trunkline_wire::record::{self, Records};
use trunkline_wire::{
    Ack, AckLevel, ErrorBody, ErrorCode, Failure, FrameFlags, FrameHeader, Gap, GapReason, Kind,
    Opcode, Policy, Positions, RpcCall, Run, Stamp, Start, Subscribe, SubscribeFlags, Subscribed,
};

/// What a session was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Record {
        channel: u16,
        sequence: u64,
        subject: String,
        body: Vec<u8>,
    },
    Subscribed {
        channel: u16,
        subscription: u16,
        stream: String,
        next: u64,
        first: u64,
        last: u64,
    },
    Gap {
        channel: u16,
        first: u64,
        last: u64,
        reason: GapReason,
    },
    Acked {
        frame: u16,
        ack: Ack,
    },
    Refused {
        frame: u16,
        code: ErrorCode,
        count: u32,
        producer_sequence: u64,
    },
    Closed {
        code: ErrorCode,
    },
    Call {
        correlation: u16,
        subject: String,
        payload: Vec<u8>,
        timeout_ms: u32,
    },
    Response {
        correlation: u16,
        payload: Vec<u8>,
    },
    Failed {
        correlation: u16,
        code: u32,
        message: String,
    },
}

/// Something that was handed over and is not on its way yet.
enum Pending {
    Span {
        channel: u16,
        span: Span,
        records: u32,
        hold: HoldId,
    },
    Copied {
        channel: u16,
        body: Vec<u8>,
        records: u32,
        hold: HoldId,
    },
    Told(Got),
}

#[derive(Default)]
pub struct Sessions {
    pending: BTreeMap<SessionId, Vec<Pending>>,
    inbox: BTreeMap<SessionId, Vec<Got>>,
    subjects: HashMap<(SessionId, u16, u32), String>,
    /// Bytes of deliveries by channel.
    pub delivered_bytes: HashMap<(SessionId, u16), u64>,
    largest_record: u64,
    pub released: Vec<u32>,
    pub reclaimed: Vec<(SessionId, HoldId)>,
    /// How many Deliver frames there were.
    pub frames: u64,
}

impl Sessions {
    fn tell(&mut self, session: SessionId, got: Got) {
        self.pending
            .entry(session)
            .or_default()
            .push(Pending::Told(got));
    }
}

impl Out for Sessions {
    fn deliver(
        &mut self,
        session: SessionId,
        channel: u16,
        span: Span,
        records: u32,
        hold: HoldId,
    ) {
        self.frames += 1;
        self.pending
            .entry(session)
            .or_default()
            .push(Pending::Span {
                channel,
                span,
                records,
                hold,
            });
    }

    fn deliver_copied(
        &mut self,
        session: SessionId,
        channel: u16,
        body: &[u8],
        records: u32,
        hold: HoldId,
    ) {
        self.frames += 1;
        let copied = Pending::Copied {
            channel,
            body: body.to_vec(),
            records,
            hold,
        };
        self.pending.entry(session).or_default().push(copied);
    }

    fn frame(&mut self, session: SessionId, header: FrameHeader, body: &[u8]) {
        assert_eq!(header.length as usize, body.len());
        let got = match header.opcode {
            Opcode::Subscribed => {
                let told = Subscribed::decode(body).unwrap();
                Got::Subscribed {
                    channel: header.sequence,
                    subscription: told.subscription,
                    stream: told.name.into(),
                    next: told.next,
                    first: told.first,
                    last: told.last,
                }
            }
            Opcode::Gap => {
                let gap = Gap::decode(body).unwrap();
                Got::Gap {
                    channel: header.sequence,
                    first: gap.first,
                    last: gap.last,
                    reason: gap.reason,
                }
            }
            Opcode::RpcCall => {
                let call = RpcCall::decode(body).unwrap();
                Got::Call {
                    correlation: header.sequence,
                    subject: call.subject.into(),
                    payload: call.payload.into(),
                    timeout_ms: call.timeout_ms,
                }
            }
            Opcode::RpcResponse if header.flags.contains(FrameFlags::FAILED) => {
                let failure = Failure::decode(body).unwrap();
                Got::Failed {
                    correlation: header.sequence,
                    code: failure.code,
                    message: failure.message.into(),
                }
            }
            Opcode::RpcResponse => Got::Response {
                correlation: header.sequence,
                payload: body.into(),
            },
            other => panic!("the broker sends no {other:?}"),
        };
        self.tell(session, got);
    }

    fn acked(&mut self, session: SessionId, frame: u16, ack: Ack) {
        self.tell(session, Got::Acked { frame, ack });
    }

    fn refused(&mut self, session: SessionId, frame: u16, error: &ErrorBody<'_>) {
        let ErrorBody {
            code,
            count,
            producer_sequence,
            ..
        } = *error;
        assert!(!error.message.is_empty());
        self.tell(
            session,
            Got::Refused {
                frame,
                code,
                count,
                producer_sequence,
            },
        );
    }

    fn reclaim(&mut self, session: SessionId, hold: HoldId) {
        self.reclaimed.push((session, hold));
    }

    fn close(&mut self, session: SessionId, code: ErrorCode, _message: &str) {
        self.tell(session, Got::Closed { code });
    }

    fn release_buffer(&mut self, buffer: u32) {
        self.released.push(buffer);
    }
}

/// Of a publishing session: its numbers for subjects and records.
#[derive(Default)]
struct Producer {
    subjects: HashMap<String, u32>,
    next_sequence: u64,
}

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
        let mut world = Self::new();
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

    /// A run of one record for each of `records` (subject and body), definitions first where the session has not sent them.
    pub fn run(&mut self, session: SessionId, records: &[(&str, &[u8])]) -> Vec<u8> {
        let producer = self.producers.entry(session).or_default();
        let mut run = Vec::new();
        for (subject, body) in records {
            let next = producer.subjects.len() as u32;
            let id = match producer.subjects.get(*subject) {
                Some(id) => *id,
                None => {
                    producer.subjects.insert((*subject).into(), next);
                    push(
                        &mut run,
                        &Stamp {
                            kind: Kind::Definition,
                            subject_id: next,
                            ..Stamp::DATA
                        },
                        subject.as_bytes(),
                    );
                    next
                }
            };
            producer.next_sequence += 1;
            let stamp = Stamp {
                subject_id: id,
                sequence: producer.next_sequence,
                ..Stamp::DATA
            };
            push(&mut run, &stamp, body);
        }
        run
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
        };
        let published = self.publish_run(session, frame, &run).unwrap();
        assert_eq!(
            published,
            Published {
                bytes: run.len(),
                full: false
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
        // What was on its way is given up.
        for pending in self.out.pending.remove(&session).unwrap_or_default() {
            match pending {
                Pending::Span { hold, .. } | Pending::Copied { hold, .. } => {
                    self.shard.on_sent(hold)
                }
                Pending::Told(_) => {}
            }
        }
        self.out.subjects.retain(|(id, ..), _| *id != session);
        self.out.delivered_bytes.retain(|(id, _), _| *id != session);
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

    /// What was handed over to sessions that are not stuck leaves. The bytes are looked at only now.
    pub fn send(&mut self) -> usize {
        self.drop_released();
        let sessions: Vec<SessionId> = self
            .out
            .pending
            .keys()
            .filter(|session| !self.stuck.contains(session))
            .copied()
            .collect();
        sessions
            .into_iter()
            .map(|session| self.send_to(session))
            .sum()
    }

    pub fn send_to(&mut self, session: SessionId) -> usize {
        let pending = self.out.pending.remove(&session).unwrap_or_default();
        let count = pending.len();
        for one in pending {
            match one {
                Pending::Told(got) => self.out.inbox.entry(session).or_default().push(got),
                Pending::Copied {
                    channel,
                    body,
                    records,
                    hold,
                } => {
                    self.take(session, channel, &body, records);
                    self.shard.on_sent(hold);
                }
                Pending::Span {
                    channel,
                    span,
                    records,
                    hold,
                } => {
                    let bytes = match span.source {
                        Source::Tail(log) => match self.shard.log(log) {
                            Some(log) => log.bytes(span.position, span.len).to_vec(),
                            None => Vec::new(),
                        },
                        Source::Buffer(id) => {
                            let start = span.position as usize;
                            self.buffers[&id][start..start + span.len as usize].to_vec()
                        }
                    };
                    self.take(session, channel, &bytes, records);
                    self.shard.on_sent(hold);
                }
            }
        }
        count
    }

    /// A Deliver frame at the client.
    fn take(&mut self, session: SessionId, channel: u16, body: &[u8], records: u32) {
        let out = &mut self.out;
        *out.delivered_bytes.entry((session, channel)).or_default() += body.len() as u64;
        let mut data = 0;
        let mut walk = Records::new(body, 1 << 24);
        for raw in &mut walk {
            let record = raw.unwrap().verify().expect("what is delivered is intact");
            match record.kind() {
                Kind::Definition => {
                    let name = String::from_utf8(record.body().into()).unwrap();
                    let known = out
                        .subjects
                        .insert((session, channel, record.subject_id()), name.clone());
                    assert!(
                        known.is_none_or(|known| known == name),
                        "an id keeps its name"
                    );
                }
                Kind::Data => {
                    data += 1;
                    out.largest_record = out.largest_record.max(record.len() as u64);
                    let subject = out.subjects.get(&(session, channel, record.subject_id()));
                    let got = Got::Record {
                        channel,
                        sequence: record.sequence(),
                        subject: subject.expect("defined before it is used").clone(),
                        body: record.body().into(),
                    };
                    out.inbox.entry(session).or_default().push(got);
                }
                other => panic!("{other:?} is delivered"),
            }
        }
        assert!(walk.rest().is_empty(), "whole records are delivered");
        assert_eq!(data, records, "the count of records is right");
    }

    /// What the session was told since the last time.
    pub fn got(&mut self, session: SessionId) -> Vec<Got> {
        self.out.inbox.remove(&session).unwrap_or_default()
    }

    /// The records among it, as (sequence, body).
    pub fn records(&mut self, session: SessionId) -> Vec<(u64, String)> {
        self.got(session)
            .into_iter()
            .filter_map(as_record)
            .collect()
    }

    pub fn sequences(&mut self, session: SessionId) -> Vec<u64> {
        self.records(session)
            .into_iter()
            .map(|(sequence, _)| sequence)
            .collect()
    }

    pub fn acks(&mut self, session: SessionId) -> Vec<Got> {
        let mut got = self.got(session);
        got.retain(|got| matches!(got, Got::Acked { .. } | Got::Refused { .. }));
        got
    }

    pub fn in_flight(&self, session: SessionId) -> usize {
        let pending = self.out.pending.get(&session);
        pending.map_or(0, |pending| {
            pending
                .iter()
                .filter(|one| !matches!(one, Pending::Told(_)))
                .count()
        })
    }
}

pub fn as_record(got: Got) -> Option<(u64, String)> {
    match got {
        Got::Record { sequence, body, .. } => {
            Some((sequence, String::from_utf8_lossy(&body).into_owned()))
        }
        _ => None,
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

pub fn retention(segments: u64) -> Retention {
    Retention {
        bytes_max: Some(segments * (128 << 10)),
        ..Retention::default()
    }
}

pub fn push(run: &mut Vec<u8>, stamp: &Stamp, body: &[u8]) {
    let start = run.len();
    run.resize(start + record::body_record_bytes(body.len()), 0);
    record::encode(&mut run[start..], stamp, body).unwrap();
}
