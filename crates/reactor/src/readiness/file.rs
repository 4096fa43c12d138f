//! Files of the readiness back-end: inline writes, the offload threads, polled descriptors; and cancelling.

use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;

use super::{FILE_TOKENS, Readiness};
use crate::core::Action;
use crate::errno;
use crate::offload::Work;
use crate::op::{FileId, WriteMode};
use crate::sys;

impl Readiness {
    pub(super) fn start_file_operation(&mut self, slot: u32) {
        let Some(operation) = self.core.operations.get(slot) else {
            return;
        };
        let work = match operation.action {
            Action::Write {
                file,
                from,
                offset,
                mode,
                ..
            } => {
                let Some(file) = self.core.file_descriptor(file) else {
                    return;
                };
                if mode == WriteMode::Inline {
                    return self
                        .core
                        .complete(slot, errno::result_of(sys::write_at(file, from, offset)));
                }
                Work::Write {
                    file,
                    from,
                    offset,
                    synced: mode == WriteMode::AsyncSync,
                }
            }
            Action::Sync { file, data_only } => {
                let Some(file) = self.core.file_descriptor(file) else {
                    return;
                };
                Work::Sync { file, data_only }
            }
            Action::Read { file, offset, .. } => {
                let Some(file) = self.core.file_descriptor(file) else {
                    return;
                };
                let Some(into) = self.core.take_read_buffer(slot) else {
                    return self.core.reads_waiting.push_back(slot);
                };
                Work::Read { file, into, offset }
            }
            _ => return,
        };
        if let Err(error) = self.core.offload.push(slot, work) {
            self.finish_file_operation(slot, errno::of_io(&error));
        }
    }

    /// The result of an offload thread.
    pub(super) fn finish_file_operation(&mut self, slot: u32, result: i32) {
        match self
            .core
            .operations
            .get(slot)
            .map(|operation| operation.action)
        {
            Some(Action::Read {
                buffer: Some(buffer),
                ..
            }) => {
                self.core.complete_read(slot, buffer, result);
                if result < 0 {
                    self.start_waiting_read();
                }
            }
            _ => self.core.complete(slot, result),
        }
    }

    pub(super) fn recycle_read(&mut self, index: u16) {
        if self.core.read.end_lease(index) {
            self.core.read.untake(index);
            self.start_waiting_read();
        }
    }

    fn start_waiting_read(&mut self) {
        if let Some(slot) = self.core.reads_waiting.pop_front() {
            self.start_file_operation(slot);
        }
    }

    pub(super) fn start_poll(&mut self, slot: u32, file: FileId) {
        let Some(raw) = self.core.file_descriptor(file) else {
            return;
        };
        let token = Token(FILE_TOKENS + file.0 as usize);
        if let Err(error) =
            self.poll
                .registry()
                .register(&mut SourceFd(&raw), token, Interest::READABLE)
        {
            self.core.complete(slot, errno::of_io(&error));
        }
    }

    pub(super) fn on_file_event(&mut self, file: FileId) {
        let Some(slot) = self.core.files.get(file.0).and_then(|entry| entry.poll) else {
            return;
        };
        match self
            .core
            .operations
            .get(slot)
            .map(|operation| operation.action)
        {
            Some(Action::Poll { multi: true, .. }) => self.core.report(slot, 1),
            _ => self.end_poll(slot, file, 1),
        }
    }

    fn end_poll(&mut self, slot: u32, file: FileId, result: i32) {
        if let Some(entry) = self.core.files.get(file.0) {
            let _ = self
                .poll
                .registry()
                .deregister(&mut SourceFd(&entry.file.as_raw_fd()));
        }
        self.core.complete(slot, result);
    }

    /// Ends what can be ended now; work that a thread has begun ends with its own result.
    pub(super) fn cancel_operation(&mut self, slot: u32) {
        let Some(operation) = self.core.operations.get(slot) else {
            return;
        };
        let (action, started) = (operation.action, operation.started);
        if !started {
            self.staged.retain(|staged| *staged != slot);
        }
        match action {
            Action::Poll { file, .. } => self.end_poll(slot, file, errno::CANCELED),
            Action::Connect { socket } => {
                self.core.complete(slot, errno::CANCELED);
                self.forget(socket);
            }
            Action::Write { .. } | Action::Sync { .. } | Action::Job if started => {
                if self.core.offload.withdraw(slot) {
                    self.core.complete(slot, errno::CANCELED);
                }
            }
            Action::Read { buffer, .. } if started => self.cancel_read(slot, buffer),
            _ => self.core.complete(slot, errno::CANCELED),
        }
    }

    fn cancel_read(&mut self, slot: u32, buffer: Option<u16>) {
        match buffer {
            Some(buffer) if self.core.offload.withdraw(slot) => {
                self.core
                    .complete_read(slot, buffer, errno::negative(Errno::CANCELED));
                self.start_waiting_read();
            }
            Some(_) => {}
            None => {
                self.core.reads_waiting.retain(|waiting| *waiting != slot);
                self.core.complete(slot, errno::CANCELED);
            }
        }
    }
}
