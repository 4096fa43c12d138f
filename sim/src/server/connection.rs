//! One connection's incoming half, as the server's: what the session says goes to the shard, and waits where a stream is
//! full.

use trunkline_broker::{Now, PublishFrame, SessionId, Shard};
use trunkline_wire::{
    Ack, AckLevel, ErrorBody, ErrorCode, Event, FrameFlags, FrameHeader, Limits, Opcode, Oversized,
    Run, Server, ServerHello, Session,
};

use super::outbox::Outboxes;

/// A client's connection at the server.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: SessionId,
    wire: Session<Server>,
    limits: Limits,
    /// What the stream had no room for, and what came behind it.
    held: Option<(Held, Vec<u8>)>,
    /// Nothing more is heard.
    pub(super) over: bool,
    pub(super) opened_ns: u64,
    pub(super) heard_ns: u64,
    pub(super) pinged: bool,
    /// When what is queued was last taken, or there was nothing.
    pub(super) progress_ns: u64,
}

#[derive(Debug)]
enum Held {
    Run {
        frame: FrameHeader,
        last: bool,
        bytes: Vec<u8>,
    },
    Oversized(Oversized),
}

/// What a step of a connection may touch.
pub(super) struct Desk<'a> {
    pub(super) shard: &'a mut Shard,
    pub(super) out: &'a mut Outboxes,
    pub(super) now: Now,
    pub(super) epoch: u32,
}

impl Connection {
    pub(super) fn new(id: SessionId, limits: Limits, now: Now) -> Self {
        Self {
            id,
            wire: Session::new(limits),
            limits,
            held: None,
            over: false,
            opened_ns: now.mono_ns,
            heard_ns: now.mono_ns,
            pinged: false,
            progress_ns: now.mono_ns,
        }
    }

    pub(super) fn greeted(&self) -> bool {
        self.wire.greeted()
    }

    /// While something is held, nothing more is received.
    pub(super) fn is_stalled(&self) -> bool {
        self.held.is_some()
    }

    /// Bytes that it keeps.
    pub(super) fn bytes_kept(&self) -> usize {
        let held = match &self.held {
            Some((Held::Run { bytes, .. }, input)) => bytes.len() + input.len(),
            Some((Held::Oversized(_), input)) => input.len(),
            None => 0,
        };
        held + self.wire.carry_bytes()
    }

    pub(super) fn is_within_frame(&self) -> bool {
        self.wire.is_within_frame()
    }

    pub(super) fn feed(&mut self, mut input: &[u8], desk: &mut Desk<'_>) {
        while !self.over && self.held.is_none() {
            let (consumed, event) = match self.wire.next(input) {
                Ok(next) => next,
                Err(violation) => {
                    let message = violation.fault.to_string();
                    let error = ErrorBody {
                        offset: violation.offset,
                        ..ErrorBody::new(violation.code, &message)
                    };
                    desk.out.end(self.id, &error, violation.frame_sequence);
                    self.over = true;
                    return;
                }
            };
            input = &input[consumed..];
            let Some(event) = event else { return };
            match on_event(self.id, event, self.limits, desk) {
                Next::Go => {}
                Next::End => self.over = true,
                Next::Hold(held) => self.held = Some((held, input.to_vec())),
            }
        }
    }

    /// Goes on where the stream was full. Whether anything was taken.
    pub(super) fn resume(&mut self, desk: &mut Desk<'_>) -> bool {
        let Some((held, input)) = self.held.take() else {
            return false;
        };
        let (next, before) = match &held {
            Held::Run { frame, last, bytes } => {
                let run = Run::check(bytes, u32::MAX).expect("the session checked its framing");
                (publish(self.id, *frame, *last, run, desk), bytes.len())
            }
            Held::Oversized(oversized) => (publish_oversized(self.id, oversized, desk), usize::MAX),
        };
        match next {
            Next::Hold(held) => {
                let progress = matches!(&held, Held::Run { bytes, .. } if bytes.len() < before);
                self.held = Some((held, input));
                progress
            }
            Next::End => {
                self.over = true;
                true
            }
            Next::Go => {
                self.feed(&input, desk);
                true
            }
        }
    }
}

