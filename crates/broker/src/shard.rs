//! One worker's streams and everybody who uses them.

use trunkline_log::{Disk, DiskError, Log, LogId, Token};
use trunkline_wire::{AckLevel, ErrorCode, Oversized, RpcCall, Run, Subscribe};

use crate::limits::Limits;
use crate::out::{HoldId, Out, SessionId};
use crate::publish::{PublishFrame, Published};
use crate::refusal::{PublishError, PublishFault, Refusal};
use crate::stream::{StreamInfo, StreamPlan};
use crate::{Now, slab};

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
/// * getters: [`stream_info`](Self::stream_info), [`streams`](Self::streams), [`log`](Self::log), [`is_ready`](Self::is_ready);
/// * world → shard: [`on_disk`](Self::on_disk), [`on_read`](Self::on_read), [`on_sent`](Self::on_sent);
/// * commands: [`add_stream`](Self::add_stream), [`open_session`](Self::open_session), [`publish`](Self::publish), [`subscribe`](Self::subscribe),
///   [`credit`](Self::credit), [`call`](Self::call), …;
/// * shard → world: [`turn`](Self::turn), which hands requests to a [`Disk`] and deliveries and acks to an [`Out`].
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    streams: slab::Slab<crate::stream::Stream>,
}

impl Shard {
    /// A shard without streams.
    pub fn new(config: ShardConfig) -> Self {
        Self {
            config,
            streams: slab::Slab::new(config.limits.streams),
        }
    }

    // Getters.

    /// What it was made with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// Whether durable cursors are known: they are read during the first turns after [`add_cursors`](Self::add_cursors). Nobody may
    /// subscribe before.
    pub fn is_ready(&self) -> bool {
        true
    }

    /// The log of a stream: for the bytes of a write or of a delivery.
    pub fn log(&self, _log: LogId) -> Option<&Log> {
        None
    }

    /// A stream by its name.
    pub fn stream_info(&self, _name: &str) -> Option<StreamInfo> {
        None
    }

    /// All streams.
    pub fn streams(&self) -> Vec<StreamInfo> {
        Vec::new()
    }

    // World to shard.

    /// Takes the answer of the disk to anything but a read.
    pub fn on_disk(
        &mut self,
        _log: LogId,
        _token: Token,
        _result: Result<u32, DiskError>,
        _now: Now,
        _disk: &mut impl Disk,
    ) {
    }

    /// Takes the answer to a read: `buffer` holds `bytes` and is the shard's until [`Out::release_buffer`], which may come from within.
    pub fn on_read(
        &mut self,
        _log: LogId,
        _token: Token,
        buffer: u32,
        _bytes: &[u8],
        _now: Now,
        _disk: &mut impl Disk,
        out: &mut impl Out,
    ) {
        out.release_buffer(buffer);
    }

    /// Takes the failure of a read, for which there is no buffer.
    pub fn on_read_failed(
        &mut self,
        _log: LogId,
        _token: Token,
        _error: DiskError,
        _now: Now,
        _disk: &mut impl Disk,
        _out: &mut impl Out,
    ) {
    }

    /// A delivery has left, or will never leave. Buffers that it gives back are released by the next turn.
    pub fn on_sent(&mut self, _hold: HoldId) {}

    // Commands.

