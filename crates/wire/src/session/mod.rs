//! A connection as a state machine, for both roles: bytes in, events out. No I/O, no clock.
//!
//! Feed what was received to [`Session::next`] until it has consumed everything and has no event left. Bodies of
//! records are handed out as they arrive, in runs of whole records, so a frame is never buffered; only what is split
//! over two inputs (a record, a control frame) goes through the session's carry buffer, which grows with the bytes
//! that arrived, never with a length that was claimed.
//!
//! ```text
//!            Hello        Publish / Deliver header        last whole record
//!   Hello ─────────► Frame ──────────────────────► Run ─────────────────────► Frame
//!                     │  ▲ control frame            │ record over the limit     ▲
//!                     └──┘                          └─────────► Skip ───────────┘
//! ```
//!
//! ```
//! use trunkline_wire::{ClientHello, Event, FrameEncoder, FrameFlags, Limits, Server, Session};
//!
//! let mut out = [0; 64];
//! let mut encoder = FrameEncoder::new(&mut out);
//! encoder.control(&ClientHello { version: 1, max_frame_bytes: 4096, name: "me" }, FrameFlags::empty(), 0)?;
//! let mut session = Session::<Server>::new(Limits::default());
//! let (consumed, event) = session.next(encoder.bytes())?;
//! assert_eq!(consumed, encoder.len());
//! assert!(matches!(event, Some(Event::Hello(..))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::marker::PhantomData;
use core::ops::Range;

use zerocopy::FromBytes;

mod event;
mod role;
mod skip;
mod walk;

pub use self::event::{Event, Oversized};
pub use self::role::{Client, Role, Server};
use self::skip::Skip;
use self::walk::{check_fit, walk};
use crate::frame::{
    FRAME_BYTES_MAX_BEFORE_HELLO, FRAME_HEADER_BYTES, FrameError, FrameFlags, FrameHeader, Opcode,
};
use crate::layout::{PREFIX_BYTES, RecordPrefix};
pub use crate::limits::Limits;
use crate::record::{RawRecord, RecordError, Run, check_prefix, record_bytes};
use crate::violation::{Fault, Violation};

/// One side of a connection.
///
/// Getters: [`limits`](Self::limits), [`offset`](Self::offset), [`greeted`](Self::greeted),
/// [`carry_bytes`](Self::carry_bytes). World to us: [`next`](Self::next). Commands:
/// [`set_limits`](Self::set_limits), [`release`](Self::release).
#[derive(Debug)]
pub struct Session<R: Role> {
    limits: Limits,
    /// Whether the other side's Hello is through.
    greeted: bool,
    state: State,
    /// Bytes of the connection's input that were consumed.
    offset: u64,
    /// The start of what is split over inputs: a control frame, a record, or a prefix to be skipped.
    carry: Vec<u8>,
    /// Whether the last event borrowed `carry`, which is then free again.
    handed_out: bool,
    failed: Option<Violation>,
    role: PhantomData<R>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before or within a frame that is not a run of records.
    Frame,
    /// Within the body of one that is.
    Run(Body),
    /// Within such a body, behind a record over the limit.
    Skip(Body, Skip),
}

#[derive(Clone, Copy, Debug)]
struct Body {
    frame: FrameHeader,
    /// Bytes of the body that were not handed out or skipped; what is in `carry` counts as left.
    left: u32,
    first: bool,
}

/// What a step found; where its bytes are, not the bytes, so that the state may still change.
enum Found {
    Nothing,
    Run {
        body: Body,
        last: bool,
        place: Place,
        records: u32,
    },
    Control {
        header: FrameHeader,
        start: u64,
        place: Place,
    },
    Oversized(Oversized),
}

enum Place {
    Input(Range<usize>),
    Carry,
}

