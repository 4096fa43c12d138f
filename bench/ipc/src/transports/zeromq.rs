//! ZeroMQ over `ipc:`, which is a Unix socket between the two contexts' threads for input and output. Those sleep when there
//! is nothing to do, however the two sides wait for them.

use std::sync::Mutex;

use bench_foreign::zeromq::{self, Socket};
use bench_harness::Failure;
use bench_harness::server::Server;
use tempfile::TempDir;

use super::spin_until;
use crate::transport::{End, Idle, Link, Transport};
use crate::trips::PATIENCE;

pub struct ZeroMq {
    pub idle: Idle,
}

/// What was set, for the reader.
pub const SETTINGS: &str = "PAIR sockets over ipc:, a context with one thread for input and output for each, unpinned; defaults otherwise";

impl Transport for ZeroMq {
    type Link = Sockets;

    fn link(&self) -> Result<Sockets, Failure> {
        let library = zeromq::library()?;
        let folder = Server::folder(&std::env::temp_dir())?;
        let address = format!("ipc://{}/socket", folder.path().display());
        // Made here, and not on the threads that are bound to a core: the contexts' own threads are to run anywhere.
        let (one, other) = (library.pair(PATIENCE)?, library.pair(PATIENCE)?);
        one.bind(&address)?;
        other.connect(&address)?;
        Ok(Sockets {
            ends: [one, other].map(|socket| Mutex::new(Some(socket))),
            idle: self.idle,
            _folder: folder,
        })
    }
}

pub struct Sockets {
    ends: [Mutex<Option<Socket>>; 2],
    idle: Idle,
    /// Where the socket's file is.
    _folder: TempDir,
}

impl Link for Sockets {
    type End = Paired;

    fn end(&self, side: usize) -> Result<Paired, Failure> {
        let socket = self.ends[side].lock().map(|mut socket| socket.take());
        let socket = socket.ok().flatten().ok_or("an end is taken once")?;
        Ok(Paired {
            socket,
            idle: self.idle,
        })
    }
}

pub struct Paired {
    socket: Socket,
    idle: Idle,
}

impl End for Paired {
    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.socket.send(message)
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<(), Failure> {
        match self.idle {
            Idle::Park => self.socket.receive(message),
            Idle::Spin => spin_until(|| self.socket.try_receive(message)),
        }
    }
}
