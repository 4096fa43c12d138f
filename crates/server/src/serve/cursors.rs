//! Where durable cursors are kept: `cursors/N` of the data directory for worker N, as `docs/format/cursors.md` draws it.
//!
//! A cursor is where its stream is, and where streams are depends on the number of workers. When that has changed, all cursors are
//! dealt out anew before any worker starts, into a folder beside the old one that takes its place whole:
//!
//! ```text
//! read cursors/* ─► write and sync cursors.new/* ─► cursors becomes cursors.old ─► cursors.new becomes cursors ─► cursors.old goes
//! ```
//! Whatever this is interrupted by, one of the folders is whole, and the next start goes on from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use trunkline_broker::{HoldId, Now, Out, SessionId, Shard, ShardConfig, Span};
use trunkline_log::{Disk, DiskError, Files, Log, LogId, Request, Token};
use trunkline_reactor::Clock;
use trunkline_wire::{Ack, ErrorBody, ErrorCode, FrameHeader};

use super::Error;
use crate::plan::Plan;
use crate::storage::{DataDir, Space, StreamDir, entropy, is_begun};

/// The logs of all workers, in order, with every cursor where its stream is.
pub(super) fn open(plan: &Plan, data: &DataDir) -> Result<Vec<(Log, StreamDir)>, Error> {
    let folder = data.path().join(FOLDER);
    settle(data.path()).map_err(system("put the durable cursors in their place"))?;
    let kept = kept(&folder).map_err(looking(&folder))?;
    tell_lost(data, &folder)?;
    if !kept.is_empty() && kept != (0..plan.workers.len()).collect::<Vec<_>>() {
        data.note_cursors(None)?;
        deal(plan, data.path(), &kept)?;
    }
    let logs = (0..plan.workers.len())
        .map(|worker| open_log(&folder.join(worker.to_string()), LogId(worker as u32)))
        .collect::<Result<_, _>>()?;
    data.note_cursors(Some(plan.workers.len()))?;
    Ok(logs)
}

/// Says so when logs of cursors have gone: whoever reads with one of their cursors begins anew, and would not know why.
fn tell_lost(data: &DataDir, folder: &Path) -> Result<(), Error> {
    for worker in 0..data.cursors_noted()?.unwrap_or(0) {
        let path = folder.join(worker.to_string());
        if !is_begun(&path).map_err(looking(&path))? {
            tracing::error!(
                path = %path.display(),
                "durable cursors are lost, as all files that they were kept in are missing or hold nothing but zeros: who reads with one of them begins with the first record; \
                 stop the server and put the files back, if there is a copy"
            );
        }
    }
    Ok(())
}

/// Puts every cursor where its stream is now.
fn deal(plan: &Plan, data: &Path, kept: &[usize]) -> Result<(), Error> {
    let (folder, fresh) = (data.join(FOLDER), data.join(FRESH));
    let mut cursors: BTreeMap<(Box<str>, Box<str>), u64> = BTreeMap::new();
    for worker in kept {
        let mut offline = Offline::open(&folder.join(worker.to_string()))?;
        offline.turn_until(Shard::is_ready)?;
        for cursor in offline.shard.cursors() {
            let Some(next) = cursor.next else { continue };
            // No cursor is in two places; if one were, nothing may be skipped.
            let known = cursors.entry((cursor.stream, cursor.name)).or_insert(next);
            *known = next.min(*known);
        }
    }
    tracing::info!(
        cursors = cursors.len(),
        from = kept.len(),
        to = plan.workers.len(),
        "the number of workers has changed: durable cursors move with their streams"
    );
    for worker in 0..plan.workers.len() {
        let mut offline = Offline::open(&fresh.join(worker.to_string()))?;
        let now = offline.now;
        let here = cursors
            .iter()
            .filter(|((stream, _), _)| plan.worker_of(stream) == worker);
        for ((stream, name), next) in here {
            offline.shard.import_cursor(stream, name, *next, now);
        }
        offline.turn_until(Shard::cursors_are_kept)?;
        offline.shard.sync(offline.now);
        offline.turn_until(Shard::is_synced)?;
    }
    let replaced = sync_dir(&fresh)
        .and_then(|()| fs::rename(&folder, data.join(OLD)))
        .and_then(|()| settle(data));
    replaced.map_err(system("put the durable cursors in their place"))
}

/// Ends what an interrupted [`deal`] has begun, or takes it back.
fn settle(data: &Path) -> io::Result<()> {
    let [folder, fresh, old] = [FOLDER, FRESH, OLD].map(|name| data.join(name));
    if folder.exists() {
        // The new folder may not be whole.
        remove(&fresh)?;
    } else if old.exists() {
        // The old folder went only when the new one was whole.
        fs::rename(&fresh, &folder)?;
        sync_dir(data)?;
    }
    remove(&old)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The workers that there are cursors of, in order.
fn kept(folder: &Path) -> io::Result<Vec<usize>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut workers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        workers.extend(name.to_str().and_then(|name| name.parse::<usize>().ok()));
    }
    workers.sort_unstable();
    Ok(workers)
}

