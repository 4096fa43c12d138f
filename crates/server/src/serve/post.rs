//! What the shard says to sessions, put into their outboxes.
//!
//! It does not send: [`Node`](super::node::Node) does, once per turn, for every session that is listed here.

use trunkline_broker::{HoldId, Out, SessionId, Source, Span};
use trunkline_reactor::{BufferId, RegionId, Slice};
use trunkline_wire::frame::FRAME_HEADER_BYTES;
use trunkline_wire::{Ack, Body, ErrorBody, ErrorCode, ErrorFlags, FrameEncoder, FrameFlags, FrameHeader, Opcode};

use super::arena::Arena;
use super::outbox::Outbox;
use super::session::{Phase, Sessions};

/// Where spans lie, for this worker's reactor.
#[derive(Default)]
pub(super) struct Regions {
    /// By log: the tail's region and the mask that reduces a position to an offset in it.
    tails: Vec<Option<(RegionId, u64)>>,
    /// Tails of removed streams, and when nothing can want them any more.
    retired: Vec<(RegionId, u64)>,
}

impl Regions {
    pub(super) fn set(&mut self, log: u32, tail: Option<(RegionId, u64)>) {
        let log = log as usize;
        if self.tails.len() <= log {
            self.tails.resize(log + 1, None);
        }
        self.tails[log] = tail;
    }

    /// Forgets a tail that deliveries may still want until `at_ns`.
    pub(super) fn retire(&mut self, log: u32, at_ns: u64) {
        if let Some((region, _)) = self.get(log) {
            self.tails[log as usize] = None;
            self.retired.push((region, at_ns));
        }
    }

    /// A retired tail whose time has come.
    pub(super) fn next_retired(&mut self, now_ns: u64) -> Option<RegionId> {
        let index = self.retired.iter().position(|(_, at_ns)| *at_ns <= now_ns)?;
        Some(self.retired.swap_remove(index).0)
    }

    pub(super) fn get(&self, log: u32) -> Option<(RegionId, u64)> {
        self.tails.get(log as usize).copied().flatten()
    }
}

/// Read buffers, by the number that the shard knows them by.
#[derive(Default)]
pub(super) struct Buffers {
    slots: Vec<Option<(BufferId, RegionId, u64)>>,
}

impl Buffers {
    pub(super) fn keep(&mut self, buffer: BufferId, (region, offset): (RegionId, u64)) -> u32 {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some((buffer, region, offset));
        slot as u32
    }

    fn slice(&self, number: u32) -> (RegionId, u64) {
        let (_, region, offset) = self.slots[number as usize].expect("the shard has this buffer");
        (region, offset)
    }

    pub(super) fn forget(&mut self, number: u32) -> BufferId {
        self.slots[number as usize].take().expect("released once").0
    }
}

/// The sessions of one worker, as the shard sees them.
pub(super) struct Post {
    pub(super) sessions: Sessions,
    pub(super) arena: Arena,
    pub(super) regions: Regions,
    pub(super) buffers: Buffers,
    /// Deliveries to sessions that are gone.
    pub(super) unsent: Vec<HoldId>,
    /// Read buffers that are free again.
    pub(super) released: Vec<u32>,
    /// Most small bytes that wait for one session.
    small_bytes_max: usize,
    /// The turn's time.
    pub(super) now_ns: u64,
}

impl Post {
    pub(super) fn new(worker: u8, small_bytes_max: usize) -> Self {
        Self {
            sessions: Sessions::new(worker),
            arena: Arena::new(),
            regions: Regions::default(),
            buffers: Buffers::default(),
            unsent: Vec::new(),
            released: Vec::new(),
            small_bytes_max,
            now_ns: 0,
        }
    }

    /// Queues a Deliver frame: small bytes, then records where they lie.
    fn delivery(&mut self, id: SessionId, small: [&[u8]; 2], hold: HoldId, records: Option<Slice>) {
        let Some(session) = self.sessions.get(id).filter(|session| session.phase == Phase::Open) else {
            self.unsent.push(hold);
            return;
        };
        if push(&mut session.outbox, &mut self.arena, small) {
            match records {
                Some(slice) => session.outbox.push_records(slice, hold),
                None => session.outbox.push_mark(hold),
            }
        } else {
            session.phase = Phase::Closing { until_ns: self.now_ns };
            self.unsent.push(hold);
        }
        self.sessions.list(id.slot());
    }

