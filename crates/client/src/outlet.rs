//! Everything that a client says: frames into one buffer, and the account of what was not answered yet. No I/O.
//!
//! Records go into an open Publish frame, which is closed when it is full, when another level is asked for, when a
//! control frame comes, or when the bytes are taken to be sent. So records that are published while the socket is busy
//! share a frame, and a lone record leaves at once.
//!
//! All frames that the server answers are numbered by one counter, so that an Ack or Error names its frame without doubt.

use std::collections::VecDeque;

use trunkline_wire::headers::{encode_headers, headers_bytes};
use trunkline_wire::record::{self, Run, body_record_bytes};
use trunkline_wire::{
    Ack, AckLevel, Body, ErrorBody, FrameEncoder, FrameFlags, FrameHeader, Kind, Limits, Opcode,
    RecordFlags, Stamp,
};

use crate::error::PublishError;
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

#[derive(Debug)]
pub(crate) struct Outlet {
    /// `start..end` is to be sent. All of it is initialised memory.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Position of `buffer[0]` in everything that was ever put in.
    base: u64,
    open: Option<Open>,
    interner: Interner,
    limits: OutletLimits,
    wire: Limits,
    next_sequence: u64,
    frame: u16,
    in_flight: VecDeque<InFlight>,
    requests: Vec<u16>,
    /// The records of the frames in flight, one after the other, when they may have to be sent again.
    retained: VecDeque<u8>,
    scratch: Vec<u8>,
}

/// The Publish frame that still takes records.
#[derive(Clone, Copy, Debug)]
struct Open {
    position: u64,
    level: AckLevel,
    first: u64,
}

/// A Publish frame that was not answered.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    frame: u16,
    level: AckLevel,
    /// Producer's sequences of its records that were not answered.
    first: u64,
    last: u64,
    position: u64,
    len: usize,
    retained: usize,
}

/// Records by their producer's sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Range {
    pub(crate) fn contains(self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence)
    }

    pub(crate) fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What an Ack or Error was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The request with this number.
    Request(u16),
    /// These records.
    Records(Range),
    /// Nothing that was asked.
    Nothing,
}

impl Outlet {
    pub(crate) fn new(limits: OutletLimits) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            base: 0,
            open: None,
            interner: Interner::default(),
            limits,
            wire: Limits::default(),
            next_sequence: 1,
            frame: 0,
            in_flight: VecDeque::with_capacity(FRAMES_IN_FLIGHT_MAX),
            requests: Vec::new(),
            retained: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    /// What is to be sent, the open frame not included.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Records that were published and not answered.
    pub(crate) fn in_flight(&self) -> u64 {
        self.next_sequence - 1 - self.resolved()
    }

