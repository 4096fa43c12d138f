//! What the shard says to sessions, put into their outboxes.
//!
//! It does not send: [`Node`](super::node::Node) does, once per turn, for every session that is listed here.

use trunkline_broker::{HoldId, Out, SessionId, Source, Span};
use trunkline_reactor::{RegionId, Slice};
use trunkline_wire::{Ack, Body, ErrorBody, ErrorCode, FRAME_HEADER_BYTES, FrameEncoder, FrameFlags, FrameHeader, Opcode};

use super::arena::Arena;
use super::outbox::Outbox;
use super::session::{Phase, Session, Sessions};

/// Where spans lie, for this worker's reactor.
#[derive(Default)]
pub(super) struct Regions {
    /// By log: the tail's region and the mask that reduces a position to an offset in it.
    tails: Vec<Option<(RegionId, u64)>>,
}

impl Regions {
    pub(super) fn set(&mut self, log: u32, tail: Option<(RegionId, u64)>) {
        let log = log as usize;
        if self.tails.len() <= log {
            self.tails.resize(log + 1, None);
        }
        self.tails[log] = tail;
    }

    pub(super) fn get(&self, log: u32) -> Option<(RegionId, u64)> {
        self.tails.get(log as usize).copied().flatten()
    }
}

/// The sessions of one worker, as the shard sees them.
pub(super) struct Post<'a> {
    pub(super) sessions: &'a mut Sessions,
    pub(super) arena: &'a mut Arena,
    pub(super) regions: &'a Regions,
    /// Region and offset of each read buffer, by the number that the shard knows it by.
    pub(super) buffers: &'a super::node::Buffers,
    /// Deliveries to sessions that are gone.
    pub(super) unsent: &'a mut Vec<HoldId>,
    /// Read buffers that are free again.
    pub(super) released: &'a mut Vec<u32>,
    pub(super) limits: SendLimits,
    pub(super) now_ns: u64,
}

/// How much may wait for one session.
#[derive(Clone, Copy)]
pub(super) struct SendLimits {
    pub(super) small_bytes: usize,
    pub(super) closing_ns: u64,
}

impl Post<'_> {
    /// Queues small bytes for a session, which is closed if they are too many.
    fn small(&mut self, id: SessionId, parts: [&[u8]; 2]) {
        let Some(session) = self.sessions.get(id).filter(|session| session.phase != Phase::Closed) else { return };
        if !push(&mut session.outbox, self.arena, parts) || session.outbox.small_bytes() > self.limits.small_bytes {
            // Whoever asks for more than it takes in has no claim to an explanation that it would not read either.
            session.phase = Phase::Closing { until_ns: self.now_ns };
        }
        self.sessions.list(id.slot());
    }
}

