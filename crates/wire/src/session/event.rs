//! What a session says.

use crate::body::{
    Ack, ClientHello, Close, Confirm, Credit, ErrorBody, Failure, Gap, Hello, RpcCall, ServerHello,
    Subscribe, Subscribed, Unsubscribe,
};
use crate::frame::{FrameFlags, FrameHeader, Opcode};
use crate::record::Run;
use crate::session::Role;
use crate::violation::Fault;

/// What arrived. Control frames come with their header (flags, sequence) and their body.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "the variants are named after the frames of docs/format/wire.md"
)]
pub enum Event<'a> {
    Hello(FrameHeader, Hello<'a>),
    Ping(FrameHeader, &'a [u8]),
    Pong(FrameHeader, &'a [u8]),
    Close(FrameHeader, Close<'a>),
    /// Whole records of a Publish (to a server) or Deliver (to a client) frame, as they arrive.
    Records {
        /// The frame that they belong to.
        frame: FrameHeader,
        /// Whether the frame starts with this run.
        first: bool,
        /// Whether the frame ends with this run. A run without records is always the last.
        last: bool,
        /// The records. Their framing is right; their checksums are yet to be checked.
        run: Run<'a>,
    },
    /// Takes the place of a frame's last run when the rest of the frame was skipped.
    Oversized(Oversized),
    Ack(FrameHeader, Ack),
    Subscribe(FrameHeader, Subscribe<'a>),
    Subscribed(FrameHeader, Subscribed<'a>),
    Unsubscribe(FrameHeader, Unsubscribe),
    Credit(FrameHeader, Credit),
    Confirm(FrameHeader, Confirm),
    Gap(FrameHeader, Gap),
    Error(FrameHeader, ErrorBody<'a>),
    RpcCall(FrameHeader, RpcCall<'a>),
    RpcResponse(FrameHeader, &'a [u8]),
    /// An RpcResponse with [`FrameFlags::FAILED`].
    RpcFailed(FrameHeader, Failure<'a>),
}

/// A record was over the limit: it and what came after it in its frame was skipped. The frame is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized {
    /// The frame that it came in.
    pub frame: FrameHeader,
    /// Whether nothing of the frame was handed out before.
    pub first: bool,
    /// The record's sequence: its producer's.
    pub sequence: u64,
    /// The record's `payload_len`.
    pub payload_len: u32,
    /// The limit.
    pub payload_max: u32,
    /// How many data records were skipped, this one included.
    pub records: u32,
    /// Byte of the connection's input at which the record starts.
    pub offset: u64,
}

/// Reads the body of a frame that is not a run of records.
pub(super) fn control<R: Role>(header: FrameHeader, body: &[u8]) -> Result<Event<'_>, Fault> {
    let event = match header.opcode {
        Opcode::Hello => {
            let hello = R::hello(body)?;
            let (Hello::Client(ClientHello { version, .. })
            | Hello::Server(ServerHello { version, .. })) = hello;
            if version != crate::PROTOCOL_VERSION {
                return Err(Fault::HelloVersion { version });
            }
            Event::Hello(header, hello)
        }
        Opcode::Ping => Event::Ping(header, body),
        Opcode::Pong => Event::Pong(header, body),
        Opcode::Close => Event::Close(header, Close::decode(body)?),
        Opcode::Ack => Event::Ack(header, Ack::decode(body)?),
        Opcode::Subscribe => Event::Subscribe(header, Subscribe::decode(body)?),
        Opcode::Subscribed => Event::Subscribed(header, Subscribed::decode(body)?),
        Opcode::Unsubscribe => Event::Unsubscribe(header, Unsubscribe::decode(body)?),
        Opcode::Credit => Event::Credit(header, Credit::decode(body)?),
        Opcode::Confirm => Event::Confirm(header, Confirm::decode(body)?),
        Opcode::Gap => Event::Gap(header, Gap::decode(body)?),
        Opcode::Error => Event::Error(header, ErrorBody::decode(body)?),
        Opcode::RpcCall => Event::RpcCall(header, RpcCall::decode(body)?),
        Opcode::RpcResponse if header.flags.contains(FrameFlags::FAILED) => {
            Event::RpcFailed(header, Failure::decode(body)?)
        }
        Opcode::RpcResponse => Event::RpcResponse(header, body),
        // `Role::hears` lets none of these through.
        Opcode::Publish
        | Opcode::Deliver
        | Opcode::StateSync
        | Opcode::StateDelta
        | Opcode::HtipClone
        | Opcode::HtipPatchText
        | Opcode::ClientEvent => {
            return Err(Fault::Direction {
                opcode: header.opcode as u8,
            });
        }
    };
    Ok(event)
}
