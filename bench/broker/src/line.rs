//! One connection of one client, whatever the protocol: what the loops in `load` drive.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use bench_harness::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What came on a [`Line`].
pub enum Event<'a> {
    /// A message.
    Message(&'a [u8]),
    /// So many more publishes are acknowledged, in the order in which they were made.
    Acked(u64),
}

/// A connection that its caller drives. Nothing here blocks.
pub trait Line {
    /// Encodes a message into what is to be sent; `false` when there is too much of that already.
    fn publish(&mut self, payload: &[u8]) -> Result<bool, Failure>;

    /// Sends what the socket takes; `true` when that was everything.
    fn flush(&mut self) -> Result<bool, Failure>;

    /// Receives once; `false` when there was nothing.
    fn poll(
        &mut self,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure>;

    fn socket(&self) -> BorrowedFd<'_>;
}

/// How bytes on a TCP connection mean messages.
pub trait Protocol {
    /// Appends what publishes a message.
    fn encode(&mut self, out: &mut Vec<u8>, payload: &[u8]);

    /// Takes what is complete in `input` and says how many bytes that were. What the protocol itself has to say goes to `out`.
    fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure>;
}

/// A [`Line`] for any [`Protocol`]: one buffer out, one buffer in, one system call for as much as fits.
pub struct Tcp<P> {
    stream: TcpStream,
    protocol: P,
    out: Vec<u8>,
    sent: usize,
    input: Box<[u8]>,
    filled: usize,
}

impl<P: Protocol> Tcp<P> {
    pub fn connect(address: SocketAddr, protocol: P) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| format!("{address}: {error}");
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            stream,
            protocol,
            out: Vec::with_capacity(2 * OUT_BYTES),
            sent: 0,
            input: vec![0; IN_BYTES].into(),
            filled: 0,
        })
    }

    /// Sends what a protocol begins with.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.extend_from_slice(bytes);
        let begin = Instant::now();
        while !self.flush()? {
            if begin.elapsed() > PATIENCE {
                return Err("the server does not take what it is sent".into());
            }
        }
        Ok(())
    }

    /// Receives until `is_complete` says that an answer is, and returns it as text.
    pub fn answer(&mut self, is_complete: impl Fn(&str) -> bool) -> Result<String, Failure> {
        let begin = Instant::now();
        loop {
            let text = String::from_utf8_lossy(&self.input[..self.filled]).into_owned();
            if is_complete(&text) {
                self.filled = 0;
                return Ok(text);
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!(
                    "the server does not answer; so far it said: {text}"
                ));
            }
            if !self.receive()? {
                wait(&[&*self], Some(Duration::from_millis(100)))?;
            }
        }
    }

    pub fn protocol(&mut self) -> &mut P {
        &mut self.protocol
    }

    fn receive(&mut self) -> Result<bool, Failure> {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => Err("the server closed the connection".into()),
            Ok(bytes) => {
                self.filled += bytes;
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl<P: Protocol> Line for Tcp<P> {
    #[inline]
    fn publish(&mut self, payload: &[u8]) -> Result<bool, Failure> {
        if self.out.len() - self.sent >= OUT_BYTES {
            return Ok(false);
        }
        self.protocol.encode(&mut self.out, payload);
        Ok(true)
    }

    fn flush(&mut self) -> Result<bool, Failure> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What is sent makes room before the buffer grows.
                    if self.sent >= OUT_BYTES {
                        self.out.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }

    fn poll(
        &mut self,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        if !self.receive()? {
            return Ok(false);
        }
        let used = self
            .protocol
            .decode(&self.input[..self.filled], &mut self.out, on)?;
        self.input.copy_within(used..self.filled, 0);
        self.filled -= used;
        if self.filled == self.input.len() {
            return Err("a message came that is longer than the client's buffer".into());
        }
        Ok(true)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Sleeps until one of the lines has something, or for so long.
pub fn wait<L: Line>(lines: &[&L], timeout: Option<Duration>) -> Result<(), Failure> {
    let mut sockets: Vec<PollFd<'_>> = lines
        .iter()
        .map(|line| PollFd::from_borrowed_fd(line.socket(), PollFlags::IN))
        .collect();
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    match poll(&mut sockets, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What waits to be sent, at most, before there was a call to send it: as much as goes well in one call.
const OUT_BYTES: usize = 64 << 10;
const IN_BYTES: usize = 128 << 10;
pub const PATIENCE: Duration = Duration::from_secs(10);
