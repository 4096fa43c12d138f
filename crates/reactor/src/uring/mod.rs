//! The back-end on `io_uring`: operations become entries of the submission queue when they are staged; one system call per turn
//! submits them, runs what the kernel has deferred, and waits.
//!
//! An entry's `user_data` is `kind << 32 | slot`. A slot lives until the kernel's last completion of its entry, and holds the
//! regions, the socket's or file's descriptor and the buffer that the entry names.
//!
//! A receive is one operation of the caller and many multishot entries: the kernel ends one when buffers run out, when the
//! completion queue overflows, or for no reason, and it is armed again from `rearm` alone. Pausing cancels the entry, not the
//! operation.

mod buffers;
mod complete;
mod fixed;
mod setup;
mod start;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener, TcpStream};

use io_uring::{EnterFlags, IoUring, squeue, types};
use rustix::io::Errno;
use trunkline_ring::Pinned;

use crate::completion::{BufferId, Completion};
use crate::config::Config;
use crate::core::{Action, Core};
use crate::op::{CancelTarget, FileId, Op, RegionId, SocketId, Wait};
use crate::reactor::{Caps, DrainReport, Full, Reactor};
use crate::waker::Waker;

use buffers::BufferRing;
use fixed::FixedRegions;
pub(crate) use setup::{explain, try_ring};

/// A reactor over `io_uring`. The kernel binds a ring to the thread that made it, so this cannot be sent to another:
///
/// ```compile_fail
/// fn sent<T: Send>() {}
/// sent::<trunkline_reactor::Uring>();
/// ```
pub struct Uring {
    ring: ManuallyDrop<IoUring<squeue::Entry>>,
    core: ManuallyDrop<Core<Armed>>,
    buffers: BufferRing,
    /// Admitted operations that need no entry, until the next submit.
    staged: VecDeque<u32>,
    /// For each entry in the submission queue, whether a caller staged it.
    queued: VecDeque<bool>,
    /// Entries of this module that found the queue full.
    deferred: VecDeque<squeue::Entry>,
    /// Sockets whose receive ended because there was no buffer.
    starved: VecDeque<SocketId>,
    registered_files: u32,
    fixed_regions: FixedRegions,
    /// Operations that ended while they were staged.
    taken_early: usize,
    caps: Caps,
}

/// What is known about a socket.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    /// The kernel has an entry of its receive.
    receiving: bool,
    /// The kernel has an entry of its accept.
    accepting: bool,
    /// That entry was asked to end.
    stopping: bool,
    /// The caller cancelled the receive or accept.
    cancelled: bool,
    /// In the list of the starved.
    starved: bool,
    /// Where a connect goes; the kernel copies it when it takes the entry.
    address: Option<Box<socket2::SockAddr>>,
}

impl Uring {
    /// Makes a reactor for the calling thread, which is the only one that may use it.
    ///
    /// # Errors
    /// The kernel does not allow it, or lacks what it needs.
    pub fn new(config: &Config) -> io::Result<Self> {
        let mut ring = setup::make_ring(&config.uring)?;
        let mut core = Core::new(config)?;
        let mut buffers = BufferRing::register(&ring, config.receive_buffers)?;
        while let Some(id) = core.receive.take() {
            buffers.add(id, core.receive.address(id), core.receive.bytes_each());
        }
        buffers.publish();
        setup::check(&mut ring, &mut buffers, &mut core.receive)?;
        let mut workers = [config.uring.kernel_workers; 2];
        ring.submitter().register_iowq_max_workers(&mut workers)?;
        let registered_files = if config.uring.registered_files {
            register_files(&ring, config)?
        } else {
            0
        };
        let fixed_regions = if config.uring.registered_buffers {
            FixedRegions::reserve(&ring)?
        } else {
            FixedRegions::none()
        };
        let caps = Caps {
            backend: "io_uring",
            zero_copy_send: true,
            async_files: true,
            registered_files: registered_files > 0,
            sqpoll: config.uring.sqpoll_idle_ms.is_some(),
        };
        let mut uring = Self {
            ring: ManuallyDrop::new(ring),
            core: ManuallyDrop::new(core),
            buffers,
            staged: VecDeque::with_capacity(64),
            queued: VecDeque::with_capacity(config.uring.entries as usize),
            deferred: VecDeque::new(),
            starved: VecDeque::new(),
            registered_files,
            fixed_regions,
            taken_early: 0,
            caps,
        };
        uring.watch_waker();
        uring.submit()?;
        Ok(uring)
    }

