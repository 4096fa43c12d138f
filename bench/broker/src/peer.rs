//! What a broker is to this comparison. A new one is a file in `peers`, and a line in `rows`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bench_harness::Failure;
use bench_harness::server::Server;

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

    /// Messages that may be out at most, where its own clients have such a bound.
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

/// What becomes of a message before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing is stored.
    Nothing,
    /// It is written to a file, or to memory that is; a crash of the system takes it back.
    PageCache,
    /// It is on the device.
    Synced,
}

/// Where a server is to run.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The core that it is held to.
    pub core: Option<usize>,
    /// Where its files go.
    pub data: PathBuf,
}

/// A server that listens.
pub struct Running {
    pub server: Server,
    pub address: SocketAddr,
}

/// A program: where a variable says, in the folder of peers, or on the path.
pub fn find_program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let folders = std::env::var_os(FOLDER).map(|root| {
        let below = |folder: &&str| Path::new(&root).join(folder);
        ["bin", "usr/bin", "usr/sbin"]
            .iter()
            .map(below)
            .collect::<Vec<_>>()
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders
        .into_iter()
        .flatten()
        .chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A command for a program of the folder of peers, which finds its libraries there.
pub fn command(program: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    if let Some(root) = std::env::var_os(FOLDER).filter(|root| program.starts_with(root)) {
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        command.env(
            "LD_LIBRARY_PATH",
            Path::new(&root).join("usr/lib").join(triple),
        );
    }
    command
}

/// The first line that a program prints when asked for its version.
pub fn version(program: &Path, argument: &str) -> Option<String> {
    let output = command(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .find(|line| !line.trim().is_empty())
        .map(|line| line.trim().to_owned())
}

/// The variable that names the folder into which peers were installed.
pub const FOLDER: &str = "TRUNKLINE_BENCH_PEERS";
