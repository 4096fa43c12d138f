//! Publishing between workers: dealing a session's runs out to the owners of its streams, and taking those of other workers'
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
use trunkline_wire::record::{Kind, RawRecord, Stamp, body_record_bytes, encode};
use trunkline_wire::{AckLevel, ErrorBody, FrameHeader, Run};

use super::message::Message;
use super::node::Node;

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

impl Relay {
    /// A session has closed: what waits for room is nobody's.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.waiting.remove(&session);
    }

    /// Takes a buffer back, for another run.
    pub(super) fn keep(&mut self, buffer: Vec<u8>) {
        if self.free.len() < FREE_BUFFERS_MAX {
            self.free.push(buffer);
        }
    }
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

    /// Records of another worker's session.
    pub(super) fn on_publish(
        &mut self,
        session: SessionId,
        frame: PublishFrame,
        bytes: Vec<u8>,
        now: Now,
    ) {
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
}

/// Runs that one session may have on their way to other workers.
const RUNS_OUT_MAX: u32 = 64;
/// Buffers of runs that a worker keeps, of up to 64 KiB each.
const FREE_BUFFERS_MAX: usize = 256;
