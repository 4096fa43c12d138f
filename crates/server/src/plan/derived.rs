//! The plan's numbers in the words of the crates that keep to them.

use super::{BUFFER_BYTES, Plan};

/// The reactor reads files in pieces of this size, or of the largest record and what surrounds it if that is more: a log
/// reads at least the whole of a record at once.
pub(super) const READ_BUFFER_BYTES: u64 = 256 << 10;
/// Streams of one worker that are added while a server runs: each costs a tail that no plan has counted.
pub(crate) const STREAMS_ADDED_MAX: u32 = 256;
/// Reads that can be under way at one time even where the largest records are large.
const READ_BUFFERS_MIN: u16 = 4;

/// What every client has to take in one frame, wherever the largest records are smaller: more than the broker delivers at once.
const TAKEN_BYTES_MIN: u32 = 1 << 20;

impl Plan {
    /// Bounds of one worker's shard. Sessions count on every shard, because a stream of any worker may be asked for.
    #[must_use]
    pub fn shard_limits(&self) -> trunkline_broker::Limits {
        let limits = &self.limits;
        let default = trunkline_broker::Limits::default();
        trunkline_broker::Limits {
            sessions: limits.connections,
            streams: self.streams_per_worker() + STREAMS_ADDED_MAX,
            session_subscriptions: limits.subscriptions,
            session_subjects: limits.session_subjects,
            session_subject_bytes: limits.session_subject_bytes,
            session_calls: limits.calls,
            run_bytes: default.run_bytes.min(limits.max_frame_bytes),
            call_bytes: self.wire_limits().call_bytes_max(),
            ..default
        }
    }

    /// What a session takes at most.
    #[must_use]
    pub fn wire_limits(&self) -> trunkline_wire::Limits {
        trunkline_wire::Limits {
            max_frame_bytes: self.limits.max_frame_bytes,
            max_record_bytes: self.limits.payload_len_max(),
        }
    }

    /// What a client has to take in one frame, so that everything can be delivered that may be published, and the server can answer.
    #[must_use]
    pub fn taken_bytes_min(&self) -> u32 {
        let record = trunkline_wire::record_bytes(self.limits.payload_len_max());
        TAKEN_BYTES_MIN.max(record as u32)
    }

    /// Streams of the configuration on the worker that has the most.
    fn streams_per_worker(&self) -> u32 {
        let mut counts = vec![0; self.workers.len()];
        for stream in &self.streams {
            counts[stream.worker] += 1;
        }
        counts.into_iter().max().unwrap_or(0)
    }

    /// Bounds of one worker's reactor.
    #[must_use]
    pub fn reactor_config(&self) -> trunkline_reactor::Config {
        let limits = &self.limits;
        let read_bytes = READ_BUFFER_BYTES.max(u64::from(limits.max_record_bytes) + BUFFER_BYTES);
        let buffers = |pool: u64, each: u64| u16::try_from(pool / each).unwrap_or(u16::MAX).max(1);
        trunkline_reactor::Config {
            receive_buffers: buffers(limits.receive_pool_bytes, BUFFER_BYTES),
            receive_buffer_bytes: BUFFER_BYTES as u32,
            read_buffers: buffers(limits.read_pool_bytes, read_bytes).max(READ_BUFFERS_MIN),
            read_buffer_bytes: read_bytes as u32,
            ..trunkline_reactor::Config::default()
        }
    }
}
