//! Waking the client's thread out of its poll.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pair of sockets: a byte written to one makes the other readable.
#[derive(Debug)]
pub(super) struct Waker {
    ours: UnixStream,
    theirs: UnixStream,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok(Self { ours, theirs })
    }

    /// Ends the current or the next [`wait`](Self::wait).
    pub(super) fn wake(&self) {
        // When the pair is full, there are bytes enough to wake it.
        let _ = (&self.ours).write(&[0]);
    }

    /// Sleeps until the stream is readable (or, `to_send`, writable), somebody wakes, or the time is over.
    pub(super) fn wait(&self, stream: Option<&TcpStream>, to_send: bool, timeout: Duration) {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, to_send);
        let waker = PollFd::new(&self.theirs, PollFlags::IN);
        // Woken too early, for whatever reason, is harmless: the caller looks again.
        let _ = match stream {
            Some(stream) => poll(&mut [waker, PollFd::new(stream, flags)], Some(&timeout)),
            None => poll(&mut [waker], Some(&timeout)),
        };
        let mut bytes = [0; 64];
        while matches!((&self.theirs).read(&mut bytes), Ok(64)) {}
    }
}
