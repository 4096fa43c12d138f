//! How long a worker stands still while what it appends is written and synced.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_harness::payload::Maker;
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

use crate::lapped::Lapped;
use crate::readback;

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
    let encoded = encoded()?;
    let mut raws = Vec::new();
    for bytes in &encoded {
        let raw = RawRecord::peek(bytes, 1 << 20).map_err(|error| error.to_string())?;
        raws.push(raw.ok_or("a record that was just encoded is not whole")?);
    }
    let mut all = 0;
    let sample = on_worker(|| {
        let sample = paced(time, |owed, mono_ns| {
            let now = Now {
                wall_ns: WALL_NS + mono_ns,
                mono_ns,
            };
            let mut appended = 0;
            while appended < owed {
                let raw = &raws[(all % DIFFERENT) as usize];
                match log.append(raw, subject, now.wall_ns) {
                    Ok(_) => (appended, all) = (appended + 1, all + 1),
                    // The disk is behind; what is owed stays so.
                    Err(AppendError::Full) => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
            let count = volume.turn(&mut log, &mut reactor, now)?;
            Ok((appended, appended > 0 || count > 0))
        });
        let sample = sample?;
        // Outside the measured time: all of it to the device, and then back.
        let wanted = log.received().sequence;
        log.want_synced(wanted - 1);
        let begin = Instant::now();
        while log.synced().sequence < wanted || !volume.is_idle() {
            let mono_ns = (time + begin.elapsed()).as_nanos() as u64 * 2;
            let now = Now {
                wall_ns: WALL_NS + mono_ns,
                mono_ns,
            };
            volume.turn(&mut log, &mut reactor, now)?;
            if begin.elapsed() > PATIENCE {
                return Err("what was appended is not synced".into());
            }
        }
        Ok::<_, Failure>(sample)
    })?;
    let dir = volume.dir.clone();
    drop((log, reactor, volume));
    let mut came = Came::default();
    let gone = readback::each(&config, &dir, &mut |record| came.take(record))?;
    came.check(all, gone)?;
    Ok(sample)
}

/// Records that differ, so that it shows where one took the place of another; they repeat, so that they stay in a cache.
fn bodies() -> impl Iterator<Item = Vec<u8>> {
    let mut maker = Maker::new(0, BODY_BYTES);
    (0..DIFFERENT).map(move |number| maker.make(number, 0).to_vec())
}

fn encoded() -> Result<Vec<Vec<u8>>, Failure> {
    let encode = |body: Vec<u8>| {
        let mut bytes = vec![0; body_record_bytes(body.len())];
        record::encode(&mut bytes, &Stamp::DATA, &body).map_err(|error| error.to_string())?;
        Ok(bytes)
    };
    bodies().map(encode).collect()
}

/// The records that are there again.
struct Came {
    bodies: Vec<Vec<u8>>,
    /// The place of the first among those that differ.
    first: Option<u64>,
    count: u64,
}

impl Default for Came {
    fn default() -> Self {
        Self {
            bodies: bodies().collect(),
            first: None,
            count: 0,
        }
    }
}

impl Came {
    fn take(&mut self, record: &[u8]) -> Result<(), Failure> {
        let place = || self.bodies.iter().position(|body| body == record);
        let first = match self.first {
            Some(first) => first,
            None => place().ok_or("the first record that is there was not appended")? as u64,
        };
        self.first = Some(first);
        if record != self.bodies[((first + self.count) % DIFFERENT) as usize] {
            return Err(format!(
                "after {} records comes one that is not the next",
                self.count
            ));
        }
        self.count += 1;
        Ok(())
    }

    /// Whether these are the last of so many, of which so many are gone.
    fn check(&self, all: u64, gone: u64) -> Result<(), Failure> {
        let first = self.first.unwrap_or(gone % DIFFERENT);
        if gone + self.count != all || first != gone % DIFFERENT {
            return Err(format!(
                "{all} records were appended, {} are there, {gone} were let go before",
                self.count
            ));
        }
        Ok(())
    }
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
    /// What a turn does beside appending; how much of it has come back.
    fn turn(
        &mut self,
        log: &mut Log,
        reactor: &mut AnyReactor,
        now: Now,
    ) -> Result<usize, Failure> {
        log.flush(now, self);
        self.begin(reactor)?;
        reactor
            .submit_and_wait(0, Wait::Poll)
            .map_err(|error| error.to_string())?;
        let mut done = [Completion::default(); 32];
        let count = reactor.reap(&mut done);
        for completion in &done[..count] {
            if let Some((token, result)) = self.on(completion) {
                log.on_completion(token, result, now, self);
            }
        }
        Ok(count)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.steps.iter().all(Option::is_none)
    }

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
    let text = |error: std::io::Error| error.to_string();
    let mut file = Lapped::create(&folder.path().join("file"), FILE_BYTES).map_err(text)?;
    let synced = file.file().try_clone().map_err(text)?;
    let records: Vec<Vec<u8>> = bodies().collect();
    let (end, mut all) = (AtomicBool::new(false), 0);
    let sample = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                if synced.sync_data().is_err() {
                    break;
                }
            }
        });
        let mut batch = Vec::new();
        let sample = on_worker(|| {
            paced(time, |owed, _| {
                batch.clear();
                (all..all + owed).for_each(|number| {
                    batch.extend_from_slice(&records[(number % DIFFERENT) as usize])
                });
                if owed > 0 {
                    file.append(&batch).map_err(text)?;
                    all += owed;
                }
                Ok((owed, owed > 0))
            })
        });
        end.store(true, Ordering::Relaxed);
        sample
    })?;
    let mut came = Came::default();
    let gone = file.each(BODY_BYTES, &mut |record| came.take(record))?;
    came.check(all, gone)?;
    Ok(sample)
}

