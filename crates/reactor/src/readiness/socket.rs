//! Sockets of the readiness back-end: accept, connect, receive, send, close.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, connect, socket_with, sockopt,
};

use super::{Progress, Readiness};
use crate::completion::{BufferId, Completion};
use crate::core::{Action, Core, Outgoing};
use crate::errno;
use crate::op::SocketId;
use crate::sys::{self, SpanMut};

/// Makes the socket of a connect and begins it.
pub(super) fn open(
    core: &mut Core<Progress>,
    poll: &Poll,
    address: SocketAddr,
) -> Result<SocketId, i32> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(family, SocketType::STREAM, flags, None).map_err(errno::negative)?;
    if core.config.no_delay {
        sockopt::set_tcp_nodelay(&fd, true).map_err(errno::negative)?;
    }
    match connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(errno::negative(error)),
    }
    register(core, poll, fd).map_err(|error| errno::of_io(&error))
}

fn register(core: &mut Core<Progress>, poll: &Poll, fd: OwnedFd) -> io::Result<SocketId> {
    let raw = fd.as_raw_fd();
    let id = core
        .add_socket(fd, Progress::default())
        .map_err(|result| io::Error::from_raw_os_error(-result))?;
    let registered = poll.registry().register(
        &mut SourceFd(&raw),
        Token(id.0 as usize),
        Interest::READABLE | Interest::WRITABLE,
    );
    if let Err(error) = registered {
        core.sockets.remove(id.0);
        return Err(error);
    }
    Ok(id)
}

impl Readiness {
    pub(super) fn add_socket(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        register(&mut self.core, &self.poll, fd)
    }

    pub(super) fn on_socket_event(&mut self, id: SocketId, event: &mio::event::Event) {
        let Some(socket) = self.core.sockets.get_mut(id.0) else {
            return;
        };
        let broken = event.is_error();
        socket.state.closed |= event.is_read_closed() || broken;
        socket.state.readable |= event.is_readable() || socket.state.closed;
        let (send, connecting) = (socket.send, socket.connect.is_some());
        if connecting && (event.is_writable() || broken) {
            self.connect_progress(id);
        }
        if let Some(slot) = send.filter(|_| event.is_writable() || broken) {
            self.try_send(slot);
        }
        self.make_ready(id);
    }

