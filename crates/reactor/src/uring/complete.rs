//! From the kernel's completions to the caller's.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::{Uring, kind};
use crate::completion::{BufferId, Completion, CompletionFlags};
use crate::core::Action;
use crate::errno;
use crate::op::SocketId;
use crate::sys::{self, SpanMut};

/// One completion of the kernel, out of its queue.
#[derive(Clone, Copy)]
struct Done {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Done {
    fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

impl Uring {
    /// Takes completions from the kernel's queue until there are `wanted` for the caller or none are left.
    pub(super) fn take_completions(&mut self, wanted: usize) {
        let mut batch = [Done {
            user_data: 0,
            result: 0,
            flags: 0,
        }; BATCH];
        while self.core.local.len() < wanted {
            let mut count = 0;
            for (place, entry) in batch.iter_mut().zip(self.ring.completion()) {
                *place = Done {
                    user_data: entry.user_data(),
                    result: entry.result(),
                    flags: entry.flags(),
                };
                count += 1;
            }
            for done in &batch[..count] {
                self.on_done(*done);
            }
            if count < BATCH {
                return;
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done.user_data >> 32 {
            kind::OPERATION => self.on_operation(done.user_data as u32, done),
            kind::WAKER if !done.more() => {
                // Readable forever would mean awake forever: empty it before it is watched again.
                let _ = rustix::io::read(&self.core.waker, &mut [0; 8]);
                self.watch_waker();
            }
            _ => {}
        }
    }

    fn on_operation(&mut self, slot: u32, done: Done) {
        let Some(operation) = self.core.operations.get(slot) else {
            debug_assert!(false, "a completion of an operation that has ended");
            return;
        };
        match operation.action {
            Action::Receive { socket } => self.on_received(slot, socket, done),
            Action::Accept { listener } => self.on_accepted(slot, listener, done),
            Action::Send { socket, .. } => self.on_sent(slot, socket, done),
            Action::Connect { socket } => self.on_connected(slot, socket, done.result),
            Action::Read {
                buffer: Some(buffer),
                ..
            } => {
                self.core.complete_read(slot, buffer, done.result);
                if done.result < 0 {
                    self.start_waiting_read();
                }
            }
            Action::Poll { .. } if done.more() => self.core.report(slot, 1),
            Action::Poll { .. } => self.core.complete(slot, done.result.min(1)),
            _ => self.core.complete(slot, done.result),
        }
    }

    fn on_received(&mut self, slot: u32, id: SocketId, done: Done) {
        if let Some(buffer) = done.buffer() {
            self.buffers.took_one();
            if done.result > 0 {
                self.report_received(slot, buffer, done.result as u32);
            } else {
                // Buffers may be taken by receives that fail.
                self.give_to_kernel(buffer);
            }
        }
        if done.more() {
            return;
        }
        let Some(socket) = self.core.sockets.get_mut(id.0) else {
            return;
        };
        socket.state.receiving = false;
        socket.state.stopping = false;
        let cancelled = socket.state.cancelled || socket.close.is_some();
        match done.result {
            result if result > 0 && !cancelled => self.rearm(id),
            NO_BUFFERS if !cancelled => self.starve(id),
            // Paused, not cancelled by the caller; it may have been resumed meanwhile.
            errno::CANCELED if !cancelled => self.rearm(id),
            INTERRUPTED if !cancelled => self.rearm(id),
            result => {
                socket.state.cancelled = false;
                let result = if result > 0 || result == NO_BUFFERS {
                    errno::CANCELED
                } else {
                    result
                };
                self.core.complete(slot, result);
                self.finish_close(id);
            }
        }
    }

    fn report_received(&mut self, slot: u32, buffer: u16, len: u32) {
        let Some(user_data) = self
            .core
            .operations
            .get(slot)
            .map(|operation| operation.user_data)
        else {
            return;
        };
        self.core.receive.lease(buffer, len);
        let completion = Completion::new(user_data, len as i32).more();
        self.core
            .local
            .push_back(completion.with_buffer(BufferId::receive(buffer)));
    }

    fn on_accepted(&mut self, slot: u32, listener: SocketId, done: Done) {
        if done.result >= 0 {
            // SAFETY: the kernel has just made this descriptor for this completion; nobody else knows it.
            let fd = unsafe { OwnedFd::from_raw_fd(done.result) };
            if self.core.config.no_delay {
                // A connection that is gone already fails here and is reported by its first receive.
                let _ = sockopt::set_tcp_nodelay(&fd, true);
            }
            let result = self
                .add_socket(fd)
                .map_or_else(|error| errno::of_io(&error), |id| id.0 as i32);
            self.core.report(slot, result);
        }
        if done.more() {
            return;
        }
        let Some(socket) = self.core.sockets.get_mut(listener.0) else {
            return;
        };
        socket.state.accepting = false;
        socket.state.stopping = false;
        let cancelled = socket.state.cancelled || socket.close.is_some();
        let goes_on = done.result >= 0 || matches!(done.result, ABORTED | INTERRUPTED);
        if goes_on && !cancelled {
            return self.rearm(listener);
        }
        socket.state.cancelled = false;
        self.core.complete(
            slot,
            if goes_on {
                errno::CANCELED
            } else {
                done.result
            },
        );
        self.finish_close(listener);
    }

    fn on_sent(&mut self, slot: u32, id: SocketId, done: Done) {
        if cqueue::notif(done.flags) {
            if let Some(user_data) = self.core.end(slot) {
                self.core.local.push_back(Completion {
                    user_data,
                    result: 0,
                    flags: CompletionFlags::NOTIF,
                });
            }
        } else if done.more() {
            // Zero copy: the count now, the bytes are free with the notification. The next send need not wait for that.
            self.core.with_socket(id, |socket| socket.send = None);
            self.core.report(slot, done.result);
        } else {
            self.core.complete(slot, done.result);
        }
        self.finish_close(id);
    }

    fn on_connected(&mut self, slot: u32, id: SocketId, result: i32) {
        if result == 0 {
            self.core.complete(slot, id.0 as i32);
            return self.finish_close(id);
        }
        self.core.complete(slot, result);
        match self.core.sockets.get(id.0) {
            Some(socket) if socket.close.is_some() => self.finish_close(id),
            _ => self.forget(id),
        }
    }

    /// Closes a socket that was asked to, when nothing is in flight on it any more.
    pub(super) fn finish_close(&mut self, id: SocketId) {
        let Some(socket) = self.core.sockets.get(id.0) else {
            return;
        };
        let Some(slot) = socket.close else { return };
        let busy = [socket.accept, socket.connect, socket.receive, socket.send];
        if busy.iter().all(Option::is_none) {
            self.core.complete(slot, 0);
            self.forget(id);
        }
    }

    // Buffers.

    pub(super) fn give_to_kernel(&mut self, index: u16) {
        self.buffers.add(
            index,
            self.core.receive.address(index),
            self.core.receive.bytes_each(),
        );
    }

    /// A receive that found no buffer is not armed again until there is one: it would end at once, also on an idle socket.
    fn starve(&mut self, id: SocketId) {
        self.core
            .with_socket(id, |socket| socket.state.starved = true);
        self.starved.push_back(id);
        self.feed_starved();
    }

    /// Receives for the socket that has waited longest into a buffer that has just come free, before the kernel can give that to a
    /// busier one. False when nobody needed it.
    pub(super) fn serve_starved(&mut self, index: u16) -> bool {
        let len = self.core.receive.bytes_each() as usize;
        let into = SpanMut {
            address: self.core.receive.address(index),
            len,
        };
        while let Some(id) = self.starved.pop_front() {
            let Some(socket) = self.core.sockets.get_mut(id.0) else {
                continue;
            };
            if !std::mem::take(&mut socket.state.starved) || socket.paused {
                continue;
            }
            let (Some(slot), word) = (socket.receive, socket.receive_word) else {
                continue;
            };
            match sys::receive(&socket.fd, into) {
                Ok(0) => {
                    self.core.complete(slot, 0);
                    self.finish_close(id);
                }
                Ok(bytes) => {
                    socket.state.starved = bytes == len;
                    self.core.receive.lease(index, bytes as u32);
                    let completion = Completion::new(word, bytes as i32).more();
                    self.core
                        .local
                        .push_back(completion.with_buffer(BufferId::receive(index)));
                    if bytes == len {
                        self.starved.push_back(id);
                    } else {
                        self.rearm(id);
                    }
                    return true;
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    self.rearm(id);
                    return false;
                }
                Err(error) => {
                    self.core.complete(slot, errno::negative(error));
                    self.finish_close(id);
                }
            }
        }
        false
    }

    pub(super) fn feed_starved(&mut self) {
        let mut left = self.buffers.available();
        while left > 0 {
            let Some(id) = self.starved.pop_front() else {
                return;
            };
            let Some(socket) = self.core.sockets.get_mut(id.0) else {
                continue;
            };
            if std::mem::take(&mut socket.state.starved) {
                left -= 1;
                self.rearm(id);
            }
        }
    }

    pub(super) fn recycle_read(&mut self, index: u16) {
        if self.core.read.end_lease(index) {
            self.core.read.untake(index);
            self.start_waiting_read();
        }
    }

    fn start_waiting_read(&mut self) {
        let Some(slot) = self.core.reads_waiting.pop_front() else {
            return;
        };
        if let Some(Action::Read { file, offset, .. }) = self
            .core
            .operations
            .get(slot)
            .map(|operation| operation.action)
        {
            self.start_read(slot, file, offset);
        }
    }
}

const NO_BUFFERS: i32 = errno::negative(Errno::NOBUFS);
const INTERRUPTED: i32 = errno::negative(Errno::INTR);
const ABORTED: i32 = errno::negative(Errno::CONNABORTED);

/// Completions copied out of the kernel's queue at once: its head moves once for them.
const BATCH: usize = 64;
