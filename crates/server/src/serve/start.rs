//! From a plan to running workers.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use rustix::process::{Resource, Rlimit};
use trunkline_broker::{Now, Shard, ShardConfig};
use trunkline_log::{Log, LogId};
use trunkline_reactor::{
    Clock, Idle, IoBackend, Pinning, Reactor, Turn, Worker, WorkerStrategy, Workers,
};

use super::cursors;
use super::message::Message;
use super::node::{Facts, Node};
use super::registry::Registry;
use super::streams::{self, Opened};
use super::unopened::Unopened;
use super::{Error, Server};
use crate::plan::{self, Plan, StreamPlan};
use crate::storage::{DataDir, StreamDir, entropy};

/// What one worker starts with.
struct Seed {
    /// Where durable cursors are kept.
    cursors: (Log, StreamDir),
    streams: Vec<Opened>,
    unopened: Vec<Unopened>,
    listeners: Vec<TcpListener>,
}

/// Opens everything and starts the workers, which then say when they accept connections. `on_end` is called on each worker's thread when it ends,
/// however it does.
pub(super) fn start(
    plan: Plan,
    on_end: impl Fn() + Send + Sync + 'static,
) -> Result<Server, Error> {
    let data = Arc::new(DataDir::open(&plan.data_dir)?);
    for stream in data.finish_removals()? {
        tracing::warn!(
            stream,
            "the stream was being removed when the server ended: the rest of its files is removed now"
        );
    }
    allow_descriptors(&plan);
    let mut bound = Vec::new();
    for listener in &plan.listeners {
        let error = |error| Error::Listen {
            address: listener.address,
            error,
        };
        let socket = TcpListener::bind(listener.address).map_err(error)?;
        let address = socket.local_addr().map_err(error)?;
        if listener.exposed {
            tracing::warn!(%address, "other machines can connect, and there is no authentication");
        }
        bound.push((socket, address));
    }
    let addresses: Vec<SocketAddr> = bound.iter().map(|(_, address)| *address).collect();
    let plan = Arc::new(plan);
    let registry = Arc::new(Registry::new(data, &plan));
    let seeds = seeds(&plan, &registry, &bound)?;
    let facts = Facts {
        epoch: entropy().map_err(|error| Error::System {
            doing: "get random bytes",
            error,
        })? as u64,
        started_ns: Clock.now_ns(),
        backend: "",
    };
    let workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(plan.workers.len()))
        .io_backend(match plan.io {
            plan::Io::Auto => IoBackend::Auto,
            plan::Io::IoUring => IoBackend::IoUring,
            plan::Io::Epoll => IoBackend::Epoll,
        })
        .pinning(pinning(&plan))
        .idle(match plan.idle {
            plan::Idle::Spin => Idle::Spin,
            plan::Idle::Adaptive => Idle::default(),
            plan::Idle::Park => Idle::Park,
        })
        .reactor(plan.reactor_config())
        .start({
            let (plan, registry, seeds) = (plan.clone(), registry.clone(), Mutex::new(seeds));
            let on_end = Arc::new(on_end);
            move |worker: Worker<Message>| {
                let (index, _told) = (worker.index, OnDrop(on_end.as_ref()));
                let seed = seeds
                    .lock()
                    .expect("no worker panics while it takes its seed")[index]
                    .take();
                let seed = seed.expect("each worker starts once");
                work(worker, &plan, &registry, facts, seed).map_err(|error| {
                    io::Error::new(error.kind(), format!("worker {index}: {error}"))
                })
            }
        })
        .map_err(|error| Error::System {
            doing: "start the workers",
            error,
        })?;
    Ok(Server {
        plan,
        addresses,
        workers,
        registry,
    })
}

/// Calls its function when it goes, also where a thread panics.
struct OnDrop<'a, F: Fn()>(&'a F);

