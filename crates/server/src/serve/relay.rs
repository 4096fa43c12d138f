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

use trunkline_broker::{Now, PublishError, PublishFault, PublishFrame, SessionId};
use trunkline_wire::record::{Kind, RawRecord, Stamp, body_record_bytes, encode};
use trunkline_wire::{AckLevel, FrameHeader, Oversized, Run};

use super::ledger::Ledger;
use super::message::Message;
use super::node::Node;

/// Where a session's records go, by the session's subject id. What an id means its home knows best: that has all definitions, and refuses
/// records of ids that are none, or none of a stream.
#[derive(Default)]
pub(super) struct Routes {
    /// Ids as clients usually count them.
    near: Vec<Option<Route>>,
    /// Others.
    far: HashMap<u32, Route>,
    /// Of the registry when they were looked up.
    version: u64,
    /// Bytes of the session's input up to the end of the run that is being dealt out.
    pub(super) input: u64,
    /// Workers that have part of the frame that is coming in, by bit.
    owners: u64,
    /// Whether it has data records.
    data: bool,
    /// The home refused one of them, and with it the rest.
    refused: bool,
}

struct Route {
    owner: u8,
    name: Box<str>,
}

impl Routes {
    /// The owner of a data record.
    #[inline]
    fn owner(&self, subject: u32, home: u8) -> u8 {
        if self.refused {
            return home;
        }
        match self.near.get(subject as usize) {
            Some(Some(route)) => route.owner,
            _ => self.far_owner(subject, home),
        }
    }

    #[cold]
    #[inline(never)]
    fn far_owner(&self, subject: u32, home: u8) -> u8 {
        self.far.get(&subject).map_or(home, |route| route.owner)
    }

    fn knows(&self, subject: u32) -> bool {
        let near = self.near.get(subject as usize);
        near.is_some_and(Option::is_some) || self.far.contains_key(&subject)
    }

    fn insert(&mut self, subject: u32, route: Route, near_max: u32) {
        if subject >= near_max {
            self.far.insert(subject, route);
            return;
        }
        let index = subject as usize;
        if self.near.len() <= index {
            self.near.resize_with(index + 1, || None);
        }
        self.near[index] = Some(route);
    }

    fn all(&mut self) -> impl Iterator<Item = (u32, &mut Route)> {
        let near = (0..).zip(&mut self.near);
        let near = near.filter_map(|(subject, route)| Some((subject, route.as_mut()?)));
        near.chain(
            self.far
                .iter_mut()
                .map(|(subject, route)| (*subject, route)),
        )
    }

    /// Workers that have a subject of the session, by bit.
    fn all_owners(&mut self) -> u64 {
        self.all()
            .fold(0, |owners, (_, route)| owners | 1 << route.owner)
    }

    fn end_frame(&mut self) {
        (self.owners, self.data, self.refused) = (0, false, false);
    }
}

/// A worker's buffers, and runs of other workers' sessions that wait for room.
#[derive(Default)]
pub(super) struct Relay {
    free: Vec<Vec<u8>>,
    waiting: HashMap<SessionId, VecDeque<Part>>,
}

/// Whole records of a frame, for their owner.
pub(super) struct Part {
    pub(super) frame: PublishFrame,
    /// Byte of the session's input at which they begin.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
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

    /// A buffer with nothing in it.
    fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.free.pop().unwrap_or_default();
        buffer.clear();
        buffer
    }
}

/// What became of a run at its home.
pub(super) enum Dealt {
    Whole,
    /// From this byte on, it has to wait.
    Waits(usize),
    Broken(PublishError),
}

impl Dealt {
    /// The same of a stretch, for the run in which it begins at `start`.
    fn behind(self, start: usize) -> Self {
        match self {
            Self::Whole => Self::Whole,
            Self::Waits(taken) => Self::Waits(start + taken),
            Self::Broken(error) => Self::Broken(PublishError {
                offset: start + error.offset,
                ..error
            }),
        }
    }
}

