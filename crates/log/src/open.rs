//! Opening a log, and everything that can be wrong with its files.

use std::collections::VecDeque;
use std::{fmt, io};

use crate::config::{ConfigError, LogConfig, Storage};
use crate::files::{FileKind, Files, NotRegular, segment_name};
use crate::index::Index;
use crate::layout::BLOCK_BYTES;
use crate::log::{Log, Parts};
use crate::mark::{LogId, Mark, SEQUENCE_FIRST};
use crate::marks::Identity;
use crate::recovery;
use crate::segments::{Base, Segments};
use crate::subjects::Subjects;
use crate::tail::Tail;

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The stream did not exist before.
    pub created: bool,
    /// Segments that hold records.
    pub segments: u64,
    /// The oldest sequence kept.
    pub first: u64,
    /// The newest sequence; less than `first` when there is none.
    pub last: u64,
    /// Bytes whose records were verified one by one.
    pub scanned_bytes: u64,
    /// A torn tail that was cut off.
    pub torn: Option<Torn>,
    /// Bytes that were written again because nothing proved them to be on the device.
    pub rewritten_bytes: u64,
    /// Segments whose removal had been interrupted.
    pub removed_segments: u64,
}

/// What a crash left behind the last whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment in which the log ends.
    pub segment: u64,
    /// Where in its file.
    pub offset: u64,
    /// Bytes that were not zero and are now, rounded up to pages.
    pub bytes: u64,
}

/// Why a log cannot be opened. Nothing in its directory was changed.
#[derive(Debug)]
pub enum OpenError {
    /// The settings do not fit each other.
    Config(ConfigError),
    /// There is no memory for the tail.
    Memory(io::Error),
    /// The system refused an operation.
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To which segment, if to one.
        segment: Option<u64>,
        /// What the system said.
        error: io::Error,
    },
    /// The stream was written by a newer version.
    Newer {
        /// The segment that says so.
        segment: u64,
        /// Its format version.
        version: u16,
        /// Its feature bits that a reader must know.
        incompatible: u32,
    },
    /// A file belongs to another stream, or to another place in this one.
    Foreign {
        /// The file's name says this segment.
        segment: u64,
        /// Its contents say this one.
        index: u64,
        /// Whether it is of another stream.
        other_stream: bool,
    },
    /// Acknowledged data is damaged or missing.
    Damaged(Damage),
}

/// Damage to data that was known to be on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong.
    pub what: Defect,
    /// The segment.
    pub segment: u64,
    /// The first byte of the file that is affected.
    pub start: u64,
    /// The byte behind the last one.
    pub end: u64,
    /// The first data sequence that is affected.
    pub first: u64,
    /// The last one; less than `first` when only the log's own records are affected.
    pub last: u64,
}

impl Damage {
    /// Data records that are affected.
    #[must_use]
    pub fn records(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Records do not validate.
    Records,
    /// The segment record does not validate.
    Head,
    /// The seal of a segment does not validate.
    Seal,
    /// The file is not there.
    Missing,
    /// The file is not there, and nothing tells how many records it held: it was the last one, or the oldest.
    Gone,
    /// The file belongs elsewhere.
    Foreign {
        /// Its contents say this segment.
        index: u64,
        /// Whether it is of another stream.
        other_stream: bool,
    },
    /// The file has another length than the stream's segments.
    Length {
        /// Its bytes.
        bytes: u64,
    },
    /// The file, or a part of it, cannot be read: whether what it holds is in place is not known. Only verification goes on behind it.
    Unreadable(Refusal),
    /// What has the segment's name is no regular file. Only verification goes on behind it.
    NotRegular(FileKind),
}

/// What the system said when a file was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it comes to.
    pub kind: io::ErrorKind,
    /// The system's number; 0 where it did not come from the system.
    pub errno: i32,
}

impl Defect {
    /// Why the file of a segment is not read.
    pub(crate) fn unread(error: &io::Error) -> Self {
        match NotRegular::of(error) {
            Some(found) => Self::NotRegular(found.is),
            None => Self::Unreadable(Refusal {
                kind: error.kind(),
                errno: error.raw_os_error().unwrap_or(0),
            }),
        }
    }

    /// Whether all that is known is that the file cannot be read: what it holds may be in place.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::NotRegular(_))
    }
}

