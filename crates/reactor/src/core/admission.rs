//! Where an operation begins and ends: its names and bounds are checked, what it names is held, and let go of.

use super::{Action, Core, Operation};
use crate::errno;
use crate::op::{Op, SocketId};
use crate::reactor::Full;

impl<S> Core<S> {
    /// Puts an operation in the table. `new_socket` makes the socket of a connect.
    pub(crate) fn admit(
        &mut self,
        op: Op<'_>,
        user_data: u64,
        new_socket: impl FnOnce(&mut Self, std::net::SocketAddr) -> Result<SocketId, i32>,
    ) -> Result<u32, Full> {
        if self.operations.is_full() {
            return Err(Full);
        }
        if matches!(op, Op::Send { .. }) && self.sends.is_full() {
            return Err(Full);
        }
        let action = match self.action(op, new_socket) {
            Ok(action) => action,
            Err(result) => Action::Refused { result },
        };
        let slot = self
            .operations
            .insert(Operation {
                user_data,
                action,
                started: false,
            })
            .map_err(|_| Full)?;
        self.attach(slot, action);
        Ok(slot)
    }

    fn action(
        &mut self,
        op: Op<'_>,
        new_socket: impl FnOnce(&mut Self, std::net::SocketAddr) -> Result<SocketId, i32>,
    ) -> Result<Action, i32> {
        Ok(match op {
            Op::Accept { listener } => {
                idle(self.socket(listener)?.accept)?;
                Action::Accept { listener }
            }
            Op::Connect { address } => Action::Connect {
                socket: new_socket(self, address)?,
            },
            Op::RecvMulti { socket } => {
                idle(self.socket(socket)?.receive)?;
                Action::Receive { socket }
            }
            Op::Send {
                socket,
                slices,
                zero_copy,
            } => {
                idle(self.socket(socket)?.send)?;
                Action::Send {
                    socket,
                    bytes: self.hold_slices(slices)?,
                    zero_copy,
                }
            }
            Op::Write {
                file,
                slice,
                offset,
                mode,
            } => {
                self.file(file)?;
                let from = self.regions.hold(&slice).ok_or(errno::OUT_OF_REGION)?;
                Action::Write {
                    file,
                    region: slice.region,
                    from,
                    offset,
                    mode,
                }
            }
            Op::Sync { file, data_only } => {
                self.file(file)?;
                Action::Sync { file, data_only }
            }
            Op::Read { file, offset, len } => {
                self.file(file)?;
                if len > self.read.bytes_each() {
                    return Err(errno::INVALID);
                }
                Action::Read {
                    file,
                    offset,
                    len,
                    buffer: None,
                }
            }
            Op::Timeout { at_ns } => Action::Timeout { at_ns, timer: None },
            Op::Poll { file, multi } => {
                idle(self.file(file)?.poll)?;
                Action::Poll { file, multi }
            }
            Op::Shutdown { socket, how } => {
                self.socket(socket)?;
                Action::Shutdown { socket, how }
            }
            Op::Close { socket } => {
                idle(self.socket(socket)?.close)?;
                Action::Close { socket }
            }
            Op::Nop => Action::Refused { result: 0 },
        })
    }

    /// Tells the socket or file of the operation about it.
    fn attach(&mut self, slot: u32, action: Action) {
        match action {
            Action::Accept { listener } => {
                self.with_socket(listener, |socket| socket.accept = Some(slot))
            }
            Action::Connect { socket } => {
                self.with_socket(socket, |socket| socket.connect = Some(slot))
            }
            Action::Receive { socket } => {
                let word = self
                    .operations
                    .get(slot)
                    .map_or(0, |operation| operation.user_data);
                self.with_socket(socket, |socket| {
                    socket.receive = Some(slot);
                    socket.receive_word = word;
                });
            }

            Action::Send { socket, .. } => {
                self.with_socket(socket, |socket| socket.send = Some(slot))
            }
            Action::Close { socket } => {
                self.with_socket(socket, |socket| socket.close = Some(slot))
            }
            Action::Poll { file, .. } => {
                if let Some(entry) = self.files.get_mut(file.0) {
                    entry.poll = Some(slot);
                    entry.in_flight += 1;
                }
            }
            Action::Write { file, .. } | Action::Sync { file, .. } | Action::Read { file, .. } => {
                if let Some(entry) = self.files.get_mut(file.0) {
                    entry.in_flight += 1;
                }
            }
            Action::Shutdown { .. }
            | Action::Timeout { .. }
            | Action::Job
            | Action::Refused { .. } => {}
        }
    }

    /// Ends an operation: lets go of what it held. Returns the caller's word.
    pub(crate) fn end(&mut self, slot: u32) -> Option<u64> {
        let operation = self.operations.remove(slot)?;
        match operation.action {
            Action::Accept { listener } => {
                self.with_socket(listener, |socket| socket.accept = None)
            }
            Action::Connect { socket } => self.with_socket(socket, |socket| socket.connect = None),
            Action::Receive { socket } => self.with_socket(socket, |socket| socket.receive = None),
            Action::Send { socket, bytes, .. } => {
                self.with_socket(socket, |socket| {
                    if socket.send == Some(slot) {
                        socket.send = None;
                    }
                });
                self.release_slices(bytes);
            }
            Action::Close { socket } => self.with_socket(socket, |socket| socket.close = None),
            Action::Write { file, region, .. } => {
                self.regions.release(region);
                self.release_file(file);
            }
            Action::Sync { file, .. } | Action::Read { file, .. } => self.release_file(file),
            Action::Poll { file, .. } => {
                if let Some(entry) = self.files.get_mut(file.0) {
                    entry.poll = None;
                }
                self.release_file(file);
            }
            Action::Timeout { timer, .. } => {
                if let Some(timer) = timer {
                    self.timers.cancel(timer);
                }
            }
            Action::Shutdown { .. } | Action::Job | Action::Refused { .. } => {}
        }
        Some(operation.user_data)
    }

    pub(crate) fn admit_job(
        &mut self,
        job: Box<dyn FnOnce() -> i32 + Send>,
        user_data: u64,
    ) -> Result<(), Full> {
        let operation = Operation {
            user_data,
            action: Action::Job,
            started: true,
        };
        let slot = self.operations.insert(operation).map_err(|_| Full)?;
        if let Err(error) = self.offload.push(slot, crate::offload::Work::Job(job)) {
            self.complete(slot, errno::of_io(&error));
        }
        Ok(())
    }
}

fn idle(slot: Option<u32>) -> Result<(), i32> {
    slot.map_or(Ok(()), |_| Err(errno::BUSY))
}
