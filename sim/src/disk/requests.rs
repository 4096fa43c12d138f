//! What logs asked of the disk and have no answer to yet.
//!
//! Requests are executed in any order. A sync begins at one moment and is done at a later one: what was written in
//! between is not covered.

use trunkline_log::testing::Rng;
use trunkline_log::{Disk, DiskError, Files, LogId, Request, Token};

use super::directory::Name;
use super::drive::Drive;
use super::file::{PAGE_BYTES, SyncPoint};
use super::stream_files::StreamFiles;
use crate::faults::{Fault, Faults};

/// Requests of one process, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pending: Vec<Pending>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The log that asks.
    pub log: LogId,
    /// What names the request.
    pub token: Token,
    /// What is asked.
    pub request: Request,
    /// The sync has begun.
    begun: Option<SyncPoint>,
    /// It is not done before.
    not_before_ns: u64,
    /// A stall was drawn for it.
    looked_at: bool,
    /// Creating and removing files takes so many steps more.
    steps_left: u32,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The log that asked.
    pub log: LogId,
    /// What names the request.
    pub token: Token,
    /// As the log gets it.
    pub result: Result<u32, DiskError>,
    /// What was read.
    pub bytes: Option<Vec<u8>>,
    /// It was a read.
    pub is_read: bool,
    /// The device dropped writes that were answered before.
    pub dropped_writes: bool,
    /// What a reader gets may be missing or wrong.
    pub misread: bool,
}

impl Disk for Requests {
    fn submit(&mut self, log: LogId, token: Token, request: Request) {
        self.pending.push(Pending {
            log,
            token,
            request,
            begun: None,
            not_before_ns: 0,
            looked_at: false,
            steps_left: match request {
                Request::Prepare { .. } => 12,
                Request::Remove { .. } => 40,
                _ => 0,
            },
        });
    }
}

impl Requests {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many of one log there are.
    pub(crate) fn len_of(&self, log: LogId) -> usize {
        self.pending.iter().filter(|one| one.log == log).count()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The one to go on with: usually the oldest, sometimes any.
    pub(crate) fn pick(&self, faults: &mut Faults, rng: &mut Rng, now_ns: u64) -> Option<usize> {
        let ready = |one: &Pending| one.not_before_ns <= now_ns;
        let count = self.pending.iter().filter(|one| ready(one)).count();
        let mut nth = 0;
        if count > 1 && faults.would_strike(Fault::OutOfOrder) {
            nth = rng.below(count as u64) as usize;
            if nth > 0 {
                faults.count(Fault::OutOfOrder);
            }
        }
        let mut places = self.pending.iter().enumerate();
        places
            .by_ref()
            .filter(|(_, one)| ready(one))
            .nth(nth)
            .map(|(at, _)| at)
    }

    /// What a pending write is to write: log, position and length.
    pub(crate) fn wants(&self, nth: usize) -> (LogId, Request) {
        (self.pending[nth].log, self.pending[nth].request)
    }

    /// Goes on with one of them. `bytes` are those of a write. The answer, if that was all of it.
    pub(crate) fn advance(
        &mut self,
        nth: usize,
        bytes: &[u8],
        drive: &mut Drive,
        faults: &mut Faults,
        now_ns: u64,
    ) -> Option<Answer> {
        let one = &mut self.pending[nth];
        if !one.looked_at {
            one.looked_at = true;
            if faults.strikes(Fault::Stall) {
                one.not_before_ns = now_ns + 10_000_000_000;
                return None;
            }
        }
        if one.steps_left > 0 {
            one.steps_left -= 1;
            return None;
        }
        let answer = one.advance(bytes, drive, faults)?;
        self.pending.remove(nth);
        Some(answer)
    }

    /// The process is gone: each request has been executed, in part, or not at all.
    pub(crate) fn abandon<'b>(
        self,
        mut bytes: impl FnMut(LogId, u64, u32) -> &'b [u8],
        drive: &mut Drive,
        faults: &mut Faults,
        rng: &mut Rng,
    ) {
        let mut pending = self.pending;
        while !pending.is_empty() {
            let nth = rng.below(pending.len() as u64) as usize;
            let mut one = pending.swap_remove(nth);
            if !faults.strikes(Fault::LateWrite) {
                continue;
            }
            let data = match one.request {
                Request::Write { position, len, .. } => bytes(one.log, position, len),
                _ => &[],
            };
            let data = if rng.below(2) == 0 {
                data
            } else {
                &data[..rng.below(data.len() as u64 + 1) as usize]
            };
            if matches!(
                one.request,
                Request::Prepare { .. } | Request::Remove { .. }
            ) {
                drive.operations_left = 1 + rng.below(3);
            }
            let _nobody_hears = one.advance(data, drive, faults);
            drive.operations_left = u64::MAX;
        }
    }
}

