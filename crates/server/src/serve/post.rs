//! What the shard says to sessions, put into their outboxes.
//!
//! It does not send: [`Node`](super::node::Node) does, once per turn, for every session that is listed here.

use std::collections::VecDeque;

use trunkline_broker::{HoldId, Out, SessionId, Source, Span};
use trunkline_log::LogId;
use trunkline_reactor::{AnyReactor, BufferId, MeshEnd, Reactor, RegionId, Slice};
use trunkline_wire::frame::FRAME_HEADER_BYTES;
use trunkline_wire::{
    Ack, Body, ErrorBody, ErrorCode, ErrorFlags, FrameEncoder, FrameFlags, FrameHeader, Opcode,
};

use super::arena::Arena;
use super::ledger::{Ledger, Said};
use super::message::Message;
use super::outbox::{Held, Outbox, Whose};
use super::session::{Phase, Sessions};
use crate::plan::ARENA_BYTES_MAX;

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

    pub(super) fn are_all_wanted(&self) -> bool {
        self.retired.is_empty()
    }

    /// A retired tail whose time has come.
    pub(super) fn next_retired(&mut self, now_ns: u64) -> Option<RegionId> {
        let index = self
            .retired
            .iter()
            .position(|(_, at_ns)| *at_ns <= now_ns)?;
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
        let slot = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
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

    /// The reactor's name of a buffer.
    pub(super) fn id(&self, number: u32) -> BufferId {
        self.slots[number as usize]
            .expect("the shard has this buffer")
            .0
    }

    pub(super) fn forget(&mut self, number: u32) -> BufferId {
        self.slots[number as usize].take().expect("released once").0
    }
}

/// What may wait for one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes that the server itself says.
    pub(super) small_bytes: usize,
    /// Bytes of calls and answers, if there is more than one.
    pub(super) passed_bytes: usize,
}

/// The sessions of one worker, as the shard sees them.
pub(super) struct Post {
    pub(super) sessions: Sessions,
    pub(super) arena: Arena,
    pub(super) regions: Regions,
    pub(super) buffers: Buffers,
    /// Deliveries that have left, of other workers.
    pub(super) left: Vec<Held>,
    /// Deliveries that never will, because their sessions end.
    pub(super) dropped: Vec<Held>,
    /// What waits for other workers, by their number.
    mail: Vec<VecDeque<Letter>>,
    worker: u8,
    /// Sessions of this worker that hold records which publishers wait for.
    pub(super) reclaims: Vec<SessionId>,
    /// Deliveries to sessions of other workers that publishers of this one wait for.
    pub(super) lent: Vec<(SessionId, HoldId)>,
    /// Records that readers cannot be given, first and last, to be told of.
    pub(super) damaged: Vec<(LogId, u64, u64)>,
    /// Read buffers that are free again.
    pub(super) released: Vec<u32>,
    /// Calls that their responders have no room for, by session and correlation.
    pub(super) rejected: Vec<(SessionId, u16)>,
    bounds: Bounds,
    /// The turn's time.
    pub(super) now_ns: u64,
}

impl Post {
    pub(super) fn new(worker: u8, workers: usize, bounds: Bounds) -> Self {
        Self {
            sessions: Sessions::new(worker),
            arena: Arena::new(),
            regions: Regions::default(),
            buffers: Buffers::default(),
            left: Vec::new(),
            dropped: Vec::new(),
            // One more for the control thread.
            mail: (0..=workers).map(|_| VecDeque::new()).collect(),
            worker,
            reclaims: Vec::new(),
            lent: Vec::new(),
            damaged: Vec::new(),
            released: Vec::new(),
            rejected: Vec::new(),
            bounds,
            now_ns: 0,
        }
    }

    /// Queues a Deliver frame: small bytes, then records where they lie.
    fn delivery(&mut self, id: SessionId, small: [&[u8]; 2], hold: Held, records: Option<Slice>) {
        let Some(session) = self
            .sessions
            .get(id)
            .filter(|session| session.phase == Phase::Open)
        else {
            self.dropped.push(hold);
            return;
        };
        if push(&mut session.outbox, &mut self.arena, small, Whose::Own) {
            match records {
                Some(slice) => session.outbox.push_records(slice, hold),
                None => session.outbox.push_mark(hold, small[1].len()),
            }
        } else {
            session.phase = Phase::Closing {
                until_ns: self.now_ns,
            };
            self.dropped.push(hold);
        }
        self.sessions.list(id.slot());
    }

