//! What one record costs in each part, on one thread, beside the bound that the machine sets in the same run: the same bytes
//! copied and checksummed. The criterion benchmarks of the crates go into more detail (`cargo bench -p trunkline-wire`).
//!
//! `cargo xtask bench --only parts`, or by itself
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-parts -- [--quick] [--row WORDS]`
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use bench_harness::contest::Contest;
use bench_harness::row::{Costs, Effort, Pace, Pinning, Waiting};
use bench_harness::server::Meter;
use bench_harness::{Bar, Contender, Failure, Figure, Options, Row, Sample, cores};
use clap::Parser;
use trunkline_log::testing::MemoryFiles;
use trunkline_log::{AppendError, Disk, Log, LogConfig, LogId, Now, Request, Token};
use trunkline_wire::crc::{Crc, crc32c};
use trunkline_wire::record::{self, RawRecord, Stamp, body_record_bytes};

/// What one record costs in each part
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    run(&Arguments::parse().options).unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut contest = Contest::open("parts", options)?;
    let mut rows = Vec::new();
    for body in [64, 1024] {
        rows.push(row(
            options.quick,
            "encode",
            body,
            12.0,
            vec![
                Contender::new("trunkline", OURS, move || Ok(encode(body))),
                Contender::new("bound: copy and CRC32C", BOUND, move || {
                    Ok(copy_and_crc(body, 1))
                }),
            ],
        ));
        rows.push(row(
            options.quick,
            "decode",
            body,
            10.0,
            vec![
                Contender::new("trunkline", OURS, move || Ok(decode(body))),
                Contender::new("bound: CRC32C", BOUND, move || Ok(crc_only(body))),
            ],
        ));
        rows.push(row(
            options.quick,
            "append to the tail of a log",
            body,
            12.0,
            vec![
                Contender::new("trunkline", OURS, move || append(body)),
                Contender::new("bound: copy and CRC32C twice", BOUND, move || {
                    Ok(copy_and_crc(body, 2))
                }),
            ],
        ));
    }
    contest.run_all(rows)?;
    Ok(contest.finish())
}

fn row(quick: bool, what: &str, body: usize, bar_ns: f64, contenders: Vec<Contender>) -> Row {
    let about = match what {
        "encode" => "a record around a payload, with its CRC",
        "decode" => "the CRC is checked and the payload touched",
        _ => "what came is verified and sealed anew; what is written goes nowhere",
    };
    Row {
        name: format!("{what}, {body} B"),
        about: format!("{about}; everything in the first caches"),
        waiting: Waiting::Never,
        pinning: Pinning::Pinned("one thread to one core"),
        pace: Pace::ClosedLoop,
        costs: Costs::Shown,
        shows: vec![Figure::Ns],
        bars: if body == 64 {
            vec![Bar::value("trunkline", Figure::Ns, bar_ns)]
        } else {
            Vec::new()
        },
        point: None,
        discard_preempted: true,
        effort: if quick {
            Effort {
                samples: 3,
                rounds: 9,
            }
        } else {
            Effort {
                samples: 15,
                rounds: 60,
            }
        },
        contenders,
    }
}

/// Times a closure that works through [`BATCH`] records, on one core.
fn timed(mut batch: impl FnMut()) -> Sample {
    cores::on_core(cores::pair().map(|pair| pair[0]), || {
        for _ in 0..ROUNDS / 10 {
            batch();
        }
        let meter = Meter::start(None);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            batch();
        }
        let ns = start.elapsed().as_nanos() as f64 / (ROUNDS * BATCH) as f64;
        // What others do elsewhere does not touch one thread; that it was preempted does.
        let preemptions = meter.read(None).preemptions;
        Sample {
            preemptions,
            ..Sample::default()
                .with(Figure::Ns, ns)
                .with(Figure::PerSecond, 1e9 / ns)
        }
    })
}

fn stamp(sequence: u64) -> Stamp {
    Stamp {
        sequence,
        timestamp_ns: 1_700_000_000_000_000_000 + sequence,
        ..Stamp::DATA
    }
}

fn encode(body: usize) -> Sample {
    let payload = vec![7u8; body];
    let mut out = vec![0u8; BATCH * body_record_bytes(body)];
    timed(|| {
        let mut at = 0;
        for sequence in 0..BATCH as u64 {
            at += record::encode(&mut out[at..], &stamp(sequence), black_box(&payload))
                .expect("there is room");
        }
        black_box(&out);
    })
}

fn decode(body: usize) -> Sample {
    let payload: Vec<u8> = (0..body).map(|at| at as u8).collect();
    let mut run = vec![0; BATCH * body_record_bytes(body)];
    let mut at = 0;
    for sequence in 0..BATCH as u64 {
        at += record::encode(&mut run[at..], &stamp(sequence), &payload).expect("there is room");
    }
    timed(|| {
        let mut rest = black_box(&run[..]);
        while let Some(raw) = RawRecord::peek(rest, 1 << 20).expect("framed") {
            rest = &rest[raw.len()..];
            let record = raw.verify().expect("whole");
            let words = record.payload().as_chunks::<8>().0;
            black_box(words.iter().fold(0, |sum: u64, word| {
                sum.wrapping_add(u64::from_le_bytes(*word))
            }));
        }
    })
}

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

fn append(body: usize) -> Result<Sample, Failure> {
    let mut bytes = vec![0; body_record_bytes(body)];
    record::encode(&mut bytes, &stamp(3), &vec![7; body]).expect("there is room");
    let config = LogConfig {
        tail_bytes: 1 << 20,
        record_bytes_max: 16 << 10,
        ..LogConfig::default()
    };
    let mut files = MemoryFiles::default();
    let (mut log, _) =
        Log::open(LogId(0), &config, &mut files).map_err(|error| error.to_string())?;
    let mut disk = NoDisk::default();
    let id = log.define("bench").map_err(|error| error.to_string())?;
    let mut now = Now::default();
    Ok(timed(move || {
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
    }))
}

fn settle(log: &mut Log, disk: &mut NoDisk, now: Now) {
    log.flush(now, disk);
    while let Some((token, len)) = disk.0.pop() {
        log.on_completion(token, Ok(len), now, disk);
    }
}

/// The record's bytes copied round a ring; the body checksummed once, the 36 bytes before it so many times.
fn copy_and_crc(body: usize, seals: usize) -> Sample {
    let bytes = vec![7u8; body_record_bytes(body)];
    let mut ring = vec![0u8; 1 << 20];
    let mut at = 0;
    timed(|| {
        for _ in 0..BATCH {
            let bytes = black_box(&bytes[..]);
            at = if at + 2 * bytes.len() > ring.len() {
                0
            } else {
                at + bytes.len()
            };
            ring[at..at + bytes.len()].copy_from_slice(bytes);
            let crc = Crc::new().update(&bytes[40..]);
            for _ in 0..seals {
                black_box(crc.update(&ring[at..at + 36]).finish());
            }
        }
    })
}

fn crc_only(body: usize) -> Sample {
    let bytes = vec![7u8; body + 36];
    timed(|| {
        for _ in 0..BATCH {
            black_box(crc32c(black_box(&bytes)));
        }
    })
}

/// What is set, for the reader.
const OURS: &str = "defaults; the log has a tail of 1 MiB";
const BOUND: &str = "the same bytes, through the same checksum";
/// Records that stay in the first-level cache.
const BATCH: usize = 64;
const ROUNDS: usize = 20_000;
