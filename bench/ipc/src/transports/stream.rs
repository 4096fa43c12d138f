//! Streams of bytes through the kernel: Unix sockets, pipes, TCP.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use bench_harness::Failure;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::transport::{End, Idle, Link, Transport};

pub struct Unix {
    pub idle: Idle,
}

pub struct Pipe {
    pub idle: Idle,
}

pub struct Tcp {
    pub idle: Idle,
}

impl Transport for Unix {
    type Link = Streams;

    fn link(&self) -> Result<Streams, Failure> {
        let (one, other) = UnixStream::pair().map_err(text)?;
        let both =
            |stream: UnixStream| Ok((OwnedFd::from(stream.try_clone()?), OwnedFd::from(stream)));
        Streams::new(
            both(one).map_err(text)?,
            both(other).map_err(text)?,
            self.idle,
        )
    }
}

impl Transport for Pipe {
    type Link = Streams;

    fn link(&self) -> Result<Streams, Failure> {
        let (there, back) = (
            std::io::pipe().map_err(text)?,
            std::io::pipe().map_err(text)?,
        );
        Streams::new(
            (back.0.into(), there.1.into()),
            (there.0.into(), back.1.into()),
            self.idle,
        )
    }
}

impl Transport for Tcp {
    type Link = Streams;

    fn link(&self) -> Result<Streams, Failure> {
        let connect = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let one = TcpStream::connect(listener.local_addr()?)?;
            let (other, _) = listener.accept()?;
            one.set_nodelay(true)?;
            other.set_nodelay(true)?;
            Ok((
                (OwnedFd::from(one.try_clone()?), one.into()),
                (OwnedFd::from(other.try_clone()?), other.into()),
            ))
        };
        let (one, other) = connect().map_err(text)?;
        Streams::new(one, other, self.idle)
    }
}

/// What to read from and what to write to, for both sides.
pub struct Streams([Mutex<Option<Stream>>; 2]);

impl Streams {
    fn new(
        one: (OwnedFd, OwnedFd),
        other: (OwnedFd, OwnedFd),
        idle: Idle,
    ) -> Result<Self, Failure> {
        let side = |(input, output): (OwnedFd, OwnedFd)| {
            if idle == Idle::Spin {
                for file in [&input, &output] {
                    let flags = fcntl_getfl(file).map_err(|error| error.to_string())?;
                    fcntl_setfl(file, flags | OFlags::NONBLOCK)
                        .map_err(|error| error.to_string())?;
                }
            }
            Ok::<_, Failure>(Mutex::new(Some(Stream {
                input: input.into(),
                output: output.into(),
            })))
        };
        Ok(Self([side(one)?, side(other)?]))
    }
}

impl Link for Streams {
    type End = Stream;

    fn end(&self, side: usize) -> Result<Stream, Failure> {
        let end = self.0[side].lock().map(|mut end| end.take());
        end.ok()
            .flatten()
            .ok_or_else(|| "an end is taken once".into())
    }
}

pub struct Stream {
    input: File,
    output: File,
}

impl End for Stream {
    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let mut rest = message;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(bytes) => rest = &rest[bytes..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(text(error)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<(), Failure> {
        let mut filled = 0;
        while filled < message.len() {
            match self.input.read(&mut message[filled..]) {
                Ok(0) => return Err("the other side has closed".into()),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(text(error)),
            }
        }
        Ok(())
    }
}

fn text(error: std::io::Error) -> Failure {
    error.to_string()
}