    /// Queues one control frame for a session, which is closed if too much waits for it.
    pub(super) fn control<B: Body>(&mut self, id: SessionId, body: &B, sequence: u16) {
        let mut bytes = [0; ERROR_BYTES_MAX];
        let bytes = control(&mut bytes, body, sequence);
        self.small(id, [bytes, &[]]);
    }

    /// Refuses something, with as much of the reason as an Error frame takes.
    pub(super) fn refuse(&mut self, id: SessionId, error: &ErrorBody<'_>, sequence: u16) {
        self.control(id, &short(error), sequence);
    }

    /// Tells a session why it ends, and ends it when it has had the time to read that.
    pub(super) fn end(&mut self, id: SessionId, error: &ErrorBody<'_>, frame_sequence: u16) {
        if id.worker() != self.worker {
            let ErrorBody {
                code,
                offset,
                message,
                ..
            } = *error;
            self.send(
                id.worker(),
                Message::End {
                    session: id,
                    code,
                    message: message.into(),
                    offset,
                },
            );
            return;
        }
        let Some(session) = self.sessions.get(id).filter(|session| session.is_open()) else {
            return;
        };
        let mut bytes = [0; ERROR_BYTES_MAX];
        let error = ErrorBody {
            flags: ErrorFlags::CLOSING,
            ..short(error)
        };
        let bytes = control(&mut bytes, &error, frame_sequence);
        let _untold_without_memory = push(
            &mut session.outbox,
            &mut self.arena,
            [bytes, &[]],
            Whose::Own,
        );
        session.phase = Phase::Closing {
            until_ns: self.now_ns + CLOSING_NS,
        };
        self.sessions.list(id.slot());
    }

    /// Queues small bytes for a session, which is closed if they are too many.
    pub(super) fn small(&mut self, id: SessionId, parts: [&[u8]; 2]) {
        if id.worker() != self.worker {
            self.send(
                id.worker(),
                Message::Frame {
                    session: id,
                    bytes: parts.concat().into(),
                },
            );
            return;
        }
        let Some(session) = self.sessions.hearing(id) else {
            return;
        };
        let fits = push(&mut session.outbox, &mut self.arena, parts, Whose::Own);
        let waiting = session.outbox.small_bytes();
        let is_open = session.is_open();
        self.sessions.list(id.slot());
        if is_open && (!fits || waiting > self.bounds.small_bytes) {
            let message = format!(
                "{waiting} bytes of answers wait, which is more than a session's send queue has: read them while you ask for more"
            );
            self.close(id, ErrorCode::SLOW_CONSUMER, &message);
        }
    }

    /// Queues what another session has for this one: a call, or the answer to one. When too much of that waits already, the caller is told so, and nobody
    /// else sees anything of it.
    pub(super) fn pass(&mut self, id: SessionId, header: FrameHeader, body: &[u8]) {
        if id.worker() != self.worker {
            let message = Message::Passed {
                session: id,
                header,
                body: body.into(),
            };
            self.send(id.worker(), message);
            return;
        }
        let Some(session) = self.sessions.hearing(id) else {
            return;
        };
        let waiting = session.outbox.passed_bytes();
        let len = FRAME_HEADER_BYTES + body.len();
        let parts = [&header.encode()[..], body];
        if (waiting == 0 || waiting + len <= self.bounds.passed_bytes)
            && self.arena.used_bytes() + len <= ARENA_BYTES_MAX as usize
            && push(&mut session.outbox, &mut self.arena, parts, Whose::Passed)
        {
            self.sessions.list(id.slot());
        } else if header.opcode == Opcode::RpcCall {
            self.rejected.push((id, header.sequence));
        } else {
            let message = format!(
                "there is no room for this answer of {} bytes: {waiting} bytes of others wait that were not read yet",
                body.len()
            );
            let error = ErrorBody::new(ErrorCode::TOO_MANY, &message);
            self.refuse(id, &error, header.sequence);
        }
    }
}

impl Post {
    /// Queues a message for another worker.
    pub(super) fn send(&mut self, to: u8, message: Message) {
        self.mail[to as usize].push_back(Letter::Ready(message));
    }

    /// Queues a message for every other worker.
    pub(super) fn send_to_others(&mut self, mut message: impl FnMut() -> Message) {
        for to in 0..self.mail.len() as u8 - 1 {
            if to != self.worker {
                self.send(to, message());
            }
        }
    }