impl Log {
    /// Opens the stream in `files`, or creates it; recovers it if need be. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        id: LogId,
        config: &LogConfig,
        files: &mut impl Files,
    ) -> Result<(Self, Recovery), OpenError> {
        config.check().map_err(OpenError::Config)?;
        match config.storage {
            Storage::Memory => Self::open_in_memory(id, config),
            Storage::Files => recovery::open(id, config, files),
        }
    }

    /// Makes a stream without files: what it holds ends with it.
    ///
    /// # Errors
    /// [`OpenError::Config`] and [`OpenError::Memory`].
    pub fn open_in_memory(id: LogId, config: &LogConfig) -> Result<(Self, Recovery), OpenError> {
        let config = LogConfig {
            storage: Storage::Memory,
            ..config.clone()
        };
        config.check().map_err(OpenError::Config)?;
        let start = Mark {
            sequence: SEQUENCE_FIRST,
            position: 0,
        };
        let base = Base {
            index: 0,
            sequence: SEQUENCE_FIRST,
            before_ns: 0,
        };
        let parts = Parts {
            id,
            identity: Identity::new(config.entropy, u64::MAX),
            tail: Tail::new(config.tail_bytes, 0).map_err(OpenError::Memory)?,
            subjects: Subjects::new(config.subjects_max),
            index: Index::new(BLOCK_BYTES),
            segments: Segments::new(VecDeque::from([base]), u64::MAX),
            next: start,
            first: start,
            last_ns: 0,
            told: Mark::default(),
            config,
        };
        let report = Recovery {
            created: true,
            first: SEQUENCE_FIRST,
            ..Recovery::default()
        };
        Ok((Self::assemble(parts), report))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Memory(error) => write!(f, "no memory for the stream's tail: {error}"),
            Self::Io {
                doing,
                segment: Some(segment),
                error,
            } => write!(f, "cannot {doing} segment {segment}: {error}"),
            Self::Io {
                doing,
                segment: None,
                error,
            } => write!(f, "cannot {doing}: {error}"),
            Self::Newer {
                segment,
                version,
                incompatible: 0,
            } => write!(
                f,
                "segment {segment} has format version {version}, this program knows up to {}: use a newer one",
                crate::layout::VERSION
            ),
            Self::Newer {
                segment,
                incompatible,
                ..
            } => write!(
                f,
                "segment {segment} uses features {incompatible:#x} that this program does not know: use a newer one"
            ),
            Self::Foreign {
                segment,
                index,
                other_stream,
            } => write_foreign(f, *segment, *index, *other_stream),
            Self::Damaged(damage) => damage.fmt(f),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            segment,
            start,
            end,
            first,
            last,
        } = self;
        match what {
            Defect::Missing => write!(f, "segment {segment} is missing")?,
            Defect::Gone => {
                return write!(
                    f,
                    "segment {segment} is missing, and nothing tells how many records it held"
                );
            }
            Defect::Foreign {
                index,
                other_stream,
            } => {
                write_foreign(f, *segment, *index, *other_stream)?;
                return write_place(f, *first, *last);
            }
            Defect::Length { bytes } => {
                write!(f, "segment {segment} has {bytes} bytes instead of {end}")?
            }
            Defect::Unreadable(refusal) => {
                write!(f, "segment {segment} cannot be read: {refusal}")?;
                return write_place(f, *first, *last);
            }
            Defect::NotRegular(is) => {
                let name = segment_name(*segment);
                write!(f, "segment {segment} cannot be read from {name}: {is}")?;
                return write_place(f, *first, *last);
            }
            Defect::Records => write!(f, "segment {segment} is damaged at bytes {start}..{end}")?,
            Defect::Head => write!(
                f,
                "segment {segment} is damaged: its head at bytes {start}..{end} is not valid"
            )?,
            Defect::Seal => write!(
                f,
                "segment {segment} is damaged: its seal at bytes {start}..{end} is not valid"
            )?,
        }
        if last >= first {
            write!(f, ", which held sequences {first} to {last}")
        } else {
            Ok(())
        }
    }
}

/// The sequences that belong where a file is, whatever it holds.
fn write_place(f: &mut fmt::Formatter<'_>, first: u64, last: u64) -> fmt::Result {
    match last >= first {
        true => write!(f, "; in its place were sequences {first} to {last}"),
        false => Ok(()),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            0 => self.kind.fmt(f),
            errno => io::Error::from_raw_os_error(errno).fmt(f),
        }
    }
}

fn write_foreign(
    f: &mut fmt::Formatter<'_>,
    segment: u64,
    index: u64,
    other_stream: bool,
) -> fmt::Result {
    let name = segment_name(segment);
    if other_stream {
        write!(
            f,
            "{name} belongs to another stream: move it out of this stream's directory"
        )
    } else {
        write!(
            f,
            "{name} holds segment {index} of this stream: call it {} if there is no other of that name, or move it out of the directory",
            segment_name(index)
        )
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Memory(error) | Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
