//! Repair: a stream whose acknowledged data is damaged can be opened again, without giving up a record that is intact.
//!
//! Opening a stream refuses damage where it would have to verify every record: below the durable frontier, in the segments that reach above it;
//! and in what it knows other segments by, their ends. So repair makes those ends good, and ends the stream's last segment so that the next one
//! begins above everything that is damaged. From then on the damage lies in segments that were synced whole, and is treated as all
//! damage there: it stays where it is, and readers are told which sequences will not come.
//!
//! ```text
//!  before  S d d d ▒▒▒ d d d d b · · · ·        ▒ damaged   · zeros
//!  after   S d d d ▒▒▒ d d d d b [  seal  ]     S b          the next segment: everything before it is durable
//! ```
//! Where the stream's last segment is missing, nothing tells which sequences it held: a file that holds nothing takes its place and uses up as many as it
//! can have held, and the stream goes on behind it. So does the end of one whose file was cut.
//!
//! What is overwritten is copied aside first. Nothing is changed until [`Repair::apply`], which can be interrupted anywhere: what it leaves is
//! repaired by the next one.

mod close;
mod plan;
mod proven;
mod tail;

use std::collections::BTreeSet;
use std::fmt;

use crate::directory::Directory;
use crate::files::{Files, segment_name};
use crate::open::{Damage, OpenError};

pub use plan::plan_repair;

/// What is wrong with a stream, and what is to be done about it.
#[derive(Debug, Default)]
pub struct Repair {
    /// What is damaged of what had been synced, whether it keeps the stream from being opened or not.
    pub damages: Vec<Damage>,
    /// What will be done, in the order of the stream. Nothing: the stream can be opened as it is.
    pub changes: Vec<Change>,
    /// What will be copied aside, because it is overwritten.
    pub kept: Vec<Kept>,
    /// Bytes of the stream's segments.
    pub(crate) segment_bytes: u64,
    /// Nothing tells how many records some files held.
    pub(crate) uncounted: bool,
    /// Segments whose files get their place, or their length, when what they can have held is used up for good.
    pub(crate) late: BTreeSet<u64>,
    pub(crate) steps: Vec<Step>,
}

/// Something that repair does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A segment that is missing gets a file that holds nothing.
    Missing {
        /// The segment.
        segment: u64,
    },
    /// Segments at the beginning of the stream are missing, and count as removed.
    Given {
        /// The first segment that there is.
        first: u64,
    },
    /// A file gets the length of the stream's segments.
    Length {
        /// The segment.
        segment: u64,
        /// Bytes that it has.
        from: u64,
    },
    /// A segment gets a new segment record.
    Head {
        /// The segment.
        segment: u64,
    },
    /// A segment is closed by a new seal.
    Close {
        /// The segment.
        segment: u64,
        /// Where in its file the seal starts.
        offset: u64,
    },
    /// A subject whose name is damaged is defined again.
    Name {
        /// The segment.
        segment: u64,
        /// Its id.
        id: u32,
        /// Its name; one that begins with [`LOST_SUBJECT`] where no other segment knows it.
        name: Box<str>,
    },
    /// The stream goes on in a new segment.
    Begin {
        /// The segment.
        segment: u64,
        /// The sequence of the next record.
        sequence: u64,
    },
}

/// Bytes of a file that are copied aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The segment.
    pub segment: u64,
    /// The first of them.
    pub start: u64,
    /// The byte behind the last one.
    pub end: u64,
}

/// Why a stream cannot be repaired. Nothing was changed.
#[derive(Debug)]
pub enum RepairError {
    /// Its files cannot be read, or are not this program's to change.
    Open(OpenError),
    /// No segment record is left, and no mark from which it could be made again.
    Nameless,
    /// Two valid records contradict each other.
    Contradiction {
        /// The segment.
        segment: u64,
        /// The first sequence that the segment says it has.
        says: u64,
        /// The one that the segment before says.
        due: u64,
    },
    /// The segment has no room for a seal.
    NoRoom {
        /// The segment.
        segment: u64,
    },
    /// The file is so much too long that what is too much of it is not copied aside.
    TooLong {
        /// The segment.
        segment: u64,
        /// Bytes that its file has.
        from: u64,
        /// Bytes that it should have.
        bytes: u64,
    },
}

/// What the names of subjects begin with that no segment knows any more; their ids follow.
pub const LOST_SUBJECT: &str = "$lost.";

/// Bytes of one copy.
const KEPT_BYTES: usize = 64 << 20;

/// One operation on the files.
#[derive(Debug)]
pub(crate) enum Step {
    Keep(Kept),
    Resize {
        segment: u64,
    },
    Create {
        segment: u64,
    },
    /// Bytes that nothing proves to be on the device are written again.
    Again {
        segment: u64,
        start: u64,
        end: u64,
    },
    Write {
        segment: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// The file of a new segment: without one, a sealed segment before it would say that it is missing.
    Prepare {
        segment: u64,
    },
    /// A new segment with its first page, when everything before is on the device.
    Begin {
        segment: u64,
        page: Vec<u8>,
    },
}

impl Step {
    /// Copies come first, the page that makes it all count comes behind everything that is changed. What takes the place of what is `late` comes last: without that the
    /// stream is refused, and what it goes on with is known by then.
    fn phase(&self, late: &BTreeSet<u64>) -> u8 {
        match self {
            Self::Keep(_) => 0,
            Self::Resize { segment } if late.contains(segment) => 6,
            Self::Resize { .. } => 1,
            Self::Again { .. } => 2,
            Self::Prepare { .. } => 3,
            Self::Write { segment, .. } if late.contains(segment) => 7,
            Self::Write { .. } => 4,
            Self::Begin { .. } => 5,
            Self::Create { .. } => 6,
        }
    }
}

impl Repair {
    /// Whether the stream can be opened as it is.
    #[must_use]
    pub fn is_needless(&self) -> bool {
        self.changes.is_empty()
    }

