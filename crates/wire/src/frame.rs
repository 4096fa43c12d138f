//! Frames: the unit of a session. An 8-byte header, then a body.

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

pub use crate::layout::FRAME_HEADER_BYTES;
use crate::layout::RawFrameHeader;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(
    missing_docs,
    reason = "the table in docs/format/wire.md says what each is for"
)]
pub enum Opcode {
    Ping = 0x01,
    Pong = 0x02,
    Close = 0x03,
    Hello = 0x04,
    Publish = 0x10,
    Deliver = 0x11,
    Ack = 0x12,
    Subscribe = 0x13,
    Subscribed = 0x14,
    Unsubscribe = 0x15,
    Credit = 0x16,
    Confirm = 0x17,
    Gap = 0x18,
    Error = 0x1f,
    StateSync = 0x20,
    StateDelta = 0x21,
    HtipClone = 0x22,
    HtipPatchText = 0x23,
    RpcCall = 0x30,
    RpcResponse = 0x31,
    ClientEvent = 0x32,
}

impl Opcode {
    /// Every opcode of version 1.
    pub const ALL: [Self; 21] = [
        Self::Ping,
        Self::Pong,
        Self::Close,
        Self::Hello,
        Self::Publish,
        Self::Deliver,
        Self::Ack,
        Self::Subscribe,
        Self::Subscribed,
        Self::Unsubscribe,
        Self::Credit,
        Self::Confirm,
        Self::Gap,
        Self::Error,
        Self::StateSync,
        Self::StateDelta,
        Self::HtipClone,
        Self::HtipPatchText,
        Self::RpcCall,
        Self::RpcResponse,
        Self::ClientEvent,
    ];

    /// The opcode with this number: one load from a table.
    #[inline]
    pub const fn from_u8(opcode: u8) -> Option<Self> {
        OPCODES[opcode as usize]
    }
}

/// By number; filled from [`Opcode::ALL`], and refuses to compile when two share a number.
const OPCODES: [Option<Opcode>; 256] = {
    let mut table = [None; 256];
    let mut index = 0;
    while index < Opcode::ALL.len() {
        let opcode = Opcode::ALL[index];
        assert!(
            table[opcode as usize].is_none(),
            "two opcodes share a number"
        );
        table[opcode as usize] = Some(opcode);
        index += 1;
    }
    table
};

bitflags::bitflags! {
    /// Flags of a frame; they compose. All other bits must be zero.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FrameFlags: u8 {
        /// The receiver answers this frame.
        const EXPECTS_RESPONSE = 1;
        /// The body is compressed. Version 1 agrees to none, so it is refused.
        const COMPRESSED = 1 << 1;
        /// The body is encrypted; likewise.
        const ENCRYPTED = 1 << 2;
        /// Of an RpcResponse: the responder failed, and the body is a [`Failure`](crate::Failure).
        const FAILED = 1 << 3;
        /// The two bits that hold the [`AckLevel`] of a Publish.
        const ACK_LEVEL = 0b11 << ACK_LEVEL_SHIFT;
    }
}

impl FrameFlags {
    /// The ack level that a Publish asks for.
    #[inline]
    pub const fn ack_level(self) -> AckLevel {
        match self.bits() >> ACK_LEVEL_SHIFT {
            0 => AckLevel::Stream,
            1 => AckLevel::Received,
            2 => AckLevel::Stored,
            _ => AckLevel::Synced,
        }
    }

    /// The same flags asking for this ack level.
    #[inline]
    #[must_use]
    pub const fn with_ack_level(self, level: AckLevel) -> Self {
        let rest = self.bits() & !Self::ACK_LEVEL.bits();
        Self::from_bits_retain(rest | (level as u8) << ACK_LEVEL_SHIFT)
    }
}

/// What a record has survived when it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AckLevel {
    /// Whatever the stream's own level is.
    #[default]
    Stream = 0,
    /// In the server's memory: survives nothing.
    Received = 1,
    /// Written to the page cache: survives the server's death.
    Stored = 2,
    /// On the device: survives a power loss.
    Synced = 3,
}