impl Pending {
    fn advance(&mut self, bytes: &[u8], drive: &mut Drive, faults: &mut Faults) -> Option<Answer> {
        if self.begun.is_none() {
            if faults.strikes(Fault::OpenTooMany) {
                return Some(self.fails(EMFILE));
            }
            if faults.strikes(Fault::NoMemory) {
                return Some(self.fails(ENOMEM));
            }
        }
        let directory = self.log.0;
        match self.request {
            Request::Write {
                segment,
                offset,
                len,
                sync,
                ..
            } => match self.begun.take() {
                None => self.write(
                    (segment, offset as usize),
                    (bytes, len, sync),
                    drive,
                    faults,
                ),
                Some(point) => {
                    if let Some(answer) = self.fail_sync(segment, drive, faults) {
                        return Some(answer);
                    }
                    let first = offset as usize / PAGE_BYTES;
                    let end = (offset as usize + len as usize).div_ceil(PAGE_BYTES);
                    if let Some(file) = drive.segment(directory, segment) {
                        file.sync(&point, first..end);
                    }
                    Some(self.done(len))
                }
            },
            Request::Sync { segment } => match self.begun.take() {
                None => match drive.segment(directory, segment) {
                    Some(file) => {
                        self.begun = Some(file.sync_point());
                        None
                    }
                    None => Some(self.fails(ENOENT)),
                },
                Some(point) => {
                    if faults.strikes(Fault::SyncInterrupted) {
                        return Some(self.fails(EINTR));
                    }
                    if let Some(answer) = self.fail_sync(segment, drive, faults) {
                        return Some(answer);
                    }
                    match drive.segment(directory, segment) {
                        Some(file) => {
                            file.sync(&point, 0..usize::MAX);
                            Some(self.done(0))
                        }
                        None => Some(self.fails(ENOENT)),
                    }
                }
            },
            Request::Read {
                segment,
                offset,
                len,
            } => Some(self.read(segment, offset as usize, len, drive, faults)),
            Request::Prepare { segment, bytes } => {
                if faults.strikes(Fault::PrepareNoSpace) {
                    return Some(self.fails(ENOSPC));
                }
                if faults.strikes(Fault::PrepareInterrupted) {
                    return Some(self.fails(EINTR));
                }
                let mut files = StreamFiles {
                    drive,
                    directory,
                    faults,
                };
                let result = files.create(segment, bytes);
                Some(self.answer(result.map(|()| 0).map_err(DiskError::from)))
            }
            Request::Remove { segment } => {
                if faults.strikes(Fault::RemoveError) {
                    // Before the name is gone, or before it is certain that it is.
                    if faults.below(Fault::RemoveError, 3) > 0 {
                        drive.directory(directory).unlink(Name::Segment(segment));
                    }
                    return Some(self.fails(EIO));
                }
                let mut files = StreamFiles {
                    drive,
                    directory,
                    faults,
                };
                let result = files.remove(segment);
                // Somebody else was faster: the file is gone, and says so.
                if result.is_ok() && files.faults.strikes(Fault::RemoveMissing) {
                    return Some(self.fails(ENOENT));
                }
                Some(self.answer(result.map(|()| 0).map_err(DiskError::from)))
            }
        }
    }

