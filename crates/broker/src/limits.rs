//! Everything that a shard may hold, and the sum.

/// What one shard takes at most. Beyond a limit, requests are refused or wait; nothing that was accepted is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions, of this worker and of others. Default 4,096.
    pub sessions: u32,
    /// Streams. Default 256.
    pub streams: u32,
    /// Subscriptions of one session, responders included. Default 256.
    pub session_subscriptions: u32,
    /// Channels of one session on this shard. Default 1,024; at most 65,536 over all workers.
    pub session_channels: u32,
    /// Channels of all sessions. Default 16,384.
    pub channels: u32,
    /// Subjects that one session may publish to. Default 4,096.
    pub session_subjects: u32,
    /// Bytes of their names. Default 128 KiB.
    pub session_subject_bytes: u32,
    /// Parts of Publish frames (one for each stream that a frame touches) of one session that wait for their Ack; publishing waits
    /// beyond it. Default 4,096.
    pub session_acks: u32,
    /// Bytes handed over to one session that are not sent yet, before its channels wait. Default 1 MiB. One run more may be on the way.
    pub session_in_flight_bytes: u64,
    /// Deliveries of all sessions that are not sent yet. Default 16,384.
    pub deliveries: u32,
    /// Bytes of one Deliver body. Default 256 KiB, at most what clients take in a frame.
    pub run_bytes: u32,
    /// Bytes that a subscription with a dropping or disconnecting policy may be behind. Default 1 MiB; never more than a quarter of the stream's tail.
    pub window_bytes: u64,
    /// Ranges of records of one channel that are delivered and not confirmed, before it waits for confirms. Default 1,024.
    pub unconfirmed_ranges: u32,
    /// Durable cursors. Default 4,096.
    pub cursors: u32,
    /// Calls that wait for their answer. Default 16,384.
    pub calls: u32,
    /// Calls that one session waits for, and that one responder works on. Default 256.
    pub session_calls: u32,
    /// Bytes of the payload of a call or of its answer. Default 1 MiB.
    pub call_bytes: u32,
    /// Bytes of the payloads of all calls that one responder works on, if there is more than one. Default 4 MiB.
    pub responder_bytes: u64,
    /// Runs handed over in one turn. Default 256.
    pub turn_runs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 4096,
            streams: 256,
            session_subscriptions: 256,
            session_channels: 1024,
            channels: 16_384,
            session_subjects: 4096,
            session_subject_bytes: 128 << 10,
            session_acks: 4096,
            session_in_flight_bytes: 1 << 20,
            deliveries: 16_384,
            run_bytes: 256 << 10,
            window_bytes: 1 << 20,
            unconfirmed_ranges: 1024,
            cursors: 4096,
            calls: 16_384,
            session_calls: 256,
            call_bytes: 1 << 20,
            responder_bytes: 4 << 20,
            turn_runs: 256,
        }
    }
}

impl Limits {
    /// The most memory that a shard takes beside its logs, in bytes: all sessions at all their limits at once. `streams` logs add
    /// [`LogConfig::memory_bytes_max`](trunkline_log::LogConfig::memory_bytes_max) each; what is handed to sessions lies in the logs' tails
    /// or is counted here as copied.
    pub fn worst_case_bytes(&self) -> u64 {
        self.terms().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The terms of [`worst_case_bytes`](Self::worst_case_bytes) with what they are for. A table that grows by doubling counts twice.
    pub fn terms(&self) -> [(&'static str, u64); 9] {
        let n = |count: u32| u64::from(count);
        let sessions = n(self.sessions);
        [
            // The session itself and its place in the map of sessions.
            ("sessions", sessions * 512),
            // Places in a hash table that is at most half full, and the names.
            (
                "subjects of sessions",
                sessions * (n(self.session_subjects) * 2 * 32 + n(self.session_subject_bytes) * 2),
            ),
            // A part of a frame is 72 bytes.
            ("waiting acks", sessions * n(self.session_acks) * 72 * 2),
            // Pattern, group, cursor and stream of up to 255 bytes each, and the list of its channels.
            (
                "subscriptions",
                sessions
                    * (n(self.session_subscriptions) * (4 * 255 + 128)
                        + n(self.session_channels) * 8 * 2),
            ),
            // A channel, its feed, their places in lists, and the unconfirmed ranges of both. One bit for each of 65,536 subjects.
            (
                "channels",
                n(self.channels) * (640 + n(self.unconfirmed_ranges) * 2 * 16 * 2 + 8192),
            ),
            ("deliveries", n(self.deliveries) * 96 * 2),
            // A stream's name, patterns and lists; an id for each of 65,536 subjects.
            ("streams", n(self.streams) * (4096 + 65_536 * 4 * 2)),
            // Names of cursor and stream, twice, and the entry.
            ("cursors", n(self.cursors) * (2 * 2 * 255 + 128)),
            // Payloads are handed over at once and not kept. The call, its place in the list of its session, its deadline.
            ("calls", n(self.calls) * 160 * 2),
        ]
    }
}
