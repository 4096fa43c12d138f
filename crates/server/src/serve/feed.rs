//! From bytes to commands: what a session says goes to the shard.

use std::fmt;

use tracing::field::display;
use trunkline_broker::{Now, PublishError, PublishFrame, SYSTEM_PREFIX, SessionId};
use trunkline_wire::{self as wire, ErrorBody, Event, FrameFlags, FrameHeader, Opcode};

use super::inlet::{Held, Stall};
use super::message::Message;
use super::node::{Fed, Node};
use super::relay::{Dealt, Routes};
use super::system_calls::Asked;
use super::tag::Peer;

impl Node {
    /// Processes input of a session as far as streams have room.
    pub(super) fn feed(&mut self, peer: Peer, id: SessionId, mut input: &[u8], now: Now) -> Fed {
        // Out of the table while it is read, so that the session's own answers can be queued meanwhile. Nothing here removes a session.
        let Some(mut inlet) = self.inlets[peer.slot as usize].take() else {
            return Fed::Whole;
        };
        let fed = if let Some(stall) = &mut inlet.stall {
            stall.input.extend_from_slice(input);
            Fed::Stalled
        } else {
            loop {
                let begin = inlet.wire.offset();
                let (consumed, event) = match inlet.wire.next(input) {
                    Ok(next) => next,
                    Err(violation) => {
                        self.broke(
                            id,
                            violation.code,
                            &violation.fault,
                            violation.offset,
                            violation.frame_sequence,
                        );
                        break Fed::Whole;
                    }
                };
                input = &input[consumed..];
                inlet.routes.input = begin + consumed as u64;
                let Some(event) = event else { break Fed::Whole };
                match self.on_event(peer, id, &mut inlet.routes, event, now) {
                    Next::Go => {}
                    Next::End => break Fed::Whole,
                    Next::Hold(held) => {
                        inlet.stall = Some(Stall {
                            held,
                            input: input.to_vec(),
                        });
                        break Fed::Stalled;
                    }
                    Next::Fault { error, back } => {
                        let offset = inlet.wire.offset() - back as u64;
                        self.broke(id, error.code(), &error, offset, 0);
                        break Fed::Whole;
                    }
                }
            }
        };
        self.inlets[peer.slot as usize] = Some(inlet);
        fed
    }

    /// Goes on where [`Node::feed`] stalled. Also says whether anything was taken.
    pub(super) fn feed_held(&mut self, peer: Peer, id: SessionId, now: Now) -> (bool, Fed) {
        let Some(inlet) = self.inlets[peer.slot as usize].as_mut() else {
            return (false, Fed::Whole);
        };
        let Some(stall) = inlet.stall.take() else {
            return (false, Fed::Whole);
        };
        let mut routes = std::mem::take(&mut inlet.routes);
        let next = match &stall.held {
            Held::Run { frame, last, bytes } => {
                let run = wire::Run::check(bytes, self.plan.limits.payload_len_max())
                    .expect("checked when it came in");
                self.publish(id, &mut routes, *frame, *last, run, now)
            }
            Held::Oversized(oversized) => self.oversized(id, &mut routes, oversized),
        };
        if let Some(inlet) = self.inlets[peer.slot as usize].as_mut() {
            inlet.routes = routes;
        }
        let size = |held: &Held| match held {
            Held::Run { bytes, .. } => bytes.len(),
            Held::Oversized(_) => usize::MAX,
        };
        match next {
            Next::Hold(held) => {
                let progress = size(&held) < size(&stall.held);
                if let Some(inlet) = self.inlets[peer.slot as usize].as_mut() {
                    inlet.stall = Some(Stall {
                        held,
                        input: stall.input,
                    });
                }
                (progress, Fed::Stalled)
            }
            Next::Fault { error, back } => {
                let behind = back as u64;
                let offset = self.inlets[peer.slot as usize]
                    .as_ref()
                    .map_or(0, |inlet| inlet.wire.offset().saturating_sub(behind));
                self.broke(id, error.code(), &error, offset, 0);
                (true, Fed::Whole)
            }
            Next::Go | Next::End => (true, self.feed(peer, id, &stall.input, now)),
        }
    }

