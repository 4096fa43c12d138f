//! The streams of the whole server by name: what workers agree on when one is added or removed.
//!
//! Control plane: locked for a moment by rare commands, never by a turn that only moves records.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_broker::Refusal;
use trunkline_log::LogId;
use trunkline_route::Pattern;
use trunkline_wire::ErrorCode;

use super::streams::{self, Opened};
use super::unopened::Missed;
use crate::plan::{Plan, STREAMS_ADDED_MAX, Storage, StreamPlan};
use crate::storage::DataDir;

/// All streams, shared by the workers.
pub(super) struct Registry {
    pub(super) data: Arc<DataDir>,
    /// The id of the next stream; those of the workers' logs of cursors are lower. It only goes up: a stream that is removed may leave requests behind, whose
    /// answers must not be taken for those of another one.
    next_id: AtomicU32,
    streams: Mutex<BTreeMap<String, Entry>>,
    /// Streams that one worker's shard has room for.
    per_worker: usize,
    /// Goes up whenever a stream comes or goes.
    version: AtomicU64,
    /// By stream, what keeps it from being served as it should be.
    troubles: Mutex<BTreeMap<String, String>>,
}

struct Entry {
    plan: StreamPlan,
    configured: bool,
    presence: Presence,
}

/// Whether a stream is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It is served, or about to be.
    Here,
    /// It could not be opened.
    Unopened,
    /// Its files are being removed.
    Leaving,
    /// Its files could not be removed.
    Stuck,
}

/// What is to be removed.
pub(super) struct Removal {
    /// It has files.
    pub(super) files: bool,
    /// It is not served any more: removing its files failed before.
    pub(super) again: bool,
}

