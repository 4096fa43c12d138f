//! Runs a plan: opens what it names, starts the workers, and waits for a signal.
//!
//! ```text
//! lock the data directory ─► bind ─► recover each stream ─► start workers ─► accept ─► say so ─► … SIGTERM ─► drain ─► unlock
//! ```
//! A worker that cannot go on ends the server: its streams and sessions would be gone, and nobody would say so.
//!
//! This thread is the control plane: it touches no record, and reaches a worker only by a message.

mod arena;
mod connections;
mod cursors;
mod everyone;
mod feed;
mod inbox;
mod inlet;
mod ledger;
mod message;
mod node;
mod outbox;
mod post;
mod registry;
mod relay;
mod reload;
mod removal;
mod session;
mod start;
mod stop;
mod streams;
mod system_calls;
mod tag;
mod unopened;
mod volume;
mod volumes;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use trunkline_log::OpenError;
use trunkline_reactor::Workers;

use self::message::Message;
use self::stop::Said;
use crate::config::Span;
use crate::plan::Plan;
use crate::storage::StorageError;

/// Why a server stopped or did not start.
#[derive(Debug)]
pub enum Error {
    /// The data directory cannot be used.
    Storage(StorageError),
    /// An address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A stream cannot be opened.
    Stream {
        /// Its name.
        name: String,
        /// Its directory.
        path: PathBuf,
        /// Why not.
        error: OpenError,
    },
    /// A stream that was added at run time does not fit the configuration any more.
    Added {
        /// Its name.
        name: String,
        /// Its description in the data directory, when it was added while the server ran.
        path: Option<PathBuf>,
        /// Why not.
        reason: String,
    },
    /// Streams could not be opened, or became read-only while the server ran.
    Streams {
        /// What is wrong with each.
        troubles: Vec<String>,
    },
    /// A stop that ran out of time.
    Unfinished {
        /// What was left, in words.
        left: String,
        /// The time that it had.
        drain_timeout_ns: u64,
    },
    /// A worker ended, and nobody had asked it to.
    Worker {
        /// Which, and why.
        error: io::Error,
    },
    /// The system refused something else.
    System {
        /// What was done.
        doing: &'static str,
        /// The refusal.
        error: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Listen { address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: another process does; stop it, or choose another address with --listen"
            ),
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Stream { name, path, error } => {
                write!(
                    f,
                    "cannot open stream {name} in {}: {error}",
                    path.display()
                )?;
                let Some(data) = data_dir(name, path) else {
                    return Ok(());
                };
                let data = data.display();
                match error {
                    OpenError::Damaged(_) => write!(
                        f,
                        "; `trunkline log repair {name} --data {data} --dry-run` says what can be done"
                    ),
                    _ if self.passes() => f.write_str(
                        "; the stream is not damaged: make room (space on the disk, open files, memory)",
                    ),
                    OpenError::Foreign { .. } | OpenError::Io { .. } => {
                        write!(f, "; `trunkline log verify {name} --data {data}` says more")
                    }
                    OpenError::Config(_) | OpenError::Memory(_) | OpenError::Newer { .. } => Ok(()),
                }
            }
            Self::Streams { troubles } => f.write_str(&troubles.join("; ")),
            Self::Added {
                name,
                path: Some(path),
                reason,
            } => write!(
                f,
                "stream {name}, which was added while the server ran, cannot be opened: {reason}; correct {} or the configuration and start the server again, or remove the file: \
                 the records stay, and are served when the configuration declares the stream",
                path.display()
            ),
            Self::Added {
                name,
                path: None,
                reason,
            } => write!(f, "stream {name} cannot be opened: {reason}"),
            Self::Unfinished {
                left,
                drain_timeout_ns,
            } => write!(
                f,
                "the stop ran out of its drain_timeout of {}: {left}; what was acknowledged as stored is there at the next start",
                Span(*drain_timeout_ns)
            ),
            Self::Worker { error } => write!(
                f,
                "a worker cannot go on, and the server ends with it: {error}; what was acknowledged as stored is there at the next start"
            ),
            Self::System { doing, error } => write!(f, "cannot {doing}: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// What there is to say of a stream that is not served because of it.
    fn refusal(&self) -> String {
        let again = if self.passes() {
            "; it is tried again every few seconds, and the stream is served as soon as there is"
        } else {
            ""
        };
        format!("{self}{again}")
    }

    /// Whether the system was out of something when a stream was opened: nothing is wrong with the stream, and later it may be possible.
    fn passes(&self) -> bool {
        let (Self::Stream {
            error: OpenError::Io { error, .. } | OpenError::Memory(error),
            ..
        }
        | Self::Storage(StorageError::Io { error, .. })) = self
        else {
            return false;
        };
        let known = [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
        ];
        error.kind() == io::ErrorKind::OutOfMemory
            || error
                .raw_os_error()
                .is_some_and(|raw| known.iter().any(|known| known.raw_os_error() == raw))
    }
}

/// The data directory that a stream's directory is in.
fn data_dir<'a>(name: &str, path: &'a Path) -> Option<&'a Path> {
    let streams = path.ancestors().nth(Path::new(name).components().count())?;
    if name.starts_with("cursors/") {
        Some(streams)
    } else {
        streams.parent()
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
/// The environment's refusals: addresses, files, the kernel.
pub fn run(plan: Plan) -> Result<(), Error> {
    // Before the workers' threads, which inherit what is blocked.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| Error::System {
        doing: "watch for signals",
        error,
    })?;
    let waiting = signals.handle();
    let server = start::start(plan, move || waiting.close())?;
    let stops = || signals.pending().any(|signal| signal != SIGHUP);
    let Some(mut server) = server.until_it_listens(stops)? else {
        return Ok(());
    };
    for signal in signals.forever() {
        if signal != SIGHUP {
            tracing::info!(signal, "stopping: everything is written and synced first");
            return server.stop();
        }
        server.reload();
    }
    Err(server.end())
}

