//! A worker's connections: accepting, receiving, sending, their deadlines and their end.
//!
//! A connection's slot is free again only when the reactor has closed its socket: until then a send may still read its memory.

use tracing::field::display;
use trunkline_broker::{Now, Out as _, SessionId};
use trunkline_reactor::{AnyReactor, CancelTarget, Completion, Op, Reactor, SocketId};
use trunkline_wire::{self as wire, ErrorBody, ErrorCode};

use super::inlet::Inlet;
use super::message::Message;
use super::node::{Fed, Node, SERVER_NAME};
use super::outbox::Held;
use super::post::CLOSING_NS;
use super::session::{Phase, Session};
use super::tag::{Peer, Tag};
use crate::plan::ARENA_BYTES_MAX;

impl Node {
    pub(super) fn on_accepted(
        &mut self,
        number: u32,
        completion: Completion,
        now: Now,
        reactor: &mut AnyReactor,
    ) {
        let Some(socket) = SocketId::from_result(completion.result) else {
            // Cancelled when listening ends; otherwise the system is out of something, which passes.
            if completion.is_final() && (number as usize) < self.listeners.len() {
                self.watched.accepts.failed(1, now, || {
                    let error = std::io::Error::from_raw_os_error(-completion.result);
                    tracing::warn!(
                        %error,
                        "a connection cannot be accepted; it is tried again, and told when that is over"
                    );
                });
                self.not_accepting.push(number);
            }
            return;
        };
        let address = reactor.peer(socket);
        let peer = self
            .post
            .sessions
            .insert(|id| Session::new(id, socket, address, now.mono_ns));
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        let limits = &self.plan.limits;
        let slot = peer.slot as usize;
        if self.inlets.len() <= slot {
            self.inlets.resize_with(slot + 1, || None);
        }
        self.inlets[slot] = Some(Inlet::new(self.plan.wire_limits()));
        let id = session.id;
        tracing::debug!(session = ?id, peer = address.map(display), "connected");
        let share = (limits.connections as usize).div_ceil(self.plan.workers.len());
        let refusal = if self.post.sessions.count() > share {
            Some(format!(
                "the server has as many connections as it may (`limits.connections`: {})",
                limits.connections
            ))
        } else {
            self.shard
                .open_session(id)
                .err()
                .map(|refusal| refusal.message.into_owned())
        };
        if let Some(message) = refusal {
            tracing::info!(session = ?id, peer = address.map(display), message, "connection refused");
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

    pub(super) fn on_received(
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
        let deaf = self.deaf;
        if let Some(session) = self
            .post
            .sessions
            .peer(peer)
            .filter(|session| session.is_open() && !deaf)
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
    pub(super) fn resume(&mut self, now: Now, reactor: &mut AnyReactor) -> usize {
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
            tracing::debug!(
                session = ?session.id,
                peer = session.address.map(display),
                error = result,
                truncated,
                "connection ended"
            );
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

    pub(super) fn on_sent(
        &mut self,
        peer: Peer,
        completion: Completion,
        now: Now,
        _reactor: &mut AnyReactor,
    ) {
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        let (shard, left, index) = (&mut self.shard, &mut self.post.left, self.index);
        let sent = completion.result.max(0) as usize;
        session
            .outbox
            .end_send(sent, &mut self.post.arena, |(worker, hold)| {
                if worker == index {
                    shard.on_sent(hold)
                } else {
                    left.push((worker, hold))
                }
            });
        if sent > 0 {
            session.progress_ns = now.mono_ns;
        }
        let reclaiming = std::mem::take(&mut session.reclaiming);
        let taken_back = reclaiming && completion.result == CANCELED;
        if completion.result < 0 && !taken_back && session.phase != Phase::Closed {
            session.phase = Phase::Closing {
                until_ns: now.mono_ns,
            };
        }
        if reclaiming {
            self.copy_records(peer);
        }
        self.post.sessions.list(peer.slot);
    }

    /// Makes room in the tails that publishers wait for: what sessions were handed and do not take is copied.
    pub(super) fn reclaim(&mut self, reactor: &mut AnyReactor) {
        while let Some(id) = self.post.reclaims.pop() {
            self.copy_soon(Peer::of(id), reactor);
        }
        while let Some((session, hold)) = self.post.lent.pop() {
            if let Some(bytes) = self.shard.bytes_of(hold) {
                let bytes = bytes.into();
                let message = Message::TakeBack {
                    session,
                    hold,
                    bytes,
                };
                self.post.send(session.worker(), message);
            }
        }
    }

    /// Another worker wants memory back that it lent to a session of this one; `bytes` is what lies there.
    pub(super) fn take_back(
        &mut self,
        id: SessionId,
        held: Held,
        bytes: Box<[u8]>,
        reactor: &mut AnyReactor,
    ) {
        let peer = Peer::of(id);
        if let Some(session) = self.post.sessions.peer(peer) {
            session.copies.push((held, bytes));
            self.copy_soon(peer, reactor);
        }
    }

    /// Copies the records that wait for a session, as soon as the kernel has none of them.
    fn copy_soon(&mut self, peer: Peer, reactor: &mut AnyReactor) {
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        if !session.outbox.is_sending() {
            self.copy_records(peer);
        } else if !std::mem::replace(&mut session.reclaiming, true) {
            reactor.cancel(CancelTarget::UserData(Tag::Send(peer).word()));
        }
    }

    /// Copies the records that wait for a session. No send of it is under way.
    fn copy_records(&mut self, peer: Peer) {
        let (post, shard, index) = (&mut self.post, &mut self.shard, self.index);
        let Some(session) = post.sessions.peer(peer) else {
            return;
        };
        let copies = std::mem::take(&mut session.copies);
        let bytes_of = |held: Held| {
            if held.0 == index {
                return shard.bytes_of(held.1);
            }
            let copy = copies.iter().find(|(own, _)| *own == held);
            copy.map(|(_, bytes)| &**bytes)
        };
        let mut copied = Vec::new();
        let fits = post.arena.used_bytes() < ARENA_BYTES_MAX as usize
            && session
                .outbox
                .copy_records(&mut post.arena, bytes_of, |held| copied.push(held));
        let id = session.id;
        for (worker, hold) in copied {
            if worker == index {
                shard.on_copied(hold);
            } else {
                post.send(worker, Message::Copied(hold));
            }
        }
        if !fits {
            // Nobody has room for its records.
            let message = "a delivery was not taken in time";
            post.close(id, ErrorCode::SLOW_CONSUMER, message);
        }
    }

    /// The socket is gone: nothing reads the session's memory any more.
    pub(super) fn on_closed(&mut self, peer: Peer, now: Now) {
        let Some(mut session) = self.post.sessions.remove(peer) else {
            return;
        };
        let dropped = &mut self.post.dropped;
        session
            .outbox
            .clear(&mut self.post.arena, |held| dropped.push(held));
        self.inlets[peer.slot as usize] = None;
        self.shard.close_session(session.id, now, &mut self.post);
        self.post.send_to_others(|| Message::Close(session.id));
    }

    /// Stages a send for every session that has something to say, and ends those that are done.
    pub(super) fn send(&mut self, now: Now, reactor: &mut AnyReactor) -> usize {
        self.post.arena.register(reactor);
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

    /// Looks at the deadlines of all sessions and of retired tails, now and then. Returns when the next look is due.
    pub(super) fn sweep(&mut self, now: Now, reactor: &mut AnyReactor) -> u64 {
        if self.post.sessions.count() == 0
            && self.not_accepting.is_empty()
            && self.post.regions.are_all_wanted()
        {
            return u64::MAX;
        }
        if now.mono_ns < self.sweep_ns {
            return self.sweep_ns;
        }
        self.sweep_ns = now.mono_ns + SWEEP_NS;
        for number in std::mem::take(&mut self.not_accepting) {
            if let Some(&listener) = self.listeners.get(number as usize)
                && reactor
                    .stage(Op::Accept { listener }, Tag::Accept(number).word())
                    .is_err()
            {
                self.not_accepting.push(number);
            }
        }
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
                let peer = session.address.map(display);
                tracing::info!(session = ?id, peer, code = code.0, message, "connection timed out");
                self.post.end(id, &ErrorBody::new(code, message), 0);
            }
        }
        self.sweep_ns
    }

    /// Tells every session that the server stops.
    pub(super) fn say_goodbye(&mut self) {
        let peers: Vec<Peer> = self.post.sessions.peers().collect();
        for peer in peers {
            if let Some(session) = self.post.sessions.peer(peer) {
                let id = session.id;
                self.post.end(
                    id,
                    &ErrorBody::new(ErrorCode::SHUTTING_DOWN, "the server is shutting down"),
                    0,
                );
            }
        }
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

    /// Answers the Hello of a client that takes frames of so many bytes.
    pub(super) fn greet(&mut self, peer: Peer, taken_bytes: u32, now: Now) {
        let limits = &self.plan.limits;
        let Some(session) = self.post.sessions.peer(peer) else {
            return;
        };
        let needed = self.plan.taken_bytes_min();
        if taken_bytes < needed {
            let (id, address) = (session.id, session.address.map(display));
            let message = format!(
                "Hello takes frames of {taken_bytes} bytes, and this server sends up to {needed}: announce at least that"
            );
            tracing::info!(session = ?id, peer = address, message, "connection refused");
            let error = ErrorBody::new(ErrorCode::FRAME_TOO_LONG, &message);
            self.post.end(id, &error, 0);
            return;
        }
        session.phase = Phase::Open;
        let hello = wire::ServerHello {
            version: wire::PROTOCOL_VERSION,
            max_frame_bytes: limits.max_frame_bytes,
            max_record_bytes: limits.payload_len_max(),
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

/// The result of an operation that was taken back.
const CANCELED: i32 = -rustix::io::Errno::CANCELED.raw_os_error();
/// How often deadlines of sessions are looked at.
const SWEEP_NS: u64 = 50_000_000;
/// A Ping without a body.
const PING: [u8; wire::frame::FRAME_HEADER_BYTES] = [wire::Opcode::Ping as u8, 0, 0, 0, 0, 0, 0, 0];
