//! A non-blocking TCP connection, and what came in on it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_wire::frame::FRAME_BYTES_MAX;
use trunkline_wire::{Client, Event, Limits, Session};

use crate::error::Error;

/// The socket, the session on it, and a buffer for what was received.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Arc<TcpStream>,
    session: Session<Client>,
    input: Box<[u8]>,
    received: Range<usize>,
    sending: Vec<u8>,
    unsent: Range<usize>,
}

impl Link {
    /// Connects to the first address that answers. All of them together have until `deadline`, each an equal part of what
    /// those before it have left.
    pub(crate) fn connect(address: &str, deadline: Instant) -> io::Result<TcpStream> {
        let mut last = io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address} has no address"),
        );
        let addresses = address.to_socket_addrs()?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        for (index, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let part = left / (addresses.len() - index) as u32;
            // No time at all is an error of its own to the socket.
            match Self::connect_to(address, part.max(Duration::from_millis(1))) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(address, timeout)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        // Whatever records its server takes: nothing is allocated for a length before the bytes are there.
        let limits = Limits {
            max_frame_bytes: FRAME_BYTES_MAX,
            max_record_bytes: u32::MAX,
        };
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: Arc::new(stream),
            session: Session::new(limits),
            input: vec![0; INPUT_BYTES].into(),
            received: 0..0,
            sending: Vec::new(),
            unsent: 0..0,
        })
    }

    pub(crate) fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    pub(crate) fn session(&mut self) -> &mut Session<Client> {
        &mut self.session
    }

    /// Receives once. `false` when there is nothing.
    pub(crate) fn receive(&mut self) -> io::Result<bool> {
        debug_assert!(self.received.is_empty());
        loop {
            match (&*self.stream).read(&mut self.input) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    self.received = 0..len;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next event of what was received; `None` when all of it is through.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        let (used, event) = self.session.next(&self.input[self.received.clone()])?;
        self.received.start += used;
        Ok(event)
    }

    /// Whether everything that [`sending`](Self::sending) was given is sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Where to put what is to be sent next: memory, and which part of it. Only when [`is_sent`](Self::is_sent).
    pub(crate) fn sending(&mut self) -> (&mut Vec<u8>, &mut Range<usize>) {
        debug_assert!(self.unsent.is_empty());
        (&mut self.sending, &mut self.unsent)
    }

    /// Sends what the socket takes. `true` when that was something.
    pub(crate) fn send(&mut self) -> io::Result<bool> {
        let before = self.unsent.start;
        while !self.unsent.is_empty() {
            match (&*self.stream).write(&self.sending[self.unsent.clone()]) {
                Ok(len) => self.unsent.start += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.unsent.start > before)
    }
}

/// One receive. More would save system calls, and lose as much to memory that the next cache no longer holds.
const INPUT_BYTES: usize = 128 << 10;
