//! One worker's share of the server: its shard, its sessions, its files, and the turn that joins them.
//!
//! ```text
//!  completions ─► sessions ─► shard          what arrived is appended
//!                             shard.turn ─► files    what was appended is written, in the page cache by the time of the next line
//!                             shard.turn ─► post     what was written is acknowledged and delivered
//!                                           post ─► outboxes ─► reactor
//! ```

use std::net::TcpListener;
use std::sync::Arc;

use trunkline_broker::{HoldId, Now, Refusal, SessionId, Shard};
use trunkline_log::Log;
use trunkline_reactor::{AnyReactor, Completion, Op, Reactor, Slice, SocketId};
use trunkline_wire::{self as wire, ErrorBody, ErrorCode};

use super::inlet::Inlet;
use super::message::Message;
use super::outbox::SLICES_PER_SEND;
use super::post::{CLOSING_NS, Post};
use super::registry::Registry;
use super::relay::Relay;
use super::session::{Phase, Session};
use super::streams::{Opened, broker_plan, payload_bytes_max};
use super::system_calls::{Adding, List};
use super::tag::{Peer, Tag};
use super::volumes::{Answer, Volumes};
use crate::plan::{Plan, StreamPlan};
use crate::storage::StreamDir;

/// One worker without its reactor.
pub(super) struct Node {
    pub(super) index: u8,
    pub(super) plan: Arc<Plan>,
    /// Publishing from and to other workers.
    pub(super) relay: Relay,
    pub(super) shard: Shard,
    pub(super) volumes: Volumes,
    pub(super) post: Post,
    pub(super) inlets: Vec<Option<Inlet>>,
    pub(super) facts: Facts,
    pub(super) streams: Vec<Served>,
    pub(super) registry: Arc<Registry>,
    /// Calls to the server itself that came in this turn: whose, their correlation, subject and payload.
    pub(super) asked: Vec<(SessionId, u16, Box<str>, Box<[u8]>)>,
    /// Streams that are being made on the pool.
    pub(super) jobs: Vec<Option<Adding>>,
    /// Lists of streams that other workers are adding to.
    pub(super) lists: Vec<List>,
    listeners: Vec<SocketId>,
    /// Of the send that is being staged.
    slices: Vec<Slice>,
    completions: Box<[Completion]>,
    /// Sessions whose input waits for a stream.
    stalled: Vec<Peer>,
    /// When deadlines of sessions are looked at next.
    sweep_ns: u64,
}

/// What Hello says of this server.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) epoch: u64,
    pub(super) started_ns: u64,
    /// The reactor's back-end.
    pub(super) backend: &'static str,
}

/// A stream of this worker.
pub(super) struct Served {
    pub(super) plan: StreamPlan,
    /// Whether the configuration declares it.
    pub(super) configured: bool,
}

/// What one turn came to.
pub(super) struct TurnDone {
    pub(super) work: usize,
    pub(super) deadline_ns: u64,
}

impl Node {
    pub(super) fn new(
        index: usize,
        plan: Arc<Plan>,
        shard: Shard,
        registry: Arc<Registry>,
        facts: Facts,
    ) -> Self {
        let post = Post::new(
            index as u8,
            plan.workers.len(),
            plan.limits.send_queue_bytes as usize,
        );
        Self {
            index: index as u8,
            plan,
            relay: Relay::default(),
            shard,
            volumes: Volumes::default(),
            post,
            inlets: Vec::new(),
            facts,
            streams: Vec::new(),
            registry,
            asked: Vec::new(),
            jobs: Vec::new(),
            lists: Vec::new(),
            listeners: Vec::new(),
            slices: Vec::with_capacity(SLICES_PER_SEND),
            completions: vec![Completion::default(); COMPLETIONS_PER_REAP].into(),
            stalled: Vec::new(),
            sweep_ns: 0,
        }
    }