impl<F: Fn()> Drop for OnDrop<'_, F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Says where the server listens, to people and in the ready file.
pub(super) fn announce(plan: &Plan, addresses: &[SocketAddr]) -> Result<(), Error> {
    for address in addresses {
        tracing::info!(%address, "listening");
    }
    let Some(path) = &plan.ready_file else {
        return Ok(());
    };
    let lines: String = addresses
        .iter()
        .map(|address| format!("{address}\n"))
        .collect();
    // Renamed into place, so that whoever waits for the file reads all of it.
    let fresh = path.with_extension("new");
    fs::write(&fresh, lines)
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| Error::System {
            doing: "write the ready file",
            error,
        })
}

/// Opens every stream and deals streams and listeners out to the workers.
fn seeds(
    plan: &Arc<Plan>,
    registry: &Registry,
    bound: &[(TcpListener, SocketAddr)],
) -> Result<Vec<Option<Seed>>, Error> {
    let mut seeds = Vec::with_capacity(plan.workers.len());
    for cursors in cursors::open(plan, &registry.data)? {
        seeds.push(Seed {
            cursors,
            streams: Vec::new(),
            unopened: Vec::new(),
            listeners: Vec::new(),
        });
    }
    for (listener, address) in bound {
        for seed in &mut seeds {
            let clone = listener.try_clone().map_err(|error| Error::Listen {
                address: *address,
                error,
            })?;
            seed.listeners.push(clone);
        }
    }
    let configured = plan.streams.iter().map(|stream| (stream.clone(), Ok(true)));
    let mut all: Vec<_> = configured.collect();
    for (name, description) in registry.data.added()? {
        match added(&name, description, plan, &registry.data) {
            Ok(stream) => all.push((stream, Ok(false))),
            Err(error) if plan.streams.iter().any(|stream| stream.name == name) => {
                tracing::warn!(stream = name, %error, "the configuration declares the stream");
            }
            Err(error) => {
                let stream = StreamPlan::undescribed(&name, &plan.limits, plan.workers.len());
                all.push((stream, Err(error)));
            }
        }
    }
    for (stream, origin) in all {
        let configured = matches!(origin, Ok(true));
        let id = registry
            .claim(&stream, configured)
            .map_err(|refusal| Error::Added {
                path: (!configured).then(|| registry.data.description(&stream.name)),
                name: stream.name.clone(),
                reason: refusal.to_string(),
            })?;
        let seed = &mut seeds[stream.worker];
        match origin.and_then(|_| open(id, stream.clone(), plan, &registry.data)) {
            Ok(opened) => seed.streams.push(opened),
            // The fault is the stream's: the others are served all the same.
            Err(error @ (Error::Stream { .. } | Error::Storage(_) | Error::Added { .. })) => {
                let reason = error.refusal();
                tracing::error!(stream = stream.name, reason, "the stream is not served");
                registry.is_unopened(&stream.name, reason.clone());
                seed.unopened.push(Unopened {
                    plan: stream,
                    configured,
                    reason,
                    again: error.passes(),
                });
            }
            Err(error) => return Err(error),
        }
    }
    for name in registry.data.streams()? {
        if registry.find(&name).is_none() {
            tracing::warn!(
                stream = name,
                path = %plan.stream_dir(&name).display(),
                "this stream is in the data directory and not in the configuration: its records are kept, and not served"
            );
        }
    }
    Ok(seeds.into_iter().map(Some).collect())
}

/// A stream that was added while a server ran, by its description.
fn added(
    name: &str,
    description: io::Result<String>,
    plan: &Plan,
    data: &DataDir,
) -> Result<StreamPlan, Error> {
    let refused = |reason: String| Error::Added {
        name: name.to_owned(),
        path: Some(data.description(name)),
        reason,
    };
    let text =
        description.map_err(|error| refused(format!("its description cannot be read: {error}")))?;
    let stream = StreamPlan::from_text(&text, &plan.limits, plan.workers.len())
        .map_err(|problems| refused(problems.to_string()))?;
    if stream.name == name {
        Ok(stream)
    } else {
        Err(refused(format!(
            "its description is that of {}",
            stream.name
        )))
    }
}

