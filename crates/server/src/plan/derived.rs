//! The plan's numbers in the words of the crates that keep to them.

use super::{BUFFER_BYTES, Plan};

/// The reactor reads files in pieces of this size.
pub(super) const READ_BUFFER_BYTES: u64 = 256 << 10;

impl Plan {
    /// Bounds of one worker's shard. Sessions count on every shard, because a stream of any worker may be asked for.
    #[must_use]
    pub fn shard_limits(&self) -> trunkline_broker::Limits {
        let limits = &self.limits;
        let default = trunkline_broker::Limits::default();
        trunkline_broker::Limits {
            sessions: limits.connections,
            session_subscriptions: limits.subscriptions,
            session_subjects: limits.session_subjects,
            session_calls: limits.calls,
            run_bytes: default.run_bytes.min(limits.max_frame_bytes),
            ..default
        }
    }

    /// Bounds of one worker's reactor.
    #[must_use]
    pub fn reactor_config(&self) -> trunkline_reactor::Config {
        let limits = &self.limits;
        let buffers = |pool: u64, each: u64| u16::try_from(pool / each).unwrap_or(u16::MAX).max(1);
        trunkline_reactor::Config {
            receive_buffers: buffers(limits.receive_pool_bytes, BUFFER_BYTES),
            receive_buffer_bytes: BUFFER_BYTES as u32,
            read_buffers: buffers(limits.read_pool_bytes, READ_BUFFER_BYTES),
            read_buffer_bytes: READ_BUFFER_BYTES as u32,
            ..trunkline_reactor::Config::default()
        }
    }
}
