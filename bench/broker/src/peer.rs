//! What a broker is to this comparison. A new one is a file in `peers`, its program named there, and a line in each of the
//! `rows` in which it takes part.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use bench_harness::Failure;
pub use bench_harness::row::Keeps;
use bench_harness::server::Server;
use tempfile::TempDir;

use crate::line::Line;

/// A broker in one setting: two settings of a broker are two peers.
pub trait Peer: Clone + 'static {
    type Line: Line;

    /// As it stands in tables, with its idle strategy and what it does with messages.
    fn name(&self) -> String;

    /// Everything that was set, for the reader.
    fn settings(&self) -> String;

    /// What an acknowledgement, or a delivery, says of the message.
    fn keeps(&self) -> Keeps;

    /// Whether it acknowledges publishes.
    fn acknowledges(&self) -> bool;

    /// Messages of all publishers that may be out at most, where its own clients have such a bound.
    fn window(&self) -> Option<u64> {
        None
    }

    /// Starts one with nothing in it, that takes what [`publisher`](Self::publisher) sends.
    fn start(&self, seat: &Seat) -> Result<Running, Failure>;

    fn publisher(&self, address: SocketAddr) -> Result<Self::Line, Failure>;

    /// Returns when everything that is published from now on will come.
    fn subscriber(&self, address: SocketAddr) -> Result<Self::Line, Failure>;

    /// One to whom everything comes that was published since the start; `None` where nothing is kept for that.
    fn replayer(&self, _address: SocketAddr) -> Option<Result<Self::Line, Failure>> {
        None
    }
}

/// Where a server is to run.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The core that it is held to.
    pub core: Option<usize>,
    /// Where its files go.
    pub data: PathBuf,
    /// Connections that it is to take, where that is more than it takes by default.
    pub connections: Option<u32>,
}

/// A server that listens.
pub struct Running {
    pub server: Server,
    pub address: SocketAddr,
}

impl Running {
    /// Starts a server that keeps its files in `folder`, and waits until it listens.
    pub fn start(
        command: Command,
        folder: TempDir,
        seat: &Seat,
        address: SocketAddr,
    ) -> Result<Self, Failure> {
        let mut server = Server::start(command, folder, seat.core)?;
        server.wait_until_listening(address)?;
        Ok(Self { server, address })
    }
}
