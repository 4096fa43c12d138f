//! What the broker tells sessions, and the names of things that cross its border.

use std::fmt;

use trunkline_log::LogId;
use trunkline_wire::{Ack, ErrorBody, ErrorCode, FrameHeader};

/// Takes what the broker has for sessions. Implemented by the server on its send queues, by tests on a list.
///
/// For one session, everything is to be sent in the order of the calls. Nothing here blocks or fails: how much the broker hands over before it
/// hears of something sent is bounded by [`Limits`](crate::Limits). A session that is not known any more is no error.
pub trait Out {
    /// A Deliver frame on `channel` whose body is `span`, which holds `records` data records. The bytes stay as they are until
    /// [`Shard::on_sent`](crate::Shard::on_sent) is called with `hold`, when the bytes have left, or
    /// [`Shard::on_dropped`](crate::Shard::on_dropped), when they never will and nothing reads them any more: one of them, exactly once.
    fn deliver(&mut self, session: SessionId, channel: u16, span: Span, records: u32, hold: HoldId);

    /// The same with a body that is to be copied before the call returns: definitions, and records picked out of runs.
    fn deliver_copied(
        &mut self,
        session: SessionId,
        channel: u16,
        body: &[u8],
        records: u32,
        hold: HoldId,
    );

    /// A control frame; `body` is to be copied before the call returns.
    fn frame(&mut self, session: SessionId, header: FrameHeader, body: &[u8]);

    /// An Ack for this and all earlier unanswered Publish frames.
    fn acked(&mut self, session: SessionId, frame_sequence: u16, ack: Ack);

    /// The same where it is part of the last frame, whose rest was refused: [`refused`](Self::refused) follows with that.
    fn acked_in_part(&mut self, session: SessionId, frame_sequence: u16, ack: Ack) {
        self.acked(session, frame_sequence, ack);
    }

    /// An Error for this frame (0: for none); the session goes on.
    fn refused(&mut self, session: SessionId, frame_sequence: u16, error: &ErrorBody<'_>);

    /// The stream needs the stretch of this delivery back, because the session takes too long to take it: take what is unsent back from the kernel, copy
    /// it ([`Shard::bytes_of`](crate::Shard::bytes_of)) and call [`Shard::on_copied`](crate::Shard::on_copied), or close the session.
    fn reclaim(&mut self, session: SessionId, _hold: HoldId) {
        self.close(
            session,
            ErrorCode::SLOW_CONSUMER,
            "a delivery was not taken in time",
        );
    }

    /// Readers of a stream cannot be given `first..=last`, because its files are damaged: said once, however many read it. They are told by Gap frames.
    fn damaged(&mut self, _log: LogId, _first: u64, _last: u64) {}

    /// The session is to be told and closed; the owner calls [`Shard::close_session`](crate::Shard::close_session) in time.
    fn close(&mut self, session: SessionId, code: ErrorCode, message: &str);

    /// A buffer that came with [`Shard::on_read`](crate::Shard::on_read) is free again.
    fn release_buffer(&mut self, buffer: u32);
}

/// A session of any worker, never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// `slot` has 24 bits.
    pub const fn new(worker: u8, slot: u32, generation: u32) -> Self {
        Self((worker as u64) << 56 | (slot as u64 & 0xff_ffff) << 32 | generation as u64)
    }

    /// The worker whose session it is.
    pub const fn worker(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Its place in the worker's table.
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    /// How many sessions had this place before.
    pub const fn generation(self) -> u32 {
        self.0 as u32
    }

    /// As a number, for Hello and logs.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// From [`to_u64`](Self::to_u64).
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker(), self.slot(), self.generation())
    }
}

/// A delivery that was handed over and is not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub u64);

/// Where the bytes of a delivery are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a log's tail; [`Shard::log`](crate::Shard::log) gives the log.
    Tail(LogId),
    /// In a buffer that came with [`Shard::on_read`](crate::Shard::on_read).
    Buffer(u32),
}

/// A stretch of whole records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What they lie in.
    pub source: Source,
    /// A position of the stream for a tail, an offset for a buffer.
    pub position: u64,
    /// Bytes.
    pub len: u32,
}