    /// Sequences that will not come, of those that are known to have been.
    #[must_use]
    pub fn records_lost(&self) -> u64 {
        self.damages.iter().map(Damage::records).sum()
    }

    /// Whether more may have been lost than [`records_lost`](Self::records_lost): nothing tells what some of the files held that are missing or were cut.
    #[must_use]
    pub fn may_have_lost_more(&self) -> bool {
        self.uncounted
    }

    /// Bytes that are copied aside.
    #[must_use]
    pub fn bytes_kept(&self) -> u64 {
        self.kept.iter().map(|kept| kept.end - kept.start).sum()
    }

    /// Does it. Blocks.
    ///
    /// # Errors
    /// The system's. What was overwritten until then was copied aside; planning anew goes on from there.
    pub fn apply(mut self, files: &mut impl Files) -> Result<(), OpenError> {
        self.steps.sort_by_key(|step| step.phase(&self.late));
        let mut files = Directory::new(files);
        for step in self.steps {
            match step {
                Step::Keep(Kept {
                    segment,
                    start,
                    end,
                }) => {
                    for at in (start..end).step_by(KEPT_BYTES) {
                        let mut bytes = vec![0; (end - at).min(KEPT_BYTES as u64) as usize];
                        files.read(segment, at, &mut bytes)?;
                        files.doing("copy aside bytes of", segment, |files| {
                            files.keep_aside(segment, at, &bytes)
                        })?;
                    }
                }
                Step::Resize { segment } => {
                    files.doing("give the right length to", segment, |files| {
                        files.resize(segment, self.segment_bytes)
                    })?
                }
                Step::Create { segment } | Step::Prepare { segment } => {
                    create(&mut files, segment, self.segment_bytes)?;
                }
                Step::Again {
                    segment,
                    start,
                    end,
                } => {
                    let mut bytes = vec![0; (end - start) as usize];
                    files.read(segment, start, &mut bytes)?;
                    write(&mut files, segment, start, &bytes)?;
                }
                Step::Write {
                    segment,
                    offset,
                    bytes,
                } => write(&mut files, segment, offset, &bytes)?,
                Step::Begin { segment, page } => {
                    // What was there before has been copied aside.
                    create(&mut files, segment, self.segment_bytes)?;
                    write(&mut files, segment, 0, &page)?;
                }
            }
        }
        Ok(())
    }
}

fn create<F: Files>(
    files: &mut Directory<'_, F>,
    segment: u64,
    bytes: u64,
) -> Result<(), OpenError> {
    files.doing("create", segment, |files| files.create(segment, bytes))
}

fn write<F: Files>(
    files: &mut Directory<'_, F>,
    segment: u64,
    offset: u64,
    bytes: &[u8],
) -> Result<(), OpenError> {
    files.doing("write", segment, |files| {
        files.write_at(segment, offset, bytes)
    })?;
    files.doing("sync", segment, |files| files.sync(segment))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { segment } => {
                write!(
                    f,
                    "segment {segment}: a file that holds nothing takes the place of the missing one"
                )
            }
            Self::Given { first } => write!(
                f,
                "segments before {first}: they are missing, and count as removed"
            ),
            Self::Length { segment, from } => write!(
                f,
                "segment {segment}: its file of {from} bytes gets the length of a segment"
            ),
            Self::Head { segment } => write!(f, "segment {segment}: its record is made again"),
            Self::Close { segment, offset } => {
                write!(
                    f,
                    "segment {segment}: closed by a seal from byte {offset} on"
                )
            }
            Self::Name { segment, id, name } if name.starts_with(LOST_SUBJECT) => write!(
                f,
                "segment {segment}: the name of subject {id} is lost; its records are kept as {name}"
            ),
            Self::Name { segment, id, name } => {
                write!(
                    f,
                    "segment {segment}: subject {id} is defined again, as {name}"
                )
            }
            Self::Begin { segment, sequence } => {
                write!(
                    f,
                    "segment {segment}: the stream goes on here, with sequence {sequence}"
                )
            }
        }
    }
}

impl fmt::Display for RepairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Nameless => f.write_str(
                "no segment record is left, and nothing behind one from which it could be made again",
            ),
            Self::Contradiction { segment, says, due } => write!(
                f,
                "segment {segment} says that it begins with sequence {says}, the one before that {due} comes next: one of the files belongs elsewhere"
            ),
            Self::TooLong {
                segment,
                from,
                bytes,
            } => write!(
                f,
                "{} has {from} bytes instead of {bytes}, too many to copy them aside: cut it to {bytes} if nothing behind them is wanted, and repair again",
                segment_name(*segment)
            ),
            Self::NoRoom { segment } => {
                write!(f, "segment {segment} has no room for a seal behind its records")
            }
        }
    }
}

impl std::error::Error for RepairError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            _ => None,
        }
    }
}

impl From<OpenError> for RepairError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}
