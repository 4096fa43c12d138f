//! How long a stream of 1 GiB takes to open, and how fast its files are verified: `cargo bench -p trunkline --bench recovery`.
//!
//! Records of 1 KiB in segments of 64 MiB, as the server's defaults make them, over the files that the server uses. Opening reads past the page
//! cache, where the file system lets it; verification reads through it, and is run once before it counts. One thread. Arguments:
//! MiB of the stream (default 1024). `TRUNKLINE_RECOVERY_DATA` names the directory whose disk is written to. The bars are
//! those of the project: 2 seconds, 2 GB/s. It ends with 1 when one is missed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use trunkline::storage::{DataDir, Space, StreamDir, View};
use trunkline_log::{
    AppendError, Disk, DiskError, Files, Log, LogConfig, LogId, Now, Request, Token, verify,
};
use trunkline_wire::record::{self, RawRecord, Stamp};

fn main() -> ExitCode {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let bytes = numbers.next_back().unwrap_or(1024) << 20;
    let directory = match std::env::var_os("TRUNKLINE_RECOVERY_DATA") {
        Some(path) => tempfile::tempdir_in(path),
        None => tempfile::tempdir(),
    };
    let directory = directory.expect("a directory for the data");
    let data = DataDir::open(directory.path()).expect("a data directory");
    let mut dir = data
        .stream("bench", Space::Reserved)
        .expect("a stream's directory");
    fill(&mut dir, bytes);

    let mut slowest = Duration::ZERO;
    for what in ["after a kill", "again"] {
        let mut dir = dir.clone();
        let begin = Instant::now();
        let (log, recovery) = Log::open(LogId(0), &config(), &mut dir).expect("it opens");
        let took = begin.elapsed();
        slowest = slowest.max(took);
        println!(
            "opened {what}: {:>7.1} ms for {} segments, {} MiB; {} MiB scanned, {} KiB written again",
            took.as_secs_f64() * 1e3,
            recovery.segments,
            log.bytes_kept() >> 20,
            recovery.scanned_bytes >> 20,
            recovery.rewritten_bytes >> 10,
        );
    }

    let view = View::open(directory.path()).expect("a data directory");
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        let mut total = 0;
        let begin = Instant::now();
        let found =
            verify(&mut view.stream("bench"), |_, all| total = all).expect("it can be read");
        let rate = total as f64 / begin.elapsed().as_secs_f64() / 1e9;
        assert!(found.damages.is_empty());
        if round > 0 {
            rates.push(rate);
        }
    }
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    println!(
        "verified from the page cache: {median:.2} GB/s ({:.2} to {:.2}, {ROUNDS} rounds, one thread)",
        rates[0],
        rates[rates.len() - 1]
    );
    let held = slowest < OPEN_MAX && median >= VERIFY_MIN;
    println!(
        "bars: open in {} s, verify {VERIFY_MIN} GB/s: {}",
        OPEN_MAX.as_secs(),
        if held { "held" } else { "MISSED" }
    );
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn config() -> LogConfig {
    LogConfig {
        entropy: 7,
        ..LogConfig::default()
    }
}

/// A stream of so many bytes, written, synced now and then, and left as a kill leaves it.
fn fill(dir: &mut StreamDir, bytes: u64) {
    let (mut log, _) = Log::open(LogId(0), &config(), dir).expect("a new stream");
    let subject = log.define("bench").expect("room");
    let mut encoded = vec![0; record::body_record_bytes(BODY)];
    record::encode(&mut encoded, &Stamp::DATA, &[7; BODY]).expect("room");
    let raw = RawRecord::peek(&encoded, u32::MAX)
        .expect("framed")
        .expect("whole");
    let begin = Instant::now();
    while log.received().position < bytes {
        let at = begin.elapsed().as_nanos() as u64;
        let now = Now {
            mono_ns: at,
            wall_ns: 1_700_000_000_000_000_000 + at,
        };
        match log.append(&raw, subject, now.wall_ns) {
            Ok(_) => {}
            Err(AppendError::Full) => settle(&mut log, dir, now),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Does at once what the log asks for.
fn settle(log: &mut Log, dir: &mut StreamDir, now: Now) {
    let mut asked = Asked(Vec::new());
    log.flush(now, &mut asked);
    while let Some((token, request)) = asked.0.pop() {
        let done = match request {
            Request::Write {
                segment,
                offset,
                position,
                len,
                ..
            } => dir
                .write_at(segment, offset, log.bytes(position, len))
                .map(|()| len),
            Request::Sync { segment } => dir.sync(segment).map(|()| 0),
            Request::Prepare { segment, bytes } => dir.create(segment, bytes).map(|()| 0),
            Request::Remove { segment } => dir.remove(segment).map(|()| 0),
            Request::Read { .. } => unreachable!("nothing is read"),
        };
        let done = done.map_err(|error| DiskError::from(&error));
        log.on_completion(token, done, now, &mut asked);
    }
}

struct Asked(Vec<(Token, Request)>);

impl Disk for Asked {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        self.0.push((token, request));
    }
}

const BODY: usize = 1024;
const ROUNDS: usize = 5;
const OPEN_MAX: Duration = Duration::from_secs(2);
const VERIFY_MIN: f64 = 2.0;