/// Opens the log that a worker keeps durable cursors in.
fn open_log(path: &Path, id: LogId) -> Result<(Log, StreamDir), Error> {
    let mut dir = StreamDir::open(path, Space::Written).map_err(looking(path))?;
    let entropy = entropy().map_err(system("get random bytes"))?;
    let (log, _) = Log::open(id, &Shard::cursor_log_config(entropy), &mut dir)
        .map_err(|error| failed(path.to_owned(), error))?;
    Ok((log, dir))
}

/// As `log verify` and `log repair` call it.
pub(super) fn name(worker: usize) -> String {
    format!("{FOLDER}/{worker}")
}

fn failed(path: PathBuf, error: trunkline_log::OpenError) -> Error {
    let worker = path.file_name().unwrap_or_default().to_string_lossy();
    Error::Stream {
        name: format!("{FOLDER}/{worker}"),
        path,
        error,
    }
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::System { doing, error }
}

/// With the place, which the system does not name.
fn looking(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::System {
        doing: "look for durable cursors",
        error: io::Error::new(
            error.kind(),
            format!(
                "{}: {error}{}",
                path.display(),
                match error.kind() {
                    io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists =>
                        "; it is not a directory: move it away, and put the directory back if there is a copy",
                    _ => "",
                }
            ),
        ),
    }
}

/// A new or renamed name survives a crash only once its directory is synced.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A shard that has nothing but the log of its cursors, on this thread, which waits for the disk.
struct Offline {
    shard: Shard,
    dir: StreamDir,
    now: Now,
}

impl Offline {
    fn open(path: &Path) -> Result<Self, Error> {
        let (log, dir) = open_log(path, LOG)?;
        let mut shard = Shard::new(ShardConfig::default());
        shard
            .add_cursors(log)
            .map_err(|(refusal, _)| Error::System {
                doing: "take in durable cursors",
                error: io::Error::other(refusal),
            })?;
        let now = Now {
            mono_ns: 0,
            wall_ns: Clock.wall_ns(),
        };
        Ok(Self { shard, dir, now })
    }

    fn turn_until(&mut self, done: impl Fn(&Shard) -> bool) -> Result<(), Error> {
        for _ in 0..TURNS_MAX {
            if done(&self.shard) {
                return Ok(());
            }
            // Time goes by as it must for what is due.
            self.now.mono_ns += self.shard.config().cursor_interval_ns;
            let mut asked = Asked(Vec::new());
            self.shard.turn(self.now, &mut asked, &mut Nobody);
            for (token, request) in asked.0 {
                self.answer(token, request)
                    .map_err(system("move durable cursors"))?;
            }
        }
        Err(system("move durable cursors")(
            io::ErrorKind::TimedOut.into(),
        ))
    }

    /// Does what the log asked for. What it asks for in return waits for the next turn.
    fn answer(&mut self, token: Token, request: Request) -> io::Result<()> {
        let Self { shard, dir, now } = self;
        let mut more = Asked(Vec::new());
        let mut value = 0;
        match request {
            Request::Read {
                segment,
                offset,
                len,
            } => {
                let mut bytes = vec![0; len as usize];
                dir.read_at(segment, offset, &mut bytes)?;
                shard.on_read(LOG, token, 0, &bytes, *now, &mut more, &mut Nobody);
                debug_assert!(more.0.is_empty(), "a log asks when it has its turn");
                return Ok(());
            }
            Request::Write {
                segment,
                offset,
                position,
                len,
                sync,
            } => {
                let log = shard.log(LOG).ok_or(io::ErrorKind::NotFound)?;
                dir.write_at(segment, offset, log.bytes(position, len))?;
                if sync {
                    dir.sync(segment)?;
                }
                value = len;
            }
            Request::Sync { segment } => dir.sync(segment)?,
            Request::Prepare { segment, bytes } => dir.create(segment, bytes)?,
            Request::Remove { segment } => dir.remove(segment)?,
        }
        let done: Result<u32, DiskError> = Ok(value);
        shard.on_disk(LOG, token, done, *now, &mut more);
        for (token, request) in more.0 {
            self.answer(token, request)?;
        }
        Ok(())
    }
}

/// What a log asked for.
struct Asked(Vec<(Token, Request)>);

impl Disk for Asked {
    fn submit(&mut self, _: LogId, token: Token, request: Request) {
        self.0.push((token, request));
    }
}

/// There are no sessions.
struct Nobody;

impl Out for Nobody {
    fn deliver(&mut self, _: SessionId, _: u16, _: Span, _: u32, _: HoldId) {}
    fn deliver_copied(&mut self, _: SessionId, _: u16, _: &[u8], _: u32, _: HoldId) {}
    fn frame(&mut self, _: SessionId, _: FrameHeader, _: &[u8]) {}
    fn acked(&mut self, _: SessionId, _: u16, _: Ack) {}
    fn refused(&mut self, _: SessionId, _: u16, _: &ErrorBody<'_>) {}
    fn close(&mut self, _: SessionId, _: ErrorCode, _: &str) {}
    fn release_buffer(&mut self, _: u32) {}
}

const FOLDER: &str = "cursors";
const FRESH: &str = "cursors.new";
const OLD: &str = "cursors.old";
/// The only log of an [`Offline`] shard.
const LOG: LogId = LogId(0);
/// Far more than a log of the largest size takes, which is a few for each read or write.
const TURNS_MAX: u32 = 1_000_000;
