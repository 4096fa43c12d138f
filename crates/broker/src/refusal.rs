//! Why something was not done.

use std::borrow::Cow;
use std::fmt;

use trunkline_wire::{ErrorBody, ErrorCode, RecordError};

/// A request was refused; the session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as a number.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with these words.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// As the body of an Error frame.
    pub fn body(&self) -> ErrorBody<'_> {
        ErrorBody::new(self.code, &self.message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// What was published breaks the protocol; the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishError {
    /// What is wrong.
    pub fault: PublishFault,
    /// Byte of the run at which the record starts.
    pub offset: usize,
}

/// What is wrong with a record that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFault {
    /// The record itself.
    Record(RecordError),
    /// It uses a subject id that was not defined in the session.
    Undefined {
        /// The id.
        subject_id: u32,
    },
    /// It defines a subject id that means another subject already.
    Redefined {
        /// The id.
        subject_id: u32,
    },
    /// The session is not open.
    NoSession,
}

impl PublishError {
    /// The code that tells the peer.
    pub const fn code(&self) -> ErrorCode {
        match self.fault {
            PublishFault::Record(error) => error.code(),
            PublishFault::Undefined { .. } => ErrorCode::UNDEFINED_SUBJECT,
            PublishFault::Redefined { .. } => ErrorCode::MALFORMED,
            PublishFault::NoSession => ErrorCode::NOT_FOUND,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            PublishFault::Record(error) => error.fmt(f),
            PublishFault::Undefined { subject_id } => write!(
                f,
                "record uses subject id {subject_id}, which is not defined"
            ),
            PublishFault::Redefined { subject_id } => {
                write!(
                    f,
                    "definition gives subject id {subject_id} another name; ids keep their meaning within a session"
                )
            }
            PublishFault::NoSession => write!(f, "session is not open"),
        }
    }
}

impl std::error::Error for PublishError {}
