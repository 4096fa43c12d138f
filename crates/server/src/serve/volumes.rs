//! The disk side of a worker: the segment files of its streams, and the requests that its logs make of them.
//!
//! A write is done where it is asked for, as one system call into the page cache: measured, that is 2 to 6 µs with a worst case
//! under 0.1 ms even while the same file is being synced, where handing it to another thread costs a wake-up of 10 to 30 µs.
//! Syncs, reads, preparing and removing segments can take milliseconds, and go to the reactor's back-end or its pool.
//!
//! Where the configuration says so, a stream that syncs each commit has its pages go from the tail to the device, past the page cache, by one call of another
//! thread that writes and syncs them (`docs/decision/0407`).

use std::collections::{HashMap, VecDeque};
use std::io;

use trunkline_log::{Disk, DiskError, DiskErrorKind, Files, LogId, Request, Token};
use trunkline_reactor::{
    AnyReactor, BufferId, Completion, FileId, Full, Op, Reactor, RegionId, WriteMode,
};

use super::tag::Tag;
use super::volume::{Volume, is_for_want_of_descriptors};
use crate::storage::StreamDir;

/// All volumes of one worker, without the reactor.
#[derive(Default)]
pub(super) struct Volumes {
    volumes: HashMap<LogId, Volume>,
    slots: Slots,
    /// Requests that were not staged yet, oldest first.
    waiting: VecDeque<Waiting>,
    /// Answers that needed no reactor.
    failed: VecDeque<Answer>,
    /// Those are held back until then where files could not be opened for want of descriptors: asking again at once would only keep a core busy.
    failed_due_ns: Option<u64>,
    /// How many requests that were, for whoever tells of it.
    pub(super) without_descriptors: u64,
}

/// The requests that the reactor has.
#[derive(Default)]
struct Slots {
    pending: Vec<Option<Pending>>,
    free: Vec<u32>,
}

impl Slots {
    fn keep(&mut self, pending: Pending) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            self.pending.len() as u32 - 1
        });
        self.pending[slot as usize] = Some(pending);
        slot
    }

    fn forget(&mut self, slot: u32) {
        self.pending[slot as usize] = None;
        self.free.push(slot);
    }

    fn of(&self, slot: u32) -> Pending {
        self.pending[slot as usize].expect("a completion for each request")
    }

    fn put(&mut self, slot: u32, pending: Pending) {
        self.pending[slot as usize] = Some(pending);
    }
}

/// A request that the reactor has.
#[derive(Clone, Copy)]
struct Pending {
    log: LogId,
    token: Token,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    /// The only one, or the last of those that answer with their own result.
    Whole,
    Read,
    /// A new segment, which counts only once it is open: it must not be found out when records are waiting for it that it cannot be.
    Prepare {
        segment: u64,
    },
    /// A write that a sync must follow.
    Write {
        file: FileId,
        len: u32,
    },
    /// The sync behind it, which answers for the bytes written.
    Sync {
        len: u32,
    },
    /// A write past the page cache, which the file system may turn out not to have.
    Direct {
        request: Request,
    },
}

#[derive(Clone, Copy)]
struct Waiting {
    log: LogId,
    token: Token,
    request: Request,
}

/// What a request came to.
pub(super) struct Answer {
    pub(super) log: LogId,
    pub(super) token: Token,
    pub(super) result: Result<u32, DiskError>,
    pub(super) is_read: bool,
    /// What a read brought; the receiver recycles it.
    pub(super) buffer: Option<BufferId>,
}

/// Where logs submit. Requests wait here until [`Volumes::begin`].
impl Disk for Volumes {
    fn submit(&mut self, log: LogId, token: Token, request: Request) {
        self.waiting.push_back(Waiting {
            log,
            token,
            request,
        });
    }
}

impl Volumes {
    /// Stages what was submitted, as far as the reactor has room.
    pub(super) fn begin(&mut self, now_ns: u64, reactor: &mut AnyReactor) {
        let before = self.without_descriptors;
        while let Some(waiting) = self.waiting.front().copied() {
            if self.stage(waiting, reactor).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        if self.without_descriptors > before {
            self.failed_due_ns.get_or_insert(now_ns + DESCRIPTORS_NS);
        }
    }

    fn stage(&mut self, waiting: Waiting, reactor: &mut AnyReactor) -> Result<(), Full> {
        let Waiting {
            log,
            token,
            request,
        } = waiting;
        let volume = self
            .volumes
            .get_mut(&log)
            .expect("a log submits only while its volume is there");
        let opened = match request {
            Request::Write { segment, .. }
            | Request::Sync { segment }
            | Request::Read { segment, .. } => volume.file(segment, reactor).map(Some),
            Request::Prepare { .. } | Request::Remove { .. } => Ok(None),
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let is_read = matches!(request, Request::Read { .. });
                let mut error = DiskError::from(&error);
                if is_for_want_of_descriptors(error.errno) {
                    // Nothing was done to the file: it is asked for again, and neither lost nor damaged.
                    error.kind = DiskErrorKind::Interrupted;
                    self.without_descriptors += 1;
                }
                let result = Err(error);
                self.failed.push_back(Answer {
                    log,
                    token,
                    result,
                    is_read,
                    buffer: None,
                });
                return Ok(());
            }
        };
        let direct = volume.direct(&request, reactor);
        let step = match (request, file) {
            (Request::Write { .. }, _) if direct.is_some() => Step::Direct { request },
            (
                Request::Write {
                    len, sync: true, ..
                },
                Some(file),
            ) => Step::Write { file, len },
            (Request::Read { .. }, _) => Step::Read,
            (Request::Prepare { segment, .. }, _) => Step::Prepare { segment },
            _ => Step::Whole,
        };
        let slot = self.slots.keep(Pending { log, token, step });
        let word = Tag::Disk(slot).word();
        let staged = match (request, file) {
            (
                Request::Write {
                    offset,
                    position,
                    len,
                    sync,
                    ..
                },
                Some(file),
            ) => {
                let mode = match direct {
                    Some(_) if sync => WriteMode::AsyncSync,
                    Some(_) => WriteMode::Async,
                    None => WriteMode::Inline,
                };
                reactor.stage(
                    Op::Write {
                        file: direct.unwrap_or(file),
                        slice: volume.slice(position, len),
                        offset,
                        mode,
                    },
                    word,
                )
            }
            (Request::Sync { .. }, Some(file)) => reactor.stage(
                Op::Sync {
                    file,
                    data_only: true,
                },
                word,
            ),
            (Request::Read { offset, len, .. }, Some(file)) => {
                reactor.stage(Op::Read { file, offset, len }, word)
            }
            (Request::Prepare { segment, bytes }, _) => {
                let create = move |dir: &mut StreamDir| dir.create(segment, bytes);
                offload(reactor, word, volume.dir.clone(), create)
            }
            (Request::Remove { segment }, _) => {
                volume.close(segment, reactor);
                let remove = move |dir: &mut StreamDir| dir.remove(segment);
                offload(reactor, word, volume.dir.clone(), remove)
            }
            (_, None) => unreachable!("the file was opened above"),
        };
        if staged.is_err() {
            self.slots.forget(slot);
        }
        staged
    }
}

