//! What the log asks of a disk, and how the disk answers.
//!
//! The log never waits: it hands [`Request`]s to a [`Disk`] and goes on; the owner calls
//! [`Log::on_completion`](crate::Log::on_completion) (or [`on_read`](crate::Log::on_read)) when one is done, in any order.

use std::fmt;

use crate::mark::LogId;

/// Takes requests. Implemented on a reactor by the server, on memory by tests.
pub trait Disk {
    /// Queues `request`; it will be answered with `token`. Never blocks, never fails: a log has at most
    /// [`Log::IN_FLIGHT_MAX`](crate::Log::IN_FLIGHT_MAX) requests out, for which the disk keeps room.
    ///
    /// The request may be executed at once, but it must be answered later, not from within this call.
    fn submit(&mut self, log: LogId, token: Token, request: Request);
}

/// Names a request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One operation on one segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Writes `len` bytes of the tail ([`Log::bytes`](crate::Log::bytes)`(position, len)`) at `offset`. Answered with the bytes written. The tail keeps them until then.
    Write {
        /// The segment.
        segment: u64,
        /// Where in its file.
        offset: u64,
        /// Where in the tail; `segment × segment_bytes + offset`.
        position: u64,
        /// Bytes; never more than [`Log::WRITE_BYTES_MAX`](crate::Log::WRITE_BYTES_MAX).
        len: u32,
        /// Answer only when the bytes are on the device: `RWF_DSYNC`, or write and then `fdatasync`, as one operation.
        sync: bool,
    },
    /// Makes everything that was answered for this file before durable: `fdatasync`.
    Sync {
        /// The segment.
        segment: u64,
    },
    /// Reads into a buffer of the disk's, which goes to [`Log::read_fetched`](crate::Log::read_fetched).
    Read {
        /// The segment.
        segment: u64,
        /// Where in its file.
        offset: u64,
        /// Bytes: [`read_bytes`](crate::LogConfig::read_bytes), or more where one record is longer. Fewer may be answered.
        len: u32,
    },
    /// Brings the segment's file into being: `bytes` zero bytes, written and synced under another name, renamed
    /// into place, the directory synced. See [`Files::create`](crate::Files::create).
    Prepare {
        /// The segment.
        segment: u64,
        /// Bytes of the file.
        bytes: u64,
    },
    /// Unlinks the segment's file and syncs the directory.
    Remove {
        /// The segment.
        segment: u64,
    },
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What it means to the log.
    pub kind: DiskErrorKind,
    /// As the system gave it; 0 where it did not come from the system.
    pub errno: i32,
}

/// What a failure means to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// Nothing was done; it may be tried again at once (`EINTR`, `EAGAIN`).
    Interrupted,
    /// The device or the quota is full (`ENOSPC`, `EDQUOT`).
    NoSpace,
    /// The file is not there (`ENOENT`).
    NotFound,
    /// The file system is read-only (`EROFS`).
    ReadOnly,
    /// Fewer bytes than asked were synced; nothing can be said about them.
    Short,
    /// Everything else, `EIO` first of all.
    Io,
}

impl DiskError {
    /// From a system's error number (Linux).
    pub const fn from_errno(errno: i32) -> Self {
        let kind = match errno {
            4 | 11 => DiskErrorKind::Interrupted,
            28 | 122 => DiskErrorKind::NoSpace,
            2 => DiskErrorKind::NotFound,
            30 => DiskErrorKind::ReadOnly,
            _ => DiskErrorKind::Io,
        };
        Self { kind, errno }
    }

    pub(crate) const SHORT: Self = Self {
        kind: DiskErrorKind::Short,
        errno: 0,
    };
}

impl From<&std::io::Error> for DiskError {
    fn from(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::from_errno(errno),
            None => Self {
                kind: DiskErrorKind::Io,
                errno: 0,
            },
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DiskErrorKind::Interrupted => write!(f, "interrupted")?,
            DiskErrorKind::NoSpace => write!(f, "no space on the device")?,
            DiskErrorKind::NotFound => write!(f, "file not found")?,
            DiskErrorKind::ReadOnly => write!(f, "file system is read-only")?,
            DiskErrorKind::Short => write!(f, "fewer bytes written than asked")?,
            DiskErrorKind::Io if matches!(self.errno, 0 | EIO) => write!(f, "input/output error")?,
            // As the system puts it, with the number.
            DiskErrorKind::Io => return std::io::Error::from_raw_os_error(self.errno).fmt(f),
        }
        if self.errno != 0 {
            write!(f, " (errno {})", self.errno)
        } else {
            Ok(())
        }
    }
}

impl std::error::Error for DiskError {}

const EIO: i32 = 5;