    /// Adds an entry of this module's own; it waits its turn when the queue is full.
    fn push_internal(&mut self, entry: squeue::Entry) {
        if !self.deferred.is_empty() || !self.push(&entry, false) {
            self.deferred.push_back(entry);
        }
    }

    fn push(&mut self, entry: &squeue::Entry, by_caller: bool) -> bool {
        // SAFETY: everything that the entry names (descriptor, vector, region, buffer) is held by its slot until the kernel's last
        // completion of it, and is leaked, not freed, if that never comes.
        let pushed = unsafe { self.ring.submission().push(entry) }.is_ok();
        if pushed {
            self.queued.push_back(by_caller);
        }
        pushed
    }

    fn push_deferred(&mut self) {
        while let Some(entry) = self.deferred.pop_front() {
            if !self.push(&entry, false) {
                self.deferred.push_front(entry);
                return;
            }
        }
    }

    /// One `io_uring_enter`, or none when there is nothing to submit, to run or to wait for. Returns the caller's operations taken.
    fn enter(&mut self, wait_for: u32, until_ns: Option<u64>) -> io::Result<usize> {
        self.buffers.publish();
        self.push_deferred();
        let submission = self.ring.submission();
        let (to_submit, asks, asleep) = (
            submission.len(),
            submission.taskrun() || submission.cq_overflow(),
            self.caps.sqpoll && submission.need_wakeup(),
        );
        drop(submission);
        if wait_for == 0 && !asks && (to_submit == 0 || (self.caps.sqpoll && !asleep)) {
            return Ok(self.count_taken());
        }
        let mut flags = EnterFlags::empty();
        flags.set(EnterFlags::GETEVENTS, asks || wait_for > 0);
        flags.set(EnterFlags::SQ_WAKEUP, asleep);
        let entered = match until_ns {
            None => {
                // SAFETY: no argument is passed, so there is nothing to be valid.
                unsafe {
                    self.ring.submitter().enter::<()>(
                        to_submit as u32,
                        wait_for,
                        flags.bits(),
                        None,
                    )
                }
            }
            Some(at_ns) => {
                let left_ns = at_ns.saturating_sub(self.core.clock.now_ns());
                let left = types::Timespec::new()
                    .sec(left_ns / 1_000_000_000)
                    .nsec((left_ns % 1_000_000_000) as u32);
                let args = types::SubmitArgs::new().timespec(&left);
                let flags = flags | EnterFlags::EXT_ARG;
                // SAFETY: the argument is of the type that `EXT_ARG` announces, and it and its time outlive the call.
                unsafe {
                    self.ring.submitter().enter(
                        to_submit as u32,
                        wait_for,
                        flags.bits(),
                        Some(&args),
                    )
                }
            }
        };
        match entered {
            Ok(_) => {}
            // A timeout or a signal ended the wait; EBUSY and EAGAIN ask to reap first. What was not taken stays queued.
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.count_taken())
    }

    /// By the movement of the queue's head, which is exact when the call's result is not.
    fn count_taken(&mut self) -> usize {
        let left = self.ring.submission().len();
        let taken = self.queued.len().saturating_sub(left);
        self.queued
            .drain(..taken)
            .filter(|by_caller| *by_caller)
            .count()
    }

    fn start_staged(&mut self) -> usize {
        let count = self.staged.len() + std::mem::take(&mut self.taken_early);
        while let Some(slot) = self.staged.pop_front() {
            self.start(slot);
        }
        count
    }

