//! What the broker costs beside the log's copy and checksum: 64-byte records in frames of 64 KiB through a stream without files, to
//! one subscriber that takes everything at once. `append` is the same records through the log alone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trunkline_broker::{
    HoldId, Limits, Now, Out, PublishFrame, SessionId, Shard, ShardConfig, Span, StreamPlan,
};
use trunkline_log::testing::Queue;
use trunkline_log::{Log, LogConfig, LogId, Storage};
use trunkline_route::Pattern;
use trunkline_wire::record::{self, Records};
use trunkline_wire::{
    Ack, AckLevel, ErrorBody, ErrorCode, FrameHeader, Kind, Policy, Positions, Run, Stamp, Start,
    Subscribe, SubscribeFlags,
};

const RECORDS: u32 = 600;
const NOW: Now = Now {
    mono_ns: 1,
    wall_ns: 1_700_000_000_000_000_000,
};

/// Takes everything at once.
#[derive(Default)]
struct Taker {
    sent: Vec<HoldId>,
    bytes: u64,
    acks: u64,
}

impl Out for Taker {
    fn deliver(&mut self, _: SessionId, _: u16, span: Span, _: u32, hold: HoldId) {
        self.bytes += u64::from(span.len);
        self.sent.push(hold);
    }

    fn deliver_copied(&mut self, _: SessionId, _: u16, body: &[u8], _: u32, hold: HoldId) {
        self.bytes += body.len() as u64;
        self.sent.push(hold);
    }

    fn frame(&mut self, _: SessionId, _: FrameHeader, _: &[u8]) {}

    fn acked(&mut self, _: SessionId, _: u16, ack: Ack) {
        self.acks += u64::from(ack.count);
    }

    fn refused(&mut self, _: SessionId, _: u16, error: &ErrorBody<'_>) {
        panic!("{error:?}");
    }

    fn close(&mut self, _: SessionId, code: ErrorCode, message: &str) {
        panic!("{code}: {message}");
    }

    fn release_buffer(&mut self, _: u32) {}
}

fn log() -> Log {
    let config = LogConfig {
        storage: Storage::Memory,
        ..LogConfig::default()
    };
    Log::open_in_memory(LogId(0), &config).unwrap().0
}

fn frame(subjects: u32, body: &[u8]) -> Vec<u8> {
    let mut run = Vec::new();
    let mut push = |stamp: &Stamp, body: &[u8]| {
        let start = run.len();
        run.resize(start + record::body_record_bytes(body.len()), 0);
        record::encode(&mut run[start..], stamp, body).unwrap();
    };
    for nth in 0..RECORDS {
        push(
            &Stamp {
                subject_id: nth % subjects,
                sequence: u64::from(nth),
                ..Stamp::DATA
            },
            body,
        );
    }
    run
}

fn definitions(subjects: u32) -> Vec<u8> {
    let mut run = Vec::new();
    for id in 0..subjects {
        let name = format!("orders.r{id}.new");
        let start = run.len();
        run.resize(start + record::body_record_bytes(name.len()), 0);
        let stamp = Stamp {
            kind: Kind::Definition,
            subject_id: id,
            ..Stamp::DATA
        };
        record::encode(&mut run[start..], &stamp, name.as_bytes()).unwrap();
    }
    run
}

struct Bench {
    shard: Shard,
    disk: Queue,
    out: Taker,
    run: Vec<u8>,
}

fn session(slot: u32) -> SessionId {
    SessionId::new(0, slot, 1)
}

const FRAME: PublishFrame = PublishFrame {
    sequence: 1,
    level: AckLevel::Stream,
    expects_ack: true,
    last: true,
    apart: false,
};

impl Bench {
    fn new(subjects: u32, patterns: &[&str]) -> Self {
        let limits = Limits::default();
        let mut shard = Shard::new(ShardConfig {
            limits,
            ..ShardConfig::default()
        });
        let mut out = Taker::default();
        let plan = StreamPlan {
            name: "main".into(),
            patterns: vec![Pattern::new(">").unwrap()],
            level: AckLevel::Received,
            visible: AckLevel::Received,
        };
        shard
            .add_stream(plan, log(), NOW, &mut out)
            .map_err(|(refusal, _)| refusal)
            .unwrap();
        shard.open_session(session(1)).unwrap();
        for (slot, pattern) in (10..).zip(patterns) {
            shard.open_session(session(slot)).unwrap();
            let subscribe = Subscribe {
                subscription: 1,
                start: Start::New,
                policy: Policy::Spill,
                flags: SubscribeFlags::empty(),
                credit_bytes: 1 << 60,
                pattern,
                group: "",
                cursor: "",
                stream: "",
                positions: Positions::NONE,
            };
            shard
                .subscribe(session(slot), &subscribe, NOW, &mut out)
                .unwrap();
        }
        let names = definitions(subjects);
        shard
            .publish(session(1), FRAME, Run::check(&names, 1 << 20).unwrap(), NOW)
            .unwrap();
        let run = frame(subjects, &[7; 64]);
        let mut bench = Self {
            shard,
            disk: Queue::default(),
            out,
            run,
        };
        bench.round();
        bench
    }

    fn round(&mut self) {
        let run = Run::check(&self.run, 1 << 20).unwrap();
        let published = self.shard.publish(session(1), FRAME, run, NOW).unwrap();
        assert!(!published.full);
        loop {
            let turn = self.shard.turn(NOW, &mut self.disk, &mut self.out);
            for hold in self.out.sent.drain(..) {
                self.shard.on_sent(hold);
            }
            if turn.work == 0 {
                return;
            }
        }
    }
}

fn shard(c: &mut Criterion) {
    let mut group = c.benchmark_group("64 B");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));

    let run = frame(1, &[7; 64]);
    let mut alone = log();
    let id = alone.define("orders.new").unwrap();
    group.bench_function("append", |b| {
        b.iter(|| {
            for record in Run::check(&run, 1 << 20).unwrap().records() {
                alone.append(&record, id, NOW.wall_ns).unwrap();
            }
        });
    });
    group.bench_function("walk", |b| b.iter(|| Records::new(&run, 1 << 20).count()));
    for (name, subjects, patterns) in [
        ("publish", 1, &[][..]),
        ("publish to 100 subjects", 100, &[]),
        ("publish, deliver", 1, &[">"]),
        ("publish, deliver to 10", 1, &[">"; 10]),
        (
            "publish to 100 subjects, deliver 1 of them",
            100,
            &["orders.r7.*"],
        ),
        (
            "publish to 100 subjects, deliver 10 of them",
            100,
            &[
                "orders.r7.*",
                "orders.r8.*",
                "orders.r9.*",
                "orders.r10.*",
                "orders.r11.*",
                "orders.r12.*",
                "orders.r13.*",
                "orders.r14.*",
                "orders.r15.*",
                "orders.r16.*",
            ],
        ),
        (
            "publish to 2 subjects, deliver 1 of them",
            2,
            &["orders.r1.*"],
        ),
    ] {
        let mut bench = Bench::new(subjects, patterns);
        group.bench_function(name, |b| b.iter(|| bench.round()));
        assert!(bench.out.acks > 0);
    }
    group.finish();
}

criterion_group!(benches, shard);
criterion_main!(benches);
