//! Our log over the files that the server uses. What the server's reactor does is done here by whoever leads the group, and by
//! a thread that prepares segments.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use bench_harness::Failure;
use trunkline::storage::{Space, StreamDir};
use trunkline_log::{
    AppendError, Disk, DiskError, Durability, Files, Log, LogConfig, LogId, Now, Request,
    Retention, Token,
};
use trunkline_wire::record::{self, RawRecord, Stamp, body_record_bytes};

use super::group::Group;
use crate::appender::{Appender, On, Syncs};
use crate::readback;

struct Ours {
    group: Group<Store>,
    config: LogConfig,
    dir: StreamDir,
    worker: JoinHandle<()>,
}

struct Store {
    log: Log,
    disk: Queue,
    subject: u32,
    files: HashMap<u64, File>,
    dir: StreamDir,
    sync: bool,
    begin: Instant,
    scratch: Vec<u8>,
    /// Preparing and removing goes to a thread; its answers come back.
    slow: mpsc::Sender<(Token, Request)>,
    answers: mpsc::Receiver<(Token, Result<u32, DiskError>)>,
}

#[derive(Default)]
struct Queue(VecDeque<(Token, Request)>);

impl Disk for Queue {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        self.0.push_back((token, request));
    }
}

pub fn open(folder: &Path, sync: Syncs) -> Result<Box<dyn Appender>, Failure> {
    let sync = sync == Syncs::Each;
    let (durability, space) = if sync {
        (Durability::Synced, Space::Written)
    } else {
        (Durability::Stored, Space::Reserved)
    };
    let retention = Retention {
        bytes_max: Some(1 << 30),
        ..Retention::default()
    };
    let config = LogConfig {
        durability,
        retention,
        entropy: 7,
        ..LogConfig::default()
    };
    let dir = StreamDir::open(&folder.join("stream"), space).map_err(|error| error.to_string())?;
    let (mut log, _) =
        Log::open(LogId(0), &config, &mut dir.clone()).map_err(|error| error.to_string())?;
    let subject = log.define("bench").map_err(|error| error.to_string())?;
    let (slow, jobs) = mpsc::channel::<(Token, Request)>();
    let (done, answers) = mpsc::channel();
    let mut own = dir.clone();
    let worker = std::thread::spawn(move || {
        for (token, job) in jobs {
            let result = match job {
                Request::Prepare { segment, bytes } => own.create(segment, bytes),
                Request::Remove { segment } => own.remove(segment),
                _ => Ok(()),
            };
            let result = result.map(|()| 0).map_err(|error| DiskError::from(&error));
            if done.send((token, result)).is_err() {
                return;
            }
        }
    });
    let store = Store {
        log,
        disk: Queue::default(),
        subject,
        files: HashMap::new(),
        dir: dir.clone(),
        sync,
        begin: Instant::now(),
        scratch: Vec::new(),
        slow,
        answers,
    };
    Ok(Box::new(Ours {
        group: Group::new(store),
        config,
        dir,
        worker,
    }))
}

impl Appender for Ours {
    fn append(&self, record: &[u8]) -> Result<(), Failure> {
        self.group.append(record, Store::commit)
    }

    fn read_again(self: Box<Self>, on: On<'_>) -> Result<u64, Failure> {
        let mut store = self.group.into_store();
        if !store.sync {
            store.settle(true)?;
        }
        drop(store);
        // Files that it still makes or removes are none of the log's when that is opened again.
        self.worker.join().map_err(|_| "preparing panicked")?;
        readback::each(&self.config, &self.dir, on)
    }
}

impl Store {
    /// Appends the batch, and returns when it is as durable as was asked.
    fn commit(&mut self, batch: &[Vec<u8>]) -> Result<(), Failure> {
        for body in batch {
            self.scratch.resize(body_record_bytes(body.len()), 0);
            record::encode(&mut self.scratch, &Stamp::DATA, body)
                .map_err(|error| error.to_string())?;
            loop {
                let raw =
                    RawRecord::peek(&self.scratch, 1 << 20).map_err(|error| error.to_string())?;
                let raw = raw.ok_or("a record that was just encoded is not whole")?;
                let now = self.now();
                match self.log.append(&raw, self.subject, now.wall_ns) {
                    Ok(_) => break,
                    Err(AppendError::Full) => self.turn()?,
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        self.settle(self.sync)
    }

    /// Turns until everything is written, and synced if that is wanted.
    fn settle(&mut self, sync: bool) -> Result<(), Failure> {
        let wanted = self.log.received().sequence;
        if sync {
            self.log.want_synced(wanted - 1);
        }
        while (if sync {
            self.log.synced()
        } else {
            self.log.stored()
        })
        .sequence
            < wanted
        {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let now = self.now();
        self.log.flush(now, &mut self.disk);
        while let Some((token, request)) = self.disk.0.pop_front() {
            let result = match request {
                Request::Write {
                    segment,
                    offset,
                    position,
                    len,
                    sync,
                } => self.write(segment, offset, position, len, sync),
                Request::Sync { segment } => self
                    .file(segment)
                    .and_then(|file| file.sync_data())
                    .map(|()| 0),
                Request::Read { .. } => return Err("nobody reads here".into()),
                Request::Prepare { .. } | Request::Remove { .. } => {
                    self.slow
                        .send((token, request))
                        .map_err(|error| error.to_string())?;
                    continue;
                }
            };
            let (result, now) = (result.map_err(|error| DiskError::from(&error)), self.now());
            self.log.on_completion(token, result, now, &mut self.disk);
        }
        while let Ok((token, result)) = self.answers.try_recv() {
            let now = self.now();
            self.log.on_completion(token, result, now, &mut self.disk);
        }
        Ok(())
    }

    fn write(
        &mut self,
        segment: u64,
        offset: u64,
        position: u64,
        len: u32,
        sync: bool,
    ) -> std::io::Result<u32> {
        self.file(segment)?;
        let file = &self.files[&segment];
        file.write_all_at(self.log.bytes(position, len), offset)?;
        if sync {
            file.sync_data()?;
        }
        Ok(len)
    }

    fn file(&mut self, segment: u64) -> std::io::Result<&File> {
        if !self.files.contains_key(&segment) {
            let file = self.dir.segment(segment)?;
            self.files.insert(segment, file);
        }
        Ok(&self.files[&segment])
    }

    fn now(&self) -> Now {
        let mono_ns = self.begin.elapsed().as_nanos() as u64;
        Now {
            wall_ns: WALL_NS + mono_ns,
            mono_ns,
        }
    }
}

/// Some time ago.
const WALL_NS: u64 = 1_700_000_000_000_000_000;
