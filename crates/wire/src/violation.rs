//! What a peer did wrong, where, and how it is told.

use core::fmt::{self, Write as _};

use crate::body::{ErrorBody, ErrorFlags};
use crate::encoder::FrameEncoder;
use crate::field::Malformed;
use crate::frame::{ErrorCode, FrameError, FrameFlags};
use crate::record::{RecordError, Short};

/// The peer broke the protocol: the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What tells the peer.
    pub code: ErrorCode,
    /// Byte of the connection's whole input where it went wrong.
    pub offset: u64,
    /// Sequence of the frame in which it went wrong.
    pub frame_sequence: u16,
    /// What it was.
    pub fault: Fault,
}

impl Violation {
    /// At `offset` of the connection's input, in the frame with this sequence.
    pub const fn new(fault: Fault, offset: u64, frame_sequence: u16) -> Self {
        Self {
            code: fault.code(),
            offset,
            frame_sequence,
            fault,
        }
    }

    /// Writes the Error frame that tells the peer, and returns its bytes: at most 256.
    ///
    /// # Errors
    /// [`Short`] when `out` cannot take it.
    pub fn encode_error(&self, out: &mut [u8]) -> Result<usize, Short> {
        let mut message = Message::new();
        // Writing to a `Message` does not fail: it cuts off.
        let _ = write!(message, "{}", self.fault);
        let body = ErrorBody {
            flags: ErrorFlags::CLOSING,
            offset: self.offset,
            ..ErrorBody::new(self.code, message.as_str())
        };
        let mut encoder = FrameEncoder::new(out);
        encoder.control(&body, FrameFlags::empty(), self.frame_sequence)?;
        Ok(encoder.len())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {} (error {})",
            self.fault, self.offset, self.code.0
        )
    }
}

impl core::error::Error for Violation {}

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record.
    Record(RecordError),
    /// The opcode or flags of a frame.
    Frame(FrameError),
    /// The body of a control frame.
    Malformed(Malformed),
    /// The length of a frame.
    FrameTooLong {
        /// What the header claims.
        length: u32,
        /// The limit for this opcode.
        length_max: u32,
    },
    /// A frame that never comes to this side.
    Direction {
        /// Its opcode.
        opcode: u8,
    },
    /// A frame came before Hello.
    HelloMissing {
        /// Its opcode.
        opcode: u8,
    },
    /// A second Hello.
    HelloRepeated,
    /// A Hello of another version.
    HelloVersion {
        /// Its version.
        version: u16,
    },
}

impl Fault {
    /// The code that tells the peer.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Record(error) => error.code(),
            Self::Frame(_) | Self::Direction { .. } => ErrorCode::UNSUPPORTED,
            Self::Malformed(_) => ErrorCode::MALFORMED,
            Self::FrameTooLong { .. } => ErrorCode::FRAME_TOO_LONG,
            Self::HelloMissing { .. } | Self::HelloRepeated | Self::HelloVersion { .. } => {
                ErrorCode::HELLO
            }
        }
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::FrameTooLong { length, length_max } => {
                write!(
                    f,
                    "frame has a body of {length} bytes, the limit is {length_max}"
                )
            }
            Self::Direction { opcode } => {
                write!(f, "opcode {opcode:#04x} is not taken by this side")
            }
            Self::HelloMissing { opcode } => write!(f, "opcode {opcode:#04x} came before hello"),
            Self::HelloRepeated => write!(f, "hello came twice"),
            Self::HelloVersion { version } => {
                write!(
                    f,
                    "protocol version {version} is not supported, this is version {}",
                    crate::PROTOCOL_VERSION
                )
            }
        }
    }
}

/// A short text on the stack; what does not fit is cut off.
struct Message {
    text: [u8; 200],
    len: usize,
}

impl Message {
    fn new() -> Self {
        Self {
            text: [0; 200],
            len: 0,
        }
    }

    fn as_str(&self) -> &str {
        // Only whole characters are written.
        core::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut end = text.len().min(self.text.len() - self.len);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.text[self.len..self.len + end].copy_from_slice(&text.as_bytes()[..end]);
        self.len += end;
        Ok(())
    }
}
