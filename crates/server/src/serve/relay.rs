//! Publishing and commands between workers: dealing a session's runs out to the owners of its streams, and taking those of other workers'
//! sessions in.
//!
//! ```text
//!  home:  run ─► stretches of one owner ─┬─► own shard
//!                                        └─► Publish ─► mesh ─► owner: shard, or kept until there is room ─► Taken ─► home
//! ```
//! A session has at most [`RUNS_OUT_MAX`] runs on their way; beyond that its input waits, like that of a full stream. Buffers of
//! runs go round, so that nothing is allocated once enough of them exist.

use std::collections::{HashMap, VecDeque};

use trunkline_broker::{Now, PublishError, PublishFrame, SessionId};
use trunkline_reactor::{AnyReactor, Reactor};
use trunkline_wire::record::{Kind, RawRecord, Stamp, body_record_bytes, encode};
use trunkline_wire::{AckLevel, Body, ErrorBody, ErrorCode, Failure, FrameHeader, Run, Subscribe};

use super::message::Message;
use super::node::Node;
use super::tag::Peer;

/// Where a session's records go, by the session's subject id.
#[derive(Default)]
pub(super) struct Routes {
    subjects: Vec<Option<Route>>,
    /// Of the registry when they were looked up.
    version: u64,
    /// Workers that have part of the frame that is coming in, by bit.
    owners: u64,
    /// Whether it has data records.
    data: bool,
}

struct Route {
    owner: u8,
    name: Box<str>,
}

impl Routes {
    /// Workers that have a subject of the session, by bit.
    fn all_owners(&self) -> u64 {
        let known = self.subjects.iter().flatten();
        known.fold(0, |owners, route| owners | 1 << route.owner)
    }
}

/// A worker's buffers, and runs of other workers' sessions that wait for room.
#[derive(Default)]
pub(super) struct Relay {
    free: Vec<Vec<u8>>,
    waiting: HashMap<SessionId, VecDeque<(PublishFrame, Vec<u8>)>>,
}

/// What became of a run at its home.
pub(super) enum Dealt {
    Whole,
    /// From this byte on, it has to wait.
    Waits(usize),
    Broken(PublishError),
}

impl Node {
    /// Deals a run out to the owners of its records.
    pub(super) fn deal(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        frame: FrameHeader,
        last: bool,
        run: Run<'_>,
        now: Now,
    ) -> Dealt {
        if routes.version != self.registry.version() {
            self.look_up_again(id, routes, now);
        }
        let payload_max = self.plan.limits.payload_len_max();
        let bytes = run.bytes();
        let (mut start, mut at) = (0, 0);
        let mut stretch_owner = self.index;
        while at < bytes.len() {
            let Ok(Some(record)) = RawRecord::peek(&bytes[at..], payload_max) else {
                break;
            };
            let owner = self.route(routes, &record);
            routes.data |= record.kind() == Kind::Data;
            if at > start && owner != stretch_owner {
                match self.hand_over(
                    id,
                    routes,
                    stretch_owner,
                    frame,
                    false,
                    &bytes[start..at],
                    now,
                ) {
                    Dealt::Whole => start = at,
                    Dealt::Waits(taken) => return Dealt::Waits(start + taken),
                    Dealt::Broken(error) => {
                        return Dealt::Broken(PublishError {
                            offset: error.offset + start,
                            ..error
                        });
                    }
                }
            }
            stretch_owner = owner;
            at += record.len();
        }
        // Usually the whole frame has one owner, whose part ends with its records.
        let alone = last && routes.data && routes.owners & !(1 << stretch_owner) == 0;
        if start < bytes.len() {
            match self.hand_over(
                id,
                routes,
                stretch_owner,
                frame,
                alone,
                &bytes[start..],
                now,
            ) {
                Dealt::Whole => {}
                Dealt::Waits(taken) => return Dealt::Waits(start + taken),
                Dealt::Broken(error) => {
                    return Dealt::Broken(PublishError {
                        offset: error.offset + start,
                        ..error
                    });
                }
            }
        }
        if last {
            self.end_frame(id, routes, frame, alone && start < bytes.len(), now);
        }
        Dealt::Whole
    }

