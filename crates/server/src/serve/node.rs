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

use trunkline_broker::{Now, Refusal, SessionId, Shard};
use trunkline_log::{Log, LogId};
use trunkline_reactor::{AnyReactor, Completion, Op, Reactor, Slice, SocketId};

use super::inlet::Inlet;
use super::message::Message;
use super::outbox::SLICES_PER_SEND;
use super::post::{Bounds, Post};
use super::registry::Registry;
use super::relay::Relay;
use super::stop::Left;
use super::streams::{Opened, broker_plan};
use super::system_calls::{Asked, Gathered, Job};
use super::tag::{Peer, Tag};
use super::unopened::Unopened;
use super::volumes::{Answer, Volumes};
use super::watch::Watched;
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
    /// Those that this worker would serve if they could be opened.
    pub(super) unopened: Vec<Unopened>,
    /// When opening one of them is tried again.
    pub(super) open_again_ns: Option<u64>,
    pub(super) registry: Arc<Registry>,
    /// Calls to the server itself that came in this turn.
    pub(super) asked: Vec<Asked>,
    /// Streams that are being made or removed on the pool.
    pub(super) jobs: Vec<Option<Job>>,
    /// Answers that other workers are adding to.
    pub(super) gathered: Vec<Gathered>,
    pub(super) listeners: Vec<SocketId>,
    /// Numbers of listeners whose accept failed, for the next sweep.
    pub(super) not_accepting: Vec<u32>,
    /// Stopping: what comes in is not heard any more, or a publisher in full swing would keep the last sync from being the last.
    pub(super) deaf: bool,
    /// Of the send that is being staged.
    pub(super) slices: Vec<Slice>,
    completions: Box<[Completion]>,
    /// Sessions whose input waits for a stream.
    pub(super) stalled: Vec<Peer>,
    /// When deadlines of sessions are looked at next.
    pub(super) sweep_ns: u64,
    /// How streams are, as far as that was told.
    pub(super) watched: Watched,
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
    pub(super) log: LogId,
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
        let bounds = Bounds {
            small_bytes: plan.limits.send_queue_bytes as usize,
            passed_bytes: plan.shard_limits().responder_bytes as usize,
        };
        let post = Post::new(index as u8, plan.workers.len(), bounds);
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
            unopened: Vec::new(),
            open_again_ns: None,
            registry,
            asked: Vec::new(),
            jobs: Vec::new(),
            gathered: Vec::new(),
            listeners: Vec::new(),
            not_accepting: Vec::new(),
            deaf: false,
            slices: Vec::with_capacity(SLICES_PER_SEND),
            completions: vec![Completion::default(); COMPLETIONS_PER_REAP].into(),
            stalled: Vec::new(),
            sweep_ns: 0,
            watched: Watched::default(),
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
        let id = log.id();
        self.add_log(&log, dir, reactor);
        let added = self
            .shard
            .add_stream(broker_plan(&plan), log, now, &mut self.post);
        self.settle(reactor);
        added.map_err(|(refusal, _)| refusal)?;
        self.streams.push(Served {
            plan,
            log: id,
            configured,
        });
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

    /// Accepts no more connections, and hears no more from those that there are.
    pub(super) fn stop_listening(&mut self, reactor: &mut AnyReactor) {
        self.deaf = true;
        for socket in self.listeners.drain(..) {
            let _closed_in_time =
                reactor.stage(Op::Close { socket }, Tag::Accept(u32::MAX >> 4).word());
        }
    }

    /// What a stop would leave undone now.
    pub(super) fn left(&self) -> Left {
        Left {
            records: self.shard.unsynced(),
            connections: self.post.sessions.count() as u64,
            is_unsettled: !self.shard.is_settled(),
        }
    }

    /// One turn: everything that arrived, the shard, everything that is to go.
    ///
    /// # Errors
    /// The reactor's: the worker cannot go on.
    pub(super) fn turn(&mut self, now: Now, reactor: &mut AnyReactor) -> std::io::Result<TurnDone> {
        self.post.now_ns = now.mono_ns;
        let mut work = self.reap(now, reactor);
        work += self.resume(now, reactor);
        work += self.take_waiting(now);
        for asked in std::mem::take(&mut self.asked) {
            self.system_call(
                asked.session,
                asked.correlation,
                &asked.subject,
                &asked.payload,
                now,
                reactor,
            );
        }
        let mut deadline_ns = self.sweep(now, reactor);
        deadline_ns = deadline_ns.min(self.open_again(now, reactor));
        self.watch_clock(now);
        deadline_ns = deadline_ns.min(self.watch_descriptors(now));
        // What the first pass writes is in the page cache when the second looks, so that a record is stored, acknowledged and delivered
        // within the turn in which it came.
        for pass in 0..2 {
            let done = self.shard.turn(now, &mut self.volumes, &mut self.post);
            work += done.work;
            deadline_ns = deadline_ns.min(done.next_deadline_ns.unwrap_or(u64::MAX));
            self.reclaim(reactor);
            self.settle(reactor);
            // What may go already does not wait for the write.
            work += self.send(now, reactor);
            self.volumes.begin(now.mono_ns, reactor);
            if pass == 0 {
                reactor.submit()?;
                let came = self.reap(now, reactor);
                work += came;
                if came == 0 {
                    break;
                }
            }
        }
        deadline_ns = deadline_ns.min(self.volumes.failed_due_ns());
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
        while let Some(answer) = self.volumes.next_failed(now.mono_ns) {
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
                if result.is_err() || self.watched.has_trouble() {
                    self.watch(log);
                }
            }
        }
    }

    /// Gives back what the last step of the shard let go.
    fn settle(&mut self, reactor: &mut AnyReactor) {
        for number in self.post.released.drain(..) {
            reactor.recycle(self.post.buffers.forget(number));
        }
        while let Some((worker, hold)) = self.post.left.pop() {
            self.post.send(worker, Message::Sent(hold));
        }
        while let Some((worker, hold)) = self.post.dropped.pop() {
            if worker == self.index {
                self.shard.on_dropped(hold);
            } else {
                self.post.send(worker, Message::Dropped(hold));
            }
        }
        for (session, correlation) in std::mem::take(&mut self.post.rejected) {
            self.reject(session, correlation);
        }
        self.tell_damaged();
    }

    /// A responder of this worker has no room for a call.
    fn reject(&mut self, session: SessionId, correlation: u16) {
        if self.elsewhere(correlation).is_some() {
            let message = Message::Rejected {
                session,
                correlation,
            };
            self.forward(correlation, message);
        } else {
            self.shard.reject_call(session, correlation, &mut self.post);
        }
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
