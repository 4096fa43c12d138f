//! What the bounds share: servers that are this program itself under another word, and take messages as length and bytes.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use bench_harness::Failure;
use bench_harness::server::{Server, free_address};

use crate::peer::{Running, Seat};

/// Starts this program as `word ADDRESS …`; `with` adds the rest, of which a file lies in the folder that it is given.
pub fn start(
    word: &str,
    seat: &Seat,
    with: impl FnOnce(&mut Command, &Path),
) -> Result<Running, Failure> {
    let folder = Server::folder(&seat.data)?;
    let address = free_address()?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.arg(word).arg(address.to_string());
    with(&mut command, folder.path());
    Running::start(command, folder, seat, address)
}

/// Appends a message to what is sent.
pub fn put(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The payload of the message that `bytes` begin with, if it is whole.
pub fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.get(..u32::from_le_bytes(*len) as usize)
}

/// Where a server is connected to.
pub struct Door(TcpListener);

impl Door {
    pub fn open(address: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    pub fn socket(&self) -> &TcpListener {
        &self.0
    }

    /// Who waits there, if anybody does.
    pub fn knock(&self) -> std::io::Result<Option<Source>> {
        let Ok((stream, _)) = self.0.accept() else {
            return Ok(None);
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Some(Source {
            stream,
            input: vec![0; READ_BYTES].into(),
            filled: 0,
            closed: false,
        }))
    }
}

/// A connection, and what has come on it.
pub struct Source {
    pub stream: TcpStream,
    input: Box<[u8]>,
    filled: usize,
    closed: bool,
}

impl Source {
    /// Receives once; `false` when there was nothing.
    pub fn receive(&mut self) -> bool {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => self.closed = true,
            Ok(bytes) => self.filled += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => self.closed = true,
        }
        !self.closed
    }

    /// What has come and is not taken.
    pub fn input(&self) -> &[u8] {
        &self.input[..self.filled]
    }

    /// Forgets the first bytes of the input.
    pub fn take(&mut self, bytes: usize) {
        self.input.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }

    /// The other side is gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Bytes in front of a payload.
pub const LENGTH_BYTES: usize = 4;
/// How often one who spins looks for a new connection.
pub const TURNS_PER_ACCEPT: u64 = 1024;
const READ_BYTES: usize = 128 << 10;
