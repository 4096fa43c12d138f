//! One incarnation of the server.

use std::collections::BTreeMap;

use trunkline_broker::{Limits, Now, SessionId, Shard, ShardConfig, Source, StreamPlan, Turn};
use trunkline_log::{Log, LogId};
use trunkline_route::Pattern;
use trunkline_wire::{self as wire, AckLevel, ErrorBody, ErrorCode, Opcode};

use super::connection::{Connection, Desk, SILENT};
use super::outbox::{Outboxes, Piece};
use crate::disk::{Answer, Requests};
use crate::net::{Link, Received};

/// The shard, its sessions, its connections and what it asked of the disk.
#[derive(Debug)]
pub(crate) struct Process {
    /// The streams.
    pub shard: Shard,
    /// What the disk was asked.
    pub requests: Requests,
    /// The incarnation's number.
    pub epoch: u32,
    out: Outboxes,
    connections: BTreeMap<u32, Connection>,
    /// What reads brought, while deliveries lie in it.
    buffers: BTreeMap<u32, Vec<u8>>,
    next_buffer: u32,
    limits: wire::Limits,
}

/// The limits of the worker in this world: small, so that they are reached.
fn worker_limits() -> Limits {
    Limits {
        sessions: 64,
        streams: 4,
        session_subscriptions: 16,
        session_channels: 32,
        channels: 256,
        session_subjects: 64,
        session_subject_bytes: 4 << 10,
        session_acks: 64,
        session_in_flight_bytes: 32 << 10,
        deliveries: 4096,
        run_bytes: 16 << 10,
        window_bytes: 24 << 10,
        unconfirmed_ranges: 32,
        cursors: 16,
        calls: 16,
        session_calls: 4,
        call_bytes: 4 << 10,
        responder_bytes: 16 << 10,
        turn_runs: 16,
    }
}

impl Process {
    /// An incarnation without streams.
    pub(crate) fn new(epoch: u32, record_bytes_max: u32) -> Self {
        let config = ShardConfig {
            limits: worker_limits(),
            ..ShardConfig::default()
        };
        Self {
            shard: Shard::new(config),
            requests: Requests::default(),
            epoch,
            out: Outboxes::default(),
            connections: BTreeMap::new(),
            buffers: BTreeMap::new(),
            next_buffer: 0,
            limits: wire::Limits {
                max_frame_bytes: 64 << 10,
                max_record_bytes: record_bytes_max,
            },
        }
    }

    /// Takes a stream in that captures `name.>`.
    ///
    /// # Errors
    /// As the shard says.
    pub(crate) fn add(
        &mut self,
        name: &str,
        (level, visible): (AckLevel, AckLevel),
        log: Log,
        now: Now,
    ) -> Result<(), String> {
        let pattern = Pattern::new(&format!("{name}.>")).map_err(|error| error.to_string())?;
        let plan = StreamPlan {
            name: name.into(),
            patterns: vec![pattern],
            level,
            visible,
        };
        self.shard
            .add_stream(plan, log, now, &mut self.out)
            .map_err(|(refusal, _)| refusal.to_string())
    }

    /// Accepts a connection.
    pub(crate) fn accept(&mut self, link: u32, now: Now) {
        let id = SessionId::new(0, link, self.epoch);
        self.out.open(id);
        let mut connection = Connection::new(id, self.limits, now);
        if let Err(refusal) = self.shard.open_session(id) {
            let error = ErrorBody::new(ErrorCode::TOO_MANY, &refusal.message);
            self.out.end(id, &error, 0);
            connection.over = true;
        }
        self.connections.insert(link, connection);
    }

    /// The connections that there are.
    pub(crate) fn links(&self) -> Vec<u32> {
        self.connections.keys().copied().collect()
    }

    /// Whether it has this connection.
    pub(crate) fn serves(&self, number: u32) -> bool {
        self.connections.contains_key(&number)
    }