    /// Results of the offload threads, timers.
    fn collect(&mut self) {
        while let Some((slot, result)) = self.core.offload.next_done() {
            self.core.complete(slot, result);
        }
        self.core.expire_timers();
    }

    fn has_completions(&mut self) -> bool {
        !self.core.local.is_empty() || !self.ring.completion().is_empty()
    }

    /// When a wait must end for a timer.
    fn deadline(&self, wait: Wait) -> Option<u64> {
        let timer_ns = self.core.timers.next_deadline_ns();
        match wait {
            Wait::Until(at_ns) => Some(timer_ns.map_or(at_ns, |timer_ns| timer_ns.min(at_ns))),
            _ => timer_ns,
        }
    }
}

impl Reactor for Uring {
    fn stage(&mut self, op: Op<'_>, user_data: u64) -> Result<(), Full> {
        if self.core.must_reap() {
            return Err(Full);
        }
        if let Op::Send {
            socket,
            slices,
            zero_copy: false,
        } = op
            && self.core.config.uring.direct_sends
            && let Some(result) = self.core.send_now(socket, slices)
        {
            self.core
                .local
                .push_back(Completion::new(user_data, result));
            self.taken_early += 1;
            return Ok(());
        }
        if self.ring.submission().is_full() {
            return Err(Full);
        }
        let slot = self.core.admit(op, user_data, start::open)?;
        if self.needs_no_entry(slot) {
            self.staged.push_back(slot);
        } else {
            self.start(slot);
        }
        Ok(())
    }

    fn submit(&mut self) -> io::Result<usize> {
        let taken = self.start_staged();
        let entered = self.enter(0, None)?;
        self.collect();
        Ok(taken + entered)
    }

    fn submit_and_wait(&mut self, want: usize, wait: Wait) -> io::Result<usize> {
        let taken = self.start_staged();
        self.collect();
        if wait == Wait::Poll || self.has_completions() || !self.core.waker.try_park() {
            let entered = self.enter(0, None)?;
            self.collect();
            return Ok(taken + entered);
        }
        let deadline = self.deadline(wait);
        let entered = self.enter(want.max(1) as u32, deadline);
        self.core.waker.unpark();
        self.collect();
        Ok(taken + entered?)
    }

    fn reap(&mut self, out: &mut [Completion]) -> usize {
        if self.core.local.len() < out.len() {
            self.take_completions(out.len());
        }
        self.core.take_local(out)
    }

    fn cancel(&mut self, target: CancelTarget) -> usize {
        let slots = self.core.matching(target);
        for slot in &slots {
            self.cancel_operation(*slot);
        }
        slots.len()
    }

    fn drain(&mut self, deadline_ns: u64) -> DrainReport {
        let cancelled = self.cancel(CancelTarget::All);
        loop {
            self.start_staged();
            self.take_completions(usize::MAX);
            let now_ns = self.core.clock.now_ns();
            if self.core.operations.len() == 0 || now_ns >= deadline_ns {
                break;
            }
            // A wake of the offload threads is a completion of the ring.
            let may_block = self.core.waker.try_park();
            let entered = self.enter(u32::from(may_block), may_block.then_some(deadline_ns));
            self.core.waker.unpark();
            self.collect();
            if entered.is_err() {
                break;
            }
        }
        DrainReport {
            cancelled,
            left: self.core.operations.len(),
        }
    }

    fn register_region(&mut self, region: Pinned) -> RegionId {
        let id = self.core.add_region(region.clone());
        self.fixed_regions.add(&self.ring, id, &region);
        id
    }

    fn unregister_region(&mut self, region: RegionId) {
        self.fixed_regions.remove(&self.ring, region);
        self.core.regions.retire(region);
    }

    fn add_file(&mut self, file: std::fs::File) -> FileId {
        self.core.add_file(file)
    }

    fn remove_file(&mut self, file: FileId) {
        self.core.retire_file(file);
    }

