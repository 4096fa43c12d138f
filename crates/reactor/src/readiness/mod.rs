//! The back-end for systems that say *ready* and not *done*: `mio`'s edge-triggered queue, and the calls made here.
//!
//! A send is tried as soon as it is staged, an inline write when it is submitted; only what would block waits for an event. A receive runs when
//! its socket is ready, until a short read says that nothing is left, or until it has had its share and goes to the end of
//! the ready list. File operations that may block go to the offload threads.
//!
//! Invariants: a socket is in `ready` or in `starved` at most once (`Progress::queued`); `readable` is false only when the last
//! call said that nothing is left, because the next edge comes only then.

mod file;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use trunkline_ring::Pinned;

use crate::completion::{BufferId, Completion};
use crate::config::Config;
use crate::core::{Action, Core};
use crate::op::{CancelTarget, FileId, Op, RegionId, SocketId, Wait};
use crate::reactor::{Caps, DrainReport, Full, Reactor};
use crate::waker::Waker;

/// A reactor over `epoll`, `kqueue` and the like.
pub struct Readiness {
    core: Core<Progress>,
    poll: Poll,
    events: Events,
    /// Admitted, not submitted.
    staged: VecDeque<u32>,
    /// Sockets that have something to receive or accept.
    ready: VecDeque<SocketId>,
    /// Sockets that have something to receive, and no buffer to receive it in.
    starved: VecDeque<SocketId>,
    turns_since_look: usize,
    /// Operations that ended while they were staged.
    taken_early: usize,
    /// The socket that received last, and how often nothing was found since.
    spoke_last: Option<SocketId>,
    polls_in_vain: usize,
}

/// What is known about a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    readable: bool,
    /// The peer has ended its stream or the connection broke: a short read does not mean that the next one would block.
    closed: bool,
    queued: bool,
}