    /// Takes in the log of durable cursors.
    pub(super) fn add_cursors(
        &mut self,
        log: Log,
        dir: StreamDir,
        reactor: &mut AnyReactor,
    ) -> Result<(), Refusal> {
        self.add_log(&log, Some(dir), reactor);
        self.shard.add_cursors(log).map_err(|(refusal, _)| refusal)
    }

    fn add_log(&mut self, log: &Log, dir: Option<StreamDir>, reactor: &mut AnyReactor) {
        let tail = reactor.register_region(log.pin());
        let bytes = log.config().tail_bytes;
        self.post.send_to_others(|| Message::Tail {
            log: log.id(),
            pinned: log.pin(),
            bytes,
        });
        self.post.regions.set(log.id().0, Some((tail, bytes - 1)));
        if let Some(dir) = dir {
            self.volumes.add(log.id(), dir, tail, bytes);
        }
    }

    /// Takes a stream in.
    pub(super) fn add_stream(
        &mut self,
        opened: Opened,
        configured: bool,
        now: Now,
        reactor: &mut AnyReactor,
    ) -> Result<(), Refusal> {
        let Opened { plan, log, dir, .. } = opened;
        self.add_log(&log, dir, reactor);
        let added = self
            .shard
            .add_stream(broker_plan(&plan), log, now, &mut self.post);
        self.settle(reactor);
        added.map_err(|(refusal, _)| refusal)?;
        self.streams.push(Served { plan, configured });
        Ok(())
    }

    /// Begins to accept connections.
    ///
    /// # Errors
    /// The reactor's.
    pub(super) fn listen(
        &mut self,
        listener: TcpListener,
        reactor: &mut AnyReactor,
    ) -> std::io::Result<()> {
        let socket = reactor.add_listener(listener)?;
        let number = self.listeners.len() as u32;
        reactor
            .stage(Op::Accept { listener: socket }, Tag::Accept(number).word())
            .map_err(std::io::Error::other)?;
        self.listeners.push(socket);
        Ok(())
    }

    /// Accepts no more connections.
    pub(super) fn stop_listening(&mut self, reactor: &mut AnyReactor) {
        for socket in self.listeners.drain(..) {
            let _closed_in_time =
                reactor.stage(Op::Close { socket }, Tag::Accept(u32::MAX >> 4).word());
        }
    }

    /// One turn: everything that arrived, the shard, everything that is to go.
    ///
    /// # Errors
    /// The reactor's: the worker cannot go on.
    pub(super) fn turn(&mut self, now: Now, reactor: &mut AnyReactor) -> std::io::Result<TurnDone> {
        self.post.now_ns = now.mono_ns;
        self.post.arena.reserve(CHUNKS_PER_TURN, reactor)?;
        let mut work = self.reap(now, reactor);
        work += self.resume(now, reactor);
        work += self.take_waiting(now);
        for (session, correlation, subject, payload) in std::mem::take(&mut self.asked) {
            self.system_call(session, correlation, &subject, &payload, now, reactor);
        }
        let mut deadline_ns = self.sweep(now, reactor);
        // What the first pass writes is in the page cache when the second looks, so that a record is stored, acknowledged and delivered
        // within the turn in which it came.
        for pass in 0..2 {
            let done = self.shard.turn(now, &mut self.volumes, &mut self.post);
            work += done.work;
            deadline_ns = deadline_ns.min(done.next_deadline_ns.unwrap_or(u64::MAX));
            self.volumes.begin(reactor);
            self.settle(reactor);
            work += self.send(now, reactor);
            if pass == 0 {
                reactor.submit()?;
                work += self.reap(now, reactor);
                if done.work == 0 {
                    break;
                }
            }
        }
        Ok(TurnDone { work, deadline_ns })
    }

