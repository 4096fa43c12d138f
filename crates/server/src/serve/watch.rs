//! What becomes of streams while they are served is told once, when it changes: in the log, and to whoever stops the server.

use trunkline_broker::Now;
use trunkline_log::{LogId, State, segment_name};

use super::cursors;
use super::node::Node;
use super::streams::reason;

/// What was told of streams that are not as they should be.
#[derive(Default)]
pub(super) struct Watched {
    /// Streams that take no records, or soon take none.
    trouble: Vec<(LogId, State)>,
    /// Streams of which nothing is removed by age.
    held: Vec<LogId>,
    next_look_ns: u64,
    /// Connections that could not be accepted.
    pub(super) accepts: Spell,
    /// Segments that could not be opened for want of descriptors.
    opens: Spell,
}

/// Failures of one kind, one after the other: told when they begin, and when there were none for a while.
#[derive(Default)]
pub(super) struct Spell {
    count: u64,
    last_ns: u64,
}

impl Spell {
    /// Notes failures; the first of them is told.
    pub(super) fn failed(&mut self, count: u64, now: Now, tell: impl FnOnce()) {
        if count > 0 {
            if self.count == 0 {
                tell();
            }
            self.count += count;
            self.last_ns = now.mono_ns;
        }
    }

    /// Has it told when the spell is over. Returns when to look again.
    fn look(&mut self, now: Now, tell: impl FnOnce(u64)) -> u64 {
        let over_ns = self.last_ns + OVER_NS;
        if self.count == 0 {
            return u64::MAX;
        }
        if now.mono_ns >= over_ns {
            tell(std::mem::take(&mut self.count));
            return u64::MAX;
        }
        over_ns
    }
}

impl Watched {
    pub(super) fn has_trouble(&self) -> bool {
        !self.trouble.is_empty()
    }
}

impl Node {
    /// Looks at a stream whose disk has answered, and tells what is new.
    #[cold]
    pub(super) fn watch(&mut self, log: LogId) {
        let Some(state) = self.shard.log(log).map(|log| log.state()) else {
            return;
        };
        let known = self.watched.trouble.iter().position(|(id, _)| *id == log);
        let told = known.map_or(State::Ok, |at| self.watched.trouble[at].1);
        if state == told {
            return;
        }
        if let Some(at) = known {
            self.watched.trouble.swap_remove(at);
        }
        let stream = self.name_of(log);
        let Some(reason) = reason(state) else {
            return tracing::info!(stream, "there is space again: the stream goes on");
        };
        self.watched.trouble.push((log, state));
        if let State::Poisoned(_) = state {
            tracing::error!(stream, reason, "the stream is read-only");
            let trouble = format!("stream {stream} became read-only: {reason}");
            self.registry.note_trouble(&stream, trouble);
        } else {
            tracing::warn!(stream, reason, "the stream will be full");
        }
    }

    /// Once a second: whether retention by age does not believe a clock that went forward too far.
    pub(super) fn watch_clock(&mut self, now: Now) {
        if now.mono_ns < self.watched.next_look_ns {
            return;
        }
        self.watched.next_look_ns = now.mono_ns + LOOK_NS;
        for served in &self.streams {
            let held = self.shard.log(served.log).is_some_and(|log| {
                log.config().retention.age_ns_max.is_some() && log.stats().clock_held
            });
            let known = self.watched.held.iter().position(|id| *id == served.log);
            let stream = &served.plan.name;
            match (held, known) {
                (true, None) => {
                    tracing::warn!(
                        stream,
                        "the clock went forward by more than an hour at once, or is so much later than the newest record: it is not believed for as long as the limit of age, six hours at most; age goes by the steady clock until then, or until the clock is set right"
                    );
                    self.watched.held.push(served.log);
                }
                (false, Some(at)) => {
                    tracing::info!(stream, "the clock is believed again: age counts by it");
                    self.watched.held.swap_remove(at);
                }
                _ => {}
            }
        }
    }

    /// Whether it is as it should be again after descriptors were missing. Returns when to look again.
    pub(super) fn watch_descriptors(&mut self, now: Now) -> u64 {
        let watched = &mut self.watched;
        let count = std::mem::take(&mut self.volumes.without_descriptors);
        watched.opens.failed(count, now, || {
            tracing::warn!(
                "too many files are open to open a segment: reads and writes of it wait; raise the limit (ulimit -n), or connect less often"
            );
        });
        let opens_ns = watched.opens.look(now, |count| {
            tracing::info!(failed = count, "segments can be opened again");
        });
        let accepts_ns = watched.accepts.look(now, |count| {
            tracing::info!(failed = count, "connections are accepted again");
        });
        opens_ns.min(accepts_ns)
    }

    /// Records that readers could not be given. They are told, too; but it is for whoever looks after the server to do something about it.
    /// No trouble to end with: a repair leaves what is damaged where it is, and the stream is as good as it can be.
    pub(super) fn tell_damaged(&mut self) {
        for (log, first, last) in std::mem::take(&mut self.post.damaged) {
            let Some(segment) = self.shard.log(log).map(|log| log.segment_of(first)) else {
                continue;
            };
            let stream = self.name_of(log);
            let path = self.plan.stream_dir(&stream).join(segment_name(segment));
            let data = self.plan.data_dir.display();
            tracing::error!(
                stream,
                first,
                last,
                path = %path.display(),
                "records are damaged, and readers do not get them; the stream goes on; `trunkline log verify {stream} --data {data}` says more"
            );
        }
    }

    /// Cursors that are damaged stand elsewhere than their readers have left them.
    pub(super) fn tell_lost_cursors(&self) {
        let records = self.shard.cursor_records_lost();
        if records > 0 {
            let log = cursors::name(usize::from(self.index));
            tracing::error!(
                log,
                records,
                "durable cursors are damaged: those that these records told of stand where they stood before, or begin with the first record; \
                 `trunkline log verify` says more"
            );
        }
    }

    /// A stream as people call it.
    fn name_of(&self, log: LogId) -> String {
        let served = self.streams.iter().find(|served| served.log == log);
        served.map_or_else(
            || cursors::name(usize::from(self.index)),
            |served| served.plan.name.clone(),
        )
    }
}

/// For how long there is no failure when a spell of them is over.
const OVER_NS: u64 = 10_000_000_000;
const LOOK_NS: u64 = 1_000_000_000;