    /// Hands queued messages to the mesh, as far as its rings have room.
    pub(super) fn post_mail(&mut self, mesh: &mut MeshEnd<Message>, reactor: &AnyReactor) -> usize {
        let mut sent = 0;
        for (to, queue) in self.mail.iter_mut().enumerate() {
            while let Some(letter) = queue.pop_front() {
                let message = match letter {
                    Letter::Ready(message) => message,
                    Letter::Cold(cold) => {
                        let buffer = self.buffers.id(cold.buffer);
                        cold.copied(reactor.buffer(buffer))
                    }
                };
                if let Err(message) = mesh.send(to, message) {
                    queue.push_front(Letter::Ready(message));
                    break;
                }
                sent += 1;
            }
        }
        sent
    }

    /// A Deliver frame whose records lie in a registered tail, from whatever worker.
    pub(super) fn deliver_span(
        &mut self,
        id: SessionId,
        channel: u16,
        log: LogId,
        position: u64,
        len: u32,
        hold: Held,
    ) {
        let header = FrameHeader {
            opcode: Opcode::Deliver,
            flags: FrameFlags::empty(),
            sequence: channel,
            length: len,
        };
        match self.regions.get(log.0) {
            Some((region, mask)) => {
                let slice = Slice {
                    region,
                    offset: position & mask,
                    len,
                };
                self.delivery(id, [&header.encode(), &[]], hold, Some(slice));
            }
            // Of a stream that was removed while it was on its way.
            None => self.dropped.push(hold),
        }
    }

    /// A Deliver frame whose records are copied here, from whatever worker.
    pub(super) fn deliver_bytes(&mut self, id: SessionId, channel: u16, body: &[u8], hold: Held) {
        let header = FrameHeader {
            opcode: Opcode::Deliver,
            flags: FrameFlags::empty(),
            sequence: channel,
            length: body.len() as u32,
        };
        self.delivery(id, [&header.encode(), body], hold, None);
    }

    /// A worker's part of this and all earlier Publish frames is at its level.
    /// With `in_part`, a refusal of what is left of this one follows.
    pub(super) fn part_acked(
        &mut self,
        id: SessionId,
        worker: u8,
        frame: u16,
        ack: Ack,
        in_part: bool,
    ) {
        match self.ledger(id) {
            Some(ledger) => {
                ledger.on_ack(worker, frame, ack, in_part);
                self.say_answers(id);
            }
            None => self.control(id, &ack, frame),
        }
    }

    /// A worker refused its part of a Publish frame, or something else, which is said at once.
    pub(super) fn part_refused(
        &mut self,
        id: SessionId,
        worker: u8,
        frame: u16,
        error: &ErrorBody<'_>,
    ) {
        let waits = self
            .ledger(id)
            .is_some_and(|ledger| ledger.on_refusal(worker, frame, error));
        if waits {
            self.say_answers(id);
        } else {
            self.refuse(id, error, frame);
        }
    }

    fn say_answers(&mut self, id: SessionId) {
        while let Some((frame, said)) = self.ledger(id).and_then(Ledger::next_said) {
            match said {
                Said::Ack(ack) => self.control(id, &ack, frame),
                Said::Refusal(refused) => self.refuse(id, &refused.body(), frame),
            }
        }
    }

    fn pass_ack(&mut self, id: SessionId, frame: u16, ack: Ack, in_part: bool) {
        if id.worker() == self.worker {
            self.part_acked(id, self.worker, frame, ack, in_part);
        } else {
            let message = Message::Acked {
                session: id,
                frame,
                ack,
                in_part,
            };
            self.send(id.worker(), message);
        }
    }

    fn ledger(&mut self, id: SessionId) -> Option<&mut Ledger> {
        self.sessions.get(id)?.ledger.as_deref_mut()
    }
}

impl Out for Post {
    fn deliver(&mut self, id: SessionId, channel: u16, span: Span, _records: u32, hold: HoldId) {
        let Span {
            source,
            position,
            len,
        } = span;
        let home = id.worker();
        match source {
            Source::Tail(log) if home == self.worker => {
                self.deliver_span(id, channel, log, position, len, (home, hold))
            }
            Source::Tail(_) => self.send(
                home,
                Message::Deliver {
                    session: id,
                    channel,
                    span,
                    hold,
                },
            ),
            Source::Buffer(buffer) if home == self.worker => {
                let header = FrameHeader {
                    opcode: Opcode::Deliver,
                    flags: FrameFlags::empty(),
                    sequence: channel,
                    length: len,
                };
                let (region, offset) = self.buffers.slice(buffer);
                let slice = Slice {
                    region,
                    offset: offset + position,
                    len,
                };
                self.delivery(id, [&header.encode(), &[]], (home, hold), Some(slice));
            }
            Source::Buffer(buffer) => {
                let cold = ColdDelivery {
                    session: id,
                    channel,
                    buffer,
                    offset: position as usize,
                    len: len as usize,
                    hold,
                };
                self.mail[home as usize].push_back(Letter::Cold(cold));
            }
        }
    }

