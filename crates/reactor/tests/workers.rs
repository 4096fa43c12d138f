//! Workers as a whole: start, mesh, wake, jobs, stop.

#[path = "../../server/tests/support/skipped.rs"]
mod skipped;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use skipped::skipped;
use trunkline_reactor::{Idle, IoBackend, Reactor, Turn, WorkerStrategy, Workers};

#[test]
fn a_message_goes_round_parked_workers_and_comes_back_outside() {
    let mut workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(3))
        .idle(Idle::Park)
        .start::<u64, _>(|mut worker| {
            worker.run(|worker, _| {
                let mut arrived = Vec::new();
                let work = worker.mesh.receive(16, |_, message| arrived.push(message));
                for message in arrived {
                    worker.mesh.send(worker.index + 1, message + 1).unwrap();
                }
                Turn {
                    work,
                    ..Turn::default()
                }
            })
        })
        .unwrap();
    assert_eq!(workers.choices().len(), 3);
    for round in 0..100 {
        workers.outside.send(0, round).unwrap();
        workers.outside.flush();
        let mut back = None;
        let patience = Instant::now() + Duration::from_secs(10);
        while back.is_none() && Instant::now() < patience {
            workers
                .outside
                .receive(1, |from, message| back = Some((from, message)));
            std::thread::yield_now();
        }
        assert_eq!(back, Some((2, round + 3)));
    }
    workers.stop();
    workers.join().unwrap();
}

#[test]
fn an_idle_worker_does_the_jobs_of_a_busy_one() {
    let done = Arc::new(AtomicUsize::new(0));
    let by_others = Arc::new(AtomicUsize::new(0));
    let (count, elsewhere) = (Arc::clone(&done), Arc::clone(&by_others));
    let workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(2))
        .idle(Idle::Park)
        .start::<(), _>(move |mut worker| {
            if worker.index == 0 {
                let me = std::thread::current().id();
                for _ in 0..64 {
                    let (count, elsewhere) = (Arc::clone(&count), Arc::clone(&elsewhere));
                    let job = move || {
                        if std::thread::current().id() != me {
                            elsewhere.fetch_add(1, Ordering::SeqCst);
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                    };
                    worker.jobs.push(Box::new(job)).ok().unwrap();
                }
                // Busy with something else until the other has helped.
                while elsewhere.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
            }
            worker.run(|_, _| Turn::default())
        })
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    while done.load(Ordering::SeqCst) < 64 && Instant::now() < patience {
        std::thread::yield_now();
    }
    assert_eq!(done.load(Ordering::SeqCst), 64);
    assert!(by_others.load(Ordering::SeqCst) > 0);
    workers.stop();
    workers.join().unwrap();
}

#[test]
fn a_deadline_ends_a_parked_wait() {
    let turns = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&turns);
    let workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(1))
        .idle(Idle::Park)
        .start::<(), _>(move |mut worker| {
            worker.run(|_, now| {
                seen.fetch_add(1, Ordering::SeqCst);
                Turn {
                    work: 0,
                    deadline_ns: Some(now.mono_ns + 1_000_000),
                    expects: false,
                }
            })
        })
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    while turns.load(Ordering::SeqCst) < 5 && Instant::now() < patience {
        std::thread::yield_now();
    }
    assert!(turns.load(Ordering::SeqCst) >= 5);
    workers.stop();
    workers.join().unwrap();
}

#[test]
fn what_blocks_runs_on_cpus_that_no_pinned_worker_has() {
    let cpus = rustix::thread::sched_getaffinity(None).unwrap();
    if cpus.count() < 2 {
        skipped("there is one CPU only");
        return;
    }
    let (say, said) = mpsc::channel();
    let workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(1))
        .start::<(), _>(move |mut worker| {
            let (say, own) = (say.clone(), worker.cpu.unwrap());
            let job = move || {
                let cpus = rustix::thread::sched_getaffinity(None).unwrap();
                say.send((cpus.count() > 0, cpus.is_set(own))).unwrap();
                0
            };
            worker.reactor.offload(Box::new(job), 1).unwrap();
            worker.run(|_, _| Turn::default())
        })
        .unwrap();
    let patience = Duration::from_secs(10);
    assert_eq!(said.recv_timeout(patience), Ok((true, false)));
    workers.stop();
    workers.join().unwrap();
}

#[test]
fn a_worker_that_leaves_ends_alone_and_is_seen_to_have_ended() {
    let workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(2))
        .idle(Idle::Park)
        .start::<(), _>(|mut worker| {
            worker.run(|worker, _| {
                if worker.index == 1 {
                    worker.leave();
                }
                Turn::default()
            })?;
            match worker.index {
                1 => Err(std::io::Error::other("it left")),
                _ => Ok(()),
            }
        })
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    while !workers.has_ended() && Instant::now() < patience {
        std::thread::yield_now();
    }
    assert!(workers.has_ended());
    workers.stop();
    assert_eq!(workers.join().unwrap_err().to_string(), "it left");
}

#[test]
fn a_worker_that_leaves_waits_for_nobody_to_wake_it() {
    // One wake may be good for two turns: one of these is the last that any wake is for.
    for last in 1..=6 {
        leaves_in_turn(last);
    }
}

fn leaves_in_turn(last: usize) {
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = turns.clone();
    let workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(1))
        .idle(Idle::Park)
        .start::<(), _>(move |mut worker| {
            worker.run(|worker, _| {
                if counted.fetch_add(1, Ordering::AcqRel) + 1 == last {
                    worker.leave();
                }
                Turn::default()
            })
        })
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    while !workers.has_ended() && Instant::now() < patience {
        if turns.load(Ordering::Acquire) < last {
            workers.wakers()[0].wake();
        }
        // It parks between two wakes.
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(workers.has_ended(), "it was to leave in turn {last}");
    workers.join().unwrap();
}

#[test]
fn no_workers_is_refused() {
    let refused = Workers::builder()
        .workers(WorkerStrategy::Fixed(0))
        .start::<(), _>(|_| Ok(()));
    assert!(refused.is_err());
}

#[test]
fn the_back_end_that_was_chosen_is_said_with_its_reason() {
    let workers = Workers::builder()
        .workers(WorkerStrategy::Fixed(1))
        .io_backend(IoBackend::Auto)
        .start::<(), _>(|_| Ok(()))
        .unwrap();
    assert!(!workers.choices()[0].reason.is_empty());
    workers.join().unwrap();
}
