//! What becomes of streams while they are served is told once, when it changes: in the log, and to whoever stops the server.

use trunkline_broker::Now;
use trunkline_log::{LogId, State};

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

const LOOK_NS: u64 = 1_000_000_000;