impl Registry {
    pub(super) fn new(data: Arc<DataDir>, plan: &Plan) -> Self {
        Self {
            data,
            next_id: AtomicU32::new(plan.workers.len() as u32),
            streams: Mutex::new(BTreeMap::new()),
            per_worker: plan.shard_limits().streams as usize,
            version: AtomicU64::new(1),
            troubles: Mutex::new(BTreeMap::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // A map that is only inserted into and removed from is whole whatever panicked.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name and its subjects, unless another stream has them. The id is never used again.
    pub(super) fn claim(&self, plan: &StreamPlan, configured: bool) -> Result<LogId, Refusal> {
        let mut streams = self.lock();
        if let Some(other) = streams.get(&plan.name) {
            let name = &plan.name;
            let message = match other.presence {
                Presence::Here | Presence::Unopened => {
                    format!("there is a stream {name} already")
                }
                Presence::Leaving => format!("a stream {name} is being removed"),
                Presence::Stuck => format!(
                    "the files of a stream {name} that was removed are still there: remove it again"
                ),
            };
            return Err(Refusal::new(ErrorCode::EXISTS, message));
        }
        for other in streams.values() {
            if let Some((mine, theirs)) = overlap(&plan.subjects, &other.plan.subjects) {
                let message = format!(
                    "`{mine}` overlaps `{theirs}` of stream {}: a subject belongs to one stream; give {} other subjects, or {} narrower ones in the configuration",
                    other.plan.name, plan.name, other.plan.name
                );
                return Err(Refusal::new(ErrorCode::EXISTS, message));
            }
        }
        self.check_room(&streams, plan.worker, configured)?;
        let id = self.new_id();
        streams.insert(
            plan.name.clone(),
            Entry {
                plan: plan.clone(),
                configured,
                presence: Presence::Here,
            },
        );
        self.version.fetch_add(1, Ordering::Release);
        Ok(id)
    }

    /// Whether a worker can have one more stream. Those that were added leave room for those of a configuration.
    fn check_room(
        &self,
        streams: &BTreeMap<String, Entry>,
        worker: usize,
        configured: bool,
    ) -> Result<(), Refusal> {
        let here = || streams.values().filter(|entry| entry.plan.worker == worker);
        let added = here().filter(|entry| !entry.configured).count();
        let (kind, most) = if !configured && added >= STREAMS_ADDED_MAX as usize {
            ("added ", STREAMS_ADDED_MAX as usize)
        } else if here().count() >= self.per_worker {
            ("", self.per_worker)
        } else {
            return Ok(());
        };
        let message = format!(
            "worker {worker} has {most} {kind}streams, and that is the most: remove one (`trunkline stream rm`), declare some of them in the configuration, or start the server \
             with more workers"
        );
        Err(Refusal::new(ErrorCode::TOO_MANY, message))
    }

    /// An id that was never used.
    pub(super) fn new_id(&self) -> LogId {
        LogId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes what keeps a stream from being served as it should be.
    pub(super) fn note_trouble(&self, name: &str, trouble: String) {
        self.troubles().insert(name.to_owned(), trouble);
    }

    /// The same of all streams, by name.
    pub(super) fn troubles(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream could not be opened. It keeps its name and its subjects.
    pub(super) fn is_unopened(&self, name: &str, reason: String) {
        self.set_presence(name, Presence::Unopened);
        self.note_trouble(name, reason);
    }

    /// A stream that could not be opened is served now.
    pub(super) fn is_opened(&self, name: &str) {
        self.set_presence(name, Presence::Here);
        self.troubles().remove(name);
    }

    /// Which of the streams that a subscription asks for cannot be had, if any.
    pub(super) fn missed(&self, pattern: &str, stream: &str) -> Option<Missed> {
        let streams = self.lock();
        // Usually there is none, and nothing is looked at more closely.
        if !streams
            .values()
            .any(|entry| entry.presence == Presence::Unopened)
        {
            return None;
        }
        let pattern = Pattern::new(pattern).ok()?;
        let (mut missed, mut served) = (Vec::new(), false);
        for (name, entry) in streams.iter() {
            let wanted = (stream.is_empty() || stream == name)
                && entry.plan.subjects.iter().any(|subject| {
                    Pattern::new(subject).is_ok_and(|subject| subject.overlaps(&pattern))
                });
            if wanted && entry.presence == Presence::Unopened {
                missed.push(name);
            } else if wanted {
                served |= entry.presence == Presence::Here;
            }
        }
        let troubles = self.troubles();
        let reasons = missed.iter().map(|name| {
            let why = troubles.get(*name).map_or("", String::as_str);
            format!("stream {name} is not served: {why}")
        });
        let reasons: Vec<String> = reasons.collect();
        (!reasons.is_empty()).then(|| Missed {
            reason: reasons.join("; "),
            everything: !served,
        })
    }

    /// Begins to remove a stream. Its name stays taken until [`release`](Self::release).
    pub(super) fn begin_removal(&self, name: &str) -> Result<Removal, Refusal> {
        let mut streams = self.lock();
        let Some(entry) = streams.get_mut(name) else {
            return Err(missing(name));
        };
        if entry.configured {
            let message = format!(
                "stream {name} belongs to the configuration: take it out there and restart the server"
            );
            return Err(Refusal::new(ErrorCode::EXISTS, message));
        }
        if entry.presence == Presence::Leaving {
            let message = format!("stream {name} is being removed");
            return Err(Refusal::new(ErrorCode::EXISTS, message));
        }
        let again = entry.presence == Presence::Stuck;
        entry.presence = Presence::Leaving;
        Ok(Removal {
            files: entry.plan.storage == Storage::File,
            again,
        })
    }

    /// A stream that was to be removed is served as before.
    pub(super) fn stays(&self, name: &str) {
        self.set_presence(name, Presence::Here);
    }

    /// A stream is not served any more, and its files are still there.
    pub(super) fn is_stuck(&self, name: &str) {
        self.set_presence(name, Presence::Stuck);
    }

    fn set_presence(&self, name: &str, presence: Presence) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.presence = presence;
        }
    }

    /// Gives a name up.
    pub(super) fn release(&self, name: &str) {
        self.lock().remove(name);
        self.troubles().remove(name);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Goes up whenever a stream comes or goes: what was looked up before may be wrong then.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The worker whose stream captures a subject.
    pub(super) fn owner(&self, subject: &str) -> Option<u8> {
        let streams = self.lock();
        let captures = |entry: &&Entry| {
            entry.plan.subjects.iter().any(|pattern| {
                Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_str(subject))
            })
        };
        streams
            .values()
            .find(captures)
            .map(|entry| entry.plan.worker as u8)
    }

    /// The streams of the configuration, by name.
    pub(super) fn configured(&self) -> Vec<StreamPlan> {
        let streams = self.lock();
        let configured = streams.values().filter(|entry| entry.configured);
        configured.map(|entry| entry.plan.clone()).collect()
    }

    /// The worker of a stream, and whether the configuration declares it.
    pub(super) fn find(&self, name: &str) -> Option<(usize, bool)> {
        self.lock()
            .get(name)
            .map(|entry| (entry.plan.worker, entry.configured))
    }
}

/// There is no such stream.
pub(super) fn missing(name: &str) -> Refusal {
    Refusal::new(ErrorCode::NOT_FOUND, format!("there is no stream {name}"))
}

fn overlap<'a>(mine: &'a [String], theirs: &'a [String]) -> Option<(&'a str, &'a str)> {
    mine.iter().find_map(|mine| {
        let pattern = Pattern::new(mine).ok()?;
        let other = theirs
            .iter()
            .find(|theirs| Pattern::new(theirs).is_ok_and(|theirs| theirs.overlaps(&pattern)))?;
        Some((mine.as_str(), other.as_str()))
    })
}

/// Creates a stream that was asked for while the server runs, and remembers it over restarts. Blocks.
pub(super) fn create(
    registry: &Registry,
    plan: &Plan,
    id: LogId,
    stream: StreamPlan,
    description: &str,
) -> Result<Opened, Refusal> {
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::new(
            ErrorCode::NO_SPACE,
            format!("stream {} cannot be created: {error}", stream.name),
        )
    };
    let opened =
        streams::open(id, stream.clone(), plan, &registry.data).map_err(|error| failed(&error))?;
    registry
        .data
        .add(&stream.name, description)
        .map_err(|error| failed(&error))?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Flags, Machine};

