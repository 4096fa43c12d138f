//! How long a worker stands still while what it appends is written and synced.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Latency, Sample, cores};
use trunkline::storage::{Space, StreamDir};
use trunkline_log::{
    AppendError, Disk, DiskError, Durability, Files, Log, LogConfig, LogId, Now, Request,
    Retention, Token,
};
use trunkline_reactor::{
    AnyReactor, Completion, Config, FileId, IoBackend, Op, Reactor, RegionId, Slice, Wait,
    WriteMode,
};
use trunkline_wire::record::{self, RawRecord, Stamp, body_record_bytes};

/// How the reactor talks to the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    Epoll,
    Uring,
}

impl Backend {
    pub fn word(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Uring => "io_uring",
        }
    }
}

/// Our log over our reactor, as a worker of the server turns.
pub fn ours(backend: Backend, time: Duration, data: &Path) -> Result<Sample, Failure> {
    let folder = folder(data)?;
    let retention = Retention {
        bytes_max: Some(512 << 20),
        ..Retention::default()
    };
    let config = LogConfig {
        durability: Durability::Synced,
        retention,
        entropy: 7,
        ..LogConfig::default()
    };
    let dir = StreamDir::open(&folder.path().join("stream"), Space::Written)
        .map_err(|error| error.to_string())?;
    let (mut log, _) =
        Log::open(LogId(0), &config, &mut dir.clone()).map_err(|error| error.to_string())?;
    let subject = log.define("bench").map_err(|error| error.to_string())?;
    let backend = match backend {
        Backend::Epoll => IoBackend::Epoll,
        Backend::Uring => IoBackend::IoUring,
    };
    // As for a pinned worker of the server: what blocks is done elsewhere.
    let config_of_reactor = Config {
        offload_cpus: cores::pair().map_or(Vec::new(), |pair| vec![pair[1]]),
        ..Config::default()
    };
    let (mut reactor, _) =
        AnyReactor::new(backend, &config_of_reactor).map_err(|error| error.to_string())?;
    let tail = reactor.register_region(log.pin());
    let mut volume = Volume {
        dir,
        tail,
        mask: config.tail_bytes - 1,
        files: HashMap::new(),
        waiting: VecDeque::new(),
        steps: Vec::new(),
    };
    let mut bytes = vec![0; body_record_bytes(BODY_BYTES)];
    record::encode(&mut bytes, &Stamp::DATA, &[7; BODY_BYTES])
        .map_err(|error| error.to_string())?;
    let raw = RawRecord::peek(&bytes, 1 << 20).map_err(|error| error.to_string())?;
    let raw = raw.ok_or("a record that was just encoded is not whole")?;
    on_worker(|| {
        paced(time, |owed, mono_ns| {
            let now = Now {
                wall_ns: WALL_NS + mono_ns,
                mono_ns,
            };
            let mut appended = 0;
            while appended < owed {
                match log.append(&raw, subject, now.wall_ns) {
                    Ok(_) => appended += 1,
                    // The disk is behind; what is owed stays so.
                    Err(AppendError::Full) => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
            log.flush(now, &mut volume);
            volume.begin(&mut reactor)?;
            reactor
                .submit_and_wait(0, Wait::Poll)
                .map_err(|error| error.to_string())?;
            let mut done = [Completion::default(); 32];
            let count = reactor.reap(&mut done);
            for completion in &done[..count] {
                if let Some((token, result)) = volume.on(completion) {
                    log.on_completion(token, result, now, &mut volume);
                }
            }
            Ok((appended, appended > 0 || count > 0))
        })
    })
}

/// Our reactor as a log's disk: writes where they are asked for, the rest on the back-end or its pool.
struct Volume {
    dir: StreamDir,
    tail: RegionId,
    mask: u64,
    files: HashMap<u64, FileId>,
    waiting: VecDeque<(Token, Request)>,
    /// What is under way, by its number.
    steps: Vec<Option<Step>>,
}

#[derive(Clone, Copy)]
struct Step {
    token: Token,
    /// A sync is to follow, or this is the one.
    sync: Option<FileId>,
    len: Option<u32>,
}

impl Disk for Volume {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        self.waiting.push_back((token, request));
    }
}

impl Volume {
    fn begin(&mut self, reactor: &mut AnyReactor) -> Result<(), Failure> {
        // Syncs of writes that are done come first.
        for number in 0..self.steps.len() {
            if let Some(Step {
                sync: Some(file),
                len: Some(_),
                ..
            }) = self.steps[number]
            {
                reactor
                    .stage(
                        Op::Sync {
                            file,
                            data_only: true,
                        },
                        number as u64,
                    )
                    .map_err(|_| "the reactor is full")?;
                self.steps[number].as_mut().expect("it was just there").sync = None;
            }
        }
        while let Some((token, request)) = self.waiting.pop_front() {
            let number = self
                .steps
                .iter()
                .position(Option::is_none)
                .unwrap_or(self.steps.len());
            if number == self.steps.len() {
                self.steps.push(None);
            }
            let word = number as u64;
            let mut step = Step {
                token,
                sync: None,
                len: None,
            };
            let staged = match request {
                Request::Write {
                    segment,
                    offset,
                    position,
                    len,
                    sync,
                } => {
                    let file = self.file(segment, reactor)?;
                    step.sync = sync.then_some(file);
                    let slice = Slice {
                        region: self.tail,
                        offset: position & self.mask,
                        len,
                    };
                    reactor.stage(
                        Op::Write {
                            file,
                            slice,
                            offset,
                            mode: WriteMode::Inline,
                        },
                        word,
                    )
                }
                Request::Sync { segment } => {
                    let file = self.file(segment, reactor)?;
                    reactor.stage(
                        Op::Sync {
                            file,
                            data_only: true,
                        },
                        word,
                    )
                }
                Request::Prepare { segment, bytes } => {
                    let mut dir = self.dir.clone();
                    reactor.offload(Box::new(move || code(dir.create(segment, bytes))), word)
                }
                Request::Remove { segment } => {
                    let mut dir = self.dir.clone();
                    reactor.offload(Box::new(move || code(dir.remove(segment))), word)
                }
                Request::Read { .. } => return Err("nobody reads here".into()),
            };
            staged.map_err(|_| "the reactor is full")?;
            self.steps[number] = Some(step);
        }
        Ok(())
    }

    /// What a completion means to the log; nothing while a sync is still to follow.
    fn on(&mut self, completion: &Completion) -> Option<(Token, Result<u32, DiskError>)> {
        let step = self.steps.get_mut(completion.user_data as usize)?;
        let own = step.as_mut()?;
        if completion.result < 0 {
            let error = std::io::Error::from_raw_os_error(-completion.result);
            return step
                .take()
                .map(|step| (step.token, Err(DiskError::from(&error))));
        }
        if own.sync.is_some() && own.len.is_none() {
            own.len = Some(completion.result as u32);
            return None;
        }
        step.take()
            .map(|step| (step.token, Ok(step.len.unwrap_or(completion.result as u32))))
    }

    fn file(&mut self, segment: u64, reactor: &mut AnyReactor) -> Result<FileId, Failure> {
        if let Some(file) = self.files.get(&segment) {
            return Ok(*file);
        }
        let file = reactor.add_file(
            self.dir
                .segment(segment)
                .map_err(|error| error.to_string())?,
        );
        self.files.insert(segment, file);
        Ok(file)
    }
}

fn code(result: std::io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => -error.raw_os_error().unwrap_or(5),
    }
}