impl Out for Post<'_> {
    fn deliver(&mut self, id: SessionId, channel: u16, span: Span, _records: u32, hold: HoldId) {
        let header = FrameHeader { opcode: Opcode::Deliver, flags: FrameFlags::empty(), sequence: channel, length: span.len };
        let slice = match span.source {
            Source::Tail(log) => {
                let (region, mask) = self.regions.get(log.0).expect("a stream's tail is registered before it is read");
                Slice { region, offset: span.position & mask, len: span.len }
            }
            Source::Buffer(buffer) => {
                let (region, offset) = self.buffers.slice(buffer);
                Slice { region, offset: offset + span.position, len: span.len }
            }
        };
        match self.sessions.get(id).filter(|session| session.phase == Phase::Open) {
            Some(session) if push(&mut session.outbox, self.arena, [&header.encode(), &[]]) => {
                session.outbox.push_records(slice, hold);
                self.sessions.list(id.slot());
            }
            Some(session) => {
                session.phase = Phase::Closing { until_ns: self.now_ns };
                self.unsent.push(hold);
                self.sessions.list(id.slot());
            }
            None => self.unsent.push(hold),
        }
    }

    fn deliver_copied(&mut self, id: SessionId, channel: u16, body: &[u8], _records: u32, hold: HoldId) {
        let header = FrameHeader { opcode: Opcode::Deliver, flags: FrameFlags::empty(), sequence: channel, length: body.len() as u32 };
        match self.sessions.get(id).filter(|session| session.phase == Phase::Open) {
            Some(session) if push(&mut session.outbox, self.arena, [&header.encode(), body]) => {
                session.outbox.push_mark(hold);
                self.sessions.list(id.slot());
            }
            Some(session) => {
                session.phase = Phase::Closing { until_ns: self.now_ns };
                self.unsent.push(hold);
                self.sessions.list(id.slot());
            }
            None => self.unsent.push(hold),
        }
    }

    fn frame(&mut self, id: SessionId, header: FrameHeader, body: &[u8]) {
        self.small(id, [&header.encode(), body]);
    }

    fn acked(&mut self, id: SessionId, frame_sequence: u16, ack: Ack) {
        let mut bytes = [0; 64];
        let bytes = control(&mut bytes, &ack, frame_sequence);
        self.small(id, [bytes, &[]]);
    }

    fn refused(&mut self, id: SessionId, frame_sequence: u16, error: &ErrorBody<'_>) {
        let mut bytes = [0; ERROR_BYTES_MAX];
        let bytes = control(&mut bytes, &short(error), frame_sequence);
        self.small(id, [bytes, &[]]);
    }

    fn close(&mut self, id: SessionId, code: ErrorCode, message: &str) {
        let error = ErrorBody { flags: trunkline_wire::ErrorFlags::CLOSING, ..ErrorBody::new(code, message) };
        let until_ns = self.now_ns + self.limits.closing_ns;
        if let Some(session) = self.sessions.get(id) {
            tell_and_close(session, self.arena, &error, 0, until_ns);
            self.sessions.list(id.slot());
        }
    }

    fn release_buffer(&mut self, buffer: u32) {
        self.released.push(buffer);
    }
}

/// Queues an Error frame as the last that the session is sent, and begins its end.
pub(super) fn tell_and_close(session: &mut Session, arena: &mut Arena, error: &ErrorBody<'_>, frame_sequence: u16, until_ns: u64) {
    if !session.is_open() {
        return;
    }
    let mut bytes = [0; ERROR_BYTES_MAX];
    let bytes = control(&mut bytes, &short(error), frame_sequence);
    let _told = push(&mut session.outbox, arena, [bytes, &[]]);
    session.phase = Phase::Closing { until_ns };
}

/// Queues one control frame; false when the arena has no room.
pub(super) fn push_control<B: Body>(outbox: &mut Outbox, arena: &mut Arena, body: &B, sequence: u16) -> bool {
    let mut bytes = [0; ERROR_BYTES_MAX];
    let bytes = control(&mut bytes, body, sequence);
    push(outbox, arena, [bytes, &[]])
}

/// Queues bytes in two parts, both or none.
pub(super) fn push(outbox: &mut Outbox, arena: &mut Arena, parts: [&[u8]; 2]) -> bool {
    arena.has_room(parts[0].len() + parts[1].len()) && outbox.push_small(arena, parts[0]) && outbox.push_small(arena, parts[1])
}

fn control<'a, B: Body>(bytes: &'a mut [u8], body: &B, sequence: u16) -> &'a [u8] {
    let mut encoder = FrameEncoder::new(bytes);
    encoder.control(body, FrameFlags::empty(), sequence).expect("the buffer takes the largest of these frames");
    let len = encoder.len();
    &bytes[..len]
}

/// The error with a message that fits the buffer.
pub(super) fn short<'a>(error: &ErrorBody<'a>) -> ErrorBody<'a> {
    let mut end = error.message.len().min(MESSAGE_BYTES_MAX);
    while !error.message.is_char_boundary(end) {
        end -= 1;
    }
    ErrorBody { message: &error.message[..end], ..*error }
}

const MESSAGE_BYTES_MAX: usize = 512;
/// The largest control frame that is written here: an Error with its message.
const ERROR_BYTES_MAX: usize = FRAME_HEADER_BYTES + 26 + MESSAGE_BYTES_MAX + 64;