/// Records in a row that have one owner.
#[derive(Clone, Copy)]
struct Stretch<'r> {
    owner: u8,
    /// Byte of the session's input at which it begins.
    offset: u64,
    bytes: &'r [u8],
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
            self.look_up_again(id, routes);
        }
        let payload_max = self.plan.limits.payload_len_max();
        let bytes = run.bytes();
        let begin = routes.input - bytes.len() as u64;
        let stretch = |owner, start, end| Stretch {
            owner,
            offset: begin + start as u64,
            bytes: &bytes[start..end],
        };
        let within = PublishFrame::new(frame, false);
        let (mut start, mut at) = (0, 0);
        let mut stretch_owner = self.index;
        while at < bytes.len() {
            let Ok(Some(record)) = RawRecord::peek(&bytes[at..], payload_max) else {
                break;
            };
            let is_data = record.kind() == Kind::Data;
            let mut owner = routes.owner(record.subject_id(), self.index);
            if start < at && (owner != stretch_owner || !is_data) {
                match self.hand_over(id, routes, within, stretch(stretch_owner, start, at), now) {
                    Dealt::Whole => start = at,
                    other => return other.behind(start),
                }
                // The rest of a frame is refused where the first record was.
                owner = routes.owner(record.subject_id(), self.index);
            }
            at += record.len();
            if is_data {
                routes.data = true;
                stretch_owner = owner;
            } else if let Err(fault) = self.define(id, routes, record) {
                return Dealt::Broken(PublishError {
                    fault,
                    offset: start,
                });
            } else {
                start = at;
            }
        }
        let mut told = false;
        if start < bytes.len() {
            // Usually the whole frame has one owner, whose part ends with its records.
            told = last && routes.owners & !(1 << stretch_owner) == 0;
            let part = if told {
                self.frame_end(id, frame, 1 << stretch_owner)
            } else {
                within
            };
            let rest = stretch(stretch_owner, start, bytes.len());
            match self.hand_over(id, routes, part, rest, now) {
                Dealt::Whole => {}
                other => return other.behind(start),
            }
        }
        if last && !self.end_frame(id, routes, frame, told, now) {
            return Dealt::Waits(bytes.len());
        }
        Dealt::Whole
    }

    /// Takes the end of a frame with a record over the limit, which the home refuses, whoever has what came before it. False: there is no room
    /// for that yet.
    pub(super) fn deal_oversized(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        oversized: &Oversized,
    ) -> bool {
        let owners = routes.owners | 1 << self.index;
        let part = self.frame_end(id, oversized.frame, owners);
        if self.shard.publish_oversized(id, part, oversized).full {
            return false;
        }
        routes.end_frame();
        self.expect(id, part, owners, false);
        self.tell_end(id, part, owners & !(1 << self.index), routes.input);
        true
    }

    /// A definition: the home takes it, and so does the owner of the subject's stream.
    #[cold]
    #[inline(never)]
    fn define(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        record: RawRecord<'_>,
    ) -> Result<(), PublishFault> {
        let subject = record.subject_id();
        // What is no subject, or one too many, is refused at home.
        let Some(name) = self.shard.define(id, record)? else {
            return Ok(());
        };
        if routes.knows(subject) {
            return Ok(());
        }
        // Where no stream captures it, the home refuses it.
        let owner = self.registry.owner(name).unwrap_or(self.index);
        let name: Box<str> = name.into();
        if owner != self.index {
            self.define_at(owner, id, subject, &name);
        }
        let near_max = self.plan.limits.session_subjects;
        routes.insert(subject, Route { owner, name }, near_max);
        Ok(())
    }

    /// Tells another worker what a subject id means.
    fn define_at(&mut self, owner: u8, session: SessionId, subject: u32, name: &str) {
        let stamp = Stamp {
            kind: Kind::Definition,
            subject_id: subject,
            ..Stamp::DATA
        };
        let mut bytes = vec![0; body_record_bytes(name.len())];
        if encode(&mut bytes, &stamp, name.as_bytes()).is_ok() {
            let bytes = bytes.into();
            self.post.send(owner, Message::Define { session, bytes });
        }
    }

    /// Streams came or went: subjects whose owner is another now are defined there.
    #[cold]
    #[inline(never)]
    fn look_up_again(&mut self, id: SessionId, routes: &mut Routes) {
        routes.version = self.registry.version();
        for (subject, route) in routes.all() {
            let owner = self.registry.owner(&route.name).unwrap_or(self.index);
            if owner != route.owner && owner != self.index {
                self.define_at(owner, id, subject, &route.name);
            }
            route.owner = owner;
        }
    }

    /// Gives a stretch to its owner.
    fn hand_over(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        frame: PublishFrame,
        stretch: Stretch<'_>,
        now: Now,
    ) -> Dealt {
        let Stretch {
            owner,
            offset,
            bytes,
        } = stretch;
        if owner == self.index {
            routes.owners |= 1 << owner;
            let Ok(run) = Run::check(bytes, self.plan.limits.payload_len_max()) else {
                return Dealt::Whole;
            };
            return match self.shard.publish(id, frame, run, now) {
                Ok(published) => {
                    routes.refused |= published.refused;
                    if published.full {
                        Dealt::Waits(published.bytes)
                    } else {
                        Dealt::Whole
                    }
                }
                Err(error) => Dealt::Broken(error),
            };
        }
        if self.runs_out(id) >= RUNS_OUT_MAX {
            return Dealt::Waits(0);
        }
        routes.owners |= 1 << owner;
        let mut buffer = self.relay.buffer();
        buffer.extend_from_slice(bytes);
        self.send_part(id, owner, frame, offset, buffer);
        Dealt::Whole
    }

    fn send_part(
        &mut self,
        session: SessionId,
        owner: u8,
        frame: PublishFrame,
        offset: u64,
        bytes: Vec<u8>,
    ) {
        self.count_out(session, 1);
        let message = Message::Publish {
            session,
            frame,
            offset,
            bytes,
        };
        self.post.send(owner, message);
    }

    /// Tells every owner that the frame has ended, unless the only one knows. False: the home has no room for that yet.
    fn end_frame(
        &mut self,
        id: SessionId,
        routes: &mut Routes,
        frame: FrameHeader,
        told: bool,
        now: Now,
    ) -> bool {
        let without_data = !routes.data;
        let owners = routes.owners
            | match (without_data, frame.flags.ack_level()) {
                (false, _) => 0,
                // It ends at home,
                (true, AckLevel::Stream) => 1 << self.index,
                // or wherever a subject of the session is: it is a barrier.
                (true, _) => routes.all_owners() | 1 << self.index,
            };
        let part = self.frame_end(id, frame, owners);
        if !told && owners & 1 << self.index != 0 {
            let ended = self.shard.publish(id, part, Run::EMPTY, now);
            if ended.is_ok_and(|published| published.full) {
                return false;
            }
        }
        routes.end_frame();
        self.expect(id, part, owners, without_data);
        if !told {
            self.tell_end(id, part, owners & !(1 << self.index), routes.input);
        }
        true
    }

    /// The end of a frame that these workers have part of.
    fn frame_end(&mut self, id: SessionId, frame: FrameHeader, owners: u64) -> PublishFrame {
        PublishFrame {
            apart: !self
                .ledger(id)
                .is_some_and(|ledger| ledger.may_join(owners)),
            ..PublishFrame::new(frame, true)
        }
    }

    /// A frame was dealt out: it is answered when all its owners have answered.
    fn expect(&mut self, id: SessionId, frame: PublishFrame, owners: u64, without_data: bool) {
        if frame.expects_ack
            && let Some(ledger) = self.ledger(id)
        {
            ledger.expect(frame.sequence, owners, without_data);
        }
    }

    /// Tells other workers that a frame has ended.
    fn tell_end(&mut self, id: SessionId, frame: PublishFrame, owners: u64, offset: u64) {
        for owner in (0..self.plan.workers.len() as u8).filter(|owner| owners & 1 << owner != 0) {
            let empty = self.relay.buffer();
            self.send_part(id, owner, frame, offset, empty);
        }
    }

    fn ledger(&mut self, id: SessionId) -> Option<&mut Ledger> {
        self.post.sessions.get(id)?.ledger.as_deref_mut()
    }

    fn runs_out(&mut self, id: SessionId) -> u32 {
        self.ledger(id).map_or(0, |ledger| ledger.runs_out)
    }

    fn count_out(&mut self, id: SessionId, runs: u32) {
        if let Some(ledger) = self.ledger(id) {
            ledger.runs_out += runs;
        }
    }

    /// A subject of another worker's session. Its home has checked it.
    pub(super) fn on_define(&mut self, session: SessionId, bytes: &[u8]) {
        let payload_max = self.plan.limits.payload_len_max();
        if let Ok(Some(record)) = RawRecord::peek(bytes, payload_max) {
            let _gone_with_its_session = self.shard.define(session, record);
        }
    }

    /// Records of another worker's session.
    pub(super) fn on_publish(&mut self, session: SessionId, part: Part, now: Now) {
        if let Some(waiting) = self.relay.waiting.get_mut(&session) {
            waiting.push_back(part);
            return;
        }
        if let Some(rest) = self.take(session, part, now) {
            self.relay.waiting.insert(session, VecDeque::from([rest]));
        }
    }

    /// Takes a run of another worker's session, and gives its buffer back; or returns what has to wait.
    fn take(&mut self, session: SessionId, mut part: Part, now: Now) -> Option<Part> {
        let Part {
            frame,
            offset,
            bytes,
        } = &mut part;
        let run = Run::check(bytes, self.plan.limits.payload_len_max()).unwrap_or(Run::EMPTY);
        match self.shard.publish(session, *frame, run, now) {
            Ok(published) if published.full => {
                bytes.drain(..published.bytes);
                *offset += published.bytes as u64;
                return Some(part);
            }
            // Of one that broke the protocol nothing more is taken, and its home knows that it did.
            Ok(_)
            | Err(PublishError {
                fault: PublishFault::NoSession,
                ..
            }) => {}
            Err(error) => {
                self.shard.close_session(session, now, &mut self.post);
                let message = Message::Broke {
                    session,
                    error,
                    offset: *offset + error.offset as u64,
                };
                self.post.send(session.worker(), message);
            }
        }
        let bytes = part.bytes;
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
            while let Some(part) = self
                .relay
                .waiting
                .get_mut(&session)
                .and_then(VecDeque::pop_front)
            {
                let before = part.bytes.len();
                if let Some(rest) = self.take(session, part, now) {
                    work += usize::from(rest.bytes.len() < before);
                    if let Some(waiting) = self.relay.waiting.get_mut(&session) {
                        waiting.push_front(rest);
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