    /// Takes completions, at most a few thousand, so that the rest of the turn comes in time.
    fn reap(&mut self, now: Now, reactor: &mut AnyReactor) -> usize {
        let mut count = 0;
        while count < COMPLETIONS_PER_TURN {
            let mut completions = std::mem::take(&mut self.completions);
            let n = reactor.reap(&mut completions);
            for completion in &completions[..n] {
                self.on_completion(*completion, now, reactor);
            }
            self.completions = completions;
            count += n;
            if n < COMPLETIONS_PER_REAP {
                break;
            }
        }
        while let Some(answer) = self.volumes.next_failed() {
            self.on_answer(answer, now, reactor);
            count += 1;
        }
        count
    }

    fn on_completion(&mut self, completion: Completion, now: Now, reactor: &mut AnyReactor) {
        match Tag::from_word(completion.user_data) {
            Tag::Receive(peer) => self.on_received(peer, completion, now, reactor),
            Tag::Send(peer) => self.on_sent(peer, completion, now, reactor),
            Tag::Disk(slot) => {
                if let Some(answer) = self.volumes.on_completion(slot, completion, reactor) {
                    self.on_answer(answer, now, reactor);
                }
            }
            Tag::Accept(number) => self.on_accepted(number, completion, now, reactor),
            Tag::Closed(peer) => self.on_closed(peer, now),
            Tag::Job(number) if (number as usize) < self.jobs.len() => {
                self.on_job(number, now, reactor)
            }
            Tag::Job(_) => {}
        }
    }

    // Files.

    fn on_answer(&mut self, answer: Answer, now: Now, reactor: &mut AnyReactor) {
        let Answer {
            log,
            token,
            result,
            is_read,
            buffer,
        } = answer;
        match (buffer, result) {
            (Some(buffer), Ok(len)) if is_read => {
                let number = self.post.buffers.keep(buffer, reactor.buffer_slice(buffer));
                let bytes = &reactor.buffer(buffer)[..len as usize];
                self.shard.on_read(
                    log,
                    token,
                    number,
                    bytes,
                    now,
                    &mut self.volumes,
                    &mut self.post,
                );
            }
            (_, Err(error)) if is_read => {
                self.shard.on_read_failed(
                    log,
                    token,
                    error,
                    now,
                    &mut self.volumes,
                    &mut self.post,
                );
            }
            (_, result) => {
                self.shard
                    .on_disk(log, token, result, now, &mut self.volumes);
            }
        }
    }

    /// Gives back what the last step of the shard let go.
    fn settle(&mut self, reactor: &mut AnyReactor) {
        for cold in std::mem::take(&mut self.post.cold) {
            let bytes = &reactor.buffer(self.post.buffers.id(cold.buffer))
                [cold.offset..cold.offset + cold.len];
            let message = Message::DeliverCopied {
                session: cold.session,
                channel: cold.channel,
                bytes: bytes.into(),
                hold: cold.hold,
            };
            self.post.send(cold.session.worker(), message);
        }
        for number in self.post.released.drain(..) {
            reactor.recycle(self.post.buffers.forget(number));
        }
        for (worker, hold) in std::mem::take(&mut self.post.unsent) {
            self.released(worker, hold);
        }
    }

    /// A delivery has left, or never will.
    fn released(&mut self, worker: u8, hold: HoldId) {
        if worker == self.index {
            self.shard.on_sent(hold);
        } else {
            self.post.send(worker, Message::Sent(hold));
        }
    }

    // Connections.

