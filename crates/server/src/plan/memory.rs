//! The worst-case memory of a server, one term for each thing that can grow.

use serde::Serialize;

use super::Plan;

/// One part of the worst case: `count` things of `each_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// What it is.
    pub name: String,
    /// How many there can be.
    pub count: u64,
    /// Bytes of one.
    pub each_bytes: u64,
    /// All of them.
    pub bytes: u64,
    /// The settings that change it.
    pub set_by: &'static str,
    /// Whether it is taken when the server starts; what is not, grows with use up to this.
    pub at_start: bool,
}

impl Plan {
    /// The terms of the worst case, largest first. Their sum is [`Plan::memory_bytes`].
    #[must_use]
    pub fn memory(&self) -> Vec<Term> {
        let limits = &self.limits;
        let workers = self.workers.len() as u64;
        let connections = u64::from(limits.connections);
        let mut terms = Vec::new();

        for stream in &self.streams {
            // The newest records of a stream, prefaulted.
            terms.push(term(
                format!("tail of stream {}", stream.name),
                1,
                stream.tail_bytes,
                "streams.tail",
                true,
            ));
            // Its index and the names of its subjects, as the log itself adds them up.
            let log = stream.log_config(limits, 0).memory_bytes_max() - stream.tail_bytes;
            terms.push(term(
                format!("index and subjects of stream {}", stream.name),
                1,
                log,
                "limits.stream_subjects",
                false,
            ));
        }
        // Bytes that arrived and are not yet worked on.
        let reactor = self.reactor_config();
        terms.push(term(
            "receive buffers",
            workers * u64::from(reactor.receive_buffers),
            u64::from(reactor.receive_buffer_bytes),
            "workers, limits.receive_pool",
            true,
        ));
        // Bytes read back for subscribers that are behind the tail.
        terms.push(term(
            "read-back buffers",
            workers * u64::from(reactor.read_buffers),
            u64::from(reactor.read_buffer_bytes),
            "workers, limits.read_pool",
            false,
        ));
        // A record that is split over two receive buffers is put together in the session; it grows to what was seen.
        terms.push(term(
            "split records of connections",
            connections,
            u64::from(limits.max_record_bytes),
            "limits.connections, limits.max_record",
            false,
        ));
        // Frame headers, acks and answers that wait to be sent; records leave from the tails.
        terms.push(term(
            "send queues of connections",
            connections,
            u64::from(limits.send_queue_bytes),
            "limits.connections, limits.send_queue",
            false,
        ));
        // Records that were picked out of runs for a narrow pattern, or are copied for another worker's session that stands in publishers' way; others
        // leave from the tails.
        let shard = self.shard_limits();
        terms.push(term(
            "copied records of connections",
            connections * workers,
            shard.session_in_flight_bytes + u64::from(shard.run_bytes),
            "limits.connections, workers",
            false,
        ));
        // Calls and answers that wait to be sent to who did not send them, and records that were copied out of publishers' way.
        terms.push(term(
            "calls and answers",
            workers,
            ARENA_BYTES_MAX,
            "workers",
            false,
        ));
        // What the shards keep for sessions, subscriptions, acks and calls, as the broker itself adds it up.
        for (name, bytes) in shard.terms() {
            terms.push(term(
                format!("{name} (broker)"),
                workers,
                bytes,
                set_by(name),
                false,
            ));
        }
        // Where a connection's worker sends the records of each of its subjects; the largest name.
        if workers > 1 {
            terms.push(term(
                "workers of subjects of connections",
                connections,
                u64::from(limits.session_subjects) * (2 * 24 + 255),
                "limits.connections, limits.session_subjects, workers",
                false,
            ));
        }
        // One ring in each direction between two workers.
        terms.push(term(
            "mesh",
            workers * (workers - 1),
            MESH_RING_BYTES,
            "workers",
            true,
        ));
        // The program, its stacks and tables of fixed size.
        terms.push(term("program", 1, PROGRAM_BYTES, "", true));

        terms.retain(|term| term.bytes > 0);
        terms.sort_by_key(|term| std::cmp::Reverse(term.bytes));
        terms
    }

    /// The most memory that this plan can need.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory()
            .iter()
            .fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// What is taken when the server starts.
    #[must_use]
    pub fn memory_at_start_bytes(&self) -> u64 {
        self.memory()
            .iter()
            .filter(|term| term.at_start)
            .fold(0, |sum, term| sum.saturating_add(term.bytes))
    }
}

/// The settings behind a term of the broker.
fn set_by(name: &str) -> &'static str {
    match name {
        "sessions" | "waiting acks" => "limits.connections",
        "subjects of sessions" => "limits.connections, limits.session_subjects",
        "subscriptions" => "limits.connections, limits.subscriptions",
        _ => "",
    }
}

fn term(
    name: impl Into<String>,
    count: u64,
    each_bytes: u64,
    set_by: &'static str,
    at_start: bool,
) -> Term {
    Term {
        name: name.into(),
        count,
        each_bytes,
        bytes: count.saturating_mul(each_bytes),
        set_by,
        at_start,
    }
}

/// One direction between two workers.
pub const MESH_RING_BYTES: u64 = 1 << 20;
/// Resident after start without any of the above, rounded up.
const PROGRAM_BYTES: u64 = 16 << 20;
/// What may wait on one worker in copies before calls and answers are refused, and records of a session that does not take them no longer copied.
pub const ARENA_BYTES_MAX: u64 = 64 << 20;
