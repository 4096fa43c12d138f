//! What the shard says to sessions, until it has left: spans stay where they lie and are read when they are sent.

use std::collections::{BTreeMap, VecDeque};

use trunkline_broker::{HoldId, Out, SessionId, Span};
use trunkline_wire::{
    Ack, Body, ErrorBody, ErrorCode, ErrorFlags, FrameEncoder, FrameFlags, FrameHeader, Opcode,
};

/// What waits for each session.
#[derive(Debug, Default)]
pub(super) struct Outboxes {
    queues: BTreeMap<SessionId, Queue>,
    /// Deliveries that nobody will read.
    dropped: Vec<HoldId>,
    /// Read buffers that are free again.
    pub(super) released: Vec<u32>,
    /// Deliveries whose bytes the tail wants back.
    pub(super) reclaimed: Vec<(SessionId, HoldId)>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have left.
    pub(super) front_sent: usize,
    /// Nothing more is taken; what is there is still sent.
    pub(super) closing: bool,
}

#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Records { span: Span, hold: HoldId },
    Mark(HoldId),
}

impl Outboxes {
    pub(super) fn open(&mut self, session: SessionId) {
        self.queues.insert(session, Queue::default());
    }

    /// Gives up what a session was to be sent.
    pub(super) fn close(&mut self, session: SessionId) {
        for piece in self
            .queues
            .remove(&session)
            .into_iter()
            .flat_map(|queue| queue.pieces)
        {
            if let Piece::Records { hold, .. } | Piece::Mark(hold) = piece {
                self.dropped.push(hold);
            }
        }
    }

    pub(super) fn queue(&mut self, session: SessionId) -> Option<&mut Queue> {
        self.queues.get_mut(&session)
    }

    pub(super) fn take_dropped(&mut self) -> Vec<HoldId> {
        std::mem::take(&mut self.dropped)
    }

    /// Bytes of small frames that wait for a session.
    pub(super) fn small_bytes(&self, session: SessionId) -> usize {
        let bytes = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Records { .. } | Piece::Mark(_) => 0,
        };
        self.queues
            .get(&session)
            .map_or(0, |queue| queue.pieces.iter().map(bytes).sum())
    }

    pub(super) fn push(&mut self, session: SessionId, parts: [&[u8]; 2]) -> bool {
        match self.queues.get_mut(&session).filter(|queue| !queue.closing) {
            Some(queue) => {
                queue.pieces.push_back(Piece::Bytes(parts.concat()));
                true
            }
            None => false,
        }
    }

    pub(super) fn control<B: Body>(&mut self, session: SessionId, body: &B, sequence: u16) {
        let mut bytes = [0; 1024];
        let mut encoder = FrameEncoder::new(&mut bytes);
        if encoder.control(body, FrameFlags::empty(), sequence).is_ok() {
            self.push(session, [encoder.bytes(), &[]]);
        }
    }

    /// Tells a session why it ends.
    pub(super) fn end(&mut self, session: SessionId, error: &ErrorBody<'_>, sequence: u16) {
        let error = ErrorBody {
            flags: ErrorFlags::CLOSING,
            ..*error
        };
        self.control(session, &error, sequence);
        if let Some(queue) = self.queues.get_mut(&session) {
            queue.closing = true;
        }
    }

    fn deliver_frame(&mut self, session: SessionId, channel: u16, length: u32) -> bool {
        let header = FrameHeader {
            opcode: Opcode::Deliver,
            flags: FrameFlags::empty(),
            sequence: channel,
            length,
        };
        self.push(session, [&header.encode(), &[]])
    }
}

impl Out for Outboxes {
    fn deliver(&mut self, session: SessionId, channel: u16, span: Span, _: u32, hold: HoldId) {
        if self.deliver_frame(session, channel, span.len)
            && let Some(queue) = self.queues.get_mut(&session)
        {
            queue.pieces.push_back(Piece::Records { span, hold });
        } else {
            self.dropped.push(hold);
        }
    }

    fn deliver_copied(
        &mut self,
        session: SessionId,
        channel: u16,
        body: &[u8],
        _: u32,
        hold: HoldId,
    ) {
        if self.deliver_frame(session, channel, body.len() as u32)
            && let Some(queue) = self.queues.get_mut(&session)
        {
            queue.pieces.push_back(Piece::Bytes(body.to_vec()));
            queue.pieces.push_back(Piece::Mark(hold));
        } else {
            self.dropped.push(hold);
        }
    }

    fn frame(&mut self, session: SessionId, header: FrameHeader, body: &[u8]) {
        self.push(session, [&header.encode(), body]);
    }

    fn acked(&mut self, session: SessionId, frame_sequence: u16, ack: Ack) {
        self.control(session, &ack, frame_sequence);
    }

    fn refused(&mut self, session: SessionId, frame_sequence: u16, error: &ErrorBody<'_>) {
        self.control(session, error, frame_sequence);
    }

    fn reclaim(&mut self, session: SessionId, hold: HoldId) {
        self.reclaimed.push((session, hold));
    }

    fn close(&mut self, session: SessionId, code: ErrorCode, message: &str) {
        self.end(session, &ErrorBody::new(code, message), 0);
    }

    fn release_buffer(&mut self, buffer: u32) {
        self.released.push(buffer);
    }
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Records { span, .. } => span.len as usize,
            Self::Mark(_) => 0,
        }
    }
}