/// Runs a blocking job on the pool; its completion carries 0 or the error's number.
fn offload(
    reactor: &mut AnyReactor,
    word: u64,
    mut dir: StreamDir,
    job: impl FnOnce(&mut StreamDir) -> io::Result<()> + Send + 'static,
) -> Result<(), Full> {
    let job = move || match job(&mut dir) {
        Ok(()) => 0,
        Err(error) => -error
            .raw_os_error()
            .unwrap_or(rustix::io::Errno::IO.raw_os_error()),
    };
    reactor.offload(Box::new(job), word)
}

/// Ways in and out.
impl Volumes {
    /// Takes a stream's directory in; its log may submit from now on.
    pub(super) fn add(&mut self, log: LogId, dir: StreamDir, tail: RegionId, tail_bytes: u64) {
        self.volumes.insert(log, Volume::new(dir, tail, tail_bytes));
    }

    /// Closes a stream's files.
    pub(super) fn remove(&mut self, log: LogId, reactor: &mut AnyReactor) {
        self.waiting.retain(|waiting| waiting.log != log);
        if let Some(volume) = self.volumes.remove(&log) {
            volume.close_all(reactor);
        }
    }

    /// An answer that needed no reactor, unless it is not yet to be heard.
    pub(super) fn next_failed(&mut self, now_ns: u64) -> Option<Answer> {
        if self.failed_due_ns.is_some_and(|due_ns| now_ns < due_ns) {
            return None;
        }
        self.failed_due_ns = None;
        self.failed.pop_front()
    }

    /// When there is an answer that needs no reactor.
    pub(super) fn failed_due_ns(&self) -> u64 {
        self.failed_due_ns.unwrap_or(u64::MAX)
    }

    /// The answer that a completion of `Tag::Disk(slot)` is; none for a write whose sync comes next.
    pub(super) fn on_completion(
        &mut self,
        slot: u32,
        completion: Completion,
        reactor: &mut AnyReactor,
    ) -> Option<Answer> {
        let pending = self.slots.of(slot);
        let mut value = completion.result;
        match pending.step {
            // A short write is answered as it is: what came after it must not be taken for durable.
            Step::Write { file, len } if u32::try_from(value) == Ok(len) => {
                let step = Step::Sync { len };
                self.slots.put(slot, Pending { step, ..pending });
                match reactor.stage(
                    Op::Sync {
                        file,
                        data_only: true,
                    },
                    Tag::Disk(slot).word(),
                ) {
                    Ok(()) => return None,
                    // Interrupted: nothing is durable, and the log asks again.
                    Err(Full) => value = -rustix::io::Errno::AGAIN.raw_os_error(),
                }
            }
            Step::Sync { len } if value >= 0 => value = len as i32,
            // Nothing was written: this file system has other rules for such writes, or none of them.
            Step::Direct { request } if value == -rustix::io::Errno::INVAL.raw_os_error() => {
                if let Some(volume) = self.volumes.get_mut(&pending.log) {
                    volume.has_no_direct(reactor);
                    self.waiting.push_front(Waiting {
                        log: pending.log,
                        token: pending.token,
                        request,
                    });
                    self.slots.forget(slot);
                    return None;
                }
            }
            Step::Prepare { segment } if value >= 0 => {
                let opened = self
                    .volumes
                    .get_mut(&pending.log)
                    .map(|volume| volume.file(segment, reactor));
                if let Some(Err(error)) = opened {
                    let unknown = rustix::io::Errno::IO.raw_os_error();
                    value = -error.raw_os_error().unwrap_or(unknown);
                }
            }
            _ => {}
        }
        self.slots.forget(slot);
        Some(Answer {
            log: pending.log,
            token: pending.token,
            result: u32::try_from(value).map_err(|_| DiskError::from_errno(-value)),
            is_read: matches!(pending.step, Step::Read),
            buffer: completion.buffer(),
        })
    }

    /// Requests that the reactor has.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.pending.len() - self.slots.free.len()
    }
}

/// How long nothing is said of a file that could not be opened for want of descriptors.
const DESCRIPTORS_NS: u64 = 20_000_000;
