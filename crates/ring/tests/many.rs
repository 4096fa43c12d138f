//! MPSC and MPMC rings on one thread, against a `VecDeque`, and on several.
#![cfg(not(loom))]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use support::{Operation, Queue, agree_with_a_deque, strategy};
use trunkline_ring::{Region, mpmc, mpsc};

struct Mpsc(mpsc::Producer<u64>, mpsc::Consumer<u64>);

impl Queue for Mpsc {
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn withheld_max(&self) -> usize {
        self.0.withheld_max()
    }

    fn push(&mut self, value: u64) -> bool {
        // A clone, whose idea of the limit may be old.
        let mut producer = self.0.clone();
        let pushed = if value.is_multiple_of(2) {
            producer.push(value)
        } else {
            self.0.push(value)
        };
        pushed.is_ok()
    }

    fn push_many(&mut self, values: &[u64]) -> usize {
        self.0.push_slice(values)
    }

    fn pop(&mut self) -> Option<u64> {
        self.1.pop()
    }

    fn pop_many(&mut self, max: usize) -> Vec<u64> {
        let mut out = Vec::new();
        if max.is_multiple_of(2) {
            assert_eq!(self.1.pop_each(max, |value| out.push(value)), out.len());
        } else {
            // Where they lie: a chunk has what one look found.
            while out.len() < max {
                let (front, back) = self.1.chunk(max - out.len());
                let some = front.len() + back.len();
                out.extend(front.iter().chain(back));
                self.1.release(some);
                if some == 0 {
                    break;
                }
            }
        }
        out
    }

    fn count(&mut self) -> usize {
        assert_eq!(self.1.capacity(), self.0.capacity());
        let values = self.pop_many(usize::MAX);
        assert!(self.1.is_empty());
        assert_eq!(self.0.push_slice(&values), values.len());
        values.len()
    }
}

struct Mpmc(mpmc::Producer<u64>, mpmc::Consumer<u64>);

impl Queue for Mpmc {
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn push(&mut self, value: u64) -> bool {
        self.0.push(value).is_ok()
    }

    fn push_many(&mut self, values: &[u64]) -> usize {
        values
            .iter()
            .take_while(|value| self.0.clone().push(**value).is_ok())
            .count()
    }

    fn pop(&mut self) -> Option<u64> {
        self.1.pop()
    }

    fn pop_many(&mut self, max: usize) -> Vec<u64> {
        std::iter::from_fn(|| self.1.clone().pop())
            .take(max)
            .collect()
    }

    fn count(&mut self) -> usize {
        let values = self.pop_many(usize::MAX);
        assert_eq!(self.push_many(&values), values.len());
        values.len()
    }
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn many_to_one_agrees_with_a_deque(operations in strategy::operations(), before in 0..4u64) {
        for capacity in [1, 8, 64] {
            let (producer, consumer) = mpsc::starting_at(capacity, 0u64.wrapping_sub(before * 64)).unwrap();
            agree_with_a_deque(&mut Mpsc(producer, consumer), &operations);
        }
    }

    #[test]
    fn many_to_many_agrees_with_a_deque(operations in strategy::operations(), before in 0..4u64) {
        for capacity in [2, 8, 64] {
            let (producer, consumer) = mpmc::starting_at(capacity, 0u64.wrapping_sub(before * 64)).unwrap();
            agree_with_a_deque(&mut Mpmc(producer, consumer), &operations);
        }
    }
}

#[test]
fn positions_pass_32_bits() {
    let operations: Vec<_> = [
        Operation::PushMany(3),
        Operation::PopMany(2),
        Operation::Push,
        Operation::PopMany(4),
    ]
    .into_iter()
    .cycle()
    .take(400)
    .collect();
    let start = (1 << 32) - 128;
    let (producer, consumer) = mpsc::starting_at(4, start).unwrap();
    agree_with_a_deque(&mut Mpsc(producer, consumer), &operations);
    let (producer, consumer) = mpmc::starting_at(4, start).unwrap();
    agree_with_a_deque(&mut Mpmc(producer, consumer), &operations);
}

#[test]
fn refuses_a_capacity_that_is_not_a_power_of_two_or_a_region_too_small() {
    for capacity in [0, 3, usize::MAX] {
        assert!(mpsc::channel::<u64>(capacity).is_err());
        assert!(mpmc::channel::<u64>(capacity).is_err());
    }
    assert!(mpsc::channel::<u64>(1).is_ok());
    assert!(mpmc::channel::<u64>(1).is_err());
    assert!(mpsc::in_region::<u64>(Region::heap(4096).unwrap(), 4096).is_err());
    // Elements and stamps: two pages for each, and the header's lines.
    assert!(mpsc::in_region::<u64>(Region::shared(1 << 14).unwrap(), 1024).is_err());
    assert!(mpsc::in_region::<u64>(Region::shared(5 << 12).unwrap(), 1024).is_ok());
    assert!(mpmc::in_region::<u64>(Region::shared(1 << 17).unwrap(), 4096).is_ok());
}