/// Opens a stream and says what was found. Blocks.
pub(super) fn open(
    id: LogId,
    stream: StreamPlan,
    plan: &Plan,
    data: &DataDir,
) -> Result<Opened, Error> {
    let name = stream.name.clone();
    let began_ns = Clock.now_ns();
    let opened = streams::open(id, stream, plan, data)?;
    let (first, next) = (opened.log.first().sequence, opened.log.received().sequence);
    tracing::info!(
        stream = name,
        records = next - first,
        first_sequence = first,
        next_sequence = next,
        ms = (Clock.now_ns() - began_ns) / 1_000_000,
        "open"
    );
    if let Some(torn) = &opened.recovery.torn {
        tracing::warn!(
            stream = name,
            ?torn,
            "a torn tail was cut off and kept in quarantine; nothing in the files says that any of it had been synced"
        );
    }
    let ahead_ns = opened
        .log
        .last_timestamp_ns()
        .saturating_sub(Clock.wall_ns());
    if ahead_ns > AHEAD_NS {
        tracing::warn!(
            stream = name,
            ahead_s = ahead_ns / 1_000_000_000,
            "the newest record is stamped later than it is now: this clock is behind, or was ahead when the record came; until that time all records get this stamp, \
             and a limit of age counts from now"
        );
    }
    Ok(opened)
}

/// A record that is stamped with a time this much later than now is worth a word.
const AHEAD_NS: u64 = 3_600_000_000_000;

/// One worker's thread, from its first instruction to its last.
fn work(
    mut worker: Worker<Message>,
    plan: &Arc<Plan>,
    registry: &Arc<Registry>,
    facts: Facts,
    seed: Seed,
) -> io::Result<()> {
    let shard = Shard::new(ShardConfig {
        worker: worker.index as u8,
        workers: plan.workers.len() as u8,
        limits: plan.shard_limits(),
        seed: entropy()? as u64,
        reclaim_after_ns: RECLAIM_AFTER_NS,
        ..ShardConfig::default()
    });
    let facts = Facts {
        backend: worker.reactor.caps().backend,
        ..facts
    };
    let mut node = Node::new(worker.index, plan.clone(), shard, registry.clone(), facts);
    let now = read(worker.clock);
    let (cursors, dir) = seed.cursors;
    node.add_cursors(cursors, dir, &mut worker.reactor)
        .map_err(io::Error::other)?;
    for stream in seed.streams {
        let configured = plan
            .streams
            .iter()
            .any(|configured| configured.name == stream.plan.name);
        let name = stream.plan.name.clone();
        node.add_stream(stream, configured, now, &mut worker.reactor)
            .map_err(|refusal| io::Error::other(format!("stream {name}: {refusal}")))?;
    }
    for unopened in seed.unopened {
        node.add_unopened(unopened);
    }
    let mut listeners = seed.listeners;
    let mut failed = None;
    let mut drain = Drain::No;
    let (mut gives_up, mut left) = (false, None);
    // Workers whose shards can be asked for everything.
    let (mut ready, mut told) = (0, false);
    let mut tells_listening = false;
    worker.run(|worker, now| {
        let now = Now {
            mono_ns: now.mono_ns,
            wall_ns: now.wall_ns,
        };
        let Worker { mesh, reactor, .. } = worker;
        let mut work = mesh.receive(MESSAGES_PER_TURN, |from, message| match message {
            Message::Drain => drain = Drain::Begin,
            Message::GiveUp => gives_up = true,
            Message::Ready => ready += 1,
            message => node.on_message(from, message, now, reactor),
        });
        let done = match node.turn(now, &mut worker.reactor) {
            Ok(done) => done,
            Err(error) => {
                failed.get_or_insert(error);
                worker.leave();
                return Turn::default();
            }
        };
        work += done.work + node.post.post_mail(&mut worker.mesh, &worker.reactor);
        // Where cursors stand has to be known, by all workers, before anybody asks.
        if !told && node.shard.is_ready() {
            (told, ready, work) = (true, ready + 1, work + 1);
            node.tell_lost_cursors();
            node.post.send_to_others(|| Message::Ready);
        }
        if !listeners.is_empty() && ready == plan.workers.len() {
            work += 1;
            for listener in listeners.drain(..) {
                if let Err(error) = node.listen(listener, &mut worker.reactor) {
                    failed.get_or_insert(error);
                }
            }
            if failed.is_some() {
                worker.leave();
                return Turn::default();
            }
            tells_listening = true;
        }
        let outside = worker.mesh.workers();
        tells_listening = tells_listening && worker.mesh.send(outside, Message::Listening).is_err();
        match drain {
            Drain::No | Drain::Done => {}
            Drain::Begin => {
                node.stop_listening(&mut worker.reactor);
                node.shard.sync(now);
                drain = Drain::Syncing;
                work += 1;
            }
            Drain::Syncing if node.shard.is_settled() => {
                node.say_goodbye();
                drain = Drain::Leaving;
                work += 1;
            }
            // What had been received and was waiting for room may have come in meanwhile.
            Drain::Syncing => node.shard.sync(now),
            Drain::Leaving if node.post.sessions.count() == 0 => {
                if worker.mesh.send(outside, Message::Drained).is_ok() {
                    drain = Drain::Done;
                }
            }
            Drain::Leaving => {}
        }
        if std::mem::take(&mut gives_up) {
            left = Some(node.left());
            work += 1;
            if !matches!(drain, Drain::Leaving | Drain::Done) {
                node.stop_listening(&mut worker.reactor);
                node.say_goodbye();
                drain = Drain::Leaving;
            }
        }
        if let Some(said) = left
            && worker.mesh.send(outside, Message::Left(said)).is_ok()
        {
            left = None;
        }
        Turn {
            work,
            deadline_ns: Some(done.deadline_ns),
            expects: node.volumes.in_flight() > 0,
        }
    })?;
    worker.reactor.drain(worker.clock.now_ns() + DRAIN_NS);
    failed.map_or(Ok(()), Err)
}