impl AckLevel {
    /// The level with this number.
    pub const fn from_u8(level: u8) -> Option<Self> {
        Some(match level {
            0 => Self::Stream,
            1 => Self::Received,
            2 => Self::Stored,
            3 => Self::Synced,
            _ => return None,
        })
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stream => "stream",
            Self::Received => "received",
            Self::Stored => "stored",
            Self::Synced => "synced",
        })
    }
}

/// A frame's header with a known opcode and known flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is for.
    pub opcode: Opcode,
    /// How it is to be treated.
    pub flags: FrameFlags,
    /// A counter, channel, request or correlation, by opcode.
    pub sequence: u16,
    /// Bytes of the body.
    pub length: u32,
}

impl FrameHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// The opcode or the flag bits that version 1 does not know.
    #[inline]
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, FrameError> {
        let Ok(raw) = RawFrameHeader::read_from_bytes(bytes) else {
            unreachable!("the sizes are the same");
        };
        let Some(opcode) = Opcode::from_u8(raw.opcode) else {
            return Err(FrameError::Opcode { opcode: raw.opcode });
        };
        let Some(flags) = FrameFlags::from_bits(raw.flags) else {
            return Err(FrameError::Flags { flags: raw.flags });
        };
        Ok(Self {
            opcode,
            flags,
            sequence: raw.sequence.get(),
            length: raw.length.get(),
        })
    }

    /// The header as it lies in memory.
    #[inline]
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let raw = RawFrameHeader {
            opcode: self.opcode as u8,
            flags: self.flags.bits(),
            sequence: U16::new(self.sequence),
            length: U32::new(self.length),
        };
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }
}

/// What is wrong with a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// There is no such opcode.
    Opcode {
        /// The number.
        opcode: u8,
    },
    /// There are no such flags, or not on this opcode.
    Flags {
        /// All flags of the frame.
        flags: u8,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opcode { opcode } => write!(f, "unknown opcode {opcode:#04x}"),
            Self::Flags { flags } => write!(f, "unknown or unsupported frame flags {flags:#04x}"),
        }
    }
}

impl core::error::Error for FrameError {}

/// One handler for each opcode, found by one indexed load.
///
/// ```
/// use trunkline_wire::frame::{Handlers, Opcode};
///
/// let mut handlers: Handlers<fn(&[u8]) -> usize> = Handlers::new();
/// handlers.register(Opcode::RpcCall, |body| body.len()).unwrap();
/// assert_eq!(handlers.handler(0x30).map(|handle| handle(b"four")), Some(4));
/// assert!(handlers.handler(0x31).is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Handlers<H> {
    table: [Option<H>; 256],
}

impl<H> Handlers<H> {
    /// No handlers.
    pub fn new() -> Self {
        Self {
            table: [const { None }; 256],
        }
    }

    /// Puts a handler in; the slot must be free.
    ///
    /// # Errors
    /// The handler itself when the opcode already has one.
    pub fn register(&mut self, opcode: Opcode, handler: H) -> Result<(), H> {
        let slot = &mut self.table[opcode as usize];
        if slot.is_some() {
            return Err(handler);
        }
        *slot = Some(handler);
        Ok(())
    }

    /// The handler of this opcode, known or not.
    #[inline]
    pub fn handler(&self, opcode: u8) -> Option<&H> {
        self.table[opcode as usize].as_ref()
    }

    /// The same, to be called mutably.
    #[inline]
    pub fn handler_mut(&mut self, opcode: u8) -> Option<&mut H> {
        self.table[opcode as usize].as_mut()
    }
}

impl<H> Default for Handlers<H> {
    fn default() -> Self {
        Self::new()
    }
}

