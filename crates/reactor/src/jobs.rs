//! Work that any worker may do: each has its own queue, and takes from another's only when it has nothing to do itself.
//!
//! Jobs only: operations and sockets belong to the reactor that has them and never move.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_ring::CachePadded;

use crate::waker::Waker;

/// A piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// One worker's share in the queues.
pub struct Jobs {
    index: usize,
    shared: Arc<Shared>,
}

struct Shared {
    queues: Box<[CachePadded<Queue>]>,
    wakers: Vec<Waker>,
}

struct Queue {
    /// Looked at without the lock by whoever considers stealing.
    len: AtomicUsize,
    jobs: Mutex<VecDeque<Job>>,
}

/// The shares of `wakers.len()` workers.
pub fn jobs(wakers: &[Waker]) -> Vec<Jobs> {
    let queue = || {
        CachePadded::new(Queue {
            len: AtomicUsize::new(0),
            jobs: Mutex::new(VecDeque::new()),
        })
    };
    let queues = wakers.iter().map(|_| queue()).collect();
    let shared = Arc::new(Shared {
        queues,
        wakers: wakers.to_vec(),
    });
    (0..wakers.len())
        .map(|index| Jobs {
            index,
            shared: Arc::clone(&shared),
        })
        .collect()
}

impl Jobs {
    /// Adds a job to this worker's queue.
    ///
    /// # Errors
    /// The job, when [`Jobs::LIMIT`] are waiting.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mine = &self.shared.queues[self.index];
        let mut jobs = lock(&mine.jobs);
        if jobs.len() == Self::LIMIT {
            return Err(job);
        }
        jobs.push_back(job);
        let waiting = jobs.len();
        mine.len.store(waiting, Ordering::Release);
        drop(jobs);
        if waiting > 1 {
            // More than this worker will do next: let one that has nothing to do have a look.
            self.shared.wakers[(self.index + waiting - 1) % self.shared.wakers.len()].wake();
        }
        Ok(())
    }

    /// Does up to `limit` of this worker's own jobs, oldest first.
    pub fn run(&self, limit: usize) -> usize {
        (0..limit).take_while(|_| self.run_from(self.index)).count()
    }

    /// For a worker that has nothing to do: does one job of the worker with the most waiting, if any has two or more.
    pub fn steal(&self) -> usize {
        let waiting = |index: &usize| self.shared.queues[*index].len.load(Ordering::Acquire);
        let others = (0..self.shared.queues.len()).filter(|index| *index != self.index);
        match others.max_by_key(waiting) {
            Some(victim) if waiting(&victim) > 1 => usize::from(self.run_from(victim)),
            _ => 0,
        }
    }

    fn run_from(&self, index: usize) -> bool {
        let queue = &self.shared.queues[index];
        if queue.len.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut jobs = lock(&queue.jobs);
        let Some(job) = jobs.pop_front() else {
            return false;
        };
        queue.len.store(jobs.len(), Ordering::Release);
        drop(jobs);
        job();
        true
    }

    /// Most jobs that wait with one worker.
    pub const LIMIT: usize = 65_536;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_takes_a_job_only_from_one_that_has_more_than_it_can_start() {
        let wakers: Vec<Waker> = (0..2).map(|_| Waker::new().unwrap()).collect();
        let shares = jobs(&wakers);
        let done = Arc::new(AtomicUsize::new(0));
        let add = |share: &Jobs| {
            let done = Arc::clone(&done);
            share
                .push(Box::new(move || _ = done.fetch_add(1, Ordering::Relaxed)))
                .ok()
                .unwrap();
        };
        add(&shares[0]);
        assert_eq!(shares[1].steal(), 0);
        add(&shares[0]);
        add(&shares[0]);
        assert_eq!(shares[1].steal(), 1);
        assert_eq!(shares[0].run(8), 2);
        assert_eq!(shares[0].run(8), 0);
        assert_eq!(done.load(Ordering::Relaxed), 3);
    }
}