    fn on_accepted(
        &mut self,
        number: u32,
        completion: Completion,
        now: Now,
        reactor: &mut AnyReactor,
    ) {
        let Some(socket) = SocketId::from_result(completion.result) else {
            // Cancelled when listening ends; otherwise the system is out of something, which passes.
            if completion.is_final()
                && let Some(&listener) = self.listeners.get(number as usize)
            {
                tracing::warn!(error = completion.result, "accepting a connection failed");
                let _retried_by_the_next_sweep =
                    reactor.stage(Op::Accept { listener }, Tag::Accept(number).word());
            }
            return;
        };
        let peer = self
            .post
            .sessions
            .insert(|id| Session::new(id, socket, now.mono_ns));
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        let limits = &self.plan.limits;
        let slot = peer.slot as usize;
        if self.inlets.len() <= slot {
            self.inlets.resize_with(slot + 1, || None);
        }
        let wire_limits = wire::Limits {
            max_frame_bytes: limits.max_frame_bytes,
            max_record_bytes: payload_bytes_max(limits),
        };
        self.inlets[slot] = Some(Inlet::new(wire_limits));
        let id = session.id;
        let share = (limits.connections as usize).div_ceil(self.plan.workers.len());
        let refusal = if self.post.sessions.count() > share {
            Some(format!(
                "the server has its {} connections",
                limits.connections
            ))
        } else {
            self.shard
                .open_session(id)
                .err()
                .map(|refusal| refusal.message.into_owned())
        };
        if let Some(message) = refusal {
            self.post
                .end(id, &ErrorBody::new(ErrorCode::TOO_MANY, &message), 0);
            return;
        }
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        if self.plan.workers.len() > 1 {
            session.ledger = Some(Box::default());
            self.post.send_to_others(|| Message::Open(id));
        }
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        if reactor
            .stage(Op::RecvMulti { socket }, Tag::Receive(peer).word())
            .is_err()
        {
            session.phase = Phase::Closing {
                until_ns: now.mono_ns,
            };
            self.post.sessions.list(peer.slot);
        }
    }

    fn on_received(
        &mut self,
        peer: Peer,
        completion: Completion,
        now: Now,
        reactor: &mut AnyReactor,
    ) {
        let Some(buffer) = completion.buffer() else {
            // The end of the stream, or of the connection.
            self.end_of_input(peer, completion.result, now);
            return;
        };
        let bytes = reactor.buffer(buffer);
        if let Some(session) = self
            .post
            .sessions
            .peer(peer)
            .filter(|session| session.is_open())
        {
            session.heard_ns = now.mono_ns;
            session.pinged = false;
            let id = session.id;
            if self.feed(peer, id, bytes, now) == Fed::Stalled {
                self.stall(peer, reactor);
            }
        }
        reactor.recycle(buffer);
    }

    fn stall(&mut self, peer: Peer, reactor: &mut AnyReactor) {
        if !self.stalled.contains(&peer)
            && let Some(session) = self.post.sessions.peer(peer)
        {
            reactor.pause(session.socket);
            self.stalled.push(peer);
        }
    }

    /// Goes on with input that waited for room in a stream.
    fn resume(&mut self, now: Now, reactor: &mut AnyReactor) -> usize {
        let mut work = 0;
        for index in (0..self.stalled.len()).rev() {
            let peer = self.stalled[index];
            let Some(session) = self
                .post
                .sessions
                .peer(peer)
                .filter(|session| session.is_open())
            else {
                self.stalled.swap_remove(index);
                continue;
            };
            let (id, socket) = (session.id, session.socket);
            let (progress, fed) = self.feed_held(peer, id, now);
            work += usize::from(progress);
            if fed == Fed::Whole {
                self.stalled.swap_remove(index);
                reactor.resume(socket);
            }
        }
        work
    }

    fn end_of_input(&mut self, peer: Peer, result: i32, now: Now) {
        let truncated = self
            .inlets
            .get(peer.slot as usize)
            .and_then(Option::as_ref)
            .is_some_and(|inlet| inlet.wire.is_within_frame());
        if let Some(session) = self
            .post
            .sessions
            .peer(peer)
            .filter(|session| session.phase != Phase::Closed)
        {
            tracing::debug!(session = ?session.id, error = result, truncated, "connection ended");
            if truncated && result == 0 && session.is_open() {
                // Whoever ended only its sending half can still be told.
                let id = session.id;
                let offset = self.inlets[peer.slot as usize]
                    .as_ref()
                    .map_or(0, |inlet| inlet.wire.offset());
                self.broke(
                    id,
                    ErrorCode::MALFORMED,
                    &"the connection ended within a frame",
                    offset,
                    0,
                );
                return;
            }
            // What is queued may still be read by a peer that only shut its sending half.
            let until_ns = if result == 0 {
                now.mono_ns + CLOSING_NS
            } else {
                now.mono_ns
            };
            if session.is_open() || result != 0 {
                session.phase = Phase::Closing { until_ns };
            }
            self.post.sessions.list(peer.slot);
        }
    }

