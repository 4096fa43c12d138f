//! What can go wrong.

use std::fmt;
use std::io;

use trunkline_wire::{ErrorCode, SubjectError, Violation};

/// Why a record was not taken for publishing. Nothing of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The window is full: too much is unacknowledged, or waits to be sent. The same record may be tried again.
    Full,
    /// The record, call or answer is over the server's limit.
    TooLong {
        /// Its payload, and its headers if it has some.
        payload_bytes: usize,
        /// How many the server takes. Before its Hello that is a guess.
        payload_bytes_max: usize,
    },
    /// The subject is not one.
    Subject(SubjectError),
    /// The user headers do not fit the format.
    Headers,
    /// The client is closed.
    Closed,
    /// The window stayed full for as long as the client waits.
    TimedOut,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the publishing window is full"),
            Self::TooLong {
                payload_bytes,
                payload_bytes_max,
            } => {
                write!(
                    f,
                    "record over the limit: it has {payload_bytes} bytes of payload, the limit is {payload_bytes_max}"
                )
            }
            Self::Subject(error) => error.fmt(f),
            Self::Headers => write!(
                f,
                "user headers are too long: 255 bytes for a key, 65535 for all"
            ),
            Self::Closed => write!(f, "the client is closed"),
            Self::TimedOut => write!(
                f,
                "the server did not acknowledge enough in time: the publishing window is full"
            ),
        }
    }
}

impl std::error::Error for PublishError {}

impl From<SubjectError> for PublishError {
    fn from(error: SubjectError) -> Self {
        Self::Subject(error)
    }
}

/// What an operation of the client fails with.
#[derive(Debug)]
pub enum Error {
    /// The connection could not be made, or broke.
    Io(io::Error),
    /// The server broke the protocol.
    Violation(Violation),
    /// The server refused.
    Refused {
        /// Why, as a number.
        code: ErrorCode,
        /// Why, in the server's words.
        message: Box<str>,
    },
    /// A call reached a responder, which says that it cannot answer.
    Responder {
        /// Why, as a number of the responder's choice.
        code: u32,
        /// Why, in the responder's words.
        message: Box<str>,
    },
    /// A record was not taken.
    Publish(PublishError),
    /// The time ran out.
    TimedOut,
    /// There is no connection, or it broke before the answer came.
    Disconnected,
    /// The server may have the record or not: the connection broke before it was acknowledged, or what was answered is no longer kept.
    Indeterminate,
    /// The client is closed.
    Closed,
    /// More requests, subscriptions or bytes than the client keeps track of.
    TooMany,
}

impl Error {
    /// The server's code, if it was the server that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Violation(violation) => Some(violation.code),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Violation(violation) => write!(f, "the server broke the protocol: {violation}"),
            Self::Refused { code, message } if message.is_empty() => write!(f, "refused: {code}"),
            Self::Refused { code, message } => write!(f, "refused: {message} (error {})", code.0),
            Self::Responder { code, message } => {
                write!(f, "the responder failed: {message} (code {code})")
            }
            Self::Publish(error) => error.fmt(f),
            Self::TimedOut => write!(f, "timed out"),
            Self::Disconnected => write!(f, "not connected to the server"),
            Self::Indeterminate => {
                write!(
                    f,
                    "the record may be stored or not: the connection broke before its answer came, or it was asked for too late"
                )
            }
            Self::Closed => write!(f, "the client is closed"),
            Self::TooMany => write!(f, "too many requests or subscriptions at once"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Violation(violation) => Some(violation),
            Self::Publish(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Closed => Self::Closed,
            error => Self::Publish(error),
        }
    }
}