    fn add_listener(&mut self, listener: TcpListener) -> io::Result<SocketId> {
        // The kernel answers EAGAIN instead of waiting on a descriptor that says it must not block.
        listener.set_nonblocking(false)?;
        self.add_socket(listener.into())
    }

    fn add_stream(&mut self, stream: TcpStream) -> io::Result<SocketId> {
        stream.set_nonblocking(false)?;
        if self.core.config.no_delay {
            stream.set_nodelay(true)?;
        }
        self.add_socket(stream.into())
    }

    #[inline]
    fn buffer(&self, id: BufferId) -> &[u8] {
        self.core.buffer(id)
    }

    fn buffer_slice(&self, id: BufferId) -> (RegionId, u64) {
        self.core.buffer_slice(id)
    }

    fn recycle(&mut self, id: BufferId) {
        if id.is_read() {
            self.recycle_read(id.index());
        } else if self.core.receive.end_lease(id.index()) {
            if !self.serve_starved(id.index()) {
                self.give_to_kernel(id.index());
            }
            self.feed_starved();
        }
    }

    fn peer(&self, socket: SocketId) -> Option<SocketAddr> {
        self.core.peer(socket)
    }

    fn pause(&mut self, socket: SocketId) {
        self.pause_receive(socket);
    }

    fn resume(&mut self, socket: SocketId) {
        self.core
            .with_socket(socket, |socket| socket.paused = false);
        self.rearm(socket);
    }

    fn offload(
        &mut self,
        job: Box<dyn FnOnce() -> i32 + Send>,
        user_data: u64,
    ) -> Result<(), Full> {
        self.core.admit_job(job, user_data)
    }

    fn waker(&self) -> Waker {
        self.core.waker.clone()
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn in_flight(&self) -> usize {
        self.core.operations.len()
    }
}

impl Drop for Uring {
    /// The kernel uses the slots' memory until the last completion: waits for that, and leaks what it does not see come back.
    fn drop(&mut self) {
        let deadline_ns = self.core.clock.now_ns() + DROP_PATIENCE_NS;
        let report = self.drain(deadline_ns);
        // SAFETY: the ring is not used after this; dropping it closes its descriptor before any memory goes.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        if report.left > 0 {
            tracing::error!(
                left = report.left,
                "operations did not end; their memory is never freed"
            );
            // Their descriptors are: the peers must not wait. The ring's table may hold on to a socket, so closing is not enough.
            for (_, socket) in self.core.sockets.iter() {
                let _ = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Both);
            }
            self.core.sockets.clear();
            self.core.files.clear();
            self.buffers.leak();
            return;
        }
        // SAFETY: the core is not used after this; nothing is in flight that could name its memory.
        unsafe { ManuallyDrop::drop(&mut self.core) };
    }
}

/// A sparse table of as many descriptors as the process may have.
fn register_files(ring: &IoUring<squeue::Entry>, config: &Config) -> io::Result<u32> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let count = (config.max_sockets as u64)
        .min(limit)
        .min(MAX_REGISTERED_FILES) as u32;
    ring.submitter().register_files_sparse(count)?;
    Ok(count)
}

fn is_transient(error: &io::Error) -> bool {
    let transient = [Errno::TIME, Errno::INTR, Errno::BUSY, Errno::AGAIN];
    error
        .raw_os_error()
        .is_some_and(|raw| transient.iter().any(|errno| errno.raw_os_error() == raw))
}

/// What an entry's `user_data` stands for, in its upper half.
mod kind {
    pub(super) const OPERATION: u64 = 0;
    pub(super) const CANCEL: u64 = 1;
    pub(super) const WAKER: u64 = 2;
}

const DROP_PATIENCE_NS: u64 = 1_000_000_000;
const MAX_REGISTERED_FILES: u64 = 32_768;

const _: () = assert!(kind::OPERATION == 0, "an operation's user_data is its slot");
#[allow(
    dead_code,
    reason = "documents that actions stay small: they are copied out of their slot at each step"
)]
const _: () = assert!(size_of::<Action>() <= 64);
