//! One worker's streams and everybody who uses them.

use std::cmp::Reverse;
use std::collections::VecDeque;

use trunkline_log::{Disk, DiskError, Log, LogConfig, LogId, Token};
use trunkline_route::Table;
use trunkline_wire::{AckLevel, ErrorBody, ErrorCode, Policy};

use crate::Now;
use crate::channel::Channel;
use crate::cursors::{CursorInfo, Cursors};
use crate::deliver::{Stretch, wake, window_bytes};
use crate::delivery::{Buffers, Deliveries, Delivery, Keeps, hold_id};
use crate::feed::{Feed, FeedState};
use crate::hash::NumberMap;
use crate::limits::Limits;
use crate::out::{Out, SessionId};
use crate::policy;
use crate::refusal::Refusal;
use crate::rpc::Rpc;
use crate::session::Session;
use crate::slab::{Key, Slab};
use crate::stream::{Stream, StreamInfo, StreamPlan};
use crate::subscribe::{NAME_BYTES_MAX, captures};

/// What a shard is made with.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// The worker that it belongs to. Channels and the correlations of calls that it numbers are `worker` modulo `workers`, so that those
    /// of several shards on one connection never meet: whoever gets a Credit finds the shard by its channel.
    pub worker: u8,
    /// How many workers there are.
    pub workers: u8,
    /// What it takes at most.
    pub limits: Limits,
    /// How long a call may take if it does not say, and at most, in nanoseconds. Default 5 s and 60 s.
    pub call_timeout_ns: (u64, u64),
    /// How often positions of durable cursors are written, in nanoseconds. Default 5 ms: what a crash may take back, so that
    /// confirmed records come again.
    pub cursor_interval_ns: u64,
    /// How long a delivery may stand in the way of publishers before it is reclaimed, in nanoseconds. Default 50 ms.
    pub reclaim_after_ns: u64,
    /// Random bits for hash tables; 0 is for tests.
    pub seed: u64,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            worker: 0,
            workers: 1,
            limits: Limits::default(),
            call_timeout_ns: (5_000_000_000, 60_000_000_000),
            cursor_interval_ns: 5_000_000,
            reclaim_after_ns: 50_000_000,
            seed: 0,
        }
    }
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// How much; 0 means that another turn now would do nothing either.
    pub work: usize,
    /// The steady clock's time at which the next turn is due even if nothing else happens.
    pub next_deadline_ns: Option<u64>,
}

/// One worker's streams, sessions, subscriptions and calls.
///
/// Its methods are of four kinds:
///
/// * getters: [`stream_info`](Self::stream_info), [`streams`](Self::streams), [`log`](Self::log), [`is_ready`](Self::is_ready), …;
/// * world → shard: [`on_disk`](Self::on_disk), [`on_read`](Self::on_read), [`on_sent`](Self::on_sent);
/// * commands: [`add_stream`](Self::add_stream), [`open_session`](Self::open_session), [`publish`](Self::publish), [`subscribe`](Self::subscribe),
///   [`credit`](Self::credit), [`call`](Self::call), …;
/// * shard → world: [`turn`](Self::turn), which hands requests to a [`Disk`] and deliveries and acks to an [`Out`].
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) streams: Slab<Stream>,
    pub(crate) by_log: NumberMap<u32, Key>,
    /// Which stream captures a subject. No two of its patterns overlap.
    pub(crate) routes: Table<Key>,
    /// Counts changes of `routes`.
    pub(crate) epoch: u32,
    pub(crate) sessions: Slab<Session>,
    by_id: NumberMap<SessionId, Key>,
    pub(crate) channels: Slab<Channel>,
    pub(crate) feeds: Slab<Feed>,
    pub(crate) deliveries: Deliveries,
    pub(crate) buffers: Buffers,
    pub(crate) cursors: Cursors,
    pub(crate) rpc: Rpc,
    /// Feeds that have something, in the order of their turns.
    pub(crate) ready: VecDeque<Key>,
    /// Feeds that wait for the number of deliveries to go down.
    pub(crate) starved: Vec<Key>,
    /// Sessions whose first waiting frame may be answered.
    pub(crate) ack_ready: Vec<Key>,
    /// Streams to look at in the next turn.
    pub(crate) attention: Vec<Key>,
    /// Empty but while durable cursors are saved; keeps its room.
    saving: Vec<Key>,
    /// The earliest deadline of a log, or earlier.
    log_due_ns: Option<u64>,
    /// Some stream had no room for an append since deliveries were last looked at.
    pub(crate) pressed: bool,
    /// When somebody has to look whether deliveries are to be reclaimed.
    reclaim_due_ns: Option<u64>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) stretches: Vec<Stretch>,
}

