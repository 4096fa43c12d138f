//! One worker's streams and everybody who uses them.

use std::collections::VecDeque;

use trunkline_log::{Disk, DiskError, Log, LogConfig, LogId, Token};
use trunkline_route::Table;
use trunkline_wire::ErrorCode;

use crate::Now;
use crate::channel::Channel;
use crate::cursors::Cursors;
use crate::delivery::{Buffers, Deliveries};
use crate::feed::Feed;
use crate::hash::NumberMap;
use crate::limits::Limits;
use crate::out::{Out, SessionId};
use crate::refusal::Refusal;
use crate::rpc::Rpc;
use crate::session::Session;
use crate::slab::{Key, Slab};
use crate::stream::Stream;
use crate::stretch::Stretch;
use crate::unopened::Unopened;

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

/// One worker's streams, sessions, subscriptions and calls.
///
/// Its methods are of four kinds:
///
/// * getters: [`stream_info`](Self::stream_info), [`streams`](Self::streams), [`log`](Self::log), [`is_ready`](Self::is_ready), …;
/// * world → shard: [`on_disk`](Self::on_disk), [`on_read`](Self::on_read), [`on_sent`](Self::on_sent), [`on_dropped`](Self::on_dropped);
/// * commands: [`add_stream`](Self::add_stream), [`open_session`](Self::open_session), [`publish`](Self::publish), [`subscribe`](Self::subscribe),
///   [`credit`](Self::credit), [`call`](Self::call), …;
/// * shard → world: [`turn`](Self::turn), which hands requests to a [`Disk`] and deliveries and acks to an [`Out`].
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) streams: Slab<Stream>,
    pub(crate) by_log: NumberMap<u32, Key>,
    /// Streams that are not there because they could not be opened.
    pub(crate) unopened: Vec<Unopened>,
    /// How many there ever were.
    pub(crate) unopened_count: u32,
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
    pub(crate) saving: Vec<Key>,
    /// The earliest deadline of a log, or earlier.
    pub(crate) log_due_ns: Option<u64>,
    /// Some stream had no room for an append since deliveries were last looked at.
    pub(crate) pressed: bool,
    /// When somebody has to look whether deliveries are to be reclaimed.
    pub(crate) reclaim_due_ns: Option<u64>,
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
            unopened: Vec::new(),
            unopened_count: 0,
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

    // Getters. See also `catalog.rs` and `progress.rs`.

    /// What it was made with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// Whether durable cursors are known: they are read during the first turns after [`add_cursors`](Self::add_cursors). Subscriptions
    /// with a cursor are refused before.
    pub fn is_ready(&self) -> bool {
        self.cursors.is_ready()
    }

    /// How many records of where cursors stand are damaged: a cursor that they tell of stands where it stood before, or is not known any
    /// more. Final once [`is_ready`](Self::is_ready).
    pub fn cursor_records_lost(&self) -> u64 {
        self.cursors.lost()
    }

    /// The log of a stream: for the bytes of a write or of a delivery.
    pub fn log(&self, log: LogId) -> Option<&Log> {
        self.by_log
            .get(&log.0)
            .and_then(|key| self.streams.at(*key))
            .map(|stream| &stream.log)
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

    // World to shard. See also `cold.rs` and `delivery.rs`.

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

    // Commands. See also `catalog.rs`, `publish.rs`, `subscribe.rs`, `progress.rs` and `rpc.rs`.

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

    /// Ends everything that the session has here. Deliveries that are on their way are still answered, with [`on_dropped`](Self::on_dropped).
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

    /// Records that were received and are not on the device yet, leaving out those that never will be.
    pub fn unsynced(&self) -> u64 {
        let streams = self.streams.iter().map(|(_, stream)| stream);
        streams
            .filter(|stream| !stream.internal && !stream.is_poisoned())
            .map(|stream| {
                let (received, synced) = (stream.log.received(), stream.log.synced());
                received.sequence.saturating_sub(synced.sequence)
            })
            .sum()
    }

    /// Whether everything is synced and every stream's files say so: see [`trunkline_log::Log::is_settled`].
    pub fn is_settled(&self) -> bool {
        self.is_synced()
            && self
                .streams
                .iter()
                .all(|(_, stream)| stream.log.is_settled())
    }

    // Shard to world: `turn.rs`.

    #[inline]
    pub(crate) fn session_key(&self, session: SessionId) -> Option<Key> {
        self.by_id.get(&session).copied()
    }

    pub(crate) fn look_at(&mut self, key: Key) {
        if let Some(stream) = self.streams.at_mut(key)
            && !stream.listed
        {
            stream.listed = true;
            self.attention.push(key);
        }
    }
}

/// Fewer deliveries than one visit may make would stop everything.
const DELIVERIES_MIN: u32 = 4096;
