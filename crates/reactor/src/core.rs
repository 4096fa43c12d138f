//! What both back-ends have: tables of sockets, files, regions and operations, pools, timers, and the completions that
//! were made on this side of the kernel.

mod admission;
mod operation;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use trunkline_ring::Pinned;

pub(crate) use self::operation::{Action, Operation, Outgoing};
use crate::clock::Clock;
use crate::completion::{BufferId, Completion};
use crate::config::Config;
use crate::errno;
use crate::offload::Offload;
use crate::op::{CancelTarget, FileId, Op, RegionId, Slice, SocketId};
use crate::pool::{LINE_BYTES, Pool};
use crate::region::Regions;
use crate::sends::{SendVector, Sends};
use crate::slab::Slab;
use crate::sys::{self, SpanMut};
use crate::waker::Waker;
use crate::wheel::TimerWheel;

/// The state that back-ends share; `S` is what a back-end keeps per socket.
pub(crate) struct Core<S> {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) operations: Slab<Operation, 20, 12>,
    pub(crate) sends: Sends,
    /// For sends that need no slot.
    scratch: Box<SendVector>,
    pub(crate) sockets: Slab<Socket<S>, 18, 13>,
    pub(crate) files: Slab<OpenFile, 16, 16>,
    pub(crate) regions: Regions,
    pub(crate) receive: Pool,
    pub(crate) read: Pool,
    receive_region: RegionId,
    read_region: RegionId,
    /// Reads that wait for a buffer of the read pool.
    pub(crate) reads_waiting: VecDeque<u32>,
    pub(crate) timers: TimerWheel,
    /// Completions that did not come from the kernel's queue.
    pub(crate) local: VecDeque<Completion>,
    pub(crate) offload: Offload,
    pub(crate) waker: Waker,
}

pub(crate) struct Socket<S> {
    /// The word of the receive, so that a received buffer needs no look at the table of operations.
    pub(crate) receive_word: u64,
    pub(crate) fd: OwnedFd,
    pub(crate) receive: Option<u32>,
    pub(crate) send: Option<u32>,
    pub(crate) accept: Option<u32>,
    pub(crate) connect: Option<u32>,
    pub(crate) close: Option<u32>,
    pub(crate) paused: bool,
    pub(crate) state: S,
}

pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) in_flight: u32,
    pub(crate) retired: bool,
    pub(crate) poll: Option<u32>,
}

