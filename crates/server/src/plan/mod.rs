//! What is run: every number of a server, computed once from [`Config`](crate::config::Config), the flags and the
//! machine.
//!
//! [`Plan`] is plain data. The rest of the server reads it and nothing else; `trunkline plan` prints it. It is computed
//! without touching a file, a socket or a clock, so that `check` says exactly what `serve` would say.
//!
//! Invariants of a plan: subjects of different streams never overlap; every address outside the loopback range is
//! allowed by its owner; each record that the limits let in fits the tail and the segment of its stream at least
//! [`RECORDS_PER_TAIL`] times; tails are powers of two; segments are multiples of 64 KiB.

mod compute;
mod derived;
mod machine;
mod memory;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

pub use crate::config::{Ack, Idle, Io, Storage, SyncedWrites, Visible};
pub use compute::Flags;
pub(crate) use derived::STREAMS_ADDED_MAX;
pub use machine::Machine;
pub use memory::{ARENA_BYTES_MAX, MESH_RING_BYTES, Term};
pub use stream::{RetentionPlan, StreamPlan};

/// Every number of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The configuration file, if there was one. `SIGHUP` reads it again.
    pub config_file: Option<PathBuf>,
    /// What the command line said over it, and says again when it is read again.
    #[serde(skip)]
    pub flags: Flags,
    /// Directory of locks, durable streams and cursors.
    pub data_dir: PathBuf,
    /// Written when connections are accepted: the bound addresses, one on each line. For whoever started the server with
    /// port 0, or waits for it.
    pub ready_file: Option<PathBuf>,
    /// Where to listen; never empty.
    pub listeners: Vec<ListenerPlan>,
    /// The workers; never empty. The index is the worker's number.
    pub workers: Vec<WorkerPlan>,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// How a worker talks to the kernel.
    pub io: Io,
    /// How commits of streams with `ack: synced` go to the device. Default `buffered`.
    pub synced_writes: SyncedWrites,
    /// Bounds on what clients can ask for.
    pub limits: Limits,
    /// The streams of the configuration; those added at run time come from the data directory.
    pub streams: Vec<StreamPlan>,
}

/// One listening address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerPlan {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Whether other machines can reach it (and the owner said so).
    pub exposed: bool,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerPlan {
    /// The CPU that it is bound to.
    pub cpu: Option<u32>,
}

/// Bounds on what clients can ask for, with the memory that each may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Largest record with its header and address (40 bytes). Default 1 MiB; 128 B to 16 MiB. Tails and segments hold
    /// [`RECORDS_PER_TAIL`] of them.
    pub max_record_bytes: u32,
    /// Largest body of a frame. Default 4 MiB; at least one largest record. Bodies are not buffered: it costs no memory.
    pub max_frame_bytes: u32,
    /// Connections of the server at one time. Default 1024.
    pub connections: u32,
    /// Subscriptions of one connection. Default 256.
    pub subscriptions: u32,
    /// Subjects that one connection publishes to. Default 4096.
    pub session_subjects: u32,
    /// Bytes of their names: [`SUBJECT_BYTES`] for each, 4 KiB at least.
    pub session_subject_bytes: u32,
    /// Subjects that one stream holds. Default 65,536.
    pub stream_subjects: u32,
    /// Requests of one connection that wait for their answer. Default 256.
    pub calls: u32,
    /// Control frames and read-back records that wait on one connection. Default 256 KiB.
    pub send_queue_bytes: u32,
    /// Received bytes of one worker, in buffers of [`BUFFER_BYTES`]. Default 4 MiB.
    pub receive_pool_bytes: u64,
    /// Records read back from disk by one worker. Default 4 MiB.
    pub read_pool_bytes: u64,
    /// Time for the first frame of a connection. Default 5 s.
    pub hello_timeout_ns: u64,
    /// Silence after which a connection is closed. Default 60 s.
    pub idle_timeout_ns: u64,
    /// Time for a connection to take any of the bytes that wait for it. Default 10 s.
    pub send_timeout_ns: u64,
    /// Time for a clean stop. Default 10 s.
    pub drain_timeout_ns: u64,
}

impl Limits {
    /// Largest `payload_len` in a record's header: address and body, without the header.
    #[must_use]
    pub const fn payload_len_max(&self) -> u32 {
        self.max_record_bytes - 32
    }

    /// Buffers of one worker for received bytes.
    #[must_use]
    pub const fn receive_buffers(&self) -> u64 {
        self.receive_pool_bytes / BUFFER_BYTES
    }
}

impl Plan {
    /// The worker of a stream; the same for every start with the same number of workers.
    #[must_use]
    pub fn worker_of(&self, stream: &str) -> usize {
        worker_of(stream, self.workers.len())
    }

    /// Directory of one durable stream's segments.
    #[must_use]
    pub fn stream_dir(&self, stream: &str) -> PathBuf {
        self.data_dir.join("streams").join(stream)
    }
}

/// FNV-1a over the name: stable over versions and machines, which a standard hasher does not promise.
fn worker_of(stream: &str, workers: usize) -> usize {
    let hash = stream
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash % workers.max(1) as u64) as usize
}

/// One buffer of the receive and read pools.
pub const BUFFER_BYTES: u64 = 64 << 10;
/// A tail holds at least this many of the largest records, so that one can be written while others are sent.
pub const RECORDS_PER_TAIL: u64 = 4;
/// What a name of a subject may have on average when a connection has all the subjects that it may have. The longest have 255.
pub const SUBJECT_BYTES: u32 = 64;
/// Where the server listens when nobody says otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7400";
/// Where the data is when nobody says otherwise.
pub const DEFAULT_DATA_DIR: &str = "trunkline-data";
/// Environment variable that names the server for the client commands.
pub const SERVER_VARIABLE: &str = "TRUNKLINE_SERVER";

#[cfg(test)]
mod tests {
    use super::worker_of;

    /// A stream that had another worker after an update would not find its durable cursors there.
    #[test]
    fn a_stream_has_the_same_worker_in_every_version() {
        let placed = |workers| {
            ["main", "orders", "ticks", "audit", "a", "stream-1"]
                .map(|name| worker_of(name, workers))
        };
        assert_eq!(placed(1), [0; 6]);
        assert_eq!(placed(2), [0, 0, 1, 0, 0, 1]);
        assert_eq!(placed(8), [0, 4, 5, 0, 4, 3]);
    }

    #[test]
    fn streams_are_spread_over_the_workers() {
        for workers in [2_usize, 3, 4, 8, 16] {
            let mut counts = vec![0; workers];
            for number in 0..1000 {
                counts[worker_of(&format!("stream-{number}"), workers)] += 1;
            }
            let fair = 1000 / workers;
            for count in &counts {
                assert!((fair / 2..fair * 2).contains(count), "{counts:?}");
            }
        }
    }
}
