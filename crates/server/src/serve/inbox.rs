//! What comes over the mesh from other workers, and what is done with it.

use trunkline_broker::Now;
use trunkline_reactor::{AnyReactor, Reactor};
use trunkline_wire::{ErrorBody, ErrorCode, Failure, Subscribe};

use super::message::Message;
use super::node::Node;
use super::relay::Part;

impl Node {
    /// What came over the mesh.
    pub(super) fn on_message(
        &mut self,
        from: usize,
        message: Message,
        now: Now,
        reactor: &mut AnyReactor,
    ) {
        let from = from as u8;
        match message {
            Message::Tail { log, pinned, bytes } => {
                let region = reactor.register_region(pinned);
                self.post.regions.set(log.0, Some((region, bytes - 1)));
            }
            Message::TailRetired(log) => self.retire_tail(log, now),
            Message::Open(session) => {
                if let Err(refusal) = self.shard.open_session(session) {
                    self.post.end(session, &refusal.body(), 0);
                }
            }
            Message::Close(session) => {
                self.relay.forget(session);
                self.shard.close_session(session, now, &mut self.post);
            }
            Message::Publish {
                session,
                frame,
                offset,
                bytes,
            } => {
                let part = Part {
                    frame,
                    offset,
                    bytes,
                };
                self.on_publish(session, part, now);
            }
            Message::Define { session, bytes } => self.on_define(session, &bytes),
            Message::Subscribe {
                session,
                request,
                body,
            } => {
                let result = match Subscribe::decode(&body) {
                    Ok(subscribe) => self
                        .shard
                        .subscribe(session, &subscribe, now, &mut self.post)
                        .map_err(|refusal| (refusal.code, refusal.message.into())),
                    Err(malformed) => Err((ErrorCode::MALFORMED, malformed.to_string().into())),
                };
                self.post.send(
                    from,
                    Message::Answered {
                        session,
                        request,
                        result,
                    },
                );
            }
            Message::Unsubscribe {
                session,
                request,
                subscription,
            } => {
                let result = self
                    .shard
                    .unsubscribe(session, subscription, now, &mut self.post)
                    .map(|()| 0)
                    .map_err(|refusal| (refusal.code, refusal.message.into()));
                self.post.send(
                    from,
                    Message::Answered {
                        session,
                        request,
                        result,
                    },
                );
            }
            Message::Withdraw {
                session,
                subscription,
            } => self.withdraw(session, subscription, now),
            Message::Credit {
                session,
                channel,
                bytes,
            } => {
                if let Err(refusal) = self.shard.credit(session, channel, bytes) {
                    self.post.refuse(session, &refusal.body(), 0);
                }
            }
            Message::Confirm {
                session,
                channel,
                first,
                last,
            } => {
                if let Err(refusal) = self.shard.confirm(session, channel, first, last, now) {
                    self.post.refuse(session, &refusal.body(), 0);
                }
            }
            Message::Respond {
                session,
                correlation,
                payload,
            } => self
                .shard
                .respond(session, correlation, &payload, &mut self.post),
            Message::RespondFailed {
                session,
                correlation,
                code,
                message,
            } => {
                let failure = Failure {
                    code,
                    message: &message,
                };
                self.shard
                    .respond_failed(session, correlation, &failure, &mut self.post);
            }
            Message::Sent(hold) => self.shard.on_sent(hold),
            Message::Dropped(hold) => self.shard.on_dropped(hold),
            Message::Copied(hold) => self.shard.on_copied(hold),
            Message::TakeBack {
                session,
                hold,
                bytes,
            } => self.take_back(session, (from, hold), bytes, reactor),
            Message::System {
                session,
                correlation,
                subject,
                payload,
            } => self.system_call(session, correlation, &subject, &payload, now, reactor),
            Message::Added {
                opened,
                configured,
                asked,
            } => self.finish_add(*opened, configured, asked, now, reactor),
            Message::Gather {
                session,
                correlation,
                asks,
            } => {
                let part = self.part(asks);
                let message = Message::Part {
                    session,
                    correlation,
                    part,
                };
                self.post.send(from, message);
            }
            Message::Part {
                session,
                correlation,
                part,
            } => self.on_part(session, correlation, part, now),

            Message::Taken { session, bytes } => {
                self.relay.keep(bytes);
                if let Some(ledger) = self
                    .post
                    .sessions
                    .get(session)
                    .and_then(|session| session.ledger.as_mut())
                {
                    ledger.runs_out -= 1;
                }
            }
            Message::Deliver {
                session,
                channel,
                span,
                hold,
            } => {
                if let trunkline_broker::Source::Tail(log) = span.source {
                    self.post.deliver_span(
                        session,
                        channel,
                        log,
                        span.position,
                        span.len,
                        (from, hold),
                    );
                }
            }
            Message::DeliverCopied {
                session,
                channel,
                bytes,
                hold,
            } => {
                self.post
                    .deliver_bytes(session, channel, &bytes, (from, hold));
            }
            Message::Frame { session, bytes } => self.post.small(session, [&bytes, &[]]),
            Message::Passed {
                session,
                header,
                body,
            } => self.post.pass(session, header, &body),
            Message::Rejected {
                session,
                correlation,
            } => self.shard.reject_call(session, correlation, &mut self.post),
            Message::Acked {
                session,
                frame,
                ack,
                in_part,
            } => self.post.part_acked(session, from, frame, ack, in_part),
            Message::Refused {
                session,
                frame,
                refused,
            } => self
                .post
                .part_refused(session, from, frame, &refused.body()),
            Message::Broke {
                session,
                error,
                offset,
            } => self.broke(session, error.code(), &error, offset, 0),
            Message::End {
                session,
                code,
                message,
                offset,
            } => {
                self.post.end(
                    session,
                    &ErrorBody {
                        offset,
                        ..ErrorBody::new(code, &message)
                    },
                    0,
                );
            }
            Message::Answered {
                session,
                request,
                result,
            } => self.part_answered(session, from, request, result, now),
            Message::Drain
            | Message::Drained
            | Message::GiveUp
            | Message::Left(_)
            | Message::Listening
            | Message::Ready => {}
        }
    }
}