    /// Queues one control frame for a session, which is closed if too much waits for it.
    pub(super) fn control<B: Body>(&mut self, id: SessionId, body: &B, sequence: u16) {
        let mut bytes = [0; ERROR_BYTES_MAX];
        let bytes = control(&mut bytes, body, sequence);
        self.small(id, [bytes, &[]]);
    }

    /// Tells a session why it ends, and ends it when it has had the time to read that.
    pub(super) fn end(&mut self, id: SessionId, error: &ErrorBody<'_>, frame_sequence: u16) {
        let Some(session) = self.sessions.get(id).filter(|session| session.is_open()) else { return };
        let mut bytes = [0; ERROR_BYTES_MAX];
        let error = ErrorBody { flags: ErrorFlags::CLOSING, ..short(error) };
        let bytes = control(&mut bytes, &error, frame_sequence);
        let _untold_when_the_arena_is_full = push(&mut session.outbox, &mut self.arena, [bytes, &[]]);
        session.phase = Phase::Closing { until_ns: self.now_ns + CLOSING_NS };
        self.sessions.list(id.slot());
    }

    /// Queues small bytes for a session, which is closed if they are too many.
    pub(super) fn small(&mut self, id: SessionId, parts: [&[u8]; 2]) {
        let Some(session) = self.sessions.get(id).filter(|session| session.phase != Phase::Closed) else { return };
        if !push(&mut session.outbox, &mut self.arena, parts) || session.outbox.small_bytes() > self.small_bytes_max {
            // Whoever asks for more than it takes in has no claim to an explanation that it would not read either.
            session.phase = Phase::Closing { until_ns: self.now_ns };
        }
        self.sessions.list(id.slot());
    }
}

impl Out for Post {
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
        self.delivery(id, [&header.encode(), &[]], hold, Some(slice));
    }

    fn deliver_copied(&mut self, id: SessionId, channel: u16, body: &[u8], _records: u32, hold: HoldId) {
        let header = FrameHeader { opcode: Opcode::Deliver, flags: FrameFlags::empty(), sequence: channel, length: body.len() as u32 };
        self.delivery(id, [&header.encode(), body], hold, None);
    }

    fn frame(&mut self, id: SessionId, header: FrameHeader, body: &[u8]) {
        self.small(id, [&header.encode(), body]);
    }

    fn acked(&mut self, id: SessionId, frame_sequence: u16, ack: Ack) {
        self.control(id, &ack, frame_sequence);
    }

    fn refused(&mut self, id: SessionId, frame_sequence: u16, error: &ErrorBody<'_>) {
        self.control(id, &short(error), frame_sequence);
    }

    fn close(&mut self, id: SessionId, code: ErrorCode, message: &str) {
        self.end(id, &ErrorBody::new(code, message), 0);
    }

    fn release_buffer(&mut self, buffer: u32) {
        self.released.push(buffer);
    }
}

/// Queues bytes in two parts, both or none.
fn push(outbox: &mut Outbox, arena: &mut Arena, parts: [&[u8]; 2]) -> bool {
    arena.has_room(parts[0].len() + parts[1].len()) && outbox.push_small(arena, parts[0]) && outbox.push_small(arena, parts[1])
}

fn control<'a, B: Body>(bytes: &'a mut [u8], body: &B, sequence: u16) -> &'a [u8] {
    let mut encoder = FrameEncoder::new(bytes);
    encoder.control(body, FrameFlags::empty(), sequence).expect("the buffer takes the largest of these frames");
    let len = encoder.len();
    &bytes[..len]
}

/// The error with a message that fits the buffer.
fn short<'a>(error: &ErrorBody<'a>) -> ErrorBody<'a> {
    let mut end = error.message.len().min(MESSAGE_BYTES_MAX);
    while !error.message.is_char_boundary(end) {
        end -= 1;
    }
    ErrorBody { message: &error.message[..end], ..*error }
}

const MESSAGE_BYTES_MAX: usize = 512;
/// The largest control frame that is written here: an Error with its message.
const ERROR_BYTES_MAX: usize = FRAME_HEADER_BYTES + 26 + MESSAGE_BYTES_MAX + 64;
/// How long a session that was told to go may take to read it.
pub(super) const CLOSING_NS: u64 = 1_000_000_000;