#[test]
fn a_batch_lies_in_one_piece_and_stays_until_it_is_released() {
    let (mut producer, mut consumer) = mpsc::channel(8).unwrap();
    assert_eq!(consumer.chunk(8), (&[][..], &[][..]));
    assert_eq!(producer.push_slice(&[0, 1, 2, 3, 4]), 5);
    assert_eq!(consumer.chunk(3), (&[0, 1, 2][..], &[][..]));
    assert_eq!(consumer.chunk(8), (&[0, 1, 2, 3, 4][..], &[][..]));
    consumer.release(4);
    consumer.give_back();
    // What is left of the batch, and then the next one, which wraps.
    assert_eq!(producer.push_slice(&[5, 6, 7, 8, 9, 10, 11, 12]), 7);
    assert_eq!(consumer.chunk(8), (&[4][..], &[][..]));
    consumer.release(1);
    assert_eq!(consumer.chunk(8), (&[5, 6, 7][..], &[8, 9, 10, 11][..]));
    consumer.release(7);
    assert!(consumer.is_empty());
}

#[test]
fn more_than_a_chunk_had_is_not_released() {
    let (mut producer, mut consumer) = mpsc::channel(8).unwrap();
    producer.push(1).unwrap();
    assert_eq!(consumer.chunk(8).0.len(), 1);
    producer.push(2).unwrap();
    let released = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| consumer.release(2)));
    let why = released.unwrap_err();
    assert_eq!(
        why.downcast_ref::<String>().unwrap(),
        "2 elements to be released, 1 are known to be there"
    );
    assert_eq!(consumer.pop_each(8, drop), 2);
}

#[test]
fn elements_left_in_a_ring_are_dropped_once() {
    let values: Vec<_> = (0..3).map(Arc::new).collect();
    let (mut producer, mut consumer) = mpsc::channel(64).unwrap();
    values
        .iter()
        .for_each(|value| producer.push(Arc::clone(value)).unwrap());
    assert_eq!(consumer.pop().as_deref(), Some(&0));
    drop(consumer);
    drop(producer);
    let (producer, consumer) = mpmc::channel(4).unwrap();
    values
        .iter()
        .for_each(|value| producer.push(Arc::clone(value)).unwrap());
    assert_eq!(consumer.pop().as_deref(), Some(&0));
    drop((producer, consumer));
    assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
}

#[test]
fn a_panic_in_a_batch_loses_only_what_was_handed_out() {
    let (mut producer, mut consumer) = mpsc::channel(8).unwrap();
    assert_eq!(producer.push_slice(&[0, 1, 2]), 3);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.pop_each(3, |value| assert!(value < 1));
    }));
    assert!(panicked.is_err());
    assert_eq!(consumer.pop(), Some(2));
    assert!(consumer.is_empty());
}

const THREADS: u64 = 3;

/// Each value carries its producer in its lowest digits.
fn value(thread: u64, number: u64) -> u64 {
    number * THREADS + thread
}

#[test]
fn many_threads_to_one_lose_nothing_and_each_keeps_its_order() {
    let each: u64 = if cfg!(miri) { 60 } else { 40_000 };
    let (producer, mut consumer) = mpsc::channel(64).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut producer = producer.clone();
            scope.spawn(move || {
                let mut number = 0;
                while number < each {
                    let end = each.min(number + 1 + number % 5);
                    let batch: Vec<u64> =
                        (number..end).map(|number| value(thread, number)).collect();
                    let pushed = producer.push_slice(&batch) as u64;
                    number += pushed;
                    if pushed == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let mut next = [0; THREADS as usize];
        while next.iter().any(|number| *number < each) {
            match consumer.pop() {
                Some(value) => {
                    let number = &mut next[(value % THREADS) as usize];
                    assert_eq!(value / THREADS, *number);
                    *number += 1;
                }
                None => std::thread::yield_now(),
            }
        }
    });
    assert_eq!(consumer.pop(), None);
}

#[test]
fn many_threads_to_many_lose_nothing_and_repeat_nothing() {
    let each: u64 = if cfg!(miri) { 60 } else { 40_000 };
    let (producer, consumer) = mpmc::channel(64).unwrap();
    let (sum, count) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let producer = &producer;
            scope.spawn(move || {
                for number in 0..each {
                    while producer.push(value(thread, number)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = [None; THREADS as usize];
                while count.load(Ordering::Relaxed) < each * THREADS {
                    match consumer.pop() {
                        Some(value) => {
                            let last = &mut last[(value % THREADS) as usize];
                            assert!(last.is_none_or(|last| last < value / THREADS));
                            *last = Some(value / THREADS);
                            sum.fetch_add(value, Ordering::Relaxed);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        None => std::thread::yield_now(),
                    }
                }
            });
        }
    });
    let all = each * THREADS;
    assert_eq!(
        (count.into_inner(), sum.into_inner()),
        (all, all * (all - 1) / 2)
    );
}
