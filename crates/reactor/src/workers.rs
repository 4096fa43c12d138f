//! Pinned threads with one reactor each: how they are asked for, started, turned and stopped.
//!
//! ```no_run
//! use trunkline_reactor::{IoBackend, Turn, WorkerStrategy, Workers};
//!
//! let workers = Workers::builder()
//!     .workers(WorkerStrategy::ThreadPerCore)
//!     .io_backend(IoBackend::Auto)
//!     .start::<u64, _>(|mut worker| {
//!         worker.run(|worker, _now| {
//!             let work = worker.mesh.receive(64, |_from, _message| {});
//!             Turn { work, ..Turn::default() }
//!         })
//!     })?;
//! workers.stop();
//! workers.join()?;
//! # std::io::Result::Ok(())
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::any::{AnyReactor, Choice, IoBackend};
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::idle::{Idle, Idler};
use crate::jobs::{Jobs, jobs};
use crate::mesh::{MeshEnd, mesh};
use crate::op::Wait;
use crate::reactor::Reactor;
use crate::topology::{Topology, pin_current_thread};
use crate::waker::Waker;

/// How many workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerStrategy {
    /// One for each physical core that this process may use.
    #[default]
    ThreadPerCore,
    /// So many.
    Fixed(usize),
}

/// Where workers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// [`Topology::placement`], when there are at least as many CPUs as workers; not pinned otherwise.
    #[default]
    Auto,
    /// These CPUs, in turn.
    Cpus(Vec<usize>),
    /// Wherever the system puts them.
    None,
}

/// Settings of the workers; see [`Workers::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    strategy: WorkerStrategy,
    backend: IoBackend,
    pinning: Pinning,
    idle: Option<Idle>,
    config: Config,
    mesh_capacity: usize,
}

/// What a worker's thread has, from its start.
pub struct Worker<M: 'static> {
    /// Its number, from 0.
    pub index: usize,
    /// Its reactor.
    pub reactor: AnyReactor,
    /// Its end of the mesh.
    pub mesh: MeshEnd<M>,
    /// Its share in the jobs.
    pub jobs: Jobs,
    /// Its idle strategy.
    pub idler: Idler,
    /// Its clock.
    pub clock: Clock,
    /// Where it is pinned.
    pub cpu: Option<usize>,
    stop: Arc<AtomicBool>,
    leaves: bool,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// How much; 0 lets the worker idle.
    pub work: usize,
    /// When the next turn is needed at the latest, in nanoseconds of the clock.
    pub deadline_ns: Option<u64>,
    /// Whether an answer is about to come that is worth staying awake for, such as that to a sync.
    pub expects: bool,
}

/// Running workers.
pub struct Workers<M: 'static> {
    /// The mesh's end for the thread that started the workers: commands in, answers out.
    pub outside: MeshEnd<M>,
    choices: Vec<Choice>,
    wakers: Vec<Waker>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Workers<()> {
    /// The default settings.
    pub fn builder() -> Builder {
        Builder {
            strategy: WorkerStrategy::default(),
            backend: IoBackend::default(),
            pinning: Pinning::default(),
            idle: None,
            config: Config::default(),
            mesh_capacity: 1024,
        }
    }
}

impl Builder {
    /// How many workers. Default: one per physical core.
    pub fn workers(mut self, strategy: WorkerStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Which back-end. Default: `Auto`.
    pub fn io_backend(mut self, backend: IoBackend) -> Self {
        self.backend = backend;
        self
    }

    /// Where workers run. Default: `Auto`.
    pub fn pinning(mut self, pinning: Pinning) -> Self {
        self.pinning = pinning;
        self
    }

    /// The idle strategy. Default: [`Idle::for_machine`].
    pub fn idle(mut self, idle: Idle) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Settings of each reactor.
    pub fn reactor(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Messages that one worker may have on the way to another, a power of two. Default 1,024.
    pub fn mesh_capacity(mut self, messages: usize) -> Self {
        self.mesh_capacity = messages;
        self
    }

    /// Starts the workers; each runs `main` on its own thread. Returns when all of them have their reactor.
    ///
    /// # Errors
    /// The first worker that could not start says why; none runs then.
    pub fn start<M, F>(mut self, main: F) -> io::Result<Workers<M>>
    where
        M: Send + 'static,
        F: Fn(Worker<M>) -> io::Result<()> + Send + Sync + 'static,
    {
        let topology = Topology::detect();
        let count = match self.strategy {
            WorkerStrategy::ThreadPerCore => topology.cores(),
            WorkerStrategy::Fixed(count) => count,
        };
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "at least one worker is needed",
            ));
        }
        let idle = self
            .idle
            .unwrap_or_else(|| Idle::for_machine(count, topology.cpus().len()));
        let cpus = self.placement(&topology, count);
        // A thread starts where its creator may run, which for a pinned worker is the one CPU that it needs itself.
        if self.config.offload_cpus.is_empty() {
            self.config.offload_cpus = topology.besides(&cpus);
        }
        let (main, stop) = (Arc::new(main), Arc::new(AtomicBool::new(false)));
        let mut starting = Vec::with_capacity(count);
        for (index, cpu) in cpus.into_iter().enumerate() {
            starting.push(Starting::spawn(index, cpu, idle, &self, &main, &stop)?);
        }
        let ready = starting
            .iter()
            .map(Starting::ready)
            .collect::<io::Result<Vec<_>>>()?;
        let (wakers, choices): (Vec<_>, Vec<_>) = ready.into_iter().unzip();
        let mut ends = mesh(&wakers, self.mesh_capacity)?;
        let Some(outside) = ends.pop() else {
            return Err(io::ErrorKind::Other.into());
        };
        let threads = starting
            .into_iter()
            .zip(ends)
            .zip(jobs(&wakers))
            .map(|((starting, end), jobs)| starting.go(end, jobs));
        let threads = threads.collect();
        Ok(Workers {
            outside,
            choices,
            wakers,
            stop,
            threads,
        })
    }

    fn placement(&self, topology: &Topology, count: usize) -> Vec<Option<usize>> {
        match &self.pinning {
            Pinning::Auto if topology.cpus().len() >= count => {
                topology.placement(count).into_iter().map(Some).collect()
            }
            Pinning::Cpus(cpus) if !cpus.is_empty() => {
                cpus.iter().copied().cycle().take(count).map(Some).collect()
            }
            _ => vec![None; count],
        }
    }
}