    #[inline]
    fn on_event(
        &mut self,
        peer: Peer,
        id: SessionId,
        routes: &mut Routes,
        event: Event<'_>,
        now: Now,
    ) -> Next {
        match event {
            Event::Records {
                frame, last, run, ..
            } => return self.publish(id, routes, frame, last, run, now),
            Event::Oversized(oversized) => return self.oversized(id, routes, &oversized),
            Event::Credit(frame, credit) if self.elsewhere(frame.sequence).is_some() => {
                let message = Message::Credit {
                    session: id,
                    channel: frame.sequence,
                    bytes: credit.bytes,
                };
                self.forward(frame.sequence, message);
            }
            Event::Confirm(frame, confirm) if self.elsewhere(frame.sequence).is_some() => {
                let wire::Confirm { first, last } = confirm;
                self.forward(
                    frame.sequence,
                    Message::Confirm {
                        session: id,
                        channel: frame.sequence,
                        first,
                        last,
                    },
                );
            }
            Event::RpcResponse(frame, payload) if self.elsewhere(frame.sequence).is_some() => {
                let message = Message::Respond {
                    session: id,
                    correlation: frame.sequence,
                    payload: payload.into(),
                };
                self.forward(frame.sequence, message);
            }
            Event::RpcFailed(frame, failure) if self.elsewhere(frame.sequence).is_some() => {
                let message = Message::RespondFailed {
                    session: id,
                    correlation: frame.sequence,
                    code: failure.code,
                    message: failure.message.into(),
                };
                self.forward(frame.sequence, message);
            }
            Event::Unsubscribe(frame, unsubscribe) if self.plan.workers.len() > 1 => {
                self.unsubscribe_all(peer, id, frame.sequence, unsubscribe.subscription, now);
            }
            Event::Credit(frame, credit) => {
                // Neither of these is answered: its sequence is a channel's, and could be that of a frame that is.
                if let Err(refusal) = self.shard.credit(id, frame.sequence, credit.bytes) {
                    self.post.refuse(id, &refusal.body(), 0);
                }
            }
            Event::Confirm(frame, confirm) => {
                if let Err(refusal) =
                    self.shard
                        .confirm(id, frame.sequence, confirm.first, confirm.last, now)
                {
                    self.post.refuse(id, &refusal.body(), 0);
                }
            }
            Event::Subscribe(frame, subscribe) => {
                self.on_subscribe(peer, id, frame, &subscribe, now)
            }
            Event::Unsubscribe(frame, unsubscribe) => {
                let ended =
                    self.shard
                        .unsubscribe(id, unsubscribe.subscription, now, &mut self.post);
                self.answer_or_refuse(id, frame, ended.map(|()| 0));
            }
            Event::RpcCall(frame, call) if call.subject.starts_with(SYSTEM_PREFIX) => {
                // Answered when the input is no longer borrowed from the reactor: such calls may want files made.
                self.asked.push(Asked {
                    session: id,
                    correlation: frame.sequence,
                    subject: call.subject.into(),
                    payload: call.payload.into(),
                });
            }
            Event::RpcCall(frame, call) => {
                self.shard
                    .call(id, frame.sequence, &call, now, &mut self.post)
            }
            Event::RpcResponse(frame, payload) => {
                self.shard
                    .respond(id, frame.sequence, payload, &mut self.post)
            }
            Event::RpcFailed(frame, failure) => {
                self.shard
                    .respond_failed(id, frame.sequence, &failure, &mut self.post)
            }
            Event::Ping(frame, body) => {
                let pong = FrameHeader {
                    opcode: Opcode::Pong,
                    flags: FrameFlags::empty(),
                    sequence: frame.sequence,
                    length: body.len() as u32,
                };
                self.post.small(id, [&pong.encode(), body]);
            }
            Event::Hello(_, hello) => {
                // The session lets no other through.
                if let wire::Hello::Client(hello) = hello {
                    tracing::debug!(session = ?id, name = hello.name, "greeted");
                    self.greet(peer, hello.max_frame_bytes, now);
                }
            }
            Event::Close(_, close) => {
                tracing::debug!(session = ?id, code = close.code.0, reason = close.reason, "peer closes");
                self.leave(peer, now);
                return Next::End;
            }
            Event::Pong(..)
            | Event::Ack(..)
            | Event::Subscribed(..)
            | Event::Gap(..)
            | Event::Error(..) => {}
        }
        Next::Go
    }