impl Shard {
    /// A shard without streams.
    pub fn new(config: ShardConfig) -> Self {
        let limits = &config.limits;
        Self {
            config,
            // One more for the cursors.
            streams: Slab::new(limits.streams + 1),
            by_log: NumberMap::default(),
            routes: Table::with_seed(config.seed),
            epoch: 1,
            sessions: Slab::new(limits.sessions),
            by_id: NumberMap::default(),
            channels: Slab::new(limits.channels),
            feeds: Slab::new(limits.channels),
            deliveries: Slab::new(limits.deliveries.max(DELIVERIES_MIN)),
            buffers: Buffers::default(),
            cursors: Cursors::new(limits.cursors, config.cursor_interval_ns),
            rpc: Rpc::new(limits.channels, limits.calls, config.seed),
            ready: VecDeque::new(),
            starved: Vec::new(),
            ack_ready: Vec::new(),
            attention: Vec::new(),
            saving: Vec::new(),
            log_due_ns: None,
            pressed: false,
            reclaim_due_ns: None,
            scratch: Vec::new(),
            stretches: Vec::new(),
        }
    }

    // Getters.

    /// What it was made with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// Whether durable cursors are known: they are read during the first turns after [`add_cursors`](Self::add_cursors). Subscriptions
    /// with a cursor are refused before.
    pub fn is_ready(&self) -> bool {
        self.cursors.is_ready()
    }

    /// The log of a stream: for the bytes of a write or of a delivery.
    pub fn log(&self, log: LogId) -> Option<&Log> {
        self.by_log
            .get(&log.0)
            .and_then(|key| self.streams.at(*key))
            .map(|stream| &stream.log)
    }

    /// A stream by its name.
    pub fn stream_info(&self, name: &str) -> Option<StreamInfo> {
        self.stream_key(name)
            .and_then(|key| self.streams.at(key))
            .map(|stream| self.info(stream))
    }

    /// All streams.
    pub fn streams(&self) -> Vec<StreamInfo> {
        let users = self.streams.iter().filter(|(_, stream)| !stream.internal);
        users.map(|(_, stream)| self.info(stream)).collect()
    }

    /// All durable cursors.
    pub fn cursors(&self) -> Vec<CursorInfo> {
        self.cursors.infos().collect()
    }

    /// Whether the log of the durable cursors has what they say.
    pub fn cursors_are_kept(&self) -> bool {
        self.cursors.is_written()
    }

    /// How many sessions are open.
    pub fn session_count(&self) -> usize {
        self.sessions.len() as usize
    }

    /// Deliveries that were handed over and are not sent yet.
    pub fn deliveries_in_flight(&self) -> usize {
        self.deliveries.len() as usize
    }

    /// What the log of the durable cursors is to be opened with, for [`add_cursors`](Self::add_cursors).
    pub fn cursor_log_config(entropy: u128) -> LogConfig {
        crate::cursors::log_config(entropy)
    }

    // World to shard. See also `deliver.rs`.

    /// Takes the answer of the disk to anything but a read.
    pub fn on_disk(
        &mut self,
        log: LogId,
        token: Token,
        result: Result<u32, DiskError>,
        now: Now,
        disk: &mut impl Disk,
    ) {
        let Some(&key) = self.by_log.get(&log.0) else {
            return;
        };
        if let Some(stream) = self.streams.at_mut(key) {
            stream.log.on_completion(token, result, now, disk);
            self.look_at(key);
        }
    }

    // Commands. See also `publish.rs`, `subscribe.rs` and `rpc.rs`.