/// A running server. Dropping it without [`stop`](Self::stop) leaves its threads running.
pub struct Server {
    plan: std::sync::Arc<Plan>,
    addresses: Vec<SocketAddr>,
    workers: Workers<Message>,
    /// Holds the data directory, which is given up last.
    registry: std::sync::Arc<registry::Registry>,
}

impl Server {
    /// Opens everything, starts the workers, and returns when all of them accept connections.
    ///
    /// # Errors
    /// As [`run`].
    pub fn start(plan: Plan) -> Result<Self, Error> {
        let server = start::start(plan, || {})?.until_it_listens(|| false)?;
        Ok(server.expect("nobody asked it to stop"))
    }

    /// Waits until all workers accept connections, and says so. None: it was asked to stop meanwhile, and has.
    fn until_it_listens(mut self, mut stops: impl FnMut() -> bool) -> Result<Option<Self>, Error> {
        let mut listening = 0;
        while listening < self.workers.outside.workers() {
            if self.workers.has_ended() {
                return Err(self.end());
            }
            if stops() {
                return self.stop().map(|()| None);
            }
            std::thread::sleep(POLL);
            self.workers.outside.receive(64, |_, message| {
                listening += usize::from(matches!(message, Message::Listening));
            });
        }
        start::announce(&self.plan, &self.addresses)?;
        Ok(Some(self))
    }

    /// Ends what is left of a server one of whose workers has ended. Nothing more is written: others would wait for that worker.
    fn end(self) -> Error {
        forget_ready_file(&self.plan);
        self.workers.stop();
        let ended = self.workers.join().err();
        let error = ended.unwrap_or_else(|| io::Error::other("it ended without a reason"));
        let error = Error::Worker { error };
        tracing::error!(%error, "stopped");
        error
    }

    /// The addresses that it listens on, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops cleanly: accepts nothing more, writes and syncs everything, tells the clients.
    ///
    /// # Errors
    /// A worker's, if one ended with an error; streams that were not served, or had become read-only; what could not be done in
    /// time.
    pub fn stop(mut self) -> Result<(), Error> {
        let drain_timeout_ns = self.plan.limits.drain_timeout_ns;
        let mut said = Said::default();
        self.ask(
            || Message::Drain,
            Duration::from_nanos(drain_timeout_ns),
            &mut said,
        );
        let count = self.workers.outside.workers();
        if said.drained < count {
            self.ask(|| Message::GiveUp, FAREWELL, &mut said);
        }
        if self.workers.has_ended() {
            return Err(self.end());
        }
        let unfinished = said.unfinished(count).map(|left| Error::Unfinished {
            left,
            drain_timeout_ns,
        });
        if let Some(error) = &unfinished {
            tracing::error!(%error, "not everything could be written and synced in time");
        }
        self.workers.stop();
        self.workers.join().map_err(|error| Error::System {
            doing: "end a worker",
            error,
        })?;
        forget_ready_file(&self.plan);
        tracing::info!("stopped");
        let mut troubles: Vec<String> = self.registry.troubles().values().cloned().collect();
        if troubles.is_empty() {
            return unfinished.map_or(Ok(()), Err);
        }
        troubles.extend(unfinished.map(|error| error.to_string()));
        Err(Error::Streams { troubles })
    }

    /// Asks something of all workers, and waits until they have drained, one has ended, or time is up.
    fn ask(&mut self, message: impl Fn() -> Message, time: Duration, said: &mut Said) {
        let deadline = Instant::now() + time;
        let count = self.workers.outside.workers();
        for worker in 0..count {
            // A full ring means that the worker is far behind: it does not answer, and is stopped all the same.
            let _sent = self.workers.outside.send(worker, message());
        }
        self.workers.outside.flush();
        while said.drained < count && Instant::now() < deadline && !self.workers.has_ended() {
            self.workers
                .outside
                .receive(64, |_, message| said.hear(&message));
            std::thread::sleep(POLL);
        }
    }
}

/// Nobody is to take a server that has ended for one that is ready.
fn forget_ready_file(plan: &Plan) {
    if let Some(path) = &plan.ready_file {
        let _gone_already = std::fs::remove_file(path);
    }
}

/// What clients have to take their farewell, and workers to close the connections, when the time for a stop is over.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often a worker's answer is looked for where one is waited for.
const POLL: Duration = Duration::from_millis(2);