    /// Puts a socket that can make progress at the end of the ready list.
    pub(super) fn make_ready(&mut self, id: SocketId) {
        let Some(socket) = self.core.sockets.get_mut(id.0) else {
            return;
        };
        let wanted = (socket.receive.is_some() && !socket.paused) || socket.accept.is_some();
        if wanted && socket.state.readable && !socket.state.queued {
            socket.state.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Serves ready sockets, oldest first, as many as one turn takes.
    pub(super) fn serve_ready(&mut self) {
        for _ in 0..self.core.config.sockets_per_turn.min(self.ready.len()) {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some(socket) = self.core.sockets.get_mut(id.0) else {
                continue;
            };
            socket.state.queued = false;
            match (socket.receive, socket.accept) {
                (Some(slot), _) if !socket.paused => self.receive(id, slot),
                (_, Some(slot)) => self.accept(id, slot),
                _ => {}
            }
        }
    }

    /// Sockets that waited for a buffer.
    pub(super) fn feed_starved(&mut self) {
        if let Some(id) = self.starved.pop_front() {
            if let Some(socket) = self.core.sockets.get_mut(id.0) {
                socket.state.queued = false;
            }
            self.make_ready(id);
        }
    }

    pub(super) fn receive(&mut self, id: SocketId, slot: u32) {
        for _ in 0..self.core.config.receive_burst {
            let Some(buffer) = self.core.receive.take() else {
                self.core
                    .with_socket(id, |socket| socket.state.queued = true);
                self.starved.push_back(id);
                return;
            };
            let len = self.core.receive.bytes_each() as usize;
            let into = SpanMut {
                address: self.core.receive.address(buffer),
                len,
            };
            let Some(socket) = self.core.sockets.get_mut(id.0) else {
                return;
            };
            let received = sys::receive(&socket.fd, into);
            match received {
                Ok(0) => {
                    self.core.receive.untake(buffer);
                    return self.core.complete(slot, 0);
                }
                Ok(bytes) => {
                    let drained = bytes < len && !socket.state.closed;
                    socket.state.readable = !drained;
                    let word = socket.receive_word;
                    self.report_received(word, buffer, bytes);
                    self.spoke_last = Some(id);
                    self.polls_in_vain = 0;
                    if drained {
                        return;
                    }
                }
                Err(Errno::AGAIN) => {
                    socket.state.readable = false;
                    self.core.receive.untake(buffer);
                    return;
                }
                Err(Errno::INTR) => self.core.receive.untake(buffer),
                Err(error) => {
                    self.core.receive.untake(buffer);
                    return self.core.complete(slot, errno::negative(error));
                }
            }
        }
        self.make_ready(id);
    }

    fn report_received(&mut self, word: u64, buffer: u16, bytes: usize) {
        self.core.receive.lease(buffer, bytes as u32);
        let completion = Completion::new(word, bytes as i32).more();
        self.core
            .local
            .push_back(completion.with_buffer(BufferId::receive(buffer)));
    }

    fn accept(&mut self, id: SocketId, slot: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.core.sockets.get_mut(id.0) else {
                return;
            };
            match accept_with(&listener.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => match self.adopt(fd) {
                    Ok(accepted) => self.core.report(slot, accepted.0 as i32),
                    Err(result) => self.core.report(slot, result),
                },
                Err(Errno::AGAIN) => {
                    listener.state.readable = false;
                    return;
                }
                // The peer went away before it was accepted: not the listener's fault.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => return self.core.complete(slot, errno::negative(error)),
            }
        }
        self.make_ready(id);
    }

    fn adopt(&mut self, fd: OwnedFd) -> Result<SocketId, i32> {
        if self.core.config.no_delay {
            // A connection that is gone already fails here and is reported by its first receive.
            let _ = sockopt::set_tcp_nodelay(&fd, true);
        }
        self.add_socket(fd).map_err(|error| errno::of_io(&error))
    }

    /// Completes a connect when the system has decided.
    pub(super) fn connect_progress(&mut self, id: SocketId) {
        let Some(socket) = self.core.sockets.get(id.0) else {
            return;
        };
        let Some(slot) = socket.connect else { return };
        let failed = match sockopt::socket_error(&socket.fd) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(errno::negative(error)),
        };
        if let Some(result) = failed {
            self.core.complete(slot, result);
            self.forget(id);
        } else if rustix::net::getpeername(&socket.fd).is_ok() {
            self.core.complete(slot, id.0 as i32);
        }
    }

    pub(super) fn try_send(&mut self, slot: u32) {
        let Some(operation) = self.core.operations.get(slot) else {
            return;
        };
        let Action::Send { socket, bytes, .. } = operation.action else {
            return;
        };
        let Some(socket) = self.core.sockets.get(socket.0) else {
            return;
        };
        let sent = loop {
            let sent = match bytes {
                Outgoing::One { span, .. } => sys::send(&socket.fd, span),
                Outgoing::Many { vector } => {
                    sys::send_message(&socket.fd, self.core.sends.get(vector).message())
                }
            };
            if sent != Err(Errno::INTR) {
                break sent;
            }
        };
        match sent {
            Err(Errno::AGAIN) => {}
            result => self.core.complete(slot, errno::result_of(result)),
        }
    }

    pub(super) fn shut_down(&mut self, slot: u32, id: SocketId, how: Shutdown) {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        let result = match self.core.sockets.get(id.0) {
            Some(socket) => {
                rustix::net::shutdown(&socket.fd, how).map_or_else(errno::negative, |()| 0)
            }
            None => errno::BAD_ID,
        };
        self.core.complete(slot, result);
    }

    pub(super) fn close(&mut self, slot: u32, id: SocketId) {
        let Some(socket) = self.core.sockets.get(id.0) else {
            return self.core.complete(slot, errno::BAD_ID);
        };
        let pending = [socket.accept, socket.connect, socket.receive, socket.send];
        for operation in pending.into_iter().flatten() {
            self.core.complete(operation, errno::CANCELED);
        }
        self.core.complete(slot, 0);
        self.forget(id);
    }

    /// Closes the descriptor and frees the id.
    pub(super) fn forget(&mut self, id: SocketId) {
        if let Some(socket) = self.core.sockets.remove(id.0) {
            let _ = self
                .poll
                .registry()
                .deregister(&mut SourceFd(&socket.fd.as_fd().as_raw_fd()));
        }
    }
}

/// Connections that one listener accepts before the other sockets have their turn.
const ACCEPTS_PER_TURN: usize = 64;