    /// The owner of a record; a definition is remembered.
    fn route(&self, routes: &mut Routes, record: &RawRecord<'_>) -> u8 {
        let subject = record.subject_id() as usize;
        if record.kind() == Kind::Definition
            && subject < self.plan.limits.session_subjects as usize
            && let Ok(name) = std::str::from_utf8(record.body())
        {
            // Where no stream captures it, the home refuses it.
            let owner = self.registry.owner(name).unwrap_or(self.index);
            if routes.subjects.len() <= subject {
                routes.subjects.resize_with(subject + 1, || None);
            }
            routes.subjects[subject] = Some(Route {
                owner,
                name: name.into(),
            });
            return owner;
        }
        routes
            .subjects
            .get(subject)
            .and_then(Option::as_ref)
            .map_or(self.index, |route| route.owner)
    }

    /// Streams came or went: subjects whose owner is another now are defined there.
    fn look_up_again(&mut self, id: SessionId, routes: &mut Routes, now: Now) {
        routes.version = self.registry.version();
        for subject in 0..routes.subjects.len() {
            let Some(route) = &mut routes.subjects[subject] else {
                continue;
            };
            let owner = self.registry.owner(&route.name).unwrap_or(self.index);
            if owner == route.owner {
                continue;
            }
            route.owner = owner;
            let stamp = Stamp {
                kind: Kind::Definition,
                subject_id: subject as u32,
                ..Stamp::DATA
            };
            let mut bytes = vec![0; body_record_bytes(route.name.len())];
            if encode(&mut bytes, &stamp, route.name.as_bytes()).is_err() {
                continue;
            }
            let frame = PublishFrame {
                sequence: 0,
                level: AckLevel::Stream,
                expects_ack: false,
                last: true,
            };
            if owner == self.index {
                if let Ok(run) = Run::check(&bytes, self.plan.limits.payload_len_max()) {
                    // A definition needs no room in a stream.
                    let _defined = self.shard.publish(id, frame, run, now);
                }
            } else {
                self.count_out(id, 1);
                self.post.send(
                    owner,
                    Message::Publish {
                        session: id,
                        frame,
                        bytes,
                    },
                );
            }
        }
    }