impl<S> Core<S> {
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let clock = Clock;
        let waker = Waker::new()?;
        let receive = Pool::new(
            config.receive_buffers,
            config.receive_buffer_bytes,
            LINE_BYTES,
        )?;
        let read = Pool::new(config.read_buffers, config.read_buffer_bytes, 0)?;
        let mut regions = Regions::new();
        let receive_region = regions.add(receive.pin());
        let read_region = regions.add(read.pin());
        Ok(Self {
            config: config.clone(),
            clock,
            operations: Slab::new(config.max_operations),
            sends: Sends::new(config.max_sends),
            scratch: Box::new(SendVector::new()),
            sockets: Slab::new(config.max_sockets),
            files: Slab::new(MAX_FILES),
            regions,
            receive,
            read,
            receive_region,
            read_region,
            reads_waiting: VecDeque::new(),
            timers: TimerWheel::new(clock.now_ns()),
            local: VecDeque::with_capacity(1024),
            offload: Offload::new(config, waker.clone()),
            waker,
        })
    }

    // Staging: see also `core/admission.rs`.

    /// So many completions wait that there is no room for more.
    #[inline]
    pub(crate) fn must_reap(&self) -> bool {
        self.local.len() >= self.config.max_operations
    }

    /// Copies local completions out.
    #[inline]
    pub(crate) fn take_local(&mut self, out: &mut [Completion]) -> usize {
        let count = out.len().min(self.local.len());
        for (place, completion) in out.iter_mut().zip(self.local.drain(..count)) {
            *place = completion;
        }
        if self.local.is_empty() {
            // Begin at the front again, where the cache is warm.
            self.local.clear();
        }
        count
    }

    /// Ends an operation with a completion.
    pub(crate) fn complete(&mut self, slot: u32, result: i32) {
        if let Some(user_data) = self.end(slot) {
            self.local.push_back(Completion::new(user_data, result));
        }
    }

    /// Reports a step of an operation that goes on.
    pub(crate) fn report(&mut self, slot: u32, result: i32) {
        if let Some(operation) = self.operations.get(slot) {
            self.local
                .push_back(Completion::new(operation.user_data, result).more());
        }
    }

    /// The operations that a cancel means.
    pub(crate) fn matching(&self, target: CancelTarget) -> Vec<u32> {
        let wanted = |operation: &Operation| match target {
            CancelTarget::UserData(user_data) => operation.user_data == user_data,
            CancelTarget::Socket(socket) => operation.action.socket() == Some(socket),
            CancelTarget::All => true,
        };
        let closes = |operation: &Operation| matches!(operation.action, Action::Close { .. });
        self.operations
            .iter()
            .filter(|(_, operation)| wanted(operation) && !closes(operation))
            .map(|(slot, _)| slot)
            .collect()
    }

    // Names.

    pub(crate) fn socket(&self, id: SocketId) -> Result<&Socket<S>, i32> {
        self.sockets
            .get(id.0)
            .filter(|socket| socket.close.is_none())
            .ok_or(errno::BAD_ID)
    }

    pub(crate) fn with_socket(&mut self, id: SocketId, change: impl FnOnce(&mut Socket<S>)) {
        if let Some(socket) = self.sockets.get_mut(id.0) {
            change(socket);
        }
    }

    pub(crate) fn peer(&self, id: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.get(id.0)?;
        rustix::net::getpeername(&socket.fd).ok()??.try_into().ok()
    }

    pub(crate) fn add_socket(&mut self, fd: OwnedFd, state: S) -> Result<SocketId, i32> {
        let socket = Socket {
            receive_word: 0,
            fd,
            receive: None,
            send: None,
            accept: None,
            connect: None,
            close: None,
            paused: false,
            state,
        };
        self.sockets
            .insert(socket)
            .map(SocketId)
            .map_err(|_| errno::TOO_MANY)
    }

    fn file(&self, id: FileId) -> Result<&OpenFile, i32> {
        self.files
            .get(id.0)
            .filter(|file| !file.retired)
            .ok_or(errno::BAD_ID)
    }

    pub(crate) fn add_file(&mut self, file: File) -> FileId {
        match self.files.insert(OpenFile {
            file,
            in_flight: 0,
            retired: false,
            poll: None,
        }) {
            Ok(id) => FileId(id),
            Err(_) => panic!("more than {MAX_FILES} files in one reactor"),
        }
    }

    pub(crate) fn file_descriptor(&self, id: FileId) -> Option<RawFd> {
        self.files.get(id.0).map(|entry| entry.file.as_raw_fd())
    }

    /// Closes the file when the last operation on it has completed.
    pub(crate) fn retire_file(&mut self, id: FileId) {
        if let Some(entry) = self.files.get_mut(id.0) {
            entry.retired = true;
            if entry.in_flight == 0 {
                self.files.remove(id.0);
            }
        }
    }

    fn release_file(&mut self, id: FileId) {
        let Some(entry) = self.files.get_mut(id.0) else {
            return;
        };
        entry.in_flight -= 1;
        if entry.in_flight == 0 && entry.retired {
            self.files.remove(id.0);
        }
    }

    pub(crate) fn add_region(&mut self, pinned: Pinned) -> RegionId {
        self.regions.add(pinned)
    }

    // Slices.

    /// Sends at once what the socket takes, without a slot: most sends end here. `None` when it would block or is to be refused,
    /// which is for the operation's long way to do.
    #[inline]
    pub(crate) fn send_now(&mut self, id: SocketId, slices: &[Slice]) -> Option<i32> {
        let socket = self
            .sockets
            .get(id.0)
            .filter(|socket| socket.send.is_none() && socket.close.is_none())?;
        let sent = match slices {
            [only] => sys::send(&socket.fd, self.regions.span(only)?),
            _ if slices.len() > Op::MAX_SLICES => return None,
            _ => {
                self.scratch.clear();
                for slice in slices {
                    self.scratch.push(self.regions.span(slice)?, slice.region);
                }
                self.scratch.seal();
                sys::send_message(&socket.fd, self.scratch.message())
            }
        };
        match sent {
            Err(Errno::AGAIN | Errno::INTR) => None,
            sent => Some(errno::result_of(sent)),
        }
    }

    fn hold_slices(&mut self, slices: &[Slice]) -> Result<Outgoing, i32> {
        if let [only] = slices {
            let span = self.regions.hold(only).ok_or(errno::OUT_OF_REGION)?;
            return Ok(Outgoing::One {
                span,
                region: only.region,
            });
        }
        if slices.len() > Op::MAX_SLICES {
            return Err(errno::TOO_LONG);
        }
        let vector = self.sends.take().ok_or(errno::TOO_MANY)?;
        for slice in slices {
            let Some(span) = self.regions.hold(slice) else {
                self.release_slices(Outgoing::Many { vector });
                return Err(errno::OUT_OF_REGION);
            };
            self.sends.get_mut(vector).push(span, slice.region);
        }
        self.sends.get_mut(vector).seal();
        Ok(Outgoing::Many { vector })
    }

    fn release_slices(&mut self, bytes: Outgoing) {
        match bytes {
            Outgoing::One { region, .. } => self.regions.release(region),
            Outgoing::Many { vector } => {
                for region in self.sends.get(vector).regions() {
                    self.regions.release(*region);
                }
                self.sends.give(vector);
            }
        }
    }

    // Buffers.

    pub(crate) fn buffer(&self, id: BufferId) -> &[u8] {
        if id.is_read() {
            self.read.bytes(id.index())
        } else {
            self.receive.bytes(id.index())
        }
    }

    pub(crate) fn buffer_slice(&self, id: BufferId) -> (RegionId, u64) {
        if id.is_read() {
            (self.read_region, self.read.offset(id.index()))
        } else {
            (self.receive_region, self.receive.offset(id.index()))
        }
    }

    /// Gives a read its buffer: where the kernel may write.
    pub(crate) fn take_read_buffer(&mut self, slot: u32) -> Option<SpanMut> {
        let index = self.read.take()?;
        let address = self.read.address(index);
        let Some(Operation {
            action: Action::Read { len, buffer, .. },
            ..
        }) = self.operations.get_mut(slot)
        else {
            self.read.untake(index);
            return None;
        };
        *buffer = Some(index);
        Some(SpanMut {
            address,
            len: *len as usize,
        })
    }

    /// Ends a read that had a buffer.
    pub(crate) fn complete_read(&mut self, slot: u32, buffer: u16, result: i32) {
        let Some(user_data) = self.end(slot) else {
            return;
        };
        let completion = Completion::new(user_data, result);
        match u32::try_from(result) {
            Ok(len) => {
                self.read.lease(buffer, len);
                self.local
                    .push_back(completion.with_buffer(BufferId::read(buffer)));
            }
            Err(_) => {
                self.read.untake(buffer);
                self.local.push_back(completion);
            }
        }
    }

    // Time and threads.

    /// Completes the timeouts that are due.
    pub(crate) fn expire_timers(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now_ns = self.clock.now_ns();
        let Self {
            timers,
            operations,
            local,
            ..
        } = self;
        timers.expire(now_ns, |slot| {
            if let Some(operation) = operations.remove(slot as u32) {
                local.push_back(Completion::new(operation.user_data, errno::TIMED_OUT));
            }
        });
    }

    pub(crate) fn arm_timeout(&mut self, slot: u32) {
        let Some(Operation {
            action: Action::Timeout { at_ns, timer },
            ..
        }) = self.operations.get_mut(slot)
        else {
            return;
        };
        *timer = Some(self.timers.arm(*at_ns, u64::from(slot)));
    }
}

const MAX_FILES: usize = 65_000;