    fn deliver_copied(
        &mut self,
        id: SessionId,
        channel: u16,
        body: &[u8],
        _records: u32,
        hold: HoldId,
    ) {
        if id.worker() == self.worker {
            self.deliver_bytes(id, channel, body, (self.worker, hold));
        } else {
            self.send(
                id.worker(),
                Message::DeliverCopied {
                    session: id,
                    channel,
                    bytes: body.into(),
                    hold,
                },
            );
        }
    }

    fn damaged(&mut self, log: LogId, first: u64, last: u64) {
        self.damaged.push((log, first, last));
    }

    fn frame(&mut self, id: SessionId, header: FrameHeader, body: &[u8]) {
        match header.opcode {
            Opcode::RpcCall | Opcode::RpcResponse => self.pass(id, header, body),
            _ => self.small(id, [&header.encode(), body]),
        }
    }

    fn acked(&mut self, id: SessionId, frame_sequence: u16, ack: Ack) {
        self.pass_ack(id, frame_sequence, ack, false);
    }

    fn acked_in_part(&mut self, id: SessionId, frame_sequence: u16, ack: Ack) {
        self.pass_ack(id, frame_sequence, ack, true);
    }

    fn refused(&mut self, id: SessionId, frame_sequence: u16, error: &ErrorBody<'_>) {
        if id.worker() == self.worker {
            self.part_refused(id, self.worker, frame_sequence, error);
        } else {
            let message = Message::Refused {
                session: id,
                frame: frame_sequence,
                refused: error.into(),
            };
            self.send(id.worker(), message);
        }
    }

    fn reclaim(&mut self, id: SessionId, hold: HoldId) {
        if id.worker() != self.worker {
            self.lent.push((id, hold));
        } else if !self.reclaims.contains(&id) {
            self.reclaims.push(id);
        }
    }

    fn close(&mut self, id: SessionId, code: ErrorCode, message: &str) {
        tracing::info!(session = ?id, message, "connection closed");
        self.end(id, &ErrorBody::new(code, message), 0);
    }

    fn release_buffer(&mut self, buffer: u32) {
        self.released.push(buffer);
    }
}

/// Queues bytes in two parts, both or none.
fn push(outbox: &mut Outbox, arena: &mut Arena, parts: [&[u8]; 2], whose: Whose) -> bool {
    arena.make_room(parts[0].len() + parts[1].len())
        && outbox.push_small(arena, parts[0], whose)
        && outbox.push_small(arena, parts[1], whose)
}

fn control<'a, B: Body>(bytes: &'a mut [u8], body: &B, sequence: u16) -> &'a [u8] {
    let mut encoder = FrameEncoder::new(bytes);
    encoder
        .control(body, FrameFlags::empty(), sequence)
        .expect("the buffer takes the largest of these frames");
    let len = encoder.len();
    &bytes[..len]
}

/// The error with a message that fits the buffer.
fn short<'a>(error: &ErrorBody<'a>) -> ErrorBody<'a> {
    let mut end = error.message.len().min(MESSAGE_BYTES_MAX);
    while !error.message.is_char_boundary(end) {
        end -= 1;
    }
    ErrorBody {
        message: &error.message[..end],
        ..*error
    }
}

const MESSAGE_BYTES_MAX: usize = 512;
/// The largest control frame that is written here: an Error with its message.
const ERROR_BYTES_MAX: usize = FRAME_HEADER_BYTES + 26 + MESSAGE_BYTES_MAX + 64;

/// What waits for another worker. The order is that of the shard: records from a read buffer come before newer ones from the tail.
enum Letter {
    Ready(Message),
    /// Copied when it leaves; until then the shard keeps the buffer for its hold.
    Cold(ColdDelivery),
}

/// A delivery from a read buffer to a session of another worker.
struct ColdDelivery {
    session: SessionId,
    channel: u16,
    buffer: u32,
    offset: usize,
    len: usize,
    hold: HoldId,
}

impl ColdDelivery {
    fn copied(self, buffer: &[u8]) -> Message {
        Message::DeliverCopied {
            session: self.session,
            channel: self.channel,
            bytes: buffer[self.offset..self.offset + self.len].into(),
            hold: self.hold,
        }
    }
}

/// How long a session that was told to go may take to read it.
pub(super) const CLOSING_NS: u64 = 1_000_000_000;
