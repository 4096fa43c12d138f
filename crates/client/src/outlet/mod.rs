//! Everything that a client says: frames into one buffer, and the account of what was not answered yet. No I/O.
//!
//! Records go into an open Publish frame, which is closed when it is full, when another level is asked for, when a
//! control frame comes, or when the bytes are taken to be sent. So records that are published while the socket is busy
//! share a frame, and a lone record leaves at once.
//!
//! All frames that the server answers are numbered by one counter, so that an Ack or Error names its frame without doubt.

mod account;
mod buffer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use trunkline_wire::headers::{encode_headers, headers_bytes};
use trunkline_wire::record::{self, body_record_bytes};
use trunkline_wire::{
    Ack, AckLevel, Body, ErrorBody, Failure, FrameEncoder, FrameFlags, FrameHeader, Kind, Limits,
    Opcode, RecordFlags, RpcCall, Stamp, check_subject,
};

use self::account::{Account, FRAMES_MAX, InFlight};
pub(crate) use self::account::{Answered, Range};
use self::buffer::Buffer;
use crate::error::{Error, PublishError};
use crate::interner::Interner;
use crate::publication::Publication;

/// What an outlet keeps at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutletLimits {
    /// Bytes that wait to be sent.
    pub(crate) buffer_bytes: usize,
    /// Records that are not answered.
    pub(crate) in_flight_records: u64,
    /// Whether what is not answered is kept, to be sent again on the next connection.
    pub(crate) resend: bool,
}

/// Getters: [`is_empty`](Self::is_empty), [`in_flight`](Self::in_flight), [`resolved`](Self::resolved), …; world to us: `on_…`;
/// commands: [`publish`](Self::publish), [`control`](Self::control), [`request`](Self::request), …; us to world:
/// [`bytes`](Self::bytes) and [`consume`](Self::consume), or [`take`](Self::take).
#[derive(Debug)]
pub(crate) struct Outlet {
    buffer: Buffer,
    account: Account,
    open: Option<Open>,
    interner: Interner,
    limits: OutletLimits,
    wire: Limits,
    next_sequence: u64,
    scratch: Vec<u8>,
}

/// The Publish frame that still takes records.
#[derive(Clone, Copy, Debug)]
struct Open {
    position: u64,
    level: AckLevel,
    first: u64,
}

impl Outlet {
    pub(crate) fn new(limits: OutletLimits) -> Self {
        Self {
            buffer: Buffer::default(),
            account: Account::new(),
            open: None,
            interner: Interner::default(),
            limits,
            wire: Limits::default(),
            next_sequence: 1,
            scratch: Vec::new(),
        }
    }

    /// Whether nothing is to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Records that were published and not answered.
    pub(crate) fn in_flight(&self) -> u64 {
        self.next_sequence - 1 - self.resolved()
    }

