//! Cost per record and per frame, beside the bounds that the machine sets in the same run.
//!
//! `cargo bench -p trunkline-wire`; `-- encode` for one group.

use core::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trunkline_wire::crc::crc32c;
use trunkline_wire::record::{self, RawRecord, Run, Stamp, body_record_bytes};
use trunkline_wire::{
    ClientHello, Event, FrameEncoder, FrameFlags, Limits, Opcode, Server, Session, record_bytes,
};

const BODIES: [usize; 5] = [16, 64, 100, 256, 1024];
/// A batch that stays in the first-level cache.
const BATCH: usize = 64;

fn stamp(sequence: u64) -> Stamp {
    Stamp {
        sequence,
        timestamp_ns: 1_700_000_000_000_000_000 + sequence,
        ..Stamp::DATA
    }
}

fn run_of(body_len: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..body_len).map(|i| i as u8).collect();
    let mut run = vec![0; BATCH * body_record_bytes(body_len)];
    let mut at = 0;
    for sequence in 0..BATCH as u64 {
        at += record::encode(&mut run[at..], &stamp(sequence), &body).unwrap();
    }
    run
}

/// What no record can cost less than: its body copied, its body and 36 bytes checksummed.
fn bounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("bound");
    group.throughput(Throughput::Elements(1));
    for len in BODIES {
        let source = vec![7u8; len];
        let mut out = vec![0u8; len];
        group.bench_function(format!("memcpy/{len}"), |b| {
            b.iter(|| black_box(&mut out[..]).copy_from_slice(black_box(&source)));
        });
        group.bench_function(format!("crc32c/{len}"), |b| {
            b.iter(|| crc32c(black_box(&source)))
        });
    }
    group.bench_function("crc32c/36", |b| {
        let source = [7u8; 36];
        b.iter(|| crc32c(black_box(&source)));
    });
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(BATCH as u64));
    for len in BODIES {
        let body = vec![7u8; len];
        let mut out = vec![0u8; BATCH * body_record_bytes(len)];
        group.bench_function(len.to_string(), |b| {
            b.iter(|| {
                let mut at = 0;
                for sequence in 0..BATCH as u64 {
                    at +=
                        record::encode(&mut out[at..], &stamp(sequence), black_box(&body)).unwrap();
                }
                black_box(&mut out);
            });
        });
    }
    group.finish();
}

/// Framing and checksum checked, every byte of the payload touched.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(BATCH as u64));
    for len in BODIES {
        let run = run_of(len);
        group.bench_function(len.to_string(), |b| {
            b.iter(|| {
                let mut rest = black_box(&run[..]);
                let mut sum = 0u64;
                while let Some(raw) = RawRecord::peek(rest, 1 << 20).unwrap() {
                    let record = raw.verify().unwrap();
                    sum = sum
                        .wrapping_add(touch(record.payload()))
                        .wrapping_add(record.sequence());
                    rest = &rest[raw.len()..];
                }
                sum
            });
        });
    }
    group.finish();
}

fn touch(payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let sum = words
        .iter()
        .fold(0u64, |sum, word| sum ^ u64::from_le_bytes(*word));
    rest.iter().fold(sum, |sum, byte| sum ^ u64::from(*byte))
}

fn restamp(c: &mut Criterion) {
    let mut group = c.benchmark_group("restamp");
    group.throughput(Throughput::Elements(BATCH as u64));
    for len in BODIES {
        let run = run_of(len);
        let mut out = vec![0u8; run.len()];
        group.bench_function(len.to_string(), |b| {
            b.iter(|| {
                let run = Run::check(black_box(&run), 1 << 20).unwrap();
                let mut at = 0;
                for (index, raw) in run.records().enumerate() {
                    at += record::restamp(&raw, &mut out[at..], index as u64, 9, 3).unwrap();
                }
                black_box(&mut out);
            });
        });
    }
    group.finish();
}

fn walk(c: &mut Criterion) {
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(BATCH as u64));
    let run = run_of(64);
    group.bench_function("check", |b| {
        b.iter(|| Run::check(black_box(&run), 1 << 20).unwrap())
    });
    let checked = Run::check(&run, 1 << 20).unwrap();
    group.bench_function("again", |b| {
        b.iter(|| {
            black_box(checked)
                .records()
                .fold(0, |sum, raw| sum + raw.sequence())
        });
    });
    group.finish();
}

/// A connection's input of 64 KiB: batches of 32 records of 64 bytes.
fn session(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    let mut hello = [0; 64];
    let mut encoder = FrameEncoder::new(&mut hello);
    let greeting = ClientHello {
        version: 1,
        max_frame_bytes: 1 << 22,
        name: "bench",
    };
    encoder.control(&greeting, FrameFlags::empty(), 0).unwrap();
    let greeting = encoder.bytes().to_vec();
    for per_frame in [1usize, 32] {
        let mut input = vec![0; 64 << 10];
        let mut encoder = FrameEncoder::new(&mut input);
        let mut records = 0;
        while encoder.len() + 8 + per_frame * record_bytes(72) <= 64 << 10 {
            let mut frame = encoder
                .begin(Opcode::Publish, FrameFlags::empty(), 0)
                .unwrap();
            for _ in 0..per_frame {
                frame.push_record(&stamp(records), &[7; 64]).unwrap();
                records += 1;
            }
            frame.finish();
        }
        let len = encoder.len();
        group.throughput(Throughput::Elements(records));
        group.bench_function(format!("publish/{per_frame}"), |b| {
            let mut session = Session::<Server>::new(Limits::default());
            session.next(&greeting).unwrap();
            b.iter(|| {
                let mut rest = black_box(&input[..len]);
                let mut count = 0;
                while let (used, Some(Event::Records { run, .. })) = session.next(rest).unwrap() {
                    count += run.count();
                    rest = &rest[used..];
                }
                assert_eq!(u64::from(count), records);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(core::time::Duration::from_millis(300))
        .measurement_time(core::time::Duration::from_secs(1));
    targets = bounds, encode, decode, restamp, walk, session
}
criterion_main!(benches);