    #[inline]
    fn publish(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        frame: FrameHeader,
        last: bool,
        run: wire::Run<'_>,
        now: Now,
    ) -> Next {
        if self.plan.workers.len() > 1 {
            return match self.deal(id, routes, frame, last, run, now) {
                Dealt::Whole => Next::Go,
                Dealt::Waits(taken) => Next::Hold(Held::Run {
                    frame,
                    last,
                    bytes: run.bytes()[taken..].to_vec(),
                }),
                Dealt::Broken(error) => Next::Fault {
                    error,
                    back: run.len() - error.offset,
                },
            };
        }
        match self
            .shard
            .publish(id, PublishFrame::new(frame, last), run, now)
        {
            Ok(published) if !published.full => Next::Go,
            Ok(published) => Next::Hold(Held::Run {
                frame,
                last,
                bytes: run.bytes()[published.bytes..].to_vec(),
            }),
            Err(error) => Next::Fault {
                error,
                back: run.len() - error.offset,
            },
        }
    }

    fn oversized(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        oversized: &wire::Oversized,
    ) -> Next {
        let taken = if self.plan.workers.len() > 1 {
            self.deal_oversized(id, routes, oversized)
        } else {
            let frame = PublishFrame::new(oversized.frame, true);
            !self.shard.publish_oversized(id, frame, oversized).full
        };
        if taken {
            Next::Go
        } else {
            Next::Hold(Held::Oversized(*oversized))
        }
    }

    pub(super) fn answer_or_refuse(
        &mut self,
        id: SessionId,
        frame: FrameHeader,
        result: Result<u32, trunkline_broker::Refusal>,
    ) {
        match result {
            Ok(count) => self.answer_count(id, frame.sequence, count),
            Err(refusal) => self.post.refuse(id, &refusal.body(), frame.sequence),
        }
    }

    /// Says how many channels a request opened.
    pub(super) fn answer_count(&mut self, id: SessionId, request: u16, count: u32) {
        let ack = wire::Ack {
            level: wire::AckLevel::Received,
            count,
            stream_sequence: 0,
            producer_sequence: 0,
        };
        self.post.control(id, &ack, request);
    }

    /// The worker, if it is another one, that numbered this channel or call: shards number theirs modulo the number of workers.
    pub(super) fn elsewhere(&self, number: u16) -> Option<u8> {
        let owner = (usize::from(number) % self.plan.workers.len()) as u8;
        (owner != self.index).then_some(owner)
    }

    pub(super) fn forward(&mut self, number: u16, message: Message) {
        if let Some(owner) = self.elsewhere(number) {
            self.post.send(owner, message);
        }
    }

    pub(super) fn broke(
        &mut self,
        id: SessionId,
        code: wire::ErrorCode,
        fault: &dyn fmt::Display,
        offset: u64,
        frame_sequence: u16,
    ) {
        let message = fault.to_string();
        let session = self.post.sessions.peer(Peer::of(id));
        let peer = session.and_then(|session| session.address).map(display);
        tracing::info!(session = ?id, peer, code = code.0, offset, message, "connection broke the protocol");
        self.post.end(
            id,
            &ErrorBody {
                offset,
                ..ErrorBody::new(code, &message)
            },
            frame_sequence,
        );
    }
}

/// How processing goes on after an event.
enum Next {
    Go,
    /// Nothing more is heard.
    End,
    Hold(Held),
    /// The peer broke the protocol so many bytes before what is consumed.
    Fault {
        error: PublishError,
        back: usize,
    },
}