    /// Whether one who waited for room should go on: when there is some for more than a record, so that it does not
    /// wait again at once.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() <= self.limits.in_flight_records / 4 * 3
            && self.account.frames() <= FRAMES_MAX / 4 * 3
            && self.buffer.len() <= self.limits.buffer_bytes / 2
    }

    /// Every record up to this sequence is answered.
    pub(crate) fn resolved(&self) -> u64 {
        let open = self.open.map_or(self.next_sequence, |open| open.first);
        self.account.first().unwrap_or(open) - 1
    }

    /// Whether this record is answered.
    pub(crate) fn is_resolved(&self, sequence: u64) -> bool {
        self.open.is_none_or(|open| sequence < open.first) && !self.account.contains(sequence)
    }

    /// The last sequence that was given to a record.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// A call that the server takes.
    pub(crate) fn call<'a>(
        &self,
        subject: &'a str,
        payload: &'a [u8],
        timeout: Duration,
    ) -> Result<RpcCall<'a>, PublishError> {
        check_subject(subject)?;
        let fields_bytes = CALL_FIELDS_BYTES + subject.len();
        check_bytes(payload.len(), self.call_bytes_max(fields_bytes))?;
        // Rounded up: none at all would be the server's own, which is seconds.
        let timeout_ms = timeout.as_nanos().div_ceil(1_000_000).max(1);
        Ok(RpcCall {
            timeout_ms: timeout_ms.try_into().unwrap_or(u32::MAX),
            subject,
            payload,
        })
    }

    /// Puts the answer to a call in. One that the server does not take would end the connection.
    pub(crate) fn answer(&mut self, correlation: u16, payload: &[u8]) -> Result<(), Error> {
        check_bytes(payload.len(), self.call_bytes_max(0))?;
        self.frame(Opcode::RpcResponse, correlation, payload)
            .ok_or(Error::TooMany)
    }

    /// Puts in that there is no answer to a call.
    pub(crate) fn failure(
        &mut self,
        correlation: u16,
        code: u32,
        message: &str,
    ) -> Result<(), Error> {
        let bytes_max = self.call_bytes_max(FAILURE_FIELDS_BYTES);
        check_bytes(message.len(), bytes_max.min(u16::MAX.into()))?;
        self.control(&Failure { code, message }, FrameFlags::FAILED, correlation)
            .ok_or(Error::TooMany)
    }

    /// What the server takes of a call or an answer beside its fields.
    fn call_bytes_max(&self, fields_bytes: usize) -> usize {
        (self.wire.call_bytes_max() as usize).saturating_sub(fields_bytes)
    }

    /// The server has said what it takes.
    pub(crate) fn set_limits(&mut self, wire: Limits) {
        self.wire = wire;
    }

    /// An Ack came.
    pub(crate) fn on_ack(&mut self, number: u16, ack: &Ack) -> Answered {
        self.account.on_ack(number, ack)
    }

    /// An Error came.
    pub(crate) fn on_error(&mut self, number: u16, error: &ErrorBody<'_>) -> Answered {
        self.account.on_error(number, error)
    }

    /// The connection is gone. Returns the records of which nobody knows whether the server has them; none when they will
    /// be sent again.
    pub(crate) fn on_disconnect(&mut self) -> Option<Range> {
        self.close();
        self.account.forget_requests();
        if self.limits.resend {
            None
        } else {
            self.account.lose(self.buffer.sent_position())
        }
    }

    /// On a new connection: `hello` first, then the names of subjects, then what was not sent on the old one (or, with
    /// `resend`, not answered). Control frames are gone.
    pub(crate) fn on_connect<B: Body>(&mut self, hello: &B) -> Option<()> {
        self.close();
        let old = self.buffer.replace();
        self.wire = Limits::default();
        self.control(hello, FrameFlags::empty(), 0)?;
        // Names that were put in while there was no connection went with the control frames.
        self.interner.forget();
        self.define()?;
        let Self {
            buffer,
            account,
            limits,
            ..
        } = self;
        account.repeat(|frame, unanswered| {
            let position = buffer.position();
            if limits.resend {
                let flags = FrameFlags::EXPECTS_RESPONSE.with_ack_level(frame.level);
                let len = FRAME_HEADER + unanswered.len();
                buffer.reserve(len, usize::MAX)?;
                let mut encoder = FrameEncoder::new(buffer.free_mut());
                encoder
                    .frame(Opcode::Publish, flags, frame.number, unanswered)
                    .ok()?;
                buffer.advance(len);
            } else {
                let bytes = old.at(frame.position, frame.len)?;
                buffer.reserve(bytes.len(), usize::MAX)?;
                buffer.free_mut()[..bytes.len()].copy_from_slice(bytes);
                buffer.advance(bytes.len());
            }
            Some(position)
        })
    }

    /// Takes a record, and returns the sequence that it got.
    #[inline]
    pub(crate) fn publish(&mut self, publication: &Publication<'_>) -> Result<u64, PublishError> {
        if self.in_flight() >= self.limits.in_flight_records || self.account.is_full() {
            return Err(PublishError::Full);
        }
        if !publication.headers.is_empty() {
            return self.publish_with_headers(publication);
        }
        self.publish_body(publication, RecordFlags::empty(), publication.payload)
    }

    fn publish_with_headers(&mut self, publication: &Publication<'_>) -> Result<u64, PublishError> {
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        body.resize(headers_bytes(publication.headers), 0);
        let result = match encode_headers(&mut body, publication.headers) {
            Ok(_) => {
                body.extend_from_slice(publication.payload);
                self.publish_body(publication, RecordFlags::HEADERS, &body)
            }
            Err(_) => Err(PublishError::Headers),
        };
        self.scratch = body;
        result
    }

    #[inline]
    fn publish_body(
        &mut self,
        publication: &Publication<'_>,
        flags: RecordFlags,
        body: &[u8],
    ) -> Result<u64, PublishError> {
        let bytes = body_record_bytes(body.len());
        let payload_max = self.wire.max_record_bytes.min(
            self.wire
                .max_frame_bytes
                .saturating_sub(RESERVED_FRAME_BYTES),
        );
        let payload_bytes_max = (payload_max as usize).saturating_sub(record::ADDRESS_BYTES);
        if body.len() > payload_bytes_max {
            return Err(PublishError::TooLong {
                payload_bytes: body.len(),
                payload_bytes_max,
            });
        }
        let (subject_id, untold) = self.interner.intern(publication.subject)?;
        if untold {
            self.define().ok_or(PublishError::Full)?;
        }
        let fits = self.open.is_some_and(|open| {
            let len = (self.buffer.position() - open.position) as usize - FRAME_HEADER + bytes;
            open.level == publication.level
                && len <= BATCH_BYTES.min(self.wire.max_frame_bytes as usize)
        });
        if !fits {
            self.close();
        }
        let header = if fits { 0 } else { FRAME_HEADER };
        self.buffer
            .reserve(header + bytes, self.limits.buffer_bytes)
            .ok_or(PublishError::Full)?;
        if !fits {
            let (position, level) = (self.buffer.position(), publication.level);
            self.open = Some(Open {
                position,
                level,
                first: self.next_sequence,
            });
            self.buffer.advance(FRAME_HEADER);
        }
        let sequence = self.next_sequence;
        let stamp = Stamp {
            kind: Kind::Data,
            flags,
            sequence,
            timestamp_ns: publication.timestamp_ns,
            subject_id,
            route_flags: publication.route_flags,
        };
        // There is room: it was reserved.
        let len =
            record::encode(self.buffer.free_mut(), &stamp, body).map_err(|_| PublishError::Full)?;
        self.buffer.advance(len);
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// Tells the server the names that it does not know, in frames of their own, which are not answered.
    #[cold]
    #[inline(never)]
    fn define(&mut self) -> Option<()> {
        self.close();
        let Self {
            buffer,
            interner,
            limits,
            ..
        } = self;
        for (id, name) in interner.untold() {
            let len = FRAME_HEADER + body_record_bytes(name.len());
            buffer.reserve(len, limits.buffer_bytes + CONTROL_EXTRA_BYTES)?;
            let mut encoder = FrameEncoder::new(buffer.free_mut());
            let mut frame = encoder
                .begin(Opcode::Publish, FrameFlags::empty(), 0)
                .ok()?;
            let stamp = Stamp {
                kind: Kind::Definition,
                subject_id: id,
                ..Stamp::DATA
            };
            frame.push_record(&stamp, name.as_bytes()).ok()?;
            frame.finish();
            buffer.advance(len);
        }
        interner.tell();
        Some(())
    }

    /// Puts a control frame in. `None` when there is no room.
    pub(crate) fn control<B: Body>(
        &mut self,
        body: &B,
        flags: FrameFlags,
        sequence: u16,
    ) -> Option<()> {
        self.close();
        let mut needed = CONTROL_BYTES;
        loop {
            self.buffer
                .reserve(needed, self.limits.buffer_bytes + CONTROL_EXTRA_BYTES)?;
            let mut encoder = FrameEncoder::new(self.buffer.free_mut());
            match encoder.control(body, flags, sequence) {
                Ok(()) => {
                    let len = encoder.len();
                    self.buffer.advance(len);
                    return Some(());
                }
                Err(short) if short.needed > u32::MAX as usize => return None,
                Err(short) => needed = FRAME_HEADER + short.needed,
            }
        }
    }

    /// Puts a frame with a body that is ready in. `None` when there is no room.
    pub(crate) fn frame(&mut self, opcode: Opcode, sequence: u16, body: &[u8]) -> Option<()> {
        self.frame_with(opcode, FrameFlags::empty(), sequence, body)
    }

    fn frame_with(
        &mut self,
        opcode: Opcode,
        flags: FrameFlags,
        sequence: u16,
        body: &[u8],
    ) -> Option<()> {
        self.close();
        let len = FRAME_HEADER + body.len();
        self.buffer
            .reserve(len, self.limits.buffer_bytes + CONTROL_EXTRA_BYTES)?;
        let mut encoder = FrameEncoder::new(self.buffer.free_mut());
        encoder.frame(opcode, flags, sequence, body).ok()?;
        self.buffer.advance(len);
        Some(())
    }

    /// Puts a control frame in that will be answered, and returns its number.
    pub(crate) fn request<B: Body>(&mut self, body: &B) -> Option<u16> {
        self.close();
        let number = self.account.begin_request()?;
        if self
            .control(body, FrameFlags::EXPECTS_RESPONSE, number)
            .is_none()
        {
            self.account.finish_request(number);
            return None;
        }
        Some(number)
    }

    /// Asks that everything that was published before gets to `level`; returns the request's number.
    pub(crate) fn barrier(&mut self, level: AckLevel) -> Option<u16> {
        self.close();
        // A level of its own is what makes a frame without records a barrier.
        let level = level.max(AckLevel::Received);
        let flags = FrameFlags::EXPECTS_RESPONSE.with_ack_level(level);
        let number = self.account.begin_request()?;
        let put = self.frame_with(Opcode::Publish, flags, number, &[]);
        if put.is_none() {
            self.account.finish_request(number);
        }
        put.map(|()| number)
    }

    /// Nobody waits for the answer of this request any more, or it has come. Whether it was open.
    pub(crate) fn finish_request(&mut self, number: u16) -> bool {
        self.account.finish_request(number)
    }

    /// Closes the open frame, so that its records are among the bytes to be sent.
    pub(crate) fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        // `publish` leaves no room for more frames than there are numbers.
        let number = self.account.next_number().unwrap_or_default();
        let frame = self.buffer.tail_mut(open.position);
        let header = FrameHeader {
            opcode: Opcode::Publish,
            flags: FrameFlags::EXPECTS_RESPONSE.with_ack_level(open.level),
            sequence: number,
            length: (frame.len() - FRAME_HEADER) as u32,
        };
        let (head, body) = frame.split_at_mut(FRAME_HEADER);
        head.copy_from_slice(&header.encode());
        let in_flight = InFlight {
            number,
            level: open.level,
            first: open.first,
            last: self.next_sequence - 1,
            position: open.position,
            len: FRAME_HEADER + body.len(),
            retained: 0,
        };
        self.account
            .push(in_flight, self.limits.resend.then_some(&*body));
    }

    /// What is to be sent, closed frames only: after [`close`](Self::close), everything.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// `len` of these bytes were sent.
    pub(crate) fn consume(&mut self, len: usize) {
        debug_assert!(self.open.is_none());
        self.buffer.consume(len);
    }

    /// Gives everything that is to be sent away in exchange for `spare`, and returns where in it. What `spare` holds is
    /// lost.
    pub(crate) fn take(&mut self, spare: &mut Vec<u8>) -> std::ops::Range<usize> {
        self.close();
        self.buffer.take(spare)
    }
}

fn check_bytes(payload_bytes: usize, payload_bytes_max: usize) -> Result<(), PublishError> {
    if payload_bytes <= payload_bytes_max {
        return Ok(());
    }
    Err(PublishError::TooLong {
        payload_bytes,
        payload_bytes_max,
    })
}

const FRAME_HEADER: usize = trunkline_wire::layout::FRAME_HEADER_BYTES;
/// A Publish frame takes records until its body would be longer than this.
const BATCH_BYTES: usize = 64 << 10;
/// What a frame's limit must leave beside one record's payload.
const RESERVED_FRAME_BYTES: u32 = 64;
/// `timeout_ms u32, subject_len u16` of a call.
const CALL_FIELDS_BYTES: usize = 6;
/// `code u32, message_len u16` of an answer that is none.
const FAILURE_FIELDS_BYTES: usize = 6;
/// What most control frames fit in.
const CONTROL_BYTES: usize = 256;
/// How far control frames may go beyond the limit of the buffer.
const CONTROL_EXTRA_BYTES: usize = 4 << 20;
