//! The calls that the server itself answers: subjects below `$sys.`, in JSON.
//!
//! | subject | request | answer |
//! |---|---|---|
//! | [`SERVER_INFO`] | empty | [`ServerInfo`] |
//! | [`STREAM_LIST`] | empty | [`StreamList`] |
//! | [`STREAM_INFO`] | the stream's name, as plain text | [`StreamInfo`] |
//! | [`STREAM_ADD`] | an entry of `streams` in a configuration, as JSON | [`StreamInfo`] |
//! | [`STREAM_REMOVE`] | the stream's name, as plain text | [`StreamRemoved`] |
//!
//! A stream is removed when it is answered that it is: its files are gone, and stay so whatever happens.
//!
//! What cannot be done is answered with an Error frame: 16 no such stream, 17 exists already, 5 with what is wrong in the
//! description, 30 while stopping.

use serde::{Deserialize, Serialize};

/// About the server.
pub const SERVER_INFO: &str = "$sys.server.info";
/// All streams.
pub const STREAM_LIST: &str = "$sys.stream.list";
/// One stream.
pub const STREAM_INFO: &str = "$sys.stream.info";
/// Adds a stream, kept over restarts.
pub const STREAM_ADD: &str = "$sys.stream.add";
/// Removes a stream and its records. Streams of the configuration cannot be removed by a call.
pub const STREAM_REMOVE: &str = "$sys.stream.remove";

/// Answer of [`SERVER_INFO`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// `trunkline 0.1.0`.
    pub server: String,
    /// The server's process.
    pub pid: u32,
    /// Random for each start.
    pub epoch: u64,
    /// Since the start.
    pub uptime_ns: u64,
    /// Number of workers.
    pub workers: u32,
    /// `io_uring` or `epoll`, and why when it was chosen automatically.
    pub io: String,
    /// `spin`, `adaptive` or `park`.
    pub idle: String,
    /// Connections of all workers at this moment, the asking one included.
    pub connections: u64,
}

/// Answer of [`STREAM_LIST`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamList {
    /// By name.
    pub streams: Vec<StreamInfo>,
}

/// One stream at this moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// The patterns that it captures.
    pub subjects: Vec<String>,
    /// `file` or `memory`.
    pub storage: String,
    /// `received`, `stored` or `synced`.
    pub ack: String,
    /// `ack` or `received`.
    pub visible: String,
    /// Records that are held.
    pub records: u64,
    /// Bytes that are held, with headers.
    pub bytes: u64,
    /// Sequence of the oldest record that is held.
    pub first_sequence: u64,
    /// Sequence of the newest record; less than the first when there is none.
    pub last_sequence: u64,
    /// Newest record that is written; null in memory, where none is.
    pub stored_sequence: Option<u64>,
    /// Newest record that is on the device; null in memory.
    pub synced_sequence: Option<u64>,
    /// Distinct subjects that were published to.
    pub subjects_seen: u64,
    /// Subscriptions at this moment.
    pub subscribers: u64,
    /// The worker that owns it.
    pub worker: u32,
    /// `ok`; `no_space`, while no further segment can be made; `read_only`, after a write or a sync has failed; `refused`, when
    /// it could not be opened at the start: nothing is known of its records then.
    pub state: String,
    /// Why it is not `ok`, and what can be done.
    pub reason: Option<String>,
    /// Records that are damaged, as `[first, last]` of each range: what readers have come upon since the start and did not get, 64 ranges at most. Only
    /// `trunkline log verify` looks at everything.
    pub damaged: Vec<(u64, u64)>,
    /// Records that were passed over for subscribers that were too slow, of whatever subject, once for each subscriber, since the server was started. They
    /// are counted when the subscriber takes records again.
    pub skipped: u64,
    /// Subscribers that were disconnected because they were too slow, since then.
    pub disconnected: u64,
    /// Retention by age does not believe the clock yet, because it went forward by more than an hour at once.
    pub retention_held: bool,
    /// What is kept.
    pub retention: String,
    /// Whether the configuration declares it; one that was added by a call can be removed by one.
    pub configured: bool,
}

/// Answer of [`STREAM_REMOVE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamRemoved {
    /// Its name.
    pub name: String,
    /// Records that went with it.
    pub records: u64,
}
