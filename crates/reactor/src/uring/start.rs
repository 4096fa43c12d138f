//! From operations to entries of the submission queue.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::{opcode, squeue, types};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::buffers::GROUP;
use super::{Armed, Uring, kind};
use crate::core::{Action, Core, Outgoing};
use crate::errno;
use crate::op::{FileId, SocketId, WriteMode};
use crate::sys;

/// Makes the socket of a connect.
pub(super) fn open(core: &mut Core<Armed>, address: SocketAddr) -> Result<SocketId, i32> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(errno::negative)?;
    if core.config.no_delay {
        sockopt::set_tcp_nodelay(&fd, true).map_err(errno::negative)?;
    }
    let address = Some(Box::new(socket2::SockAddr::from(address)));
    core.add_socket(
        fd,
        Armed {
            address,
            ..Armed::default()
        },
    )
}

/// How an entry names a socket.
#[derive(Clone, Copy)]
enum Target {
    Plain(types::Fd),
    Registered(types::Fixed),
}

macro_rules! on {
    ($target:expr, $fd:ident => $entry:expr) => {
        match $target {
            Target::Plain($fd) => $entry,
            Target::Registered($fd) => $entry,
        }
    };
}

impl Uring {
    pub(super) fn needs_no_entry(&self, slot: u32) -> bool {
        self.core.operations.get(slot).is_none_or(|operation| {
            matches!(
                operation.action,
                Action::Refused { .. }
                    | Action::Timeout { .. }
                    | Action::Shutdown { .. }
                    | Action::Job
                    | Action::Write {
                        mode: WriteMode::Inline,
                        ..
                    }
            )
        })
    }

    pub(super) fn start(&mut self, slot: u32) {
        let Some(operation) = self.core.operations.get_mut(slot) else {
            return;
        };
        operation.started = true;
        let action = operation.action;
        match action {
            Action::Accept { listener: socket } | Action::Receive { socket } => self.rearm(socket),
            Action::Send {
                socket,
                bytes,
                zero_copy,
            } => self.start_send(slot, socket, bytes, zero_copy),
            Action::Connect { socket } => self.start_connect(slot, socket),
            Action::Write {
                file,
                region,
                from,
                offset,
                mode,
            } => {
                let Some(fd) = self.core.file_descriptor(file) else {
                    return;
                };
                if mode == WriteMode::Inline {
                    return self
                        .core
                        .complete(slot, errno::result_of(sys::write_at(fd, from, offset)));
                }
                let flags = if mode == WriteMode::AsyncSync {
                    libc::RWF_DSYNC
                } else {
                    0
                };
                let (fd, address, len) = (types::Fd(fd), from.address, from.len as u32);
                let entry = match self.fixed_regions.place(region) {
                    Some(place) => opcode::WriteFixed::new(fd, address, len, place)
                        .offset(offset)
                        .rw_flags(flags)
                        .build(),
                    None => opcode::Write::new(fd, address, len)
                        .offset(offset)
                        .rw_flags(flags)
                        .build(),
                };
                self.push_operation(slot, entry);
            }
            Action::Sync { file, data_only } => {
                let Some(fd) = self.core.file_descriptor(file) else {
                    return;
                };
                let flags = if data_only {
                    types::FsyncFlags::DATASYNC
                } else {
                    types::FsyncFlags::empty()
                };
                self.push_operation(slot, opcode::Fsync::new(types::Fd(fd)).flags(flags).build());
            }
            Action::Read { file, offset, .. } => self.start_read(slot, file, offset),
            Action::Poll { file, multi } => {
                let Some(fd) = self.core.file_descriptor(file) else {
                    return;
                };
                self.push_operation(slot, poll_readable(fd, multi));
            }
            Action::Timeout { .. } => self.core.arm_timeout(slot),
            Action::Shutdown { socket, how } => self.shut_down(slot, socket, how),
            Action::Close { socket } => self.start_close(slot, socket),
            Action::Job => {}
            Action::Refused { result } => self.core.complete(slot, result),
        }
    }

