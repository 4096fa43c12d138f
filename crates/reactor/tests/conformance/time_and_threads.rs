//! Timeouts, wakes from other threads, offloaded jobs, what submit says.

use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;
use trunkline_reactor::{CancelTarget, Op, Reactor, Wait};

use crate::bed::{Bed, on_every_backend};

on_every_backend! {
    timeouts_fire_in_time_and_in_order,
    a_wait_ends_at_its_time,
    a_wake_from_another_thread_ends_a_wait,
    a_wake_before_the_wait_is_not_lost,
    every_wake_of_many_threads_is_seen,
    offloaded_jobs_come_back_with_their_number,
    a_job_that_has_not_begun_can_be_cancelled,
    submit_says_how_many_operations_it_took,
    looking_without_waiting_comes_back_at_once,
}

fn timeouts_fire_in_time_and_in_order(mut bed: Bed) {
    let start_ns = bed.clock.now_ns();
    let delays_us = [3_000u64, 200, 900, 50, 0, 12_000];
    for (number, delay_us) in delays_us.into_iter().enumerate() {
        bed.stage(
            Op::Timeout {
                at_ns: start_ns + delay_us * 1000,
            },
            number as u64,
        );
    }
    let mut fired = Vec::new();
    for _ in delays_us {
        let completion = bed.next();
        assert_eq!(completion.result, -Errno::TIME.raw_os_error());
        let late_ns = bed.clock.now_ns() - start_ns;
        assert!(
            late_ns >= delays_us[completion.user_data as usize] * 1000,
            "too early"
        );
        fired.push(completion.user_data);
    }
    // Those that were due together in one late turn may come in any order; the first and the last are far apart.
    assert_eq!(fired.last(), Some(&5));
    assert_eq!(bed.reactor.in_flight(), 0);
}

fn a_wait_ends_at_its_time(mut bed: Bed) {
    let start_ns = bed.clock.now_ns();
    bed.reactor
        .submit_and_wait(1, Wait::Until(start_ns + 300_000))
        .unwrap();
    let waited_ns = bed.clock.now_ns() - start_ns;
    assert!(waited_ns >= 300_000, "{waited_ns}");
}

fn a_wake_from_another_thread_ends_a_wait(mut bed: Bed) {
    let waker = bed.reactor.waker();
    let (about_to_wait, waiting) = mpsc::channel();
    let other = std::thread::spawn(move || {
        for () in waiting {
            waker.wake();
        }
    });
    for _ in 0..200 {
        about_to_wait.send(()).unwrap();
        let until_ns = bed.clock.now_ns() + 5_000_000_000;
        bed.reactor
            .submit_and_wait(1, Wait::Until(until_ns))
            .unwrap();
        bed.reactor.reap(&mut []);
        assert!(bed.clock.now_ns() < until_ns, "slept through a wake");
    }
    drop(about_to_wait);
    other.join().unwrap();
}

fn a_wake_before_the_wait_is_not_lost(mut bed: Bed) {
    bed.turn(Wait::Poll);
    bed.reactor.waker().wake();
    let until_ns = bed.clock.now_ns() + 5_000_000_000;
    bed.reactor
        .submit_and_wait(1, Wait::Until(until_ns))
        .unwrap();
    assert!(bed.clock.now_ns() < until_ns);
    // And it is consumed: the next wait lasts.
    bed.expect_quiet();
}

fn every_wake_of_many_threads_is_seen(mut bed: Bed) {
    let (send, receive) = mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (send, waker) = (send.clone(), bed.reactor.waker());
            std::thread::spawn(move || {
                for number in 0..500 {
                    send.send(number).unwrap();
                    waker.wake();
                }
            })
        })
        .collect();
    let until_ns = bed.clock.now_ns() + 10_000_000_000;
    let mut seen = 0;
    while seen < 2000 {
        seen += receive.try_iter().count();
        if seen < 2000 {
            bed.turn(Wait::Until(until_ns));
            assert!(
                bed.clock.now_ns() < until_ns,
                "a wake was lost after {seen}"
            );
        }
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn offloaded_jobs_come_back_with_their_number(mut bed: Bed) {
    for number in 0..100 {
        bed.reactor
            .offload(Box::new(move || number * 3), number as u64)
            .unwrap();
    }
    for number in 0..100 {
        assert_eq!(bed.next_of(number as u64).result, number * 3);
    }
    bed.reactor
        .offload(Box::new(|| panic!("in a job")), 200)
        .unwrap();
    assert_eq!(bed.next_of(200).result, -Errno::IO.raw_os_error());
    bed.reactor.offload(Box::new(|| 5), 201).unwrap();
    assert_eq!(bed.next_of(201).result, 5);
}

fn a_job_that_has_not_begun_can_be_cancelled(mut bed: Bed) {
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    for word in 0..2 {
        let wait = std::sync::Arc::clone(&wait);
        let job = move || {
            let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(5));
            1
        };
        bed.reactor.offload(Box::new(job), word).unwrap();
    }
    // Both threads are busy once nothing is queued before this one.
    while bed.reactor.in_flight() < 2 {
        bed.turn(Wait::Poll);
    }
    bed.reactor.offload(Box::new(|| 2), 2).unwrap();
    bed.reactor.cancel(CancelTarget::UserData(2));
    assert_eq!(bed.next_of(2).result, -Errno::CANCELED.raw_os_error());
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(bed.next_of(0).result, 1);
    assert_eq!(bed.next_of(1).result, 1);
}

fn submit_says_how_many_operations_it_took(mut bed: Bed) {
    let (socket, _peer) = bed.pair();
    let (region, _) = bed.region(64);
    let slice = trunkline_reactor::Slice {
        region,
        offset: 0,
        len: 64,
    };
    bed.stage(Op::RecvMulti { socket }, 1);
    bed.stage(
        Op::Send {
            socket,
            slices: &[slice],
            zero_copy: false,
        },
        2,
    );
    bed.stage(Op::Nop, 3);
    bed.stage(Op::Timeout { at_ns: u64::MAX }, 4);
    assert_eq!(bed.reactor.submit().unwrap(), 4);
    assert_eq!(bed.reactor.submit().unwrap(), 0);
    assert_eq!(bed.next_of(2).result, 64);
    assert_eq!(bed.next_of(3).result, 0);
}

fn looking_without_waiting_comes_back_at_once(mut bed: Bed) {
    let (socket, _peer) = bed.pair();
    bed.stage(Op::RecvMulti { socket }, 1);
    for _ in 0..1000 {
        bed.turn(Wait::Poll);
    }
    assert!(bed.try_next_of(1).is_none());
}