    /// Takes in a stream. Live subscriptions whose patterns it matches get a channel.
    ///
    /// # Errors
    /// When there is one of this name or with this log's id, or one that captures the same subjects; the log comes back.
    #[allow(
        clippy::result_large_err,
        reason = "a rare command; the log must not be lost"
    )]
    pub fn add_stream(
        &mut self,
        plan: StreamPlan,
        log: Log,
        now: Now,
        out: &mut impl Out,
    ) -> Result<(), (Refusal, Log)> {
        if let Err(refusal) = self.check_stream(&plan, &log) {
            return Err((refusal, log));
        }
        let stream = Stream::new(plan, log, false);
        let key = self
            .insert_stream(stream)
            .map_err(|(refusal, stream)| (refusal, stream.log))?;
        let Some(stream) = self.streams.at(key) else {
            return Ok(());
        };
        for pattern in &stream.plan.patterns {
            self.routes.insert(pattern, key);
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.cursors
            .clamp(&stream.plan.name, stream.log.received().sequence);
        let mut wanted = Vec::new();
        for (session, state) in self.sessions.iter() {
            let matching = state
                .subscriptions
                .iter()
                .filter(|subscription| captures(subscription, stream));
            wanted.extend(matching.map(|subscription| (session, subscription.clone())));
        }
        for (session, subscription) in wanted {
            let room = self.sessions.at(session).map_or(0, |state| {
                (self.config.limits.session_channels as usize).saturating_sub(state.channel_count())
            });
            if room == 0 || self.channels.is_full() || self.feeds.is_full() {
                let id = self.sessions.at(session).map(|state| state.id);
                if let Some(id) = id {
                    let message = "a new stream matches a subscription, but as many channels are open as may be";
                    out.refused(id, 0, &ErrorBody::new(ErrorCode::TOO_MANY, message));
                }
                continue;
            }
            self.open_channel(session, &subscription, key, now, out);
        }
        self.look_at(key);
        Ok(())
    }

    /// Takes in the log that durable cursors are kept in, before any session is opened. Without one, they are forgotten at the end.
    ///
    /// # Errors
    /// When there is one already, or a stream has this log's id; the log comes back.
    #[allow(
        clippy::result_large_err,
        reason = "a rare command; the log must not be lost"
    )]
    pub fn add_cursors(&mut self, log: Log) -> Result<(), (Refusal, Log)> {
        if self.cursors.stream != Key::NONE || self.by_log.contains_key(&log.id().0) {
            return Err((
                Refusal::new(
                    ErrorCode::EXISTS,
                    "there is a log of this id, or a log of cursors",
                ),
                log,
            ));
        }
        let plan = StreamPlan {
            name: "$sys.cursors".into(),
            patterns: Vec::new(),
            level: AckLevel::Stored,
            visible: AckLevel::Stored,
        };
        let key = self
            .insert_stream(Stream::new(plan, log, true))
            .map_err(|(refusal, stream)| (refusal, stream.log))?;
        if let Some(stream) = self.streams.at_mut(key) {
            self.cursors.load(key, &mut stream.log);
        }
        self.look_at(key);
        Ok(())
    }

    /// Gives a stream's log up. Its channels end, their sessions are told with Error 16; publishes that wait for it are refused; its durable
    /// cursors are forgotten. Bytes of its tail may still be on their way: keep the log's memory [pinned](Log::pin) until they are sent.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove_stream(
        &mut self,
        name: &str,
        now: Now,
        out: &mut impl Out,
    ) -> Result<Log, Refusal> {
        let missing = || Refusal::new(ErrorCode::NOT_FOUND, format!("there is no stream {name}"));
        let key = self.stream_key(name).ok_or_else(missing)?;
        let feeds = self
            .streams
            .at(key)
            .map(|stream| stream.feeds.clone())
            .unwrap_or_default();
        let message = format!("stream {name} was removed");
        for feed in feeds {
            let members = self
                .feeds
                .at(feed)
                .map(|feed| feed.members.clone())
                .unwrap_or_default();
            for member in members {
                if let Some(channel) = self.channels.at(member) {
                    out.refused(
                        channel.id,
                        0,
                        &ErrorBody::new(ErrorCode::NOT_FOUND, &message),
                    );
                }
                self.close_channel(member, now);
            }
        }
        for cursor in self.cursors.of_stream(name) {
            self.forget_cursor(cursor, now);
        }
        let stream = self.streams.remove(key).ok_or_else(missing)?;
        self.by_log.remove(&stream.log.id().0);
        for pattern in &stream.plan.patterns {
            self.routes.remove(pattern, |other| *other == key);
        }
        self.epoch = self.epoch.wrapping_add(1);
        for heap in &stream.waits {
            self.ack_ready
                .extend(heap.iter().map(|Reverse((_, session))| *session));
        }
        Ok(stream.log)
    }

    /// Takes in where a durable cursor stands that was kept elsewhere, however many there are; with turns until
    /// [`cursors_are_kept`](Self::cursors_are_kept).
    pub fn import_cursor(&mut self, stream: &str, name: &str, next: u64, now: Now) {
        let key = self.cursors.bind(stream, name);
        self.cursors.set_next(key, next);
        self.cursors.touch(key, now);
    }

    /// Forgets a durable cursor that nobody reads with.
    ///
    /// # Errors
    /// When there is none of this name, or somebody reads with it.
    pub fn remove_cursor(&mut self, stream: &str, name: &str, now: Now) -> Result<(), Refusal> {
        let Some(key) = self.cursors.find(stream, name) else {
            return Err(Refusal::new(
                ErrorCode::NOT_FOUND,
                format!("stream {stream} has no cursor {name}"),
            ));
        };
        if self.cursors.feed(key) != Key::NONE {
            return Err(Refusal::new(
                ErrorCode::EXISTS,
                format!("somebody reads with cursor {name} of stream {stream}"),
            ));
        }
        self.forget_cursor(key, now);
        Ok(())
    }

    /// A session that may publish, subscribe and call here, of any worker. Opening it again changes nothing.
    ///
    /// # Errors
    /// When there are too many.
    pub fn open_session(&mut self, session: SessionId) -> Result<(), Refusal> {
        if self.by_id.contains_key(&session) {
            return Ok(());
        }
        let seed = self.config.seed ^ session.to_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let state = Session::new(session, seed, &self.config.limits);
        match self.sessions.insert(state) {
            Ok(key) => {
                self.by_id.insert(session, key);
                Ok(())
            }
            Err(_) => Err(Refusal::new(
                ErrorCode::TOO_MANY,
                "as many sessions are open as may be",
            )),
        }
    }

    /// Ends everything that the session has here. Deliveries that are on their way are still answered with [`on_sent`](Self::on_sent).
    pub fn close_session(&mut self, session: SessionId, now: Now, out: &mut impl Out) {
        let Some(key) = self.by_id.remove(&session) else {
            return;
        };
        let channels = self
            .sessions
            .at(key)
            .map(|state| state.channels.clone())
            .unwrap_or_default();
        for channel in channels {
            self.close_channel(channel, now);
        }
        self.remove_responders(key, None, out);
        self.forget_calls_of(key);
        self.sessions.remove(key);
    }

    /// Asks that everything received so far be synced: before a shutdown, with turns until [`is_synced`](Self::is_synced).
    pub fn sync(&mut self, now: Now) {
        self.save_cursors(now);
        let keys: Vec<Key> = self.streams.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(stream) = self.streams.at_mut(key) {
                let last = stream.log.received().sequence.saturating_sub(1);
                stream.log.want_synced(last);
                self.look_at(key);
            }
        }
    }

    /// Whether everything that was received is on the device, or never will be.
    pub fn is_synced(&self) -> bool {
        self.streams.iter().all(|(_, stream)| {
            stream.is_poisoned() || stream.log.synced().sequence >= stream.log.received().sequence
        })
    }

    /// Whether everything is synced and every stream's files say so: see [`trunkline_log::Log::is_settled`].
    pub fn is_settled(&self) -> bool {
        self.is_synced()
            && self
                .streams
                .iter()
                .all(|(_, stream)| stream.log.is_settled())
    }

    // Shard to world.

    /// Writes, delivers and acknowledges what there is: once after a batch of the above, and when the deadline has come. Bounded; when
    /// `work` is not 0 there may be more to do.
    pub fn turn(&mut self, now: Now, disk: &mut impl Disk, out: &mut impl Out) -> Turn {
        let mut work = self.buffers.give_back(out);
        work += self.look_at_streams(now, disk, out);
        work += self.deliver(self.config.limits.turn_runs as usize, now, disk, out);
        work += self.answer_frames(out);
        work += self.time_out_calls(now, out);
        if self.cursors.is_due(now) {
            work += self.save_cursors(now);
        }
        self.reclaim(now, out);
        let deadlines = [
            self.log_due_ns,
            self.cursors.deadline_ns(),
            self.rpc.deadline_ns(),
            self.reclaim_due_ns,
        ];
        Turn {
            work,
            next_deadline_ns: deadlines.into_iter().flatten().min(),
        }
    }

    /// Flushes the logs that have something new or whose time has come, and finds out what that made visible.
    fn look_at_streams(&mut self, now: Now, disk: &mut impl Disk, out: &mut impl Out) -> usize {
        if self.log_due_ns.is_some_and(|due| due <= now.mono_ns) {
            self.log_due_ns = None;
            for (key, stream) in self.streams.iter_mut() {
                match stream.log.next_deadline_ns() {
                    Some(due) if due > now.mono_ns => {
                        self.log_due_ns = earlier(self.log_due_ns, Some(due));
                    }
                    Some(_) if !stream.listed => {
                        stream.listed = true;
                        self.attention.push(key);
                    }
                    _ => {}
                }
            }
        }
        let mut work = 0;
        let mut attention = core::mem::take(&mut self.attention);
        for key in attention.drain(..) {
            work += self.look_at_stream(key, now, disk, out);
        }
        // What came meanwhile is for the next turn.
        attention.append(&mut self.attention);
        self.attention = attention;
        work
    }

    fn look_at_stream(
        &mut self,
        key: Key,
        now: Now,
        disk: &mut impl Disk,
        out: &mut impl Out,
    ) -> usize {
        let Some(stream) = self.streams.at_mut(key) else {
            return 0;
        };
        stream.listed = false;
        stream.log.flush(now, disk);
        self.log_due_ns = earlier(self.log_due_ns, stream.log.next_deadline_ns());
        if stream.internal {
            let loaded =
                !self.cursors.is_ready() && self.cursors.load_more(&mut stream.log, now, disk);
            if loaded && self.cursors.is_ready() {
                for (_, stream) in self.streams.iter() {
                    self.cursors
                        .clamp(&stream.plan.name, stream.log.received().sequence);
                }
            }
            return usize::from(loaded);
        }
        let mut work = 0;
        let visible = stream.mark(stream.plan.visible);
        if visible != stream.visible {
            work += 1;
            stream.visible = visible;
            for feed in stream.idle.drain(..) {
                if let Some(feed) = self.feeds.at_mut(feed) {
                    feed.in_idle = false;
                    if feed.state != FeedState::Idle {
                        continue;
                    }
                }
                wake(&mut self.feeds, &mut self.ready, feed);
            }
            self.disconnect_hopeless(key, out);
        }
        work + self.wake_waiting(key)
    }

    /// Sessions whose first frame has got to its level, or never will.
    fn wake_waiting(&mut self, key: Key) -> usize {
        let Some(stream) = self.streams.at_mut(key) else {
            return 0;
        };
        let marks = [stream.log.stored().sequence, stream.log.synced().sequence];
        let poisoned = stream.is_poisoned();
        let mut work = 0;
        for (heap, mark) in stream.waits.iter_mut().zip(marks) {
            while let Some(Reverse((upto, _))) = heap.peek() {
                if *upto >= mark && !poisoned {
                    break;
                }
                if let Some(Reverse((_, session))) = heap.pop() {
                    self.ack_ready.push(session);
                    work += 1;
                }
            }
        }
        work
    }

    /// Answers Publish frames, and notes what the first unanswered one of each session waits for.
    fn answer_frames(&mut self, out: &mut impl Out) -> usize {
        let mut work = 0;
        let mut ready = core::mem::take(&mut self.ack_ready);
        for key in ready.drain(..) {
            let Some(session) = self.sessions.at_mut(key) else {
                continue;
            };
            let streams = &self.streams;
            let (answered, wait) =
                session
                    .acks
                    .answer(session.id, |stream| streams.at(stream), out);
            work += answered;
            session.acks.listed = false;
            let Some(wait) = wait else { continue };
            session.acks.listed = true;
            let sessions = self.sessions.len() as usize;
            if let Some(stream) = self.streams.at_mut(wait.stream) {
                let heap = &mut stream.waits[usize::from(wait.level == AckLevel::Synced)];
                if heap.len() > 2 * sessions + 64 {
                    // Sessions that closed while they waited.
                    let alive = &self.sessions;
                    heap.retain(|Reverse((_, key))| alive.at(*key).is_some());
                }
                heap.push(Reverse((wait.upto, key)));
            }
        }
        self.ack_ready = ready;
        work
    }

    /// Closes sessions whose policy says so.
    fn disconnect_hopeless(&mut self, key: Key, out: &mut impl Out) {
        let Some(stream) = self.streams.at(key) else {
            return;
        };
        if stream.disconnecting == 0 {
            return;
        }
        let window = window_bytes(&self.config.limits, &stream.log);
        for feed in &stream.feeds {
            let Some(feed) = self.feeds.at(*feed) else {
                continue;
            };
            if !policy::is_hopeless(feed, stream.visible, window) {
                continue;
            }
            let members = || {
                feed.members
                    .iter()
                    .filter_map(|member| self.channels.at(*member))
            };
            if members().any(|channel| channel.credit > 0) {
                continue;
            }
            for channel in members() {
                out.close(
                    channel.id,
                    ErrorCode::SLOW_CONSUMER,
                    "the subscriber is further behind than its window",
                );
            }
        }
    }

    /// Asks for stretches of tails back that publishers have been waiting for.
    fn reclaim(&mut self, now: Now, out: &mut impl Out) {
        if !self.pressed {
            return;
        }
        let due = *self
            .reclaim_due_ns
            .get_or_insert(now.mono_ns + self.config.reclaim_after_ns);
        if due > now.mono_ns {
            return;
        }
        self.pressed = false;
        self.reclaim_due_ns = None;
        for delivery in self.deliveries.keys() {
            let Some(Delivery {
                id,
                channel,
                stream,
                at_ns,
                keeps:
                    Keeps::Tail {
                        position,
                        reclaimed,
                        ..
                    },
                ..
            }) = self.deliveries.at_mut(delivery)
            else {
                continue;
            };
            let Some(stream) = self.streams.at(*stream).filter(|stream| stream.pressed) else {
                continue;
            };
            let config = stream.log.config();
            let soon = stream.log.received().position
                + u64::from(config.record_bytes_max)
                + IN_THE_WAY_BYTES;
            let in_the_way = *position + config.tail_bytes < soon;
            let old = now.mono_ns.saturating_sub(*at_ns) >= self.config.reclaim_after_ns;
            let feed = self
                .channels
                .at(*channel)
                .and_then(|channel| self.feeds.at(channel.feed));
            let keeps = feed.is_some_and(|feed| feed.policy == Policy::Block);
            if in_the_way && old && !keeps && !*reclaimed {
                *reclaimed = true;
                out.reclaim(*id, hold_id(delivery));
            }
        }
        for stream in self.streams.values_mut() {
            stream.pressed = false;
        }
    }

    /// Writes where durable cursors stand.
    fn save_cursors(&mut self, now: Now) -> usize {
        let mut active = core::mem::take(&mut self.saving);
        active.extend(self.cursors.active().map(|(_, feed)| feed));
        for feed in active.drain(..) {
            self.save_progress(feed);
        }
        self.saving = active;
        let log = self.streams.at_mut(self.cursors.stream);
        let listed = self.cursors.stream;
        let written = self.cursors.write(log.map(|stream| &mut stream.log), now);
        if written > 0 {
            self.look_at(listed);
        }
        written
    }

    /// Notes how far a feed has confirmed: everything before the first sequence that was not delivered, or not confirmed.
    pub(crate) fn save_progress(&mut self, key: Key) {
        let Some(feed) = self.feeds.at(key) else {
            return;
        };
        if feed.durable == Key::NONE {
            return;
        }
        let members = feed
            .members
            .iter()
            .filter_map(|member| self.channels.at(*member));
        let unconfirmed = members
            .filter_map(|channel| channel.unconfirmed.first())
            .min();
        let next = [
            Some(feed.cursor.sequence()),
            feed.again.first(),
            unconfirmed,
        ]
        .into_iter()
        .flatten()
        .min();
        if let Some(next) = next {
            self.cursors.set_next(feed.durable, next);
        }
    }

    fn forget_cursor(&mut self, key: Key, now: Now) {
        let stream = self.cursors.stream;
        let log = self.streams.at_mut(stream).map(|stream| &mut stream.log);
        self.cursors.remove(key, log, now);
        self.look_at(stream);
    }

    #[inline]
    pub(crate) fn session_key(&self, session: SessionId) -> Option<Key> {
        self.by_id.get(&session).copied()
    }

    fn stream_key(&self, name: &str) -> Option<Key> {
        self.streams
            .iter()
            .find(|(_, stream)| !stream.internal && *stream.plan.name == *name)
            .map(|(key, _)| key)
    }

    fn look_at(&mut self, key: Key) {
        if let Some(stream) = self.streams.at_mut(key)
            && !stream.listed
        {
            stream.listed = true;
            self.attention.push(key);
        }
    }

    fn info(&self, stream: &Stream) -> StreamInfo {
        let members = stream
            .feeds
            .iter()
            .filter_map(|feed| self.feeds.at(*feed))
            .map(|feed| feed.members.len());
        stream.info(
            members.sum::<usize>() as u32,
            self.cursors.count_of(&stream.plan.name),
        )
    }

    fn check_stream(&self, plan: &StreamPlan, log: &Log) -> Result<(), Refusal> {
        let name = &plan.name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            let message = format!("a stream's name has 1 to {NAME_BYTES_MAX} printable bytes");
            return Err(Refusal::new(ErrorCode::MALFORMED, message));
        }
        if plan.patterns.is_empty() {
            return Err(Refusal::new(
                ErrorCode::MALFORMED,
                format!("stream {name} captures no subjects"),
            ));
        }
        if self.by_log.contains_key(&log.id().0) {
            return Err(Refusal::new(
                ErrorCode::EXISTS,
                format!("there is a log of id {}", log.id().0),
            ));
        }
        for (_, other) in self.streams.iter().filter(|(_, other)| !other.internal) {
            if other.plan.name == *name {
                return Err(Refusal::new(
                    ErrorCode::EXISTS,
                    format!("there is a stream {name}"),
                ));
            }
            for (ours, theirs) in plan
                .patterns
                .iter()
                .flat_map(|a| other.plan.patterns.iter().map(move |b| (a, b)))
            {
                if ours.overlaps(theirs) {
                    let message = format!(
                        "{ours} has subjects in common with {theirs}, which stream {} captures",
                        other.plan.name
                    );
                    return Err(Refusal::new(ErrorCode::EXISTS, message));
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::result_large_err, reason = "the stream comes back")]
    fn insert_stream(&mut self, stream: Stream) -> Result<Key, (Refusal, Stream)> {
        let id = stream.log.id().0;
        match self.streams.insert(stream) {
            Ok(key) => {
                self.by_log.insert(id, key);
                Ok(key)
            }
            Err(stream) => Err((
                Refusal::new(
                    ErrorCode::TOO_MANY,
                    "there are as many streams as there may be",
                ),
                stream,
            )),
        }
    }
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    [a, b].into_iter().flatten().min()
}

/// Fewer deliveries than one visit may make would stop everything.
const DELIVERIES_MIN: u32 = 4096;
/// What lies this close before the end of the tail's room is in the way of the next records.
const IN_THE_WAY_BYTES: u64 = 256 << 10;