impl<R: Role> Session<R> {
    /// A connection on which nothing was received. Allocates nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            greeted: false,
            state: State::Frame,
            offset: 0,
            carry: Vec::new(),
            handed_out: false,
            failed: None,
            role: PhantomData,
        }
    }

    /// What it takes at most.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes of the connection's input that were consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the other side's Hello has come.
    pub fn greeted(&self) -> bool {
        self.greeted
    }

    /// Whether it is within a frame, so that an end of the input here would be a truncation.
    pub fn is_within_frame(&self) -> bool {
        !matches!(self.state, State::Frame) || (!self.carry.is_empty() && !self.handed_out)
    }

    /// Bytes that the carry buffer occupies.
    pub fn carry_bytes(&self) -> usize {
        self.carry.capacity()
    }

    /// Takes `input` in up to the first event. Returns how many bytes were consumed, and the event if one is
    /// complete. To be called again with the rest until everything is consumed and no event comes.
    ///
    /// # Errors
    /// The first violation of the protocol, and then always that one. The connection is over.
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<Event<'a>>), Violation> {
        if let Some(violation) = self.failed {
            return Err(violation);
        }
        if self.handed_out {
            self.carry.clear();
            self.handed_out = false;
        }
        let (consumed, found) = match self.step(input) {
            Ok(found) => found,
            Err(located) => return Err(self.fail(located)),
        };
        self.offset += consumed as u64;
        let event = match found {
            Found::Nothing => return Ok((consumed, None)),
            Found::Run {
                body,
                last,
                place,
                records,
            } => Event::Records {
                frame: body.frame,
                first: body.first,
                last,
                run: match place {
                    Place::Input(range) => Run::walked(&input[range], records),
                    Place::Carry => {
                        self.handed_out = true;
                        Run::walked(&self.carry, records)
                    }
                },
            },
            Found::Oversized(oversized) => Event::Oversized(oversized),
            Found::Control {
                header,
                start,
                place,
            } => {
                let body = match place {
                    Place::Input(range) => &input[range],
                    Place::Carry => {
                        self.handed_out = true;
                        &self.carry[FRAME_HEADER_BYTES..]
                    }
                };
                match event::control::<R>(header, body) {
                    Ok(event) => event,
                    Err(fault) => {
                        let within = match fault {
                            Fault::Malformed(malformed) => {
                                FRAME_HEADER_BYTES as u64 + u64::from(malformed.offset)
                            }
                            _ => 0,
                        };
                        let violation = Violation::new(fault, start + within, header.sequence);
                        self.failed = Some(violation);
                        return Err(violation);
                    }
                }
            }
        };
        Ok((consumed, Some(event)))
    }

    /// Other limits from here on: a client learns the server's from its Hello.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Gives the carry buffer's memory back if nothing is in it: for connections that are idle.
    pub fn release(&mut self) {
        if self.handed_out || self.carry.is_empty() {
            self.carry = Vec::new();
            self.handed_out = false;
        }
    }

    #[inline]
    fn step(&mut self, input: &[u8]) -> Result<(usize, Found), Located> {
        match self.state {
            State::Frame => self.frame(input),
            State::Run(body) => self.run(body, input, self.offset),
            State::Skip(body, skip) => self.skip(body, skip, input, self.offset),
        }
    }

    /// At a frame's header, or within a control frame.
    #[inline]
    fn frame(&mut self, input: &[u8]) -> Result<(usize, Found), Located> {
        let start = self.offset - self.carry.len() as u64;
        if self.carry.is_empty()
            && let Some(bytes) = input.first_chunk::<FRAME_HEADER_BYTES>()
        {
            let header = self.check_header(bytes, start)?;
            if header.opcode == R::RUNS {
                return self.begin_run(header, FRAME_HEADER_BYTES, input);
            }
            let end = FRAME_HEADER_BYTES + header.length as usize;
            if end <= input.len() {
                self.greeted |= header.opcode == Opcode::Hello;
                return Ok((
                    end,
                    Found::Control {
                        header,
                        start,
                        place: Place::Input(FRAME_HEADER_BYTES..end),
                    },
                ));
            }
        }
        self.split_frame(start, input)
    }

    /// A frame that is split over two inputs.
    #[cold]
    #[inline(never)]
    fn split_frame(&mut self, start: u64, input: &[u8]) -> Result<(usize, Found), Located> {
        let used = self.fill(input, FRAME_HEADER_BYTES);
        let Some(bytes) = self.carry.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok((used, Found::Nothing));
        };
        let header = self.check_header(bytes, start)?;
        if header.opcode == R::RUNS {
            self.carry.clear();
            return self.begin_run(header, used, input);
        }
        let end = FRAME_HEADER_BYTES + header.length as usize;
        let used = used + self.fill(&input[used..], end);
        if self.carry.len() < end {
            return Ok((used, Found::Nothing));
        }
        self.greeted |= header.opcode == Opcode::Hello;
        Ok((
            used,
            Found::Control {
                header,
                start,
                place: Place::Carry,
            },
        ))
    }

    #[inline]
    fn begin_run(
        &mut self,
        frame: FrameHeader,
        used: usize,
        input: &[u8],
    ) -> Result<(usize, Found), Located> {
        let body = Body {
            frame,
            left: frame.length,
            first: true,
        };
        self.state = State::Run(body);
        if body.left == 0 {
            self.state = State::Frame;
            return Ok((
                used,
                Found::Run {
                    body,
                    last: true,
                    place: Place::Input(used..used),
                    records: 0,
                },
            ));
        }
        let (more, found) = self.run(body, &input[used..], self.offset + used as u64)?;
        let found = match found {
            Found::Run {
                body,
                last,
                place: Place::Input(range),
                records,
            } => {
                let place = Place::Input(range.start + used..range.end + used);
                Found::Run {
                    body,
                    last,
                    place,
                    records,
                }
            }
            found => found,
        };
        Ok((used + more, found))
    }

    /// Within the body of a frame with records; `at` is where `input` starts on the connection.
    #[inline]
    fn run(&mut self, body: Body, input: &[u8], at: u64) -> Result<(usize, Found), Located> {
        if !self.carry.is_empty() {
            return self.split_record(body, input, at);
        }
        let available = &input[..input.len().min(body.left as usize)];
        let (bytes, records, stop) = walk::<R>(available, body.left, self.limits.max_record_bytes);
        if bytes > 0 {
            let last = self.advance(body, bytes);
            return Ok((
                bytes,
                Found::Run {
                    body,
                    last,
                    place: Place::Input(0..bytes),
                    records,
                },
            ));
        }
        match stop {
            None if available.is_empty() => Ok((0, Found::Nothing)),
            None => {
                check_fit(body, available, at)?;
                let used = self.fill(available, available.len());
                Ok((used, Found::Nothing))
            }
            Some(RecordError::TooLong { .. }) if R::SKIPS_OVERSIZED => {
                self.begin_skip(body, available, at)?;
                let State::Skip(body, skip) = self.state else {
                    unreachable!("just set")
                };
                let (more, found) =
                    self.skip(body, skip, &input[PREFIX_BYTES..], at + PREFIX_BYTES as u64)?;
                Ok((PREFIX_BYTES + more, found))
            }
            Some(error) => Err(Located {
                fault: Fault::Record(error),
                offset: at,
                sequence: body.frame.sequence,
            }),
        }
    }

    /// A record that is split over two inputs.
    #[inline(never)]
    fn split_record(
        &mut self,
        body: Body,
        input: &[u8],
        at: u64,
    ) -> Result<(usize, Found), Located> {
        let start = at - self.carry.len() as u64;
        let located = |error| Located {
            fault: Fault::Record(error),
            offset: start,
            sequence: body.frame.sequence,
        };
        let mut used = self.fill(input, PREFIX_BYTES);
        let Ok((prefix, _)) = RecordPrefix::ref_from_prefix(&self.carry) else {
            RawRecord::peek(&self.carry, u32::MAX).map_err(located)?;
            check_fit(body, &self.carry, start)?;
            return Ok((used, Found::Nothing));
        };
        let payload_len = check_prefix(prefix).map_err(located)?;
        if payload_len > self.limits.max_record_bytes && R::SKIPS_OVERSIZED {
            let carry = core::mem::take(&mut self.carry);
            let begun = self.begin_skip(body, &carry, start);
            self.carry = carry;
            self.carry.clear();
            begun?;
            let State::Skip(body, skip) = self.state else {
                unreachable!("just set")
            };
            let (more, found) = self.skip(body, skip, &input[used..], at + used as u64)?;
            return Ok((used + more, found));
        }
        if payload_len > self.limits.max_record_bytes {
            let payload_max = self.limits.max_record_bytes;
            return Err(located(RecordError::TooLong {
                payload_len,
                payload_max,
            }));
        }
        check_fit(body, &self.carry, start)?;
        let end = record_bytes(payload_len);
        used += self.fill(&input[used..], end);
        match RawRecord::peek(&self.carry, self.limits.max_record_bytes).map_err(located)? {
            Some(record) if R::takes(record.kind()) => {
                let last = self.advance(body, end);
                Ok((
                    used,
                    Found::Run {
                        body,
                        last,
                        place: Place::Carry,
                        records: 1,
                    },
                ))
            }
            Some(record) => Err(located(RecordError::Kind {
                kind: record.kind() as u8,
            })),
            None => Ok((used, Found::Nothing)),
        }
    }

    /// Hands out `bytes` of a body; says whether that was the end of it.
    #[inline]
    fn advance(&mut self, body: Body, bytes: usize) -> bool {
        let left = body.left - bytes as u32;
        self.state = if left == 0 {
            State::Frame
        } else {
            State::Run(Body {
                left,
                first: false,
                ..body
            })
        };
        left == 0
    }

    /// Moves bytes from `input` to the carry buffer until that has `target`; returns how many.
    fn fill(&mut self, input: &[u8], target: usize) -> usize {
        let used = target.saturating_sub(self.carry.len()).min(input.len());
        let needed = self.carry.len() + used;
        if needed > self.carry.capacity() {
            // Doubles, but never beyond the target, and never for bytes that did not come.
            let capacity = needed.max(target.min(2 * self.carry.capacity()));
            self.carry.reserve_exact(capacity - self.carry.len());
        }
        self.carry.extend_from_slice(&input[..used]);
        used
    }

    #[inline]
    fn check_header(
        &self,
        bytes: &[u8; FRAME_HEADER_BYTES],
        at: u64,
    ) -> Result<FrameHeader, Located> {
        let located = |fault| Located {
            fault,
            offset: at,
            sequence: u16::from_le_bytes([bytes[2], bytes[3]]),
        };
        let header = FrameHeader::decode(bytes).map_err(|error| located(Fault::Frame(error)))?;
        if !self.greeted && !R::hears_before_hello(header.opcode) {
            return Err(located(Fault::HelloMissing {
                opcode: header.opcode as u8,
            }));
        }
        if self.greeted && header.opcode == Opcode::Hello {
            return Err(located(Fault::HelloRepeated));
        }
        if !R::hears(header.opcode) {
            return Err(located(Fault::Direction {
                opcode: header.opcode as u8,
            }));
        }
        let mut unsupported = FrameFlags::COMPRESSED | FrameFlags::ENCRYPTED;
        if header.opcode != Opcode::Publish {
            unsupported |= FrameFlags::ACK_LEVEL;
        }
        if header.opcode != Opcode::RpcResponse {
            unsupported |= FrameFlags::FAILED;
        }
        if header.flags.intersects(unsupported) {
            return Err(located(Fault::Frame(FrameError::Flags {
                flags: header.flags.bits(),
            })));
        }
        let mut length_max = self.limits.body_max(header.opcode);
        if !self.greeted {
            length_max = length_max.min(FRAME_BYTES_MAX_BEFORE_HELLO);
        }
        if header.length > length_max {
            return Err(located(Fault::FrameTooLong {
                length: header.length,
                length_max,
            }));
        }
        Ok(header)
    }

    #[cold]
    #[inline(never)]
    fn fail(&mut self, located: Located) -> Violation {
        let violation = Violation::new(located.fault, located.offset, located.sequence);
        self.failed = Some(violation);
        violation
    }
}

/// A fault, and where.
struct Located {
    fault: Fault,
    offset: u64,
    sequence: u16,
}