    /// Gives a stretch to its owner.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call of a private step, spelled out"
    )]
    fn hand_over(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        owner: u8,
        frame: FrameHeader,
        last: bool,
        bytes: &[u8],
        now: Now,
    ) -> Dealt {
        routes.owners |= 1 << owner;
        let part = PublishFrame::new(frame, last);
        if owner == self.index {
            let Ok(run) = Run::check(bytes, self.plan.limits.payload_len_max()) else {
                return Dealt::Whole;
            };
            return match self.shard.publish(id, part, run, now) {
                Ok(published) if published.full => Dealt::Waits(published.bytes),
                Ok(_) => Dealt::Whole,
                Err(error) => Dealt::Broken(error),
            };
        }
        if self.runs_out(id) >= RUNS_OUT_MAX {
            return Dealt::Waits(0);
        }
        let mut buffer = self.relay.free.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.count_out(id, 1);
        self.post.send(
            owner,
            Message::Publish {
                session: id,
                frame: part,
                bytes: buffer,
            },
        );
        Dealt::Whole
    }

    /// Tells every owner that the frame has ended, unless the only one knows.
    fn end_frame(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        frame: FrameHeader,
        told: bool,
        now: Now,
    ) {
        let part = PublishFrame::new(frame, true);
        let without_data = !std::mem::take(&mut routes.data);
        let owners = std::mem::take(&mut routes.owners)
            | match (without_data, part.level) {
                (false, _) => 0,
                // It ends at home,
                (true, AckLevel::Stream) => 1 << self.index,
                // or wherever a subject of the session is: it is a barrier.
                (true, _) => routes.all_owners() | 1 << self.index,
            };
        if part.expects_ack
            && let Some(ledger) = self
                .post
                .sessions
                .get(id)
                .and_then(|session| session.ledger.as_mut())
        {
            ledger.expect(frame.sequence, owners, without_data);
        }
        if told {
            return;
        }
        for owner in (0..self.plan.workers.len() as u8).filter(|owner| owners & 1 << owner != 0) {
            if owner == self.index {
                let _ends_without_records = self.shard.publish(id, part, Run::EMPTY, now);
            } else {
                self.count_out(id, 1);
                let buffer = self.relay.free.pop().map(|mut buffer| {
                    buffer.clear();
                    buffer
                });
                self.post.send(
                    owner,
                    Message::Publish {
                        session: id,
                        frame: part,
                        bytes: buffer.unwrap_or_default(),
                    },
                );
            }
        }
    }

    fn runs_out(&mut self, id: SessionId) -> u32 {
        self.post
            .sessions
            .get(id)
            .and_then(|session| session.ledger.as_ref())
            .map_or(0, |ledger| ledger.runs_out)
    }

    fn count_out(&mut self, id: SessionId, runs: u32) {
        if let Some(ledger) = self
            .post
            .sessions
            .get(id)
            .and_then(|session| session.ledger.as_mut())
        {
            ledger.runs_out += runs;
        }
    }

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
            Message::Open(session) => {
                if let Err(refusal) = self.shard.open_session(session) {
                    self.post.end(session, &refusal.body(), 0);
                }
            }
            Message::Close(session) => {
                self.relay.waiting.remove(&session);
                self.shard.close_session(session, now, &mut self.post);
            }
            Message::Publish {
                session,
                frame,
                bytes,
            } => self.on_publish(session, frame, bytes, now),
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
            Message::Credit {
                session,
                channel,
                bytes,
            } => {
                if let Err(refusal) = self.shard.credit(session, channel, bytes) {
                    self.post.control(session, &refusal.body(), channel);
                }
            }
            Message::Confirm {
                session,
                channel,
                first,
                last,
            } => {
                if let Err(refusal) = self.shard.confirm(session, channel, first, last, now) {
                    self.post.control(session, &refusal.body(), channel);
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
            Message::List {
                session,
                correlation,
            } => {
                let streams = self.stream_list();
                self.post.send(
                    from,
                    Message::Listed {
                        session,
                        correlation,
                        streams,
                    },
                );
            }
            Message::Listed {
                session,
                correlation,
                streams,
            } => self.on_listed(session, correlation, streams),

            Message::Taken { session, bytes } => {
                if self.relay.free.len() < FREE_BUFFERS_MAX {
                    self.relay.free.push(bytes);
                }
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
            } => self
                .post
                .deliver_bytes(session, channel, &bytes, (from, hold)),
            Message::Frame { session, bytes } => self.post.small(session, [&bytes, &[]]),
            Message::Acked {
                session,
                frame,
                ack,
            } => self.post.part_acked(session, from, frame, ack),
            Message::Refused {
                session,
                frame,
                bytes,
            } => self.post.part_refused(session, from, frame, &bytes),
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
            } => self.part_answered(session, request, result),
            Message::Drain | Message::Drained | Message::Ready => {}
        }
    }

    /// Records of another worker's session.
    fn on_publish(&mut self, session: SessionId, frame: PublishFrame, bytes: Vec<u8>, now: Now) {
        if let Some(waiting) = self.relay.waiting.get_mut(&session) {
            waiting.push_back((frame, bytes));
            return;
        }
        if let Some(rest) = self.take(session, frame, bytes, now) {
            self.relay
                .waiting
                .insert(session, VecDeque::from([(frame, rest)]));
        }
    }

    /// Takes a run of another worker's session, and gives its buffer back; or returns what has to wait.
    fn take(
        &mut self,
        session: SessionId,
        frame: PublishFrame,
        mut bytes: Vec<u8>,
        now: Now,
    ) -> Option<Vec<u8>> {
        let run = Run::check(&bytes, self.plan.limits.payload_len_max()).unwrap_or(Run::EMPTY);
        match self.shard.publish(session, frame, run, now) {
            Ok(published) if published.full => {
                bytes.drain(..published.bytes);
                return Some(bytes);
            }
            Ok(_) => {}
            // Where in the session's input it was, only its home could say.
            Err(error) => self.post.end(
                session,
                &ErrorBody::new(error.code(), &error.to_string()),
                frame.sequence,
            ),
        }
        self.post
            .send(session.worker(), Message::Taken { session, bytes });
        None
    }

    /// Goes on with runs of other workers' sessions that waited for room.
    pub(super) fn take_waiting(&mut self, now: Now) -> usize {
        if self.relay.waiting.is_empty() {
            return 0;
        }
        let mut work = 0;
        let sessions: Vec<SessionId> = self.relay.waiting.keys().copied().collect();
        for session in sessions {
            while let Some((frame, bytes)) = self
                .relay
                .waiting
                .get_mut(&session)
                .and_then(VecDeque::pop_front)
            {
                let before = bytes.len();
                if let Some(rest) = self.take(session, frame, bytes, now) {
                    work += usize::from(rest.len() < before);
                    if let Some(waiting) = self.relay.waiting.get_mut(&session) {
                        waiting.push_front((frame, rest));
                    }
                    break;
                }
                work += 1;
            }
            if self
                .relay
                .waiting
                .get(&session)
                .is_some_and(VecDeque::is_empty)
            {
                self.relay.waiting.remove(&session);
            }
        }
        work
    }

    /// Asks all workers for a subscription; the answer comes when all have theirs.
    pub(super) fn subscribe_all(
        &mut self,
        peer: Peer,
        id: SessionId,
        request: u16,
        subscribe: &Subscribe<'_>,
        now: Now,
    ) {
        let workers = self.plan.workers.len();
        let Some(ledger) = self
            .post
            .sessions
            .peer(peer)
            .and_then(|session| session.ledger.as_mut())
        else {
            return;
        };
        ledger.ask(request, workers);
        // An encoder without room says how much it needs.
        let len = subscribe
            .encode(&mut [])
            .unwrap_or_else(|short| short.needed);
        let mut body = vec![0; len];
        if subscribe.encode(&mut body).is_ok() {
            self.post.send_to_others(|| Message::Subscribe {
                session: id,
                request,
                body: body.as_slice().into(),
            });
        }
        let own = self.shard.subscribe(id, subscribe, now, &mut self.post);
        self.part_answered(
            id,
            request,
            own.map_err(|refusal| (refusal.code, refusal.message.into())),
        );
    }

    /// Ends a subscription on all workers.
    pub(super) fn unsubscribe_all(
        &mut self,
        peer: Peer,
        id: SessionId,
        request: u16,
        subscription: u16,
        now: Now,
    ) {
        let workers = self.plan.workers.len();
        let Some(ledger) = self
            .post
            .sessions
            .peer(peer)
            .and_then(|session| session.ledger.as_mut())
        else {
            return;
        };
        ledger.ask(request, workers);
        self.post.send_to_others(|| Message::Unsubscribe {
            session: id,
            request,
            subscription,
        });
        let own = self
            .shard
            .unsubscribe(id, subscription, now, &mut self.post);
        self.part_answered(
            id,
            request,
            own.map(|()| 0)
                .map_err(|refusal| (refusal.code, refusal.message.into())),
        );
    }

    fn part_answered(&mut self, id: SessionId, request: u16, result: super::ledger::Answer) {
        let ledger = self
            .post
            .sessions
            .get(id)
            .and_then(|session| session.ledger.as_mut());
        match ledger.and_then(|ledger| ledger.on_answer(request, result)) {
            Some(Ok(count)) => self.answer_count(id, request, count),
            Some(Err((code, message))) => {
                self.post
                    .control(id, &ErrorBody::new(code, &message), request)
            }
            None => {}
        }
    }
}

/// Runs that one session may have on their way to other workers.
const RUNS_OUT_MAX: u32 = 64;
/// Buffers of runs that a worker keeps, of up to 64 KiB each.
const FREE_BUFFERS_MAX: usize = 256;