    fn write(
        &mut self,
        (segment, offset): (u64, usize),
        (bytes, len, sync): (&[u8], u32, bool),
        drive: &mut Drive,
        faults: &mut Faults,
    ) -> Option<Answer> {
        if faults.strikes(Fault::WriteInterrupted) {
            return Some(self.fails(EINTR));
        }
        for (fault, errno) in [
            (Fault::WriteNoSpace, ENOSPC),
            (Fault::WriteQuota, EDQUOT),
            (Fault::WriteReadOnly, EROFS),
        ] {
            if faults.strikes(fault) {
                return Some(self.fails(errno));
            }
        }
        let Some(file) = drive.segment(self.log.0, segment) else {
            return Some(self.fails(ENOENT));
        };
        if faults.strikes(Fault::WriteError) {
            let part = faults.below(Fault::WriteError, bytes.len() as u64) as usize;
            file.write(offset, &bytes[..part]);
            return Some(self.fails(EIO));
        }
        let short = if sync {
            Fault::WriteSyncShort
        } else {
            Fault::WriteShort
        };
        if bytes.len() > 1 && faults.strikes(short) {
            let part = 1 + faults.below(short, bytes.len() as u64 - 1) as usize;
            file.write(offset, &bytes[..part]);
            return Some(self.done(part as u32));
        }
        if !file.write(offset, bytes) {
            return Some(self.fails(EIO));
        }
        if sync {
            self.begun = Some(file.sync_point());
            return None;
        }
        Some(self.done(len))
    }

    fn fail_sync(&self, segment: u64, drive: &mut Drive, faults: &mut Faults) -> Option<Answer> {
        let cache_keeps = if faults.strikes(Fault::SyncErrorNewCache) {
            true
        } else if faults.strikes(Fault::SyncErrorOldCache) {
            false
        } else {
            return None;
        };
        let mut rng = Rng(faults.below(Fault::SyncErrorNewCache, u64::MAX));
        if let Some(file) = drive.segment(self.log.0, segment) {
            file.fail_sync(cache_keeps, &mut rng);
        }
        let mut answer = self.fails(EIO);
        answer.dropped_writes = true;
        Some(answer)
    }

    fn read(
        &self,
        segment: u64,
        offset: usize,
        len: u32,
        drive: &mut Drive,
        faults: &mut Faults,
    ) -> Answer {
        if faults.strikes(Fault::ReadInterrupted) {
            return self.fails(EINTR);
        }
        let Some(file) = drive.segment(self.log.0, segment) else {
            return self.misread(self.fails(ENOENT));
        };
        if faults.strikes(Fault::ReadError) {
            return self.misread(self.fails(EIO));
        }
        let end = file.len().min(offset + len as usize);
        let Some(found) = file.cached().get(offset..end) else {
            return self.misread(self.fails(EIO));
        };
        let mut bytes = found.to_vec();
        let mut misread = false;
        if bytes.len() > 1 && faults.strikes(Fault::ReadShort) {
            bytes.truncate(1 + faults.below(Fault::ReadShort, bytes.len() as u64 - 1) as usize);
        }
        if faults.strikes(Fault::ReadFlip) {
            let bit = faults.below(Fault::ReadFlip, bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            misread = true;
        }
        let mut answer = self.done(bytes.len() as u32);
        answer.bytes = Some(bytes);
        answer.misread = misread;
        answer
    }

    fn misread(&self, answer: Answer) -> Answer {
        Answer {
            misread: true,
            ..answer
        }
    }

    fn done(&self, value: u32) -> Answer {
        self.answer(Ok(value))
    }

    fn fails(&self, errno: i32) -> Answer {
        self.answer(Err(DiskError::from_errno(errno)))
    }

    fn answer(&self, result: Result<u32, DiskError>) -> Answer {
        Answer {
            log: self.log,
            token: self.token,
            result,
            bytes: None,
            is_read: matches!(self.request, Request::Read { .. }),
            dropped_writes: false,
            misread: matches!(self.request, Request::Read { .. })
                && result.is_err_and(|error| error.errno != EINTR),
        }
    }
}

const ENOENT: i32 = 2;
const EINTR: i32 = 4;
const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;
