//! The files of one stream that a worker has open.

use std::collections::HashMap;
use std::io;

use trunkline_log::Request;
use trunkline_reactor::{AnyReactor, FileId, Reactor, RegionId, Slice};

use crate::storage::{ALIGN_BYTES, Space, StreamDir};

/// One stream's directory and what is open of it.
pub(super) struct Volume {
    pub(super) dir: StreamDir,
    tail: RegionId,
    /// Reduces positions: the tail's capacity, a power of two, less one.
    tail_mask: u64,
    /// Open segments: the ones in use, and those that a reader went back to.
    open: HashMap<u64, FileId>,
    direct: Direct,
}

/// The segment that is written, open for writes past the page cache.
#[derive(Clone, Copy)]
enum Direct {
    Never,
    NotYet,
    Open { segment: u64, file: FileId },
}

impl Volume {
    pub(super) fn new(dir: StreamDir, tail: RegionId, tail_bytes: u64) -> Self {
        let direct = match dir.space() {
            Space::PastCache => Direct::NotYet,
            Space::Written | Space::Reserved => Direct::Never,
        };
        Self {
            dir,
            tail,
            tail_mask: tail_bytes - 1,
            open: HashMap::new(),
            direct,
        }
    }

    /// Where the bytes of the log from `position` lie in memory.
    pub(super) fn slice(&self, position: u64, len: u32) -> Slice {
        Slice {
            region: self.tail,
            offset: position & self.tail_mask,
            len,
        }
    }

    /// The file for a write of whole pages past the page cache, if this stream and its file system have that.
    pub(super) fn direct(&mut self, request: &Request, reactor: &mut AnyReactor) -> Option<FileId> {
        let &Request::Write {
            segment,
            offset,
            len,
            ..
        } = request
        else {
            return None;
        };
        if matches!(self.direct, Direct::Never) {
            return None;
        }
        if !(offset | u64::from(len)).is_multiple_of(ALIGN_BYTES as u64) {
            return None;
        }
        if let Direct::Open {
            segment: open,
            file,
        } = self.direct
            && open == segment
        {
            return Some(file);
        }
        self.close_direct(reactor);
        match self.dir.segment_past_cache(segment) {
            Ok(opened) => {
                let file = reactor.add_file(opened);
                self.direct = Direct::Open { segment, file };
                Some(file)
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidInput {
                    self.direct = Direct::Never;
                }
                // Whatever else it is, the other file will say it.
                None
            }
        }
    }

    /// This file system has no such writes.
    pub(super) fn has_no_direct(&mut self, reactor: &mut AnyReactor) {
        self.close_direct(reactor);
        self.direct = Direct::Never;
    }

    fn close_direct(&mut self, reactor: &mut AnyReactor) {
        if let Direct::Open { file, .. } = self.direct {
            reactor.remove_file(file);
            self.direct = Direct::NotYet;
        }
    }

    /// Closes what is open of a segment.
    pub(super) fn close(&mut self, segment: u64, reactor: &mut AnyReactor) {
        if matches!(self.direct, Direct::Open { segment: open, .. } if open == segment) {
            self.close_direct(reactor);
        }
        if let Some(file) = self.open.remove(&segment) {
            reactor.remove_file(file);
        }
    }

    /// Closes everything.
    pub(super) fn close_all(mut self, reactor: &mut AnyReactor) {
        self.close_direct(reactor);
        for file in self.open.into_values() {
            reactor.remove_file(file);
        }
    }

    /// The segment's file, opened at its first use.
    pub(super) fn file(&mut self, segment: u64, reactor: &mut AnyReactor) -> io::Result<FileId> {
        if let Some(&file) = self.open.get(&segment) {
            return Ok(file);
        }
        if self.open.len() >= OPEN_SEGMENTS_MAX
            && let Some(&oldest) = self.open.keys().min()
            && oldest < segment
            && let Some(file) = self.open.remove(&oldest)
        {
            reactor.remove_file(file);
        }
        let opened = match self.dir.segment(segment) {
            Err(error) if is_for_want_of_descriptors(error.raw_os_error().unwrap_or(0)) => {
                // All but the two that may be written are only read, and opened again when they are.
                let mut older: Vec<u64> = self.open.keys().copied().collect();
                older.sort_unstable();
                older.truncate(older.len().saturating_sub(2));
                for other in older {
                    if let Some(file) = self.open.remove(&other) {
                        reactor.remove_file(file);
                    }
                }
                self.dir.segment(segment)?
            }
            opened => opened?,
        };
        let file = reactor.add_file(opened);
        self.open.insert(segment, file);
        Ok(file)
    }
}

/// Whether a file could not be opened because this process, or the system, has too many open.
pub(super) fn is_for_want_of_descriptors(errno: i32) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|known| known.raw_os_error() == errno)
}

/// Segments of one stream that are kept open: the two that are written, and some that readers are in.
const OPEN_SEGMENTS_MAX: usize = 16;