    /// The queue had room when the operation was admitted; entries of this module's own may have taken it since.
    fn push_operation(&mut self, slot: u32, entry: squeue::Entry) {
        let entry = entry.user_data(kind::OPERATION << 32 | u64::from(slot));
        if !self.deferred.is_empty() || !self.push(&entry, true) {
            self.deferred.push_back(entry);
        }
    }

    fn start_send(&mut self, slot: u32, socket: SocketId, bytes: Outgoing, zero_copy: bool) {
        let Some(target) = self.target(socket) else {
            return;
        };
        let flags = libc::MSG_NOSIGNAL;
        let entry = match bytes {
            Outgoing::One { span, region } => {
                let (address, len) = (span.address, span.len as u32);
                if zero_copy {
                    on!(target, fd => opcode::SendZc::new(fd, address, len).buf_index(self.fixed_regions.place(region)).flags(flags).build())
                } else {
                    on!(target, fd => opcode::Send::new(fd, address, len).flags(flags).build())
                }
            }
            Outgoing::Many { vector } => {
                let message = std::ptr::from_ref(self.core.sends.get(vector).message());
                if zero_copy {
                    on!(target, fd => opcode::SendMsgZc::new(fd, message).flags(flags as u32).build())
                } else {
                    on!(target, fd => opcode::SendMsg::new(fd, message).flags(flags as u32).build())
                }
            }
        };
        self.push_operation(slot, entry);
    }

    fn start_connect(&mut self, slot: u32, id: SocketId) {
        let Some(target) = self.target(id) else {
            return;
        };
        let Some(address) = self
            .core
            .sockets
            .get(id.0)
            .and_then(|socket| socket.state.address.as_ref())
        else {
            return;
        };
        let (name, len) = (address.as_ptr().cast(), address.len());
        self.push_operation(
            slot,
            on!(target, fd => opcode::Connect::new(fd, name, len).build()),
        );
    }

    pub(super) fn start_read(&mut self, slot: u32, file: FileId, offset: u64) {
        let Some(fd) = self.core.file_descriptor(file) else {
            return;
        };
        let Some(into) = self.core.take_read_buffer(slot) else {
            return self.core.reads_waiting.push_back(slot);
        };
        let read = opcode::Read::new(types::Fd(fd), into.address, into.len as u32).offset(offset);
        self.push_operation(slot, read.build());
    }

    /// Gives the kernel an entry of the socket's receive or accept, if it has none and should have one. The only place that does so.
    pub(super) fn rearm(&mut self, id: SocketId) {
        let Some(target) = self.target(id) else {
            return;
        };
        let Some(socket) = self.core.sockets.get_mut(id.0) else {
            return;
        };
        if socket.state.cancelled || socket.close.is_some() {
            return;
        }
        if let (Some(slot), false, false, false) = (
            socket.receive,
            socket.paused,
            socket.state.receiving,
            socket.state.starved,
        ) {
            socket.state.receiving = true;
            self.push_operation(
                slot,
                on!(target, fd => opcode::RecvMulti::new(fd, GROUP).build()),
            );
        } else if let (Some(slot), false) = (socket.accept, socket.state.accepting) {
            socket.state.accepting = true;
            self.push_operation(
                slot,
                on!(target, fd => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()),
            );
        }
    }

    pub(super) fn pause_receive(&mut self, id: SocketId) {
        let Some(socket) = self.core.sockets.get_mut(id.0) else {
            return;
        };
        socket.paused = true;
        if let (Some(slot), true, false) = (
            socket.receive,
            socket.state.receiving,
            socket.state.stopping,
        ) {
            socket.state.stopping = true;
            self.push_cancel(slot);
        }
    }

    pub(super) fn push_cancel(&mut self, slot: u32) {
        let cancel = opcode::AsyncCancel::new(kind::OPERATION << 32 | u64::from(slot)).build();
        self.push_internal(cancel.user_data(kind::CANCEL << 32));
    }

