//! Why a log does not take something.

use std::fmt;

use trunkline_wire::record::RecordError;

use crate::log::NAME_BYTES_MAX;
#[cfg(doc)]
use crate::log::State;

/// Why a record was not taken. The log is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// No room yet: try again after completions.
    Full,
    /// No room until there is space on the device; see [`State::NoSpace`].
    NoSpace,
    /// See [`State::Poisoned`].
    Poisoned,
    /// More payload than the limit.
    TooLarge {
        /// The record's `payload_len`.
        payload_len: u32,
        /// The limit.
        payload_max: u32,
    },
    /// The subject id is not one of this log's.
    Subject(u32),
    /// The record is not intact, or not a data record.
    Record(RecordError),
}

/// Why a subject was not defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefineError {
    /// As many subjects as the limit allows are known.
    TooMany {
        /// The limit.
        subjects_max: u32,
    },
    /// The name is empty or longer than 255 bytes.
    Name,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(
                f,
                "the stream's memory is full of records that are not stored yet"
            ),
            Self::NoSpace => write!(f, "no space on the device for another segment"),
            Self::Poisoned => write!(f, "the stream is read-only after a failed write"),
            Self::TooLarge {
                payload_len,
                payload_max,
            } => {
                write!(
                    f,
                    "record is over the limit: payload_len is {payload_len}, the limit is {payload_max}"
                )
            }
            Self::Subject(id) => write!(f, "subject id {id} is not defined"),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AppendError {}

impl fmt::Display for DefineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { subjects_max } => write!(
                f,
                "the stream knows {subjects_max} subjects, which is its limit"
            ),
            Self::Name => write!(f, "a subject's name has 1 to {NAME_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for DefineError {}