    /// Whether one who waited for room should go on: when there is some for more than a record, so that it does not
    /// wait again at once.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() <= self.limits.in_flight_records / 4 * 3
            && self.in_flight.len() <= FRAMES_IN_FLIGHT_MAX / 4 * 3
            && self.end - self.start <= self.limits.buffer_bytes / 2
    }

    /// Every record up to this sequence is answered.
    pub(crate) fn resolved(&self) -> u64 {
        match (self.in_flight.front(), &self.open) {
            (Some(frame), _) => frame.first - 1,
            (None, Some(open)) => open.first - 1,
            (None, None) => self.next_sequence - 1,
        }
    }

    /// Whether this record is answered.
    pub(crate) fn is_resolved(&self, sequence: u64) -> bool {
        if self.open.is_some_and(|open| sequence >= open.first) {
            return false;
        }
        let index = self
            .in_flight
            .partition_point(|frame| frame.last < sequence);
        self.in_flight
            .get(index)
            .is_none_or(|frame| sequence < frame.first)
    }

    /// The last sequence that was given to a record.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Longest body of a call that the server takes.
    pub(crate) fn call_bytes_max(&self) -> u32 {
        self.wire.call_bytes_max()
    }

    /// The server has said what it takes.
    pub(crate) fn set_limits(&mut self, wire: Limits) {
        self.wire = wire;
    }

    /// Takes a record, and returns the sequence that it got.
    #[inline]
    pub(crate) fn publish(&mut self, publication: &Publication<'_>) -> Result<u64, PublishError> {
        if self.in_flight() >= self.limits.in_flight_records
            || self.in_flight.len() >= FRAMES_IN_FLIGHT_MAX
        {
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
        let payload_len = body.len() + record::ADDRESS_BYTES;
        let bytes = body_record_bytes(body.len());
        let payload_max = self
            .wire
            .max_record_bytes
            .min(self.wire.max_frame_bytes - RESERVED_FRAME_BYTES);
        if payload_len > payload_max as usize {
            return Err(PublishError::TooLong {
                payload_len,
                payload_max,
            });
        }
        let (subject_id, untold) = self.interner.intern(publication.subject)?;
        if untold {
            self.define().ok_or(PublishError::Full)?;
        }
        let fits = self.open.is_some_and(|open| {
            let len = self.end - self.offset(open.position) - FRAME_HEADER;
            open.level == publication.level
                && (len + bytes <= BATCH_BYTES.min(self.wire.max_frame_bytes as usize) || len == 0)
        });
        if !fits {
            self.close();
        }
        let header = if fits { 0 } else { FRAME_HEADER };
        self.reserve(header + bytes, self.limits.buffer_bytes)
            .ok_or(PublishError::Full)?;
        if !fits {
            self.open = Some(Open {
                position: self.position(),
                level: publication.level,
                first: self.next_sequence,
            });
            self.end += FRAME_HEADER;
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
        let len = record::encode(&mut self.buffer[self.end..], &stamp, body)
            .map_err(|_| PublishError::Full)?;
        self.end += len;
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// Tells the server the names that it does not know, in frames of their own, which are not answered.
    #[cold]
    #[inline(never)]
    fn define(&mut self) -> Option<()> {
        self.close();
        let interner = std::mem::take(&mut self.interner);
        let told = interner.untold().try_for_each(|(id, name)| {
            let len = FRAME_HEADER + body_record_bytes(name.len());
            self.reserve(len, self.limits.buffer_bytes + CONTROL_EXTRA_BYTES)?;
            let mut encoder = FrameEncoder::new(&mut self.buffer[self.end..]);
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
            self.end += len;
            Some(())
        });
        self.interner = interner;
        if told.is_some() {
            self.interner.tell();
        }
        told
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
            self.reserve(needed, self.limits.buffer_bytes + CONTROL_EXTRA_BYTES)?;
            let mut encoder = FrameEncoder::new(&mut self.buffer[self.end..]);
            match encoder.control(body, flags, sequence) {
                Ok(()) => {
                    let len = encoder.len();
                    self.end += len;
                    return Some(());
                }
                Err(short) if short.needed > u32::MAX as usize => return None,
                Err(short) => needed = FRAME_HEADER + short.needed,
            }
        }
    }

    /// Puts a frame with a body that is ready in. `None` when there is no room.
    pub(crate) fn frame(&mut self, opcode: Opcode, sequence: u16, body: &[u8]) -> Option<()> {
        self.close();
        let len = FRAME_HEADER + body.len();
        self.reserve(len, self.limits.buffer_bytes + CONTROL_EXTRA_BYTES)?;
        let mut encoder = FrameEncoder::new(&mut self.buffer[self.end..]);
        encoder
            .frame(opcode, FrameFlags::empty(), sequence, body)
            .ok()?;
        self.end += len;
        Some(())
    }

    /// Puts a control frame in that will be answered, and returns its number.
    pub(crate) fn request<B: Body>(&mut self, body: &B) -> Option<u16> {
        if self.requests.len() >= REQUESTS_MAX {
            return None;
        }
        self.close();
        let number = self.next_frame()?;
        self.control(body, FrameFlags::EXPECTS_RESPONSE, number)?;
        self.requests.push(number);
        Some(number)
    }

    /// Nobody waits for the answer of this request any more, or it has come. Whether it was open.
    pub(crate) fn finish_request(&mut self, number: u16) -> bool {
        let Some(index) = self.requests.iter().position(|request| *request == number) else {
            return false;
        };
        self.requests.swap_remove(index);
        true
    }

    /// What is to be sent, closed frames only: call [`close`](Self::close) first for everything.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// `len` of these bytes were sent.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        debug_assert!(self.start <= self.end && self.open.is_none());
        if self.start == self.end {
            self.base += self.end as u64;
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives everything that is to be sent away in exchange for `spare`, and returns where in it. `spare` must be empty
    /// memory: what it holds is overwritten.
    pub(crate) fn take(&mut self, spare: &mut Vec<u8>) -> std::ops::Range<usize> {
        self.close();
        std::mem::swap(&mut self.buffer, spare);
        let range = self.start..self.end;
        self.base += self.end as u64;
        (self.start, self.end) = (0, 0);
        range
    }

    /// Closes the open frame, so that its records are among the bytes to be sent.
    pub(crate) fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let at = self.offset(open.position);
        let len = self.end - at;
        // `publish` leaves no room for more frames than there are numbers.
        let frame = self.next_frame().unwrap_or_default();
        let header = FrameHeader {
            opcode: Opcode::Publish,
            flags: FrameFlags::EXPECTS_RESPONSE.with_ack_level(open.level),
            sequence: frame,
            length: (len - FRAME_HEADER) as u32,
        };
        self.buffer[at..at + FRAME_HEADER].copy_from_slice(&header.encode());
        let mut retained = 0;
        if self.limits.resend {
            let body = &self.buffer[at + FRAME_HEADER..self.end];
            retained = body.len();
            self.retained.extend(body);
        }
        let last = self.next_sequence - 1;
        let in_flight = InFlight {
            frame,
            level: open.level,
            first: open.first,
            last,
            position: open.position,
            len,
            retained,
        };
        self.in_flight.push_back(in_flight);
    }

    /// An Ack came.
    pub(crate) fn on_ack(&mut self, frame: u16, ack: &Ack) -> Answered {
        if self.finish_request(frame) {
            return Answered::Request(frame);
        }
        let Some(index) = self
            .in_flight
            .iter()
            .position(|in_flight| in_flight.frame == frame)
        else {
            return Answered::Nothing;
        };
        let first = self.in_flight[0].first;
        for _ in 0..index {
            self.pop_front();
        }
        let named = &mut self.in_flight[0];
        // When part of the frame was accepted, an Error about the others comes next.
        let last = ack
            .producer_sequence
            .clamp(named.first.saturating_sub(1), named.last);
        named.first = last + 1;
        if named.first > named.last {
            self.pop_front();
        }
        if last < first {
            Answered::Nothing
        } else {
            Answered::Records(Range { first, last })
        }
    }

    /// An Error came.
    pub(crate) fn on_error(&mut self, frame: u16, error: &ErrorBody<'_>) -> Answered {
        if frame != 0 && self.finish_request(frame) {
            return Answered::Request(frame);
        }
        let Some(index) = self
            .in_flight
            .iter()
            .position(|in_flight| in_flight.frame == frame)
        else {
            return Answered::Nothing;
        };
        let InFlight { first, last, .. } = self.in_flight[index];
        let refused = Range {
            first: error.producer_sequence.clamp(first, last),
            last,
        };
        if refused.first > first {
            // What was accepted is still to be acknowledged.
            self.in_flight[index].last = refused.first - 1;
        } else if index == 0 {
            self.pop_front();
        } else {
            // Kept, empty, for its place among what is retained.
            self.in_flight[index].first = last + 1;
            if !self.limits.resend {
                self.in_flight.remove(index);
            }
        }
        Answered::Records(refused)
    }

    /// The connection is gone. Returns the records of which nobody knows whether the server has them; none when they will
    /// be sent again.
    pub(crate) fn on_disconnect(&mut self) -> Option<Range> {
        self.close();
        self.requests.clear();
        self.interner.forget();
        let unsent = self.base + self.start as u64;
        if self.limits.resend {
            return None;
        }
        let mut lost: Option<Range> = None;
        while let Some(frame) = self.in_flight.front()
            && frame.position < unsent
        {
            let first = lost.map_or(frame.first, |range| range.first);
            lost = Some(Range {
                first,
                last: frame.last,
            });
            self.pop_front();
        }
        lost
    }

    /// On a new connection: `hello` first, then the names of subjects, then what was not sent on the old one (or, with
    /// `resend`, not answered). Control frames are gone.
    pub(crate) fn on_connect<B: Body>(&mut self, hello: &B) -> Option<()> {
        self.close();
        // Names that were put in while there was no connection are gone with the control frames.
        self.interner.forget();
        let old = std::mem::take(&mut self.buffer);
        let (old_base, old_end) = (self.base, self.end);
        self.base += self.end as u64;
        (self.start, self.end) = (0, 0);
        self.wire = Limits::default();
        self.control(hello, FrameFlags::empty(), 0)?;
        self.define()?;
        let retained = std::mem::take(&mut self.retained);
        let (head, tail) = retained.as_slices();
        let mut at = 0;
        for index in 0..self.in_flight.len() {
            let InFlight {
                frame,
                level,
                len,
                retained,
                position,
                first,
                last,
            } = self.in_flight[index];
            if self.limits.resend {
                // Those in front that were answered stay out, unless the whole frame was: then nothing is left.
                let body: Vec<u8> = (at..at + retained)
                    .map(|byte| {
                        if byte < head.len() {
                            head[byte]
                        } else {
                            tail[byte - head.len()]
                        }
                    })
                    .collect();
                at += retained;
                let flags = FrameFlags::EXPECTS_RESPONSE.with_ack_level(level);
                let body = unanswered(&body, first, last);
                self.reserve(FRAME_HEADER + body.len(), usize::MAX)?;
                let mut encoder = FrameEncoder::new(&mut self.buffer[self.end..]);
                encoder.frame(Opcode::Publish, flags, frame, body).ok()?;
                self.in_flight[index].position = self.position();
                self.end += FRAME_HEADER + body.len();
            } else {
                let start = usize::try_from(position - old_base).ok()?;
                debug_assert!(start + len <= old_end);
                self.reserve(len, usize::MAX)?;
                self.in_flight[index].position = self.position();
                self.buffer[self.end..self.end + len].copy_from_slice(&old[start..start + len]);
                self.end += len;
            }
        }
        self.retained = retained;
        Some(())
    }

    fn pop_front(&mut self) {
        if let Some(frame) = self.in_flight.pop_front() {
            self.retained.drain(..frame.retained);
        }
    }

    /// The next number of a frame that is answered: not 0, and not one that is in use.
    fn next_frame(&mut self) -> Option<u16> {
        for _ in 0..=REQUESTS_MAX + 2 {
            self.frame = self.frame.wrapping_add(1);
            let taken = self
                .in_flight
                .front()
                .is_some_and(|oldest| oldest.frame == self.frame);
            if taken {
                self.frame = self.frame.wrapping_sub(1);
                return None;
            }
            if self.frame != 0 && !self.requests.contains(&self.frame) {
                return Some(self.frame);
            }
        }
        None
    }

    /// Makes room for `len` bytes behind `end`, as long as no more than `limit` wait. `None` when there is none.
    #[inline]
    fn reserve(&mut self, len: usize, limit: usize) -> Option<()> {
        if self.end + len > self.buffer.len() {
            self.grow(len, limit)
        } else {
            Some(())
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, len: usize, limit: usize) -> Option<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end + len;
        // A record that is larger than the limit passes alone.
        if needed > limit && self.end > 0 {
            return None;
        }
        if needed > self.buffer.len() {
            let bytes = needed.next_power_of_two().max(BUFFER_BYTES_MIN);
            self.buffer.resize(bytes.min(limit).max(needed), 0);
        }
        Some(())
    }

    fn position(&self) -> u64 {
        self.base + self.end as u64
    }

    fn offset(&self, position: u64) -> usize {
        (position - self.base) as usize
    }
}

/// The records of a frame's body with these sequences.
fn unanswered(body: &[u8], first: u64, last: u64) -> &[u8] {
    let Ok(run) = Run::check(body, u32::MAX) else {
        return body;
    };
    let (mut at, mut start, mut end) = (0, body.len(), 0);
    for raw in run.records() {
        if (first..=last).contains(&raw.sequence()) {
            start = start.min(at);
            end = at + raw.len();
        }
        at += raw.len();
    }
    body.get(start..end).unwrap_or_default()
}

const FRAME_HEADER: usize = trunkline_wire::layout::FRAME_HEADER_BYTES;
/// A Publish frame takes records until its body would be longer than this.
const BATCH_BYTES: usize = 64 << 10;
/// What a frame's limit must leave beside one record's payload.
const RESERVED_FRAME_BYTES: u32 = 64;
/// Publish frames that may be unanswered: far fewer than there are numbers.
const FRAMES_IN_FLIGHT_MAX: usize = 8192;
/// Other frames that may be unanswered.
const REQUESTS_MAX: usize = 4096;
/// What most control frames fit in.
const CONTROL_BYTES: usize = 256;
/// How far control frames may go beyond the limit of the buffer.
const CONTROL_EXTRA_BYTES: usize = 4 << 20;
/// What a buffer starts with.
const BUFFER_BYTES_MIN: usize = 16 << 10;