/// `write` on the worker, `fdatasync` in a loop on another thread.
pub fn plain(time: Duration, data: &Path) -> Result<Sample, Failure> {
    let folder = folder(data)?;
    let file = File::create(folder.path().join("file")).map_err(|error| error.to_string())?;
    for at in 0..FILE_BYTES >> 20 {
        file.write_all_at(&[0; 1 << 20], at << 20)
            .map_err(|error| error.to_string())?;
    }
    file.sync_all().map_err(|error| error.to_string())?;
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                if file.sync_data().is_err() {
                    break;
                }
            }
        });
        let (record, mut position, mut batch) = ([7; BODY_BYTES], 0, Vec::new());
        let sample = on_worker(|| {
            paced(time, |owed, _| {
                batch.clear();
                (0..owed).for_each(|_| batch.extend_from_slice(&record));
                if owed > 0 {
                    if position + batch.len() as u64 > FILE_BYTES {
                        position = 0;
                    }
                    file.write_all_at(&batch, position)
                        .map_err(|error| error.to_string())?;
                    position += batch.len() as u64;
                }
                Ok((owed, owed > 0))
            })
        });
        end.store(true, Ordering::Relaxed);
        sample
    })
}

/// Turns for so long. A turn is told how many records are owed and what time it is, and says how many it took and whether it did
/// anything: turns that did nothing do not count.
fn paced(
    time: Duration,
    mut turn: impl FnMut(u64, u64) -> Result<(u64, bool), Failure>,
) -> Result<Sample, Failure> {
    let (mut turns, mut records) = (Latency::default(), 0u64);
    let meter = Meter::start(None);
    let begin = Instant::now();
    let mut start = Duration::ZERO;
    while start < time {
        let due = (start.as_secs_f64() * BYTES_PER_SECOND / BODY_BYTES as f64) as u64;
        let (took, worked) = turn(
            (due - records).min(RECORDS_PER_TURN),
            start.as_nanos() as u64,
        )?;
        let end = begin.elapsed();
        if worked {
            turns.record((end - start).as_nanos() as u64);
        }
        records += took;
        start = end;
    }
    let reading = meter.read(None);
    let rate = records as f64 / reading.wall.as_secs_f64();
    let mut sample = Sample::default()
        .with(Figure::PerSecond, rate)
        .with_latency(turns);
    sample.others_percent = reading.others_percent;
    Ok(sample)
}

fn on_worker<T>(run: impl FnOnce() -> T) -> T {
    cores::on_core(cores::pair().map(|pair| pair[0]), run)
}

fn folder(data: &Path) -> Result<tempfile::TempDir, Failure> {
    let made = tempfile::Builder::new()
        .prefix("trunkline-bench-")
        .tempdir_in(data);
    made.map_err(|error| error.to_string())
}

/// What is set, for the reader.
pub const OURS: &str = "Log with durability synced, retention 512 MiB; a reactor with its defaults, which syncs on its pool or in the \
                        kernel; segments are written before they are used";
pub const PLAIN: &str = "pwrite to a file of 512 MiB that is written already, used again from its start; fdatasync in a loop";

const BYTES_PER_SECOND: f64 = 100e6;
const BODY_BYTES: usize = 1024;
/// What a worker takes from one connection in a turn, about.
const RECORDS_PER_TURN: u64 = 64;
const FILE_BYTES: u64 = 512 << 20;
/// Some time ago.
const WALL_NS: u64 = 1_700_000_000_000_000_000;