    /// Hears what a connection brought. Whether anything came.
    pub(crate) fn hear(&mut self, number: u32, link: &mut Link, most: usize, now: Now) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else {
            return false;
        };
        let mut desk = Desk {
            shard: &mut self.shard,
            out: &mut self.out,
            now,
            epoch: self.epoch,
        };
        if connection.is_stalled() {
            return connection.resume(&mut desk);
        }
        match link.up.receive(most, now.mono_ns) {
            Received::Nothing => false,
            Received::Bytes(bytes) => {
                connection.heard_ns = now.mono_ns;
                connection.pinged = false;
                connection.feed(&bytes, &mut desk);
                true
            }
            Received::End => {
                if connection.is_within_frame() && !connection.over {
                    let message = "the connection ended within a frame";
                    let error = ErrorBody::new(ErrorCode::MALFORMED, message);
                    self.out.end(connection.id, &error, 0);
                }
                connection.over = true;
                if let Some(queue) = self.out.queue(connection.id) {
                    queue.closing = true;
                }
                true
            }
            Received::Reset => {
                self.drop_connection(number, now);
                true
            }
        }
    }

    /// Sends what a connection takes. Whether anything went.
    pub(crate) fn say(&mut self, number: u32, link: &mut Link, most: usize, now: Now) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else {
            return false;
        };
        if link.down.is_broken() {
            self.drop_connection(number, now);
            return true;
        }
        let Some(queue) = self.out.queue(connection.id) else {
            return false;
        };
        let mut room = link.down.room().min(most);
        let mut went = false;
        while let Some(piece) = queue.pieces.front() {
            let (sent, len) = (queue.front_sent, piece.len());
            let count = (len - sent).min(room);
            if count == 0 && len > sent {
                break;
            }
            match piece {
                Piece::Bytes(bytes) => link.down.send(&bytes[sent..sent + count]),
                Piece::Mark(_) => {}
                Piece::Records { span, .. } => {
                    let bytes = match span.source {
                        Source::Tail(log) => self
                            .shard
                            .log(log)
                            .map(|log| log.bytes(span.position + sent as u64, count as u32)),
                        Source::Buffer(buffer) => {
                            let start = span.position as usize + sent;
                            self.buffers
                                .get(&buffer)
                                .map(|bytes| &bytes[start..start + count])
                        }
                    };
                    link.down
                        .send(bytes.expect("a span lies in something that is kept"));
                }
            }
            went = true;
            room -= count;
            queue.front_sent += count;
            if queue.front_sent < len {
                break;
            }
            queue.front_sent = 0;
            if let Some(Piece::Records { hold, .. } | Piece::Mark(hold)) = queue.pieces.pop_front()
            {
                self.shard.on_sent(hold);
            }
        }
        if went || queue.pieces.is_empty() {
            connection.progress_ns = now.mono_ns;
        }
        if queue.closing && queue.pieces.is_empty() {
            link.down.finish();
            self.drop_connection(number, now);
            went = true;
        }
        self.tidy_up();
        went
    }

    /// Ends a connection without a word.
    pub(crate) fn drop_connection(&mut self, number: u32, now: Now) {
        if let Some(connection) = self.connections.remove(&number) {
            self.shard.close_session(connection.id, now, &mut self.out);
            self.out.close(connection.id);
            self.tidy_up();
        }
    }

    /// One turn of the shard.
    pub(crate) fn turn(&mut self, now: Now) -> Turn {
        let turn = self.shard.turn(now, &mut self.requests, &mut self.out);
        self.tidy_up();
        turn
    }

    /// Takes an answer of the disk.
    pub(crate) fn answer(&mut self, answer: Answer, now: Now) {
        let Answer {
            log, token, result, ..
        } = answer;
        match (answer.is_read, result, answer.bytes) {
            (true, Ok(_), Some(bytes)) => {
                let buffer = self.next_buffer;
                self.next_buffer += 1;
                self.buffers.insert(buffer, bytes);
                let bytes = &self.buffers[&buffer];
                self.shard.on_read(
                    log,
                    token,
                    buffer,
                    bytes,
                    now,
                    &mut self.requests,
                    &mut self.out,
                );
            }
            (true, Err(error), _) => {
                self.shard
                    .on_read_failed(log, token, error, now, &mut self.requests, &mut self.out)
            }
            (_, result, _) => self
                .shard
                .on_disk(log, token, result, now, &mut self.requests),
        }
        self.tidy_up();
    }

    /// Looks at the deadlines of connections, as the server does now and then. The links that end.
    pub(crate) fn sweep(&mut self, now: Now) -> Vec<u32> {
        let mut gone = Vec::new();
        for (number, connection) in &mut self.connections {
            let silent = now.mono_ns.saturating_sub(connection.heard_ns);
            let unsent = now.mono_ns.saturating_sub(connection.progress_ns);
            let late_hello = !connection.greeted()
                && now.mono_ns.saturating_sub(connection.opened_ns) > HELLO_NS;
            if silent > IDLE_NS + LINGER_NS || unsent > SEND_NS + LINGER_NS {
                gone.push(*number);
            } else if (silent > IDLE_NS || unsent > SEND_NS || late_hello) && !connection.over {
                connection.over = true;
                self.out
                    .end(connection.id, &ErrorBody::new(SILENT, "nothing came"), 0);
            } else if silent > IDLE_NS / 3 && !connection.pinged {
                connection.pinged = true;
                self.out.push(
                    connection.id,
                    [&[Opcode::Ping as u8, 0, 0, 0, 0, 0, 0, 0], &[]],
                );
            }
        }
        for number in &gone {
            self.drop_connection(*number, now);
        }
        gone
    }

    /// Whether everything that is kept is within its limits.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn check_bounds(&self) -> Result<(), String> {
        let limits = self.shard.config().limits;
        let deliveries = self.shard.deliveries_in_flight();
        if deliveries > limits.deliveries as usize {
            return Err(format!("{deliveries} deliveries in flight"));
        }
        for stream in self.shard.streams() {
            let count = self.requests.len_of(stream.log);
            if count > Log::IN_FLIGHT_MAX {
                return Err(format!(
                    "{count} requests of {} in flight",
                    stream.plan.name
                ));
            }
        }
        let reads = Log::READS_MAX * limits.streams as usize;
        // A buffer is kept while a delivery lies in it, or while it is being handed over.
        if self.buffers.len() > reads + deliveries {
            return Err(format!("{} read buffers are kept", self.buffers.len()));
        }
        for connection in self.connections.values() {
            let carry = self.limits.carry_bytes_max() + HEARD_BYTES_MAX;
            if connection.bytes_kept() > 2 * carry {
                let bytes = connection.bytes_kept();
                return Err(format!("a connection keeps {bytes} bytes of its input"));
            }
            let small = self.out.small_bytes(connection.id);
            if small as u64 > SMALL_BYTES_MAX + limits.session_in_flight_bytes {
                return Err(format!("{small} bytes of frames wait for a session"));
            }
        }
        Ok(())
    }

    /// Read buffers that are kept.
    pub(crate) fn buffers_kept(&self) -> usize {
        self.buffers.len()
    }

    /// The log of a stream by its number.
    pub(crate) fn log(&self, number: u32) -> Option<&Log> {
        self.shard.log(LogId(number))
    }

    /// Gives back what the last step let go.
    fn tidy_up(&mut self) {
        loop {
            for (session, hold) in std::mem::take(&mut self.out.reclaimed) {
                self.copy_out(session, hold);
            }
            let dropped = self.out.take_dropped();
            for buffer in self.out.released.drain(..) {
                let known = self.buffers.remove(&buffer).is_some();
                assert!(known, "memory: read buffer {buffer} is released twice");
            }
            if dropped.is_empty() {
                return;
            }
            for hold in dropped {
                self.shard.on_dropped(hold);
            }
        }
    }

    /// The tail needs the bytes of a delivery back: what is unsent is copied.
    fn copy_out(&mut self, session: SessionId, hold: trunkline_broker::HoldId) {
        let Some(queue) = self.out.queue(session) else {
            return;
        };
        for (at, piece) in queue.pieces.iter_mut().enumerate() {
            if let Piece::Records { span, hold: own } = piece
                && *own == hold
                && let Source::Tail(log) = span.source
            {
                let bytes = self
                    .shard
                    .log(log)
                    .map(|log| log.bytes(span.position, span.len).to_vec());
                *piece = Piece::Bytes(bytes.unwrap_or_default());
                queue.pieces.insert(at + 1, Piece::Mark(hold));
                self.shard.on_copied(hold);
                return;
            }
        }
    }
}

/// As the server's defaults, in proportion.
const HELLO_NS: u64 = 5_000_000_000;
const IDLE_NS: u64 = 30_000_000_000;
const SEND_NS: u64 = 20_000_000_000;
const LINGER_NS: u64 = 2_000_000_000;
/// Bytes that a connection hears at once.
pub(super) const HEARD_BYTES_MAX: usize = 16 << 10;
/// Bytes of control frames that may wait for one session.
const SMALL_BYTES_MAX: u64 = 256 << 10;
