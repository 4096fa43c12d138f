//! What workers and the control thread tell each other, over the mesh.
//!
//! A session lives on the worker that accepted it, its *home*; a stream lives on the worker that its name says, its *owner*. What
//! a session says to a stream elsewhere crosses the mesh once, and so does what the stream says back. Messages between two
//! workers arrive in order.

use trunkline_broker::{HoldId, PublishError, PublishFrame, SessionId, Span};
use trunkline_log::LogId;
use trunkline_ring::Pinned;
use trunkline_wire::{Ack, ErrorCode, FrameHeader};

use super::ledger::Refused;
use super::stop::Left;
use super::streams::Opened;
use super::system_calls::{Asks, Part};

/// One message.
pub(super) enum Message {
    /// Control thread → worker: accept nothing more, write and sync everything, tell the clients, and say when that is done.
    Drain,
    /// Worker → control thread: nothing is left to lose.
    Drained,
    /// Control thread → worker: the time for that is over: tell the clients, and say what is left.
    GiveUp,
    /// Worker → control thread: what is left.
    Left(Left),
    /// Worker → control thread: it accepts connections.
    Listening,

    /// Worker → all: it knows where its durable cursors stand.
    Ready,
    /// Owner → all: deliveries of this log lie in this memory.
    Tail {
        log: LogId,
        pinned: Pinned,
        bytes: u64,
    },
    /// Owner → all: no more deliveries of this log will come.
    TailRetired(LogId),

    /// Home → all: a session that may publish, subscribe and call.
    Open(SessionId),
    /// Home → all: it is gone.
    Close(SessionId),
    /// Home → owner: whole records of a frame, which begin at this byte of the session's input. The buffer comes back with [`Message::Taken`].
    Publish {
        session: SessionId,
        frame: PublishFrame,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Home → owner: a definition, of a subject that a stream of its captures.
    Define {
        session: SessionId,
        bytes: Box<[u8]>,
    },
    /// Home → all: the body of a Subscribe frame.
    Subscribe {
        session: SessionId,
        request: u16,
        body: Box<[u8]>,
    },
    /// Home → all.
    Unsubscribe {
        session: SessionId,
        request: u16,
        subscription: u16,
    },
    /// Home → those that began a subscription: another worker refused it.
    Withdraw {
        session: SessionId,
        subscription: u16,
    },
    /// Home → owner.
    Credit {
        session: SessionId,
        channel: u16,
        bytes: u64,
    },
    /// Home → owner.
    Confirm {
        session: SessionId,
        channel: u16,
        first: u64,
        last: u64,
    },
    /// Home → the worker that passed the call on.
    Respond {
        session: SessionId,
        correlation: u16,
        payload: Box<[u8]>,
    },
    /// Home → the worker that passed the call on: the responder failed.
    RespondFailed {
        session: SessionId,
        correlation: u16,
        code: u32,
        message: Box<str>,
    },
    /// Home → owner: a delivery has left.
    Sent(HoldId),
    /// Home → owner: a delivery never will, because its session ends.
    Dropped(HoldId),
    /// Home → owner: what it wanted back was copied; [`Message::Sent`] or [`Message::Dropped`] is still to come.
    Copied(HoldId),
    /// Owner → home: the memory of this delivery is wanted back; what lies there.
    TakeBack {
        session: SessionId,
        hold: HoldId,
        bytes: Box<[u8]>,
    },
    /// Home → owner: a call below `$sys.` that only it can answer.
    System {
        session: SessionId,
        correlation: u16,
        subject: Box<str>,
        payload: Box<[u8]>,
    },
    /// Home or control thread → owner: a stream that was opened for it, and the call that asked for it.
    Added {
        opened: Box<Opened>,
        configured: bool,
        asked: Option<(SessionId, u16)>,
    },

    /// Owner → home: records of a run were taken; its buffer, to be used again.
    Taken { session: SessionId, bytes: Vec<u8> },
    /// Owner → home: a Deliver frame whose records lie in the owner's tail.
    Deliver {
        session: SessionId,
        channel: u16,
        span: Span,
        hold: HoldId,
    },
    /// Owner → home: one whose records are here.
    DeliverCopied {
        session: SessionId,
        channel: u16,
        bytes: Box<[u8]>,
        hold: HoldId,
    },
    /// Owner → home: a frame, header and body.
    Frame {
        session: SessionId,
        bytes: Box<[u8]>,
    },
    /// Owner → home: a call, or the answer to one.
    Passed {
        session: SessionId,
        header: FrameHeader,
        body: Box<[u8]>,
    },
    /// Home → owner: the responder has no room for this call.
    Rejected {
        session: SessionId,
        correlation: u16,
    },
    /// Owner → home: its part of this and all earlier Publish frames; in part, if a refusal of what is left follows.
    Acked {
        session: SessionId,
        frame: u16,
        ack: Ack,
        in_part: bool,
    },
    /// Owner → home: its part of a Publish frame, or a call, was refused.
    Refused {
        session: SessionId,
        frame: u16,
        refused: Refused,
    },
    /// Owner → home: records of the session break the protocol, at this byte of its input.
    Broke {
        session: SessionId,
        error: PublishError,
        offset: u64,
    },
    /// Owner → home: the session is to be told and closed.
    End {
        session: SessionId,
        code: ErrorCode,
        message: Box<str>,
        offset: u64,
    },
    /// Owner → home: how many channels a Subscribe opened, or why none.
    Answered {
        session: SessionId,
        request: u16,
        result: Result<u32, (ErrorCode, Box<str>)>,
    },
    /// Home → all: asks for what only all of them know.
    Gather {
        session: SessionId,
        correlation: u16,
        asks: Asks,
    },
    /// Any → home: its part.
    Part {
        session: SessionId,
        correlation: u16,
        part: Part,
    },
}
