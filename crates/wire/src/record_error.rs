//! What can be wrong with a record.

use core::fmt;

use crate::frame::ErrorCode;
use crate::layout::VERSION;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// It does not start with the magic.
    Magic,
    /// It has a version that is not ours.
    Version {
        /// The version it has.
        version: u8,
    },
    /// It has a kind that there is not, or not here.
    Kind {
        /// The kind it has.
        kind: u8,
    },
    /// It has flags that there are not.
    Flags {
        /// The flags it has.
        flags: u16,
    },
    /// Its length cannot be, or goes beyond what holds it.
    Length {
        /// The `payload_len` it has.
        payload_len: u32,
    },
    /// It is longer than the limit.
    TooLong {
        /// The `payload_len` it has.
        payload_len: u32,
        /// The limit.
        payload_max: u32,
    },
    /// The padding after its body is not zero.
    Padding,
    /// Its user headers are malformed.
    Headers,
    /// Its checksum does not match.
    Checksum,
}

impl RecordError {
    /// The code that tells the peer.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Magic | Self::Version { .. } | Self::Kind { .. } => ErrorCode::RECORD,
            Self::Checksum => ErrorCode::CHECKSUM,
            Self::TooLong { .. } => ErrorCode::RECORD_TOO_LONG,
            Self::Flags { .. } => ErrorCode::UNSUPPORTED,
            Self::Length { .. } | Self::Padding | Self::Headers => ErrorCode::MALFORMED,
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(f, "record does not start with TLN1"),
            Self::Version { version } => {
                write!(f, "record has version {version}, this is version {VERSION}")
            }
            Self::Kind { kind } => write!(f, "record has kind {kind}, which is not allowed here"),
            Self::Flags { flags } => write!(f, "record has unknown flags {flags:#06x}"),
            Self::Length { payload_len } => write!(
                f,
                "record has an impossible length: payload_len is {payload_len}"
            ),
            Self::TooLong {
                payload_len,
                payload_max,
            } => {
                write!(
                    f,
                    "record is over the limit: payload_len is {payload_len}, the limit is {payload_max}"
                )
            }
            Self::Padding => write!(f, "padding after the record is not zero"),
            Self::Headers => write!(f, "user headers of the record are malformed"),
            Self::Checksum => write!(f, "checksum of the record does not match"),
        }
    }
}

impl core::error::Error for RecordError {}
