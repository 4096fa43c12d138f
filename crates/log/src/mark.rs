//! Places in a stream, and the instant at which the log is asked.

use std::fmt;

/// Which log a request to the disk is from; chosen by the owner, opaque to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

/// A place between two records: everything with a lower sequence lies before `position`.
///
/// Marks of one log are ordered the same by either field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Sequence of the next data record.
    pub sequence: u64,
    /// Byte in the stream's whole history.
    pub position: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sequence {} at position {}",
            self.sequence, self.position
        )
    }
}

/// What time it is. The log never asks a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that only goes forward at its pace, also while the machine is suspended: deadlines, back-off, and what the wall clock is held against.
    pub mono_ns: u64,
    /// Nanoseconds since 1970: stamps of records and retention by age.
    pub wall_ns: u64,
}

/// The sequence of a stream's first record. An empty stream has `first = 1, last = 0`.
pub const SEQUENCE_FIRST: u64 = 1;
