//! A few threads for what would block a worker: file operations of the readiness back-end and [`crate::Reactor::offload`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::config::Config;
use crate::errno;
use crate::sys::{self, Span, SpanMut};
use crate::topology::bind_current_thread;
use crate::waker::Waker;

/// Blocking work that comes back with a number.
pub(crate) enum Work {
    Write {
        file: RawFd,
        from: Span,
        offset: u64,
        synced: bool,
    },
    Read {
        file: RawFd,
        into: SpanMut,
        offset: u64,
    },
    Sync {
        file: RawFd,
        data_only: bool,
    },
    Job(Box<dyn FnOnce() -> i32 + Send>),
}

/// The pool of one reactor. The number of works is bounded by the reactor's table of operations.
pub(crate) struct Offload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    max_threads: usize,
    cpus: Vec<usize>,
    collected: Vec<(u32, i32)>,
}

struct Shared {
    queue: Mutex<Queue>,
    not_empty: Condvar,
    done: Mutex<Vec<(u32, i32)>>,
    done_count: AtomicUsize,
    waker: Waker,
}

struct Queue {
    works: VecDeque<(u32, Work)>,
    waiting: usize,
    stop: bool,
}

impl Offload {
    pub(crate) fn new(config: &Config, waker: Waker) -> Self {
        let queue = Queue {
            works: VecDeque::new(),
            waiting: 0,
            stop: false,
        };
        let shared = Shared {
            queue: Mutex::new(queue),
            not_empty: Condvar::new(),
            done: Mutex::new(Vec::new()),
            done_count: AtomicUsize::new(0),
            waker,
        };
        Self {
            shared: Arc::new(shared),
            threads: Vec::new(),
            max_threads: config.offload_threads.max(1),
            cpus: config.offload_cpus.clone(),
            collected: Vec::new(),
        }
    }

    /// Queues work; its result comes out of [`Self::next_done`] with `slot`.
    pub(crate) fn push(&mut self, slot: u32, work: Work) -> io::Result<()> {
        let mut queue = lock(&self.shared.queue);
        queue.works.push_back((slot, work));
        let needs_thread =
            queue.works.len() > queue.waiting && self.threads.len() < self.max_threads;
        drop(queue);
        if needs_thread {
            let started = self.start_thread();
            if started.is_err() && self.threads.is_empty() {
                lock(&self.shared.queue)
                    .works
                    .retain(|(queued, _)| *queued != slot);
                return started;
            }
        }
        self.shared.not_empty.notify_one();
        Ok(())
    }

    /// Removes work that no thread has begun; true when it was found.
    pub(crate) fn withdraw(&self, slot: u32) -> bool {
        let mut queue = lock(&self.shared.queue);
        let before = queue.works.len();
        queue.works.retain(|(queued, _)| *queued != slot);
        before != queue.works.len()
    }

    /// The next result, `(slot, result)`. One atomic load when there is none.
    #[inline]
    pub(crate) fn next_done(&mut self) -> Option<(u32, i32)> {
        if let Some(done) = self.collected.pop() {
            return Some(done);
        }
        if self.shared.done_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut done = lock(&self.shared.done);
        self.shared.done_count.store(0, Ordering::Release);
        std::mem::swap(&mut *done, &mut self.collected);
        drop(done);
        // The first to finish is the first to be reported.
        self.collected.reverse();
        self.collected.pop()
    }

    fn start_thread(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let name = format!("offload-{}", self.threads.len());
        let cpus = self.cpus.clone();
        let body = move || {
            // Not being where it was meant to be, it still does its work.
            let _ = bind_current_thread(&cpus);
            shared.serve();
        };
        self.threads.push(Builder::new().name(name).spawn(body)?);
        Ok(())
    }
}

impl Drop for Offload {
    /// Waits for the work that has begun: it uses memory that the reactor owns.
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.stop = true;
        queue.works.clear();
        drop(queue);
        self.shared.not_empty.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self) {
        while let Some((slot, work)) = self.next() {
            let result = work.execute();
            let mut done = lock(&self.done);
            done.push((slot, result));
            self.done_count.store(done.len(), Ordering::Release);
            drop(done);
            self.waker.wake();
        }
    }

    fn next(&self) -> Option<(u32, Work)> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.stop {
                return None;
            }
            if let Some(work) = queue.works.pop_front() {
                return Some(work);
            }
            queue.waiting += 1;
            queue = self
                .not_empty
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.waiting -= 1;
        }
    }
}

impl Work {
    fn execute(self) -> i32 {
        match self {
            Self::Write {
                file,
                from,
                offset,
                synced: false,
            } => errno::result_of(sys::write_at(file, from, offset)),
            Self::Write {
                file,
                from,
                offset,
                synced: true,
            } => errno::result_of(sys::write_at_synced(file, from, offset)),
            Self::Read { file, into, offset } => errno::result_of(sys::read_at(file, into, offset)),
            Self::Sync { file, data_only } => errno::result_of(sys::sync(file, data_only)),
            Self::Job(job) => catch_unwind(AssertUnwindSafe(job))
                .unwrap_or(errno::negative(rustix::io::Errno::IO)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