enum Next {
    Go,
    End,
    Hold(Held),
}

fn on_event(id: SessionId, event: Event<'_>, limits: Limits, desk: &mut Desk<'_>) -> Next {
    match event {
        Event::Records {
            frame, last, run, ..
        } => return publish(id, frame, last, run, desk),
        Event::Oversized(oversized) => return publish_oversized(id, &oversized, desk),
        Event::Credit(frame, credit) => {
            if let Err(refusal) = desk.shard.credit(id, frame.sequence, credit.bytes) {
                desk.out.control(id, &refusal.body(), frame.sequence);
            }
        }
        Event::Confirm(frame, confirm) => {
            let (first, last) = (confirm.first, confirm.last);
            let confirmed = desk
                .shard
                .confirm(id, frame.sequence, first, last, desk.now);
            if let Err(refusal) = confirmed {
                desk.out.control(id, &refusal.body(), frame.sequence);
            }
        }
        Event::Subscribe(frame, subscribe) => {
            let opened = desk.shard.subscribe(id, &subscribe, desk.now, desk.out);
            answer(id, frame, opened, desk.out);
        }
        Event::Unsubscribe(frame, unsubscribe) => {
            let ended = desk
                .shard
                .unsubscribe(id, unsubscribe.subscription, desk.now, desk.out);
            answer(id, frame, ended.map(|()| 0), desk.out);
        }
        Event::RpcCall(frame, call) => {
            desk.shard
                .call(id, frame.sequence, &call, desk.now, desk.out);
        }
        Event::RpcResponse(frame, payload) => {
            desk.shard.respond(id, frame.sequence, payload, desk.out);
        }
        Event::Ping(frame, body) => {
            let pong = FrameHeader {
                opcode: Opcode::Pong,
                flags: FrameFlags::empty(),
                sequence: frame.sequence,
                length: body.len() as u32,
            };
            desk.out.push(id, [&pong.encode(), body]);
        }
        Event::Hello(..) => {
            let hello = ServerHello {
                version: trunkline_wire::PROTOCOL_VERSION,
                max_frame_bytes: limits.max_frame_bytes,
                max_record_bytes: limits.max_record_bytes,
                max_subscriptions: 16,
                epoch: u64::from(desk.epoch),
                session: id.to_u64(),
                wall_ns: desk.now.wall_ns,
                server: "sim",
            };
            desk.out.control(id, &hello, 0);
        }
        Event::Close(..) => return Next::End,
        // Pongs; the rest does not come to a server.
        _ => {}
    }
    Next::Go
}

fn publish(
    id: SessionId,
    frame: FrameHeader,
    last: bool,
    run: Run<'_>,
    desk: &mut Desk<'_>,
) -> Next {
    match desk
        .shard
        .publish(id, PublishFrame::new(frame, last), run, desk.now)
    {
        Ok(published) if !published.full => Next::Go,
        Ok(published) => Next::Hold(Held::Run {
            frame,
            last,
            bytes: run.bytes()[published.bytes..].to_vec(),
        }),
        Err(error) => {
            let message = error.to_string();
            desk.out
                .end(id, &ErrorBody::new(error.code(), &message), frame.sequence);
            Next::End
        }
    }
}

fn publish_oversized(id: SessionId, oversized: &Oversized, desk: &mut Desk<'_>) -> Next {
    let frame = PublishFrame::new(oversized.frame, true);
    if desk.shard.publish_oversized(id, frame, oversized).full {
        Next::Hold(Held::Oversized(*oversized))
    } else {
        Next::Go
    }
}

fn answer(
    id: SessionId,
    frame: FrameHeader,
    result: Result<u32, trunkline_broker::Refusal>,
    out: &mut Outboxes,
) {
    match result {
        Ok(count) => {
            let ack = Ack {
                level: AckLevel::Received,
                count,
                stream_sequence: 0,
                producer_sequence: 0,
            };
            out.control(id, &ack, frame.sequence);
        }
        Err(refusal) => out.control(id, &refusal.body(), frame.sequence),
    }
}

/// The reason for which nothing may be said any more.
pub(super) const SILENT: ErrorCode = ErrorCode::TIMED_OUT;