/// How far a worker is on its way out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    Begin,
    Syncing,
    Leaving,
    Done,
}

/// Raises the limit of open files to what the plan adds up to, as far as the system lets us. Beyond it, connections wait to be accepted.
fn allow_descriptors(plan: &Plan) {
    let needed = u64::from(plan.limits.connections)
        + plan.streams.len() as u64 * DESCRIPTORS_PER_STREAM
        + plan.workers.len() as u64 * DESCRIPTORS_PER_WORKER
        + DESCRIPTORS_BESIDE;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = Rlimit {
        current: Some(needed.min(allowed)),
        ..limit
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    } else if allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "fewer files may be open than connections and streams add up to: beyond that, connections wait; raise it with ulimit -Hn"
        );
    }
}

fn read(clock: Clock) -> Now {
    Now {
        mono_ns: clock.now_ns(),
        wall_ns: clock.wall_ns(),
    }
}

fn pinning(plan: &Plan) -> Pinning {
    let cpus: Vec<usize> = plan
        .workers
        .iter()
        .filter_map(|worker| worker.cpu)
        .map(|cpu| cpu as usize)
        .collect();
    if cpus.len() == plan.workers.len() {
        Pinning::Cpus(cpus)
    } else {
        Pinning::None
    }
}

/// How long a subscriber may hold memory that publishers wait for; then what it has not taken is copied.
const RECLAIM_AFTER_NS: u64 = 20_000_000;

const MESSAGES_PER_TURN: usize = 64;
/// The segments that a stream keeps open, one that is being prepared, its directory.
const DESCRIPTORS_PER_STREAM: u64 = 18;
/// Its queues, wake-ups and listeners.
const DESCRIPTORS_PER_WORKER: u64 = 16;
/// Standard streams, the lock, signals, logs.
const DESCRIPTORS_BESIDE: u64 = 64;
/// How long operations that are still in flight may take when the worker ends.
const DRAIN_NS: u64 = 1_000_000_000;
