//! Either back-end behind one type, and the choice between them.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use trunkline_ring::Pinned;

use crate::completion::{BufferId, Completion};
use crate::config::Config;
use crate::op::{CancelTarget, FileId, Op, RegionId, SocketId, Wait};
use crate::reactor::{Caps, DrainReport, Full, Reactor};
use crate::readiness::{BACKEND, Readiness};
#[cfg(target_os = "linux")]
use crate::uring::{Uring, explain};
use crate::waker::Waker;

/// Which back-end to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoBackend {
    /// The one that was measured better, or the other when the system does not allow it. The reason is logged.
    #[default]
    Auto,
    /// `io_uring`, or an error.
    IoUring,
    /// The readiness queue of the system: `epoll`, `kqueue`.
    Epoll,
}

/// Which back-end was taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `IoUring` or `Epoll`.
    pub backend: IoBackend,
    /// For the log.
    pub reason: String,
}

/// A reactor of either kind.
pub enum AnyReactor {
    /// Over readiness.
    Readiness(Box<Readiness>),
    /// Over `io_uring`.
    #[cfg(target_os = "linux")]
    Uring(Box<Uring>),
}

impl AnyReactor {
    /// Makes a reactor for the calling thread.
    ///
    /// # Errors
    /// What the system answered for the back-end that was asked for; for `Auto`, when neither works.
    pub fn new(backend: IoBackend, config: &Config) -> io::Result<(Self, Choice)> {
        let made = match backend {
            IoBackend::Epoll => Self::readiness(config, "asked for".into()),
            IoBackend::IoUring => Self::uring(config, "asked for"),
            IoBackend::Auto => Self::automatic(config),
        };
        if let Ok((_, Choice { backend, reason })) = &made {
            tracing::info!(backend = %backend, reason, "reactor");
        }
        made
    }

    fn readiness(config: &Config, reason: String) -> io::Result<(Self, Choice)> {
        let reactor = Self::Readiness(Box::new(Readiness::new(config)?));
        Ok((
            reactor,
            Choice {
                backend: IoBackend::Epoll,
                reason,
            },
        ))
    }

    #[cfg(target_os = "linux")]
    fn uring(config: &Config, reason: &str) -> io::Result<(Self, Choice)> {
        match Uring::new(config) {
            Ok(uring) => {
                let choice = Choice {
                    backend: IoBackend::IoUring,
                    reason: reason.into(),
                };
                Ok((Self::Uring(Box::new(uring)), choice))
            }
            Err(error) => Err(io::Error::new(error.kind(), explain(&error))),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn uring(_config: &Config, _reason: &str) -> io::Result<(Self, Choice)> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "io_uring is a part of Linux",
        ))
    }

    /// Readiness: an echo costs less CPU and answers sooner with it (docs/decision/0401). Whether the other could be used is said, so
    /// that who asks for it by name knows what to expect; where readiness cannot be had, the other is taken.
    fn automatic(config: &Config) -> io::Result<(Self, Choice)> {
        let other = match Self::try_uring(config) {
            Ok(()) => "io_uring could be used".into(),
            Err(error) => error.to_string(),
        };
        Self::readiness(
            config,
            format!("measured the better one for connections; {other}"),
        )
        .or_else(|error| Self::uring(config, &format!("{BACKEND} cannot be used: {error}")))
    }

    #[cfg(target_os = "linux")]
    fn try_uring(config: &Config) -> io::Result<()> {
        crate::uring::try_ring(&config.uring)
            .map_err(|error| io::Error::new(error.kind(), explain(&error)))
    }

    #[cfg(not(target_os = "linux"))]
    fn try_uring(_config: &Config) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "io_uring is a part of Linux",
        ))
    }
}

macro_rules! either {
    ($self:ident, $reactor:ident => $call:expr) => {
        match $self {
            Self::Readiness($reactor) => $call,
            #[cfg(target_os = "linux")]
            Self::Uring($reactor) => $call,
        }
    };
}

impl Reactor for AnyReactor {
    #[inline]
    fn stage(&mut self, op: Op<'_>, user_data: u64) -> Result<(), Full> {
        either!(self, reactor => reactor.stage(op, user_data))
    }

    fn submit(&mut self) -> io::Result<usize> {
        either!(self, reactor => reactor.submit())
    }

    fn submit_and_wait(&mut self, want: usize, wait: Wait) -> io::Result<usize> {
        either!(self, reactor => reactor.submit_and_wait(want, wait))
    }

    fn reap(&mut self, out: &mut [Completion]) -> usize {
        either!(self, reactor => reactor.reap(out))
    }

    fn cancel(&mut self, target: CancelTarget) -> usize {
        either!(self, reactor => reactor.cancel(target))
    }

    fn drain(&mut self, deadline_ns: u64) -> DrainReport {
        either!(self, reactor => reactor.drain(deadline_ns))
    }

    fn register_region(&mut self, region: Pinned) -> RegionId {
        either!(self, reactor => reactor.register_region(region))
    }

    fn unregister_region(&mut self, region: RegionId) {
        either!(self, reactor => reactor.unregister_region(region));
    }

    fn add_file(&mut self, file: File) -> FileId {
        either!(self, reactor => reactor.add_file(file))
    }

    fn remove_file(&mut self, file: FileId) {
        either!(self, reactor => reactor.remove_file(file));
    }

    fn add_listener(&mut self, listener: TcpListener) -> io::Result<SocketId> {
        either!(self, reactor => reactor.add_listener(listener))
    }

    fn add_stream(&mut self, stream: TcpStream) -> io::Result<SocketId> {
        either!(self, reactor => reactor.add_stream(stream))
    }

    #[inline]
    fn buffer(&self, id: BufferId) -> &[u8] {
        either!(self, reactor => reactor.buffer(id))
    }

    fn buffer_slice(&self, id: BufferId) -> (RegionId, u64) {
        either!(self, reactor => reactor.buffer_slice(id))
    }

    fn recycle(&mut self, id: BufferId) {
        either!(self, reactor => reactor.recycle(id));
    }

    fn peer(&self, socket: SocketId) -> Option<SocketAddr> {
        either!(self, reactor => reactor.peer(socket))
    }

    fn pause(&mut self, socket: SocketId) {
        either!(self, reactor => reactor.pause(socket));
    }

    fn resume(&mut self, socket: SocketId) {
        either!(self, reactor => reactor.resume(socket));
    }

    fn offload(
        &mut self,
        job: Box<dyn FnOnce() -> i32 + Send>,
        user_data: u64,
    ) -> Result<(), Full> {
        either!(self, reactor => reactor.offload(job, user_data))
    }

    fn waker(&self) -> Waker {
        either!(self, reactor => reactor.waker())
    }

    fn caps(&self) -> Caps {
        either!(self, reactor => reactor.caps())
    }

    fn in_flight(&self) -> usize {
        either!(self, reactor => reactor.in_flight())
    }
}

impl fmt::Display for IoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => BACKEND,
        })
    }
}