    /// Takes in a stream. Live subscriptions whose patterns it matches get a channel.
    ///
    /// # Errors
    /// When there is one of this name, or one that captures the same subjects; the log comes back.
    #[allow(
        clippy::result_large_err,
        reason = "a rare command; the log must not be lost"
    )]
    pub fn add_stream(
        &mut self,
        _plan: StreamPlan,
        log: Log,
        _now: Now,
        _out: &mut impl Out,
    ) -> Result<(), (Refusal, Log)> {
        Err((Refusal::new(ErrorCode::TOO_MANY, "not yet"), log))
    }

    /// Takes in the log that durable cursors are kept in; see [`cursor_log_config`](Self::cursor_log_config). Without one, they are forgotten at the end.
    pub fn add_cursors(&mut self, _log: Log) {}

    /// Gives a stream's log up. Its channels are told with Error 16; publishes that wait for it are refused.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove_stream(
        &mut self,
        _name: &str,
        _now: Now,
        _out: &mut impl Out,
    ) -> Result<Log, Refusal> {
        Err(Refusal::new(ErrorCode::NOT_FOUND, "no such stream"))
    }

    /// A session that may publish, subscribe and call here, of any worker. Opening it again changes nothing.
    ///
    /// # Errors
    /// When there are too many.
    pub fn open_session(&mut self, _session: SessionId) -> Result<(), Refusal> {
        Ok(())
    }

    /// Ends everything that the session has here. Deliveries that are on their way are still answered with [`on_sent`](Self::on_sent).
    pub fn close_session(&mut self, _session: SessionId, _now: Now, _out: &mut impl Out) {}

    /// Takes records of a Publish frame.
    ///
    /// # Errors
    /// When they break the protocol: the session is to be closed with the error's code.
    pub fn publish(
        &mut self,
        _session: SessionId,
        _frame: PublishFrame,
        _run: Run<'_>,
        _now: Now,
    ) -> Result<Published, PublishError> {
        Err(PublishError {
            fault: PublishFault::NoSession,
            offset: 0,
        })
    }

    /// Takes the end of a Publish frame whose rest was skipped because of a record over the limit. `full` comes back as from [`publish`](Self::publish).
    pub fn publish_oversized(&mut self, _session: SessionId, _oversized: &Oversized) -> Published {
        Published {
            bytes: 0,
            full: false,
        }
    }

    /// Opens a channel for each stream of this shard that the pattern can match, and tells each with Subscribed. Returns how many:
    /// the owner adds those of all shards up and answers with an Ack.
    ///
    /// # Errors
    /// What is wrong; nothing was opened.
    pub fn subscribe(
        &mut self,
        _session: SessionId,
        _subscribe: &Subscribe<'_>,
        _now: Now,
        _out: &mut impl Out,
    ) -> Result<u32, Refusal> {
        Err(Refusal::new(ErrorCode::NOT_FOUND, "not yet"))
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn unsubscribe(
        &mut self,
        _session: SessionId,
        _subscription: u16,
        _now: Now,
        _out: &mut impl Out,
    ) -> Result<(), Refusal> {
        Err(Refusal::new(ErrorCode::NOT_FOUND, "no such subscription"))
    }

    /// Lets the channel have more bytes.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn credit(
        &mut self,
        _session: SessionId,
        _channel: u16,
        _bytes: u64,
    ) -> Result<(), Refusal> {
        Err(Refusal::new(ErrorCode::NOT_FOUND, "no such channel"))
    }

    /// Records of the channel are processed; `first` = 0: everything up to `last`.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn confirm(
        &mut self,
        _session: SessionId,
        _channel: u16,
        _first: u64,
        _last: u64,
        _now: Now,
    ) -> Result<(), Refusal> {
        Err(Refusal::new(ErrorCode::NOT_FOUND, "no such channel"))
    }

    /// Passes a call on to one responder. What goes wrong comes back at the caller's correlation by [`Out::refused`], now or later.
    pub fn call(
        &mut self,
        _session: SessionId,
        _correlation: u16,
        _call: &RpcCall<'_>,
        _now: Now,
        _out: &mut impl Out,
    ) {
    }

    /// Passes an answer back to the caller. An answer to nothing, which is one that came too late, is dropped.
    pub fn respond(
        &mut self,
        _session: SessionId,
        _correlation: u16,
        _payload: &[u8],
        _out: &mut impl Out,
    ) {
    }

    /// Asks that everything received so far be synced: before a shutdown, with turns until [`is_synced`](Self::is_synced).
    pub fn sync(&mut self) {}

    /// Whether everything that was received is on the device, or never will be.
    pub fn is_synced(&self) -> bool {
        let _ = AckLevel::Synced;
        true
    }

    // Shard to world.

    /// Writes, delivers and acknowledges what there is: once after a batch of the above, and when the deadline has come. Bounded; when
    /// `work` is not 0 there may be more to do.
    pub fn turn(&mut self, _now: Now, _disk: &mut impl Disk, _out: &mut impl Out) -> Turn {
        Turn::default()
    }
}
