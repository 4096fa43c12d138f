//! Records, frames and sessions: what Trunkline's bytes mean.
//!
//! Drawn in `docs/format/wire.md`, [`teleport`] in `docs/format/teleport.md`. Nothing here does I/O, reads a clock, starts a thread or, after warm-up, allocates.
//!
//! | module | |
//! |---|---|
//! | [`record`] | the unit of data: [`record::encode`], [`record::RawRecord`], [`record::restamp`] |
//! | [`headers`] | user headers inside a record's body |
//! | [`frame`] | the unit of a session: headers, opcodes, flags, error codes, the table of handlers |
//! | [`body`] | what control frames carry |
//! | [`encoder`], [`decoder`] | frames into and out of the caller's buffers |
//! | [`session`] | both roles of a connection as a state machine |
//! | [`violation`] | what a peer did wrong, where, and the Error frame that says so |
//! | [`response`] | a buffer of frames on their way out |
//! | [`teleport`] | typed values that are read where they lie |
//! | [`subject`] | which texts are subjects and patterns |
//! | [`crc`] | CRC32C |
#![deny(unsafe_code)]

pub mod body;
pub mod crc;
pub mod decoder;
pub mod encoder;
mod field;
pub mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod headers;
pub mod layout;
mod limits;
pub mod record;
mod record_error;
pub mod response;
mod run;
pub mod session;
mod short;
pub mod subject;
pub mod teleport;
pub mod violation;

pub use body::{
    Ack, Body, ClientHello, Close, Confirm, Credit, ErrorBody, ErrorFlags, Failure, Gap, GapReason,
    Hello, Policy, Positions, RpcCall, ServerHello, Start, Subscribe, SubscribeFlags, Subscribed,
    Unsubscribe,
};
pub use decoder::{Frame, FrameDecoder};
pub use encoder::{FrameBuilder, FrameEncoder};
pub use field::Malformed;
pub use frame::{
    AckLevel, ErrorCode, FRAME_HEADER_BYTES, FrameFlags, FrameHeader, Handlers, Opcode,
};
pub use record::{
    Kind, RawRecord, Record, RecordError, RecordFlags, Records, Run, Short, Stamp, record_bytes,
};
pub use session::{Client, Event, Limits, Oversized, Role, Server, Session};
pub use subject::{Pattern, Subject, SubjectError, check_pattern, check_subject};
pub use violation::{Fault, Violation};

/// Version of the protocol that Hello frames carry.
pub const PROTOCOL_VERSION: u16 = 1;