impl Readiness {
    /// Makes a reactor for the calling thread.
    ///
    /// # Errors
    /// What the system answered.
    pub fn new(config: &Config) -> io::Result<Self> {
        let core = Core::new(config)?;
        let poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&core.waker.as_raw_fd()),
            WAKER,
            Interest::READABLE,
        )?;
        Ok(Self {
            core,
            poll,
            events: Events::with_capacity(EVENTS),
            staged: VecDeque::with_capacity(EVENTS),
            ready: VecDeque::with_capacity(EVENTS),
            starved: VecDeque::new(),
            turns_since_look: 0,
            taken_early: 0,
            spoke_last: None,
            polls_in_vain: 0,
        })
    }

    fn start(&mut self, slot: u32) {
        let Some(operation) = self.core.operations.get_mut(slot) else {
            return;
        };
        operation.started = true;
        match operation.action {
            Action::Accept { listener: socket } | Action::Receive { socket } => {
                self.make_ready(socket)
            }
            Action::Connect { socket } => self.connect_progress(socket),
            Action::Send { .. } => self.try_send(slot),
            Action::Write { .. } | Action::Sync { .. } | Action::Read { .. } => {
                self.start_file_operation(slot)
            }
            Action::Poll { file, .. } => self.start_poll(slot, file),
            Action::Timeout { .. } => self.core.arm_timeout(slot),
            Action::Shutdown { socket, how } => self.shut_down(slot, socket, how),
            Action::Close { socket } => self.close(slot, socket),
            Action::Job => {}
            Action::Refused { result } => self.core.complete(slot, result),
        }
    }

    fn start_staged(&mut self) -> usize {
        let count = self.staged.len();
        while let Some(slot) = self.staged.pop_front() {
            self.start(slot);
        }
        count
    }

    /// Results of the offload threads.
    fn collect(&mut self) {
        while let Some((slot, result)) = self.core.offload.next_done() {
            self.finish_file_operation(slot, result);
        }
    }

    /// While spinning, receives from the socket that spoke last without asking whether it is ready: true when it was. That saves the
    /// question where one connection is waited for, and is tried only when the last look found nothing.
    fn guess(&mut self) -> bool {
        self.polls_in_vain += 1;
        if self.polls_in_vain % POLLS_PER_LOOK == 1 {
            return false;
        }
        let Some(id) = self.spoke_last else {
            return false;
        };
        let Some(socket) = self.core.sockets.get(id.0) else {
            return false;
        };
        let (Some(slot), false, false) = (socket.receive, socket.paused, socket.state.queued)
        else {
            return false;
        };
        self.receive(id, slot);
        !self.core.local.is_empty()
    }

    /// Asks the system what is ready.
    fn look(&mut self, wait: Wait) -> io::Result<()> {
        let timeout = match wait {
            Wait::Poll => Some(Duration::ZERO),
            Wait::Forever => None,
            Wait::Until(at_ns) => {
                self.sleep_until(at_ns)?;
                Some(Duration::ZERO)
            }
        };
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                WAKER => {}
                Token(token) if token >= FILE_TOKENS => {
                    self.on_file_event(FileId((token - FILE_TOKENS) as u32))
                }
                Token(token) => self.on_socket_event(SocketId(token as u32), event),
            }
        }
        self.events = events;
        Ok(())
    }

    /// The system's queue counts milliseconds; its own descriptor can be waited for with nanoseconds.
    fn sleep_until(&self, at_ns: u64) -> io::Result<()> {
        let left_ns = at_ns.saturating_sub(self.core.clock.now_ns());
        let timeout = Timespec {
            tv_sec: (left_ns / 1_000_000_000) as i64,
            tv_nsec: (left_ns % 1_000_000_000) as _,
        };
        let mut queue = [PollFd::from_borrowed_fd(self.queue_fd(), PollFlags::IN)];
        match poll(&mut queue, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn queue_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the queue's descriptor stays open as long as `self.poll`, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }

    /// Whether a turn has something to do before the system is asked: sockets that are ready, and answers to what was submitted, as inline writes have
    /// them at once.
    fn has_work(&self) -> bool {
        !(self.ready.is_empty() && self.core.local.is_empty())
    }

    /// How long the turn may really block.
    fn limit(&self, wait: Wait) -> Wait {
        if wait == Wait::Poll || self.has_work() {
            return Wait::Poll;
        }
        match (wait, self.core.timers.next_deadline_ns()) {
            (Wait::Until(at_ns), Some(deadline_ns)) => Wait::Until(at_ns.min(deadline_ns)),
            (Wait::Forever, Some(deadline_ns)) => Wait::Until(deadline_ns),
            (wait, _) => wait,
        }
    }
}

impl Reactor for Readiness {
    fn stage(&mut self, op: Op<'_>, user_data: u64) -> Result<(), Full> {
        if self.core.must_reap() {
            return Err(Full);
        }
        if let Op::Send { socket, slices, .. } = op
            && let Some(result) = self.core.send_now(socket, slices)
        {
            self.core
                .local
                .push_back(Completion::new(user_data, result));
            self.taken_early += 1;
            return Ok(());
        }
        let poll = &self.poll;
        let slot = self.core.admit(op, user_data, |core, address| {
            socket::open(core, poll, address)
        })?;
        self.staged.push_back(slot);
        Ok(())
    }

    fn submit(&mut self) -> io::Result<usize> {
        let taken = self.start_staged() + std::mem::take(&mut self.taken_early);
        self.collect();
        self.core.expire_timers();
        Ok(taken)
    }

    fn submit_and_wait(&mut self, _want: usize, wait: Wait) -> io::Result<usize> {
        let taken = self.submit()?;
        let wait = self.limit(wait);
        if self.has_work() && self.turns_since_look < TURNS_BETWEEN_LOOKS {
            self.turns_since_look += 1;
            self.serve_ready();
            return Ok(taken);
        }
        self.turns_since_look = 0;
        if wait == Wait::Poll || !self.core.waker.try_park() {
            if self.guess() {
                return Ok(taken);
            }
            self.look(Wait::Poll)?;
        } else {
            let looked = self.look(wait);
            self.core.waker.unpark();
            looked?;
            self.core.expire_timers();
        }
        self.collect();
        self.serve_ready();
        Ok(taken)
    }

    fn reap(&mut self, out: &mut [Completion]) -> usize {
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
        while self.core.operations.len() > 0 && self.core.clock.now_ns() < deadline_ns {
            // Only work of the offload threads is left: their wake ends the wait.
            let before = self.core.local.len();
            if self.submit().is_err() {
                break;
            }
            if self.core.operations.len() > 0
                && self.core.local.len() == before
                && self.core.waker.try_park()
            {
                let looked = self.look(Wait::Until(deadline_ns));
                self.core.waker.unpark();
                if looked.is_err() {
                    break;
                }
            }
        }
        DrainReport {
            cancelled,
            left: self.core.operations.len(),
        }
    }

    fn register_region(&mut self, region: Pinned) -> RegionId {
        self.core.add_region(region)
    }

    fn unregister_region(&mut self, region: RegionId) {
        self.core.regions.retire(region);
    }

    fn add_file(&mut self, file: std::fs::File) -> FileId {
        self.core.add_file(file)
    }

    fn remove_file(&mut self, file: FileId) {
        self.core.retire_file(file);
    }

    fn add_listener(&mut self, listener: TcpListener) -> io::Result<SocketId> {
        listener.set_nonblocking(true)?;
        self.add_socket(listener.into())
    }

    fn add_stream(&mut self, stream: TcpStream) -> io::Result<SocketId> {
        stream.set_nonblocking(true)?;
        if self.core.config.no_delay {
            stream.set_nodelay(true)?;
        }
        self.add_socket(stream.into())
    }

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
            self.core.receive.untake(id.index());
            self.feed_starved();
        }
    }

    fn peer(&self, socket: SocketId) -> Option<SocketAddr> {
        self.core.peer(socket)
    }

    fn pause(&mut self, socket: SocketId) {
        self.core.with_socket(socket, |socket| socket.paused = true);
    }

    fn resume(&mut self, socket: SocketId) {
        self.core
            .with_socket(socket, |socket| socket.paused = false);
        self.make_ready(socket);
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
        Caps {
            backend: BACKEND,
            zero_copy_send: false,
            async_files: false,
            registered_files: false,
            sqpoll: false,
        }
    }

    fn in_flight(&self) -> usize {
        self.core.operations.len()
    }
}

pub(crate) const BACKEND: &str = if cfg!(any(target_os = "linux", target_os = "android")) {
    "epoll"
} else {
    "kqueue"
};

/// Events taken from the system at once.
const EVENTS: usize = 1024;
/// Turns that serve what is known, be it ready or answered, before the system is asked again.
const TURNS_BETWEEN_LOOKS: usize = 8;
/// While spinning in vain, one poll in so many asks the system; the others try the socket that spoke last.
const POLLS_PER_LOOK: usize = 4;
const WAKER: Token = Token(usize::MAX);
const FILE_TOKENS: usize = 1 << 40;

/// What is known about a socket is one line of the cache: see [`crate::slab`].
const _: () = assert!(size_of::<crate::core::Socket<Progress>>() <= 56);