/// Turns for so long, and a part before that which warms up. A turn is told how many records are owed and what time it is,
/// and says how many it took and whether it did anything: turns that did nothing do not count.
///
/// A sample says so when it fell behind: turns of another load are not those that are asked for.
fn paced(
    time: Duration,
    mut turn: impl FnMut(u64, u64) -> Result<(u64, bool), Failure>,
) -> Result<Sample, Failure> {
    let warm_up = time / WARM_UP_PARTS;
    let (mut turns, mut records, mut full) = (Latency::default(), 0u64, 0u64);
    let mut measured: Option<(Meter, u64)> = None;
    let begin = Instant::now();
    let mut start = Duration::ZERO;
    while start < warm_up + time {
        if measured.is_none() && start >= warm_up {
            measured = Some((Meter::start(None), records));
            start = begin.elapsed();
        }
        let due = (start.as_secs_f64() * BYTES_PER_SECOND / BODY_BYTES as f64) as u64;
        let owed = (due - records).min(RECORDS_PER_TURN);
        let (took, worked) = turn(owed, start.as_nanos() as u64)?;
        let end = begin.elapsed();
        if worked && measured.is_some() {
            turns.record((end - start).as_nanos() as u64);
            full += u64::from(took < owed);
        }
        records += took;
        start = end;
    }
    let (meter, before) = measured.ok_or("nothing was measured")?;
    let reading = meter.read(None);
    let rate = (records - before) as f64 / reading.wall.as_secs_f64();
    let wanted = BYTES_PER_SECOND / BODY_BYTES as f64;
    let fell_behind = (rate < LEAST_OF_PACE * wanted).then(|| {
        format!("{rate:.0} records a second of {wanted:.0}; the tail was full in {full} turns")
    });
    let mut sample = Sample::default()
        .with(Figure::PerSecond, rate)
        .with(Figure::FullTurns, full as f64)
        .with_latency(turns);
    sample.others_percent = reading.others_percent;
    sample.fell_behind = fell_behind;
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
/// Less than this part of the rate is another load.
const LEAST_OF_PACE: f64 = 0.99;
const WARM_UP_PARTS: u32 = 4;
const DIFFERENT: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(20);
/// What a worker takes from one connection in a turn, about.
const RECORDS_PER_TURN: u64 = 64;
const FILE_BYTES: u64 = 512 << 20;
/// Some time ago.
const WALL_NS: u64 = 1_700_000_000_000_000_000;
