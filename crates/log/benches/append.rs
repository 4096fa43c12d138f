//! What an append costs, against its bound: copying the record's bytes and checksumming them twice, which no design avoids (verify what came, seal what stays).
//!
//! `cargo bench -p trunkline-log`. The tail is written round and round without a disk, so that only the append is measured.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use trunkline_log::testing::MemoryFiles;
use trunkline_log::{AppendError, Disk, Log, LogConfig, LogId, Now, Request, Storage, Token};
use trunkline_wire::crc::Crc;
use trunkline_wire::record::{self, RawRecord, Stamp};

/// Answers everything at once; nothing is written anywhere.
#[derive(Default)]
struct NoDisk(Vec<(Token, u32)>);

impl Disk for NoDisk {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        let len = if let Request::Write { len, .. } = request {
            len
        } else {
            0
        };
        self.0.push((token, len));
    }
}

fn settle(log: &mut Log, disk: &mut NoDisk, now: Now) {
    log.flush(now, disk);
    while let Some((token, len)) = disk.0.pop() {
        log.on_completion(token, Ok(len), now, disk);
    }
}

fn encoded(body: usize) -> Vec<u8> {
    let mut bytes = vec![0; record::body_record_bytes(body)];
    record::encode(
        &mut bytes,
        &Stamp {
            sequence: 3,
            ..Stamp::DATA
        },
        &vec![7; body],
    )
    .expect("room");
    bytes
}

/// Records per iteration: enough for the loop around it not to count.
const BATCH: usize = 1024;

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for body in [64, 1024] {
        let bytes = encoded(body);
        group.throughput(Throughput::Elements(BATCH as u64));
        for storage in [Storage::Memory, Storage::Files] {
            let config = LogConfig {
                storage,
                tail_bytes: 1 << 20,
                record_bytes_max: 16 << 10,
                ..LogConfig::default()
            };
            let mut files = MemoryFiles::default();
            let (mut log, _) = Log::open(LogId(0), &config, &mut files).expect("it opens");
            let mut disk = NoDisk::default();
            let id = log.define("bench").expect("room");
            let mut now = Now::default();
            group.bench_function(BenchmarkId::new(format!("{storage:?}"), body), |bencher| {
                bencher.iter(|| {
                    now.wall_ns += 1000;
                    now.mono_ns += 1000;
                    for _ in 0..BATCH {
                        let raw = RawRecord::peek(black_box(&bytes), 1 << 20)
                            .expect("framed")
                            .expect("whole");
                        while log.append(&raw, id, now.wall_ns) == Err(AppendError::Full) {
                            settle(&mut log, &mut disk, now);
                        }
                    }
                    settle(&mut log, &mut disk, now);
                });
            });
        }
        // The bound: the same bytes copied round a ring, and two checksums of 36 bytes behind one of the body.
        let mut ring = vec![0_u8; 1 << 20];
        let mut at = 0;
        group.bench_function(BenchmarkId::new("memcpy and crc", body), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    let bytes = black_box(&bytes[..]);
                    at = if at + 2 * bytes.len() > ring.len() {
                        0
                    } else {
                        at + bytes.len()
                    };
                    ring[at..at + bytes.len()].copy_from_slice(bytes);
                    let body = Crc::new().update(&bytes[40..]);
                    black_box(body.update(&bytes[..36]).finish());
                    black_box(body.update(&ring[at..at + 36]).finish());
                }
            });
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let config = LogConfig {
        storage: Storage::Memory,
        tail_bytes: 4 << 20,
        ..LogConfig::default()
    };
    let (mut log, _) = Log::open_in_memory(LogId(0), &config).expect("it opens");
    let bytes = encoded(64);
    let raw = RawRecord::peek(&bytes, 1 << 20)
        .expect("framed")
        .expect("whole");
    let id = log.define("bench").expect("room");
    for _ in 0..20_000 {
        log.append(&raw, id, 1).expect("the oldest make room");
    }
    let mut group = criterion.benchmark_group("read hot, 20,000 records of 64 bytes");
    group.throughput(Throughput::Elements(20_000));
    for bytes_max in [1 << 20, 16 << 10, 1] {
        group.bench_function(BenchmarkId::new("bytes_max", bytes_max), |bencher| {
            bencher.iter(|| {
                let mut cursor = log.seek_first();
                let mut disk = NoDisk::default();
                while let trunkline_log::Run::Hot { next, .. } =
                    log.read(&cursor, log.received(), bytes_max, &mut disk)
                {
                    cursor = next;
                }
                black_box(cursor)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