    fn on_sent(&mut self, peer: Peer, completion: Completion, now: Now, _reactor: &mut AnyReactor) {
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        let (shard, unsent, index) = (&mut self.shard, &mut self.post.unsent, self.index);
        let sent = completion.result.max(0) as usize;
        session
            .outbox
            .end_send(sent, &mut self.post.arena, |(worker, hold)| {
                if worker == index {
                    shard.on_sent(hold)
                } else {
                    unsent.push((worker, hold))
                }
            });
        session.progress_ns = now.mono_ns;
        if completion.result < 0 && session.phase != Phase::Closed {
            session.phase = Phase::Closing {
                until_ns: now.mono_ns,
            };
        }
        self.post.sessions.list(peer.slot);
    }

    /// The socket is gone: nothing reads the session's memory any more.
    fn on_closed(&mut self, peer: Peer, now: Now) {
        let Some(mut session) = self.post.sessions.remove(peer) else {
            return;
        };
        let unsent = &mut self.post.unsent;
        session
            .outbox
            .clear(&mut self.post.arena, |held| unsent.push(held));
        self.inlets[peer.slot as usize] = None;
        self.shard.close_session(session.id, now, &mut self.post);
        self.post.send_to_others(|| Message::Close(session.id));
    }

    /// Stages a send for every session that has something to say, and ends those that are done.
    fn send(&mut self, now: Now, reactor: &mut AnyReactor) -> usize {
        let mut listed = std::mem::take(&mut self.post.sessions.listed);
        let count = listed.len();
        for slot in listed.drain(..) {
            let Some((peer, session)) = self.post.sessions.in_slot(slot) else {
                continue;
            };
            session.listed = false;
            if session.outbox.is_sending() || session.phase == Phase::Closed {
                continue;
            }
            if !session.outbox.is_empty()
                && session.phase
                    != (Phase::Closing {
                        until_ns: now.mono_ns,
                    })
            {
                session
                    .outbox
                    .begin_send(&self.post.arena, &mut self.slices);
                let slices = &self.slices;
                let send = Op::Send {
                    socket: session.socket,
                    slices,
                    zero_copy: false,
                };
                if reactor.stage(send, Tag::Send(peer).word()).is_err() {
                    session.outbox.abort_send();
                    session.listed = true;
                    self.post.sessions.listed.push(slot);
                }
            } else if matches!(session.phase, Phase::Closing { .. }) {
                close(session, peer, reactor);
            }
        }
        if self.post.sessions.listed.is_empty() {
            self.post.sessions.listed = listed;
        }
        count
    }