    #[test]
    fn the_id_of_a_stream_that_is_gone_is_not_used_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(&folder.path().join("data")).expect("a new directory");
        let server = plan();
        let registry = Registry::new(Arc::new(data), &server);
        let stream = StreamPlan::main(&server.limits, 1);
        let claim = || registry.claim(&stream, false).expect("nobody has the name");
        let first = claim();
        registry.release(&stream.name);
        assert_ne!(claim(), first);
    }

    #[test]
    fn a_worker_has_room_for_its_configuration_and_256_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(&folder.path().join("data")).expect("a new directory");
        let server = plan();
        let registry = Registry::new(Arc::new(data), &server);
        let stream = |name: &str| StreamPlan {
            name: name.to_owned(),
            subjects: vec![name.to_owned()],
            ..StreamPlan::main(&server.limits, 1)
        };
        for number in 0..256 {
            let added = registry.claim(&stream(&format!("added{number}")), false);
            assert!(added.is_ok(), "{number}: {added:?}");
        }
        let refusal = registry.claim(&stream("more"), false).expect_err("257");
        assert_eq!(refusal.code, ErrorCode::TOO_MANY);
        assert!(
            refusal
                .message
                .starts_with("worker 0 has 256 added streams")
                && refusal.message.contains("`trunkline stream rm`"),
            "{refusal}"
        );
        // As many as when the plan was made.
        assert!(registry.claim(&stream("declared"), true).is_ok());
        let refusal = registry.claim(&stream("more"), true).expect_err("258");
        assert!(
            refusal.message.starts_with("worker 0 has 257 streams"),
            "{refusal}"
        );
        registry.release("added0");
        assert!(registry.claim(&stream("more"), true).is_ok());
    }

    /// That of the defaults on one worker.
    fn plan() -> Plan {
        let machine = Machine {
            cpus: vec![0],
            memory_bytes: 0,
        };
        Plan::compute(None, &Flags::default(), &machine).expect("the defaults")
    }
}
