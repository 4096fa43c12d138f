//! After warm-up, publishing, acknowledging and delivering allocate nothing: to files and memory, whole, narrow and in a group.

use trunkline_broker::{
    HoldId, Now, Out, PublishFrame, SessionId, Shard, ShardConfig, Span, StreamPlan,
};
use trunkline_log::testing::{MemoryFiles, execute};
use trunkline_log::{Disk, Log, LogConfig, LogId, Request, Storage, Token};
use trunkline_route::Pattern;
use trunkline_wire::record;
use trunkline_wire::{
    Ack, AckLevel, ErrorBody, ErrorCode, FrameHeader, Kind, Policy, Positions, Run, Stamp, Start,
    Subscribe, SubscribeFlags,
};

/// Takes everything at once, into lists that keep their room.
#[derive(Default)]
struct Taker {
    sent: Vec<HoldId>,
    records: u64,
    acked: u64,
}

impl Out for Taker {
    fn deliver(&mut self, _: SessionId, _: u16, _: Span, records: u32, hold: HoldId) {
        self.records += u64::from(records);
        self.sent.push(hold);
    }

    fn deliver_copied(&mut self, _: SessionId, _: u16, _: &[u8], records: u32, hold: HoldId) {
        self.records += u64::from(records);
        self.sent.push(hold);
    }

    fn frame(&mut self, _: SessionId, _: FrameHeader, _: &[u8]) {}

    fn acked(&mut self, _: SessionId, _: u16, ack: Ack) {
        self.acked += u64::from(ack.count);
    }

    fn refused(&mut self, _: SessionId, _: u16, error: &ErrorBody<'_>) {
        panic!("{error:?}");
    }

    fn close(&mut self, _: SessionId, code: ErrorCode, message: &str) {
        panic!("{code}: {message}");
    }

    fn release_buffer(&mut self, _: u32) {}
}

/// Keeps requests in a list that keeps its room.
#[derive(Default)]
struct List {
    requests: Vec<(LogId, Token, Request)>,
}

impl Disk for List {
    fn submit(&mut self, log: LogId, token: Token, request: Request) {
        self.requests.push((log, token, request));
    }
}

struct Bench {
    shard: Shard,
    files: MemoryFiles,
    disk: List,
    spare: Vec<(LogId, Token, Request)>,
    out: Taker,
    now: Now,
    runs: Vec<Vec<u8>>,
}

fn session(slot: u32) -> SessionId {
    SessionId::new(0, slot, 1)
}

impl Bench {
    fn new() -> Self {
        let mut shard = Shard::new(ShardConfig::default());
        let mut out = Taker::default();
        let mut files = MemoryFiles::default();
        let now = Now {
            mono_ns: 1,
            wall_ns: 1_700_000_000_000_000_000,
        };
        for (id, storage, subject) in [
            (0, Storage::Files, "file.>"),
            (1, Storage::Memory, "memory.>"),
        ] {
            let config = LogConfig {
                storage,
                segment_bytes: 64 << 20,
                ..LogConfig::default()
            };
            let (log, _) = Log::open(LogId(id), &config, &mut files).unwrap();
            let plan = StreamPlan {
                name: subject.into(),
                patterns: vec![Pattern::new(subject).unwrap()],
                level: AckLevel::Stored,
                visible: AckLevel::Stored,
            };
            let added = shard.add_stream(plan, log, now, &mut out);
            added.map_err(|(refusal, _)| refusal).unwrap();
        }
        for slot in 0..4 {
            shard.open_session(session(slot)).unwrap();
        }
        for (slot, pattern, group) in [
            (1, ">", ""),
            (2, "*.3", ""),
            (3, ">", "group"),
            (0, ">", "group"),
        ] {
            let subscribe = Subscribe {
                subscription: 1,
                start: Start::New,
                policy: Policy::Spill,
                flags: SubscribeFlags::empty(),
                credit_bytes: 1 << 60,
                pattern,
                group,
                cursor: "",
                stream: "",
                positions: Positions::NONE,
            };
            shard
                .subscribe(session(slot), &subscribe, now, &mut out)
                .unwrap();
        }
        let mut runs = vec![Vec::new(), Vec::new()];
        for id in 0..20 {
            let name = format!("{}.{}", if id < 10 { "file" } else { "memory" }, id % 10);
            let stamp = Stamp {
                kind: Kind::Definition,
                subject_id: id,
                ..Stamp::DATA
            };
            push(&mut runs[0], &stamp, name.as_bytes());
        }
        for nth in 0..500 {
            let stamp = Stamp {
                subject_id: nth / 7 % 20,
                sequence: u64::from(nth),
                ..Stamp::DATA
            };
            push(&mut runs[1], &stamp, &[7; 64]);
        }
        Self {
            shard,
            files,
            disk: List::default(),
            spare: Vec::new(),
            out,
            now,
            runs,
        }
    }

    /// Publishes a run and takes everything that comes of it. What the files allocate is not counted.
    fn round(&mut self, run: usize) {
        let frame = PublishFrame {
            sequence: 1,
            level: AckLevel::Stream,
            expects_ack: true,
            last: true,
            apart: false,
        };
        let run = Run::check(&self.runs[run], 1 << 20).unwrap();
        let published = self
            .shard
            .publish(session(1), frame, run, self.now)
            .unwrap();
        assert!(!published.full);
        loop {
            self.now.mono_ns += 1000;
            let turn = self.shard.turn(self.now, &mut self.disk, &mut self.out);
            for hold in self.out.sent.drain(..) {
                self.shard.on_sent(hold);
            }
            let answered = self.disk.requests.len();
            std::mem::swap(&mut self.disk.requests, &mut self.spare);
            for (log, token, request) in self.spare.drain(..) {
                let state = self.shard.log(log).unwrap();
                let mut result = None;
                allocation_counter::opt_out(|| {
                    let mut buffer = Vec::new();
                    result = Some(execute(state, &mut self.files, request, &mut buffer));
                });
                self.shard
                    .on_disk(log, token, result.unwrap(), self.now, &mut self.disk);
            }
            if turn.work == 0 && answered == 0 {
                return;
            }
        }
    }
}

fn push(run: &mut Vec<u8>, stamp: &Stamp, body: &[u8]) {
    let start = run.len();
    run.resize(start + record::body_record_bytes(body.len()), 0);
    record::encode(&mut run[start..], stamp, body).unwrap();
}

#[test]
fn after_warm_up_nothing_is_allocated() {
    let mut bench = Bench::new();
    bench.round(0);
    // Several times round the tail. A new segment is noted in lists of the log's, so there is none while it counts.
    for _ in 0..400 {
        bench.round(1);
    }
    let (records, acked) = (bench.out.records, bench.out.acked);
    let requests = 250;
    let counted = allocation_counter::measure(|| {
        for _ in 0..requests {
            bench.round(1);
        }
    });
    assert_eq!(bench.out.acked - acked, 500 * requests);
    assert!(bench.out.records - records > 2 * 500 * requests);
    assert_eq!(counted.count_total, 0);
}