    /// Looks at the deadlines of all sessions, now and then. Returns when the next look is due.
    fn sweep(&mut self, now: Now, reactor: &mut AnyReactor) -> u64 {
        if self.post.sessions.count() == 0 {
            return u64::MAX;
        }
        if now.mono_ns < self.sweep_ns {
            return self.sweep_ns;
        }
        self.sweep_ns = now.mono_ns + SWEEP_NS;
        while let Some(region) = self.post.regions.next_retired(now.mono_ns) {
            reactor.unregister_region(region);
        }
        let limits = &self.plan.limits;
        for slot in 0..self.inlets.len() as u32 {
            let Some((peer, session)) = self.post.sessions.in_slot(slot) else {
                continue;
            };
            let silent_ns = now.mono_ns.saturating_sub(session.heard_ns);
            let idle_sending = session.outbox.is_empty();
            if idle_sending {
                session.progress_ns = now.mono_ns;
            }
            let late = match session.phase {
                Phase::Greeting
                    if now.mono_ns.saturating_sub(session.opened_ns) > limits.hello_timeout_ns =>
                {
                    Some((ErrorCode::HELLO, "no Hello came in time"))
                }
                Phase::Open if silent_ns > limits.idle_timeout_ns => {
                    Some((ErrorCode::TIMED_OUT, "nothing was heard for too long"))
                }
                Phase::Open | Phase::Greeting
                    if now.mono_ns.saturating_sub(session.progress_ns) > limits.send_timeout_ns =>
                {
                    Some((ErrorCode::TIMED_OUT, "what was sent was not taken in time"))
                }
                Phase::Open if silent_ns > limits.idle_timeout_ns / 3 && !session.pinged => {
                    session.pinged = true;
                    let id = session.id;
                    self.post.small(id, [&PING, &[]]);
                    continue;
                }
                Phase::Closing { until_ns } if now.mono_ns >= until_ns => {
                    close(session, peer, reactor);
                    None
                }
                _ => None,
            };
            if let Some((code, message)) = late {
                let id = session.id;
                self.post.end(id, &ErrorBody::new(code, message), 0);
            }
        }
        self.sweep_ns
    }

    /// Tells every session that the server stops. Returns how many there are.
    pub(super) fn say_goodbye(&mut self) -> usize {
        let peers: Vec<Peer> = self.post.sessions.peers().collect();
        for &peer in &peers {
            if let Some(session) = self.post.sessions.peer(peer) {
                let id = session.id;
                self.post.end(
                    id,
                    &ErrorBody::new(ErrorCode::SHUTTING_DOWN, "the server is shutting down"),
                    0,
                );
            }
        }
        peers.len()
    }

    /// The peer said that it goes.
    pub(super) fn leave(&mut self, peer: Peer, now: Now) {
        if let Some(session) = self
            .post
            .sessions
            .peer(peer)
            .filter(|session| session.is_open())
        {
            session.phase = Phase::Closing {
                until_ns: now.mono_ns + CLOSING_NS,
            };
            self.post.sessions.list(peer.slot);
        }
    }

    /// Answers a Hello.
    pub(super) fn greet(&mut self, peer: Peer, now: Now) {
        let limits = &self.plan.limits;
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        session.phase = Phase::Open;
        let hello = wire::ServerHello {
            version: wire::PROTOCOL_VERSION,
            max_frame_bytes: limits.max_frame_bytes,
            max_record_bytes: payload_bytes_max(limits),
            max_subscriptions: limits.subscriptions,
            epoch: self.facts.epoch,
            session: session.id.to_u64(),
            wall_ns: now.wall_ns,
            server: SERVER_NAME,
        };
        let id = session.id;
        self.post.control(id, &hello, 0);
    }
}

fn close(session: &mut Session, peer: Peer, reactor: &mut AnyReactor) {
    if reactor
        .stage(
            Op::Close {
                socket: session.socket,
            },
            Tag::Closed(peer).word(),
        )
        .is_ok()
    {
        session.phase = Phase::Closed;
    }
}

/// How far input was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    Whole,
    /// A stream is full; the rest is kept.
    Stalled,
}

/// `trunkline` and the version, as Hello says it.
pub(super) const SERVER_NAME: &str = concat!("trunkline ", env!("CARGO_PKG_VERSION"));
const COMPLETIONS_PER_REAP: usize = 256;
const COMPLETIONS_PER_TURN: usize = 4096;
/// Arena chunks that are free at the start of each turn: 1 MiB of frame headers and answers.
const CHUNKS_PER_TURN: usize = 256;
/// How often deadlines of sessions are looked at.
const SWEEP_NS: u64 = 50_000_000;
/// A Ping without a body.
const PING: [u8; wire::frame::FRAME_HEADER_BYTES] = [wire::Opcode::Ping as u8, 0, 0, 0, 0, 0, 0, 0];