    pub(super) fn watch_waker(&mut self) {
        let entry = poll_readable(self.core.waker.as_raw_fd(), true).user_data(kind::WAKER << 32);
        self.push_internal(entry);
    }

    fn shut_down(&mut self, slot: u32, id: SocketId, how: Shutdown) {
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

    /// Ends what is in flight; the descriptor is closed when the last of it has ended.
    fn start_close(&mut self, slot: u32, id: SocketId) {
        let Some(socket) = self.core.sockets.get(id.0) else {
            return self.core.complete(slot, errno::BAD_ID);
        };
        let pending = [socket.accept, socket.connect, socket.receive, socket.send];
        for operation in pending.into_iter().flatten() {
            self.cancel_operation(operation);
        }
        self.finish_close(id);
    }

    /// Asks for the end of one operation.
    pub(super) fn cancel_operation(&mut self, slot: u32) {
        let Some(operation) = self.core.operations.get(slot) else {
            return;
        };
        let action = operation.action;
        if !operation.started {
            self.staged.retain(|staged| *staged != slot);
            return self.core.complete(slot, errno::CANCELED);
        }
        match action {
            Action::Receive { socket } => {
                self.cancel_multishot(slot, socket, |state| state.receiving)
            }
            Action::Accept { listener } => {
                self.cancel_multishot(slot, listener, |state| state.accepting)
            }
            Action::Read { buffer: None, .. } => {
                self.core.reads_waiting.retain(|waiting| *waiting != slot);
                self.core.complete(slot, errno::CANCELED);
            }
            Action::Timeout { .. } => self.core.complete(slot, errno::CANCELED),
            Action::Job => {
                if self.core.offload.withdraw(slot) {
                    self.core.complete(slot, errno::CANCELED);
                }
            }
            Action::Close { .. } => {}
            _ => self.push_cancel(slot),
        }
    }

    fn cancel_multishot(
        &mut self,
        slot: u32,
        id: SocketId,
        in_kernel: impl FnOnce(&Armed) -> bool,
    ) {
        let Some(socket) = self.core.sockets.get_mut(id.0) else {
            return;
        };
        if in_kernel(&socket.state) {
            socket.state.cancelled = true;
            if !socket.state.stopping {
                socket.state.stopping = true;
                self.push_cancel(slot);
            }
        } else {
            socket.state.starved = false;
            self.core.complete(slot, errno::CANCELED);
        }
    }

    // Descriptors.

    pub(super) fn add_socket(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        let added = self.core.add_socket(fd, Armed::default());
        let id = added.map_err(|result| io::Error::from_raw_os_error(-result))?;
        self.register_descriptor(id)?;
        Ok(id)
    }

    fn register_descriptor(&mut self, id: SocketId) -> io::Result<()> {
        if id.index() as u32 >= self.registered_files {
            return Ok(());
        }
        let Some(socket) = self.core.sockets.get(id.0) else {
            return Ok(());
        };
        let updated = self
            .ring
            .submitter()
            .register_files_update(id.index() as u32, &[socket.fd.as_raw_fd()]);
        if let Err(error) = updated {
            self.core.sockets.remove(id.0);
            return Err(error);
        }
        Ok(())
    }

    /// Closes the descriptor and frees the id.
    pub(super) fn forget(&mut self, id: SocketId) {
        if self.core.sockets.remove(id.0).is_some() && (id.index() as u32) < self.registered_files {
            let _ = self
                .ring
                .submitter()
                .register_files_update(id.index() as u32, &[-1]);
        }
    }

    fn target(&self, id: SocketId) -> Option<Target> {
        let socket = self.core.sockets.get(id.0)?;
        // A socket that a connect made is in the table only; its descriptor is not registered.
        if (id.index() as u32) < self.registered_files && socket.state.address.is_none() {
            return Some(Target::Registered(types::Fixed(id.index() as u32)));
        }
        Some(Target::Plain(types::Fd(socket.fd.as_raw_fd())))
    }
}

fn poll_readable(fd: RawFd, multi: bool) -> squeue::Entry {
    opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32)
        .multi(multi)
        .build()
}