/// What went wrong, as a number on the wire. The set is open: a newer peer may send others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Nothing went wrong: a Close that was asked for.
    pub const NONE: Self = Self(0);
    /// Bad magic, version or kind of a record.
    pub const RECORD: Self = Self(1);
    /// The checksum of a record does not match.
    pub const CHECKSUM: Self = Self(2);
    /// A frame is longer than the limit.
    pub const FRAME_TOO_LONG: Self = Self(3);
    /// Unknown or unsupported opcode or flag.
    pub const UNSUPPORTED: Self = Self(4);
    /// A body is malformed.
    pub const MALFORMED: Self = Self(5);
    /// Hello is missing, late, repeated or of another version.
    pub const HELLO: Self = Self(6);
    /// Silence, or no progress.
    pub const TIMED_OUT: Self = Self(7);
    /// Too many connections, subscriptions, or subjects of a session.
    pub const TOO_MANY: Self = Self(8);
    /// A record is over the limit.
    pub const RECORD_TOO_LONG: Self = Self(10);
    /// A subject or pattern is not one.
    pub const SUBJECT: Self = Self(11);
    /// No stream captures the subject.
    pub const NO_STREAM: Self = Self(12);
    /// No space on the stream's device.
    pub const NO_SPACE: Self = Self(13);
    /// The stream is read-only after a device error, or could not be opened.
    pub const READ_ONLY: Self = Self(14);
    /// A record uses a subject id that was not defined.
    pub const UNDEFINED_SUBJECT: Self = Self(15);
    /// No such stream, cursor, subscription or channel.
    pub const NOT_FOUND: Self = Self(16);
    /// It exists already.
    pub const EXISTS: Self = Self(17);
    /// A subscriber did not keep up.
    pub const SLOW_CONSUMER: Self = Self(18);
    /// The stream cannot give the ack level that was asked for.
    pub const LEVEL: Self = Self(19);
    /// Nobody listens on the subject of a call.
    pub const NOBODY_LISTENS: Self = Self(20);
    /// The responder went away before it answered.
    pub const RESPONDER_GONE: Self = Self(21);
    /// A call was not answered in time.
    pub const CALL_TIMED_OUT: Self = Self(22);
    /// The server is shutting down.
    pub const SHUTTING_DOWN: Self = Self(30);

    /// Whether the connection ends with it wherever it occurs. [`ErrorCode::TOO_MANY`] is not among them: it ends a
    /// connection only when it is about connections, which the Error frame says with its flag.
    pub const fn is_fatal(self) -> bool {
        matches!(self.0, 1..=7 | 15 | 18 | 30)
    }

    /// The code in words.
    pub const fn description(self) -> &'static str {
        match self.0 {
            0 => "closed",
            1 => "bad magic, version or kind of a record",
            2 => "checksum mismatch",
            3 => "frame longer than the limit",
            4 => "unknown or unsupported opcode or flag",
            5 => "malformed body",
            6 => "hello missing, late or of another version",
            7 => "timed out",
            8 => "too many",
            10 => "record over the limit",
            11 => "illegal subject",
            12 => "no stream captures the subject",
            13 => "the stream is full: no space on the device",
            14 => "the stream is read-only after a device error",
            15 => "undefined subject id",
            16 => "no such stream, cursor, subscription or channel",
            17 => "exists already",
            18 => "slow consumer",
            19 => "the stream cannot give this ack level",
            20 => "nobody listens",
            21 => "responder gone",
            22 => "call timed out",
            30 => "the server is shutting down",
            _ => "unknown error",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.description(), self.0)
    }
}

/// Where the ack level starts within the flags.
const ACK_LEVEL_SHIFT: u8 = 6;
/// Longest body of a frame before the server's Hello says otherwise.
pub const FRAME_BYTES_MAX_BEFORE_HELLO: u32 = 4096;
/// Longest body of a frame unless configured otherwise.
pub const FRAME_BYTES_MAX_DEFAULT: u32 = 4 << 20;
/// Longest body of a frame that anybody may announce.
pub const FRAME_BYTES_MAX: u32 = 64 << 20;
/// Longest `payload_len` of a record unless configured otherwise.
pub const RECORD_BYTES_MAX_DEFAULT: u32 = 1 << 20;
/// Longest body of a frame that is neither a run of records nor a call nor a Subscribe.
pub const CONTROL_BYTES_MAX: u32 = 64 << 10;
/// Longest body of a Ping.
pub const PING_BYTES_MAX: u32 = 64;