/// A thread that makes its reactor, says how that went, and waits for its end of the mesh.
struct Starting<M: 'static> {
    thread: JoinHandle<io::Result<()>>,
    ready: mpsc::Receiver<io::Result<(Waker, Choice)>>,
    go: mpsc::Sender<(MeshEnd<M>, Jobs)>,
}

impl<M: Send + 'static> Starting<M> {
    fn spawn<F>(
        index: usize,
        cpu: Option<usize>,
        idle: Idle,
        builder: &Builder,
        main: &Arc<F>,
        stop: &Arc<AtomicBool>,
    ) -> io::Result<Self>
    where
        F: Fn(Worker<M>) -> io::Result<()> + Send + Sync + 'static,
    {
        let (say_ready, ready) = mpsc::channel();
        let (go, wait_go) = mpsc::channel::<(MeshEnd<M>, Jobs)>();
        let (backend, config) = (builder.backend, builder.config.clone());
        let (main, stop) = (Arc::clone(main), Arc::clone(stop));
        let body = move || {
            let reactor = match cpu
                .map_or(Ok(()), pin_current_thread)
                .and_then(|()| AnyReactor::new(backend, &config))
            {
                Ok((reactor, choice)) => {
                    let _ = say_ready.send(Ok((reactor.waker(), choice)));
                    reactor
                }
                Err(error) => {
                    let _ = say_ready.send(Err(error));
                    return Ok(());
                }
            };
            // The starter gave up when another worker failed.
            let Ok((mesh, jobs)) = wait_go.recv() else {
                return Ok(());
            };
            main(Worker {
                index,
                reactor,
                mesh,
                jobs,
                idler: Idler::new(idle),
                clock: Clock,
                cpu,
                stop,
                leaves: false,
            })
        };
        let thread = thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(body)?;
        Ok(Self { thread, ready, go })
    }

    fn ready(&self) -> io::Result<(Waker, Choice)> {
        self.ready
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a worker ended while it started")))
    }

    fn go(self, mesh: MeshEnd<M>, jobs: Jobs) -> JoinHandle<io::Result<()>> {
        let _ = self.go.send((mesh, jobs));
        self.thread
    }
}

impl<M: 'static> Worker<M> {
    /// Takes turns until the workers are stopped: the clock is read once, `turn` reaps and works, what it sent is flushed, then the worker waits
    /// as its idle strategy says. Jobs of others are done only in turns without work.
    ///
    /// # Errors
    /// The reactor's.
    pub fn run(&mut self, mut turn: impl FnMut(&mut Self, Now) -> Turn) -> io::Result<()> {
        while !self.is_stopped() {
            let now = self.clock.now();
            let Turn {
                mut work,
                deadline_ns,
                expects,
            } = turn(self, now);
            work += self.jobs.run(JOBS_PER_TURN);
            if work == 0 {
                work += self.jobs.steal();
            }
            self.mesh.flush();
            let wait = if self.leaves {
                // Nobody will wake one who is to end.
                Wait::Poll
            } else {
                let idle = self.idler.next(work, expects, now.mono_ns);
                idle.before(deadline_ns)
            };
            self.reactor.submit_and_wait(1, wait)?;
        }
        Ok(())
    }

    /// Somebody called [`Workers::stop`], or this worker [`leave`](Self::leave).
    pub fn is_stopped(&self) -> bool {
        self.leaves || self.stop.load(Ordering::Acquire)
    }

    /// Ends this worker's run after the turn: it cannot go on. The others are not stopped.
    pub fn leave(&mut self) {
        self.leaves = true;
    }
}

impl<M: 'static> Workers<M> {
    /// Which back-end each worker has, and why.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// Wakers, by worker.
    pub fn wakers(&self) -> &[Waker] {
        &self.wakers
    }

    /// Asks all workers to end their run.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Whether one of the threads has ended, stopped or not.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits for the threads to end.
    ///
    /// # Errors
    /// The first worker's that ended with one, or that panicked.
    pub fn join(self) -> io::Result<()> {
        let ended = self.threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    }
}

/// Jobs of its own that a worker does in one turn.
const JOBS_PER_TURN: usize = 8;
