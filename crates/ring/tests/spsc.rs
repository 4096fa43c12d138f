//! The SPSC ring on one thread, against a `VecDeque`, and on two.
#![cfg(not(loom))]

mod support;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use support::{Operation, Queue, agree_with_a_deque, strategy};
use trunkline_ring::spsc::{self, Consumer, Full, Producer, RingBuffer};
use trunkline_ring::{Capacity, Region};

/// How the batch operations of the model are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batches {
    Slices,
    Closures,
    Chunks,
}

struct Pair<'a, C: Capacity> {
    producer: Producer<'a, u64, C>,
    consumer: Consumer<'a, u64, C>,
    batches: Batches,
}

impl<C: Capacity> Queue for Pair<'_, C> {
    fn capacity(&self) -> usize {
        self.producer.capacity()
    }

    fn withheld_max(&self) -> usize {
        self.producer.withheld_max()
    }

    fn push(&mut self, value: u64) -> bool {
        self.producer.push(value).is_ok()
    }

    fn push_many(&mut self, values: &[u64]) -> usize {
        match self.batches {
            Batches::Slices => self.producer.push_slice(values),
            Batches::Closures | Batches::Chunks => self.producer.push_iter(values.iter().copied()),
        }
    }

    fn pop(&mut self) -> Option<u64> {
        match self.batches {
            Batches::Slices => self.consumer.pop(),
            Batches::Closures | Batches::Chunks => {
                let peeked = self.consumer.peek().copied();
                assert_eq!(self.consumer.pop(), peeked);
                peeked
            }
        }
    }

    fn pop_many(&mut self, max: usize) -> Vec<u64> {
        let mut out = Vec::new();
        match self.batches {
            Batches::Slices => {
                out.resize(max, 0);
                let popped = self.consumer.pop_into(&mut out);
                out.truncate(popped);
            }
            Batches::Closures => assert_eq!(
                self.consumer.pop_each(max, |value| out.push(value)),
                out.len()
            ),
            Batches::Chunks => {
                let (front, back) = self.consumer.chunk(max);
                out.extend_from_slice(front);
                out.extend_from_slice(back);
                self.consumer.release(out.len());
            }
        }
        out
    }

    fn count(&mut self) -> usize {
        assert_eq!(self.consumer.is_empty(), self.consumer.available() == 0);
        let count = self.consumer.available();
        self.consumer.give_back();
        assert_eq!(self.producer.free(), self.producer.capacity() - count);
        count
    }
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn agrees_with_a_deque_whatever_is_done(operations in strategy::operations()) {
        for batches in [Batches::Slices, Batches::Closures, Batches::Chunks] {
            let mut ring = RingBuffer::<u64, 8>::new();
            let (producer, consumer) = ring.split();
            agree_with_a_deque(&mut Pair { producer, consumer, batches }, &operations);

            let (producer, consumer) = RingBuffer::<u64, 1>::channel();
            agree_with_a_deque(&mut Pair { producer, consumer, batches }, &operations);

            let (producer, consumer) = spsc::channel(64).unwrap();
            agree_with_a_deque(&mut Pair { producer, consumer, batches }, &operations);
        }
    }

    #[test]
    fn agrees_with_a_deque_while_positions_wrap(operations in strategy::operations(), before in 0..30usize) {
        let mut ring = RingBuffer::<u64, 8>::starting_at(0usize.wrapping_sub(before));
        let (producer, consumer) = ring.split();
        agree_with_a_deque(&mut Pair { producer, consumer, batches: Batches::Slices }, &operations);
    }
}

#[test]
fn positions_pass_32_bits_and_the_end_of_their_range() {
    for start in [u32::MAX as usize - 100, usize::MAX - 100] {
        let mut ring = RingBuffer::<u64, 4>::starting_at(start);
        let (producer, consumer) = ring.split();
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
        agree_with_a_deque(
            &mut Pair {
                producer,
                consumer,
                batches: Batches::Slices,
            },
            &operations,
        );
    }
}

#[test]
fn single_pops_withhold_less_than_a_sixteenth_and_an_empty_pop_nothing() {
    let capacities = [(1, 0), (16, 0), (32, 1), (256, 15), (1024, 63), (65536, 63)];
    for (capacity, withheld) in capacities
        .into_iter()
        .filter(|it| !cfg!(miri) || it.0 <= 256)
    {
        let (mut producer, mut consumer) = spsc::channel(capacity).unwrap();
        assert_eq!(producer.withheld_max(), withheld);
        assert_eq!(producer.push_iter(0..), capacity);
        for popped in 1..=capacity {
            assert_eq!(consumer.pop(), Some(popped as i32 - 1));
            let free = producer.free();
            assert!(free <= popped && popped - free <= withheld);
        }
        assert_eq!(consumer.pop(), None);
        assert_eq!(producer.free(), capacity);
        assert_eq!(producer.push_iter(0..3), capacity.min(3));
        consumer.pop();
        consumer.give_back();
        assert_eq!(producer.free(), capacity - capacity.min(3) + 1);
    }
}

#[test]
fn a_full_ring_gives_the_element_back() {
    let (mut producer, mut consumer) = RingBuffer::<String, 1>::channel();
    producer.push("in".into()).unwrap();
    assert_eq!(producer.push("out".into()).unwrap_err().into_inner(), "out");
    assert_eq!(consumer.pop().as_deref(), Some("in"));
    assert_eq!(consumer.pop(), None);
    assert_eq!(Full("x").to_string(), "the ring is full");
}

#[test]
fn refuses_a_capacity_that_is_not_a_power_of_two_or_a_region_too_small() {
    for capacity in [0, 3, 1000, usize::MAX] {
        let error = spsc::channel::<u64>(capacity).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&capacity.to_string()), "{error}");
    }
    let needed = spsc::region_bytes::<u64>(4096).unwrap();
    assert!(spsc::in_region::<u64>(Region::heap(needed).unwrap(), 4096).is_ok());
    assert!(spsc::in_region::<u64>(Region::heap(4096).unwrap(), 4096).is_err());
    assert!(spsc::region_bytes::<[u64; 1 << 20]>(1 << 50).is_err());
}

#[test]
fn elements_left_in_a_ring_are_dropped_once() {
    struct Counted(Rc<()>);
    // SAFETY: all on one thread.
    unsafe impl Send for Counted {}

    let alive = Rc::new(());
    for popped in 0..5 {
        let (mut producer, mut consumer) = spsc::channel(4).unwrap();
        for _ in 0..3 {
            assert!(producer.push(Counted(Rc::clone(&alive))).is_ok());
        }
        let taken: Vec<_> = (0..popped).filter_map(|_| consumer.pop()).collect();
        assert!(taken.iter().all(|counted| Rc::ptr_eq(&counted.0, &alive)));
        if popped % 2 == 0 {
            drop(consumer);
            assert!(producer.is_abandoned());
            drop(producer);
        } else {
            drop(producer);
            assert!(consumer.is_abandoned());
            drop(consumer);
        }
        assert_eq!(Rc::strong_count(&alive), 1 + popped.min(3));
    }
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_ring_may_be_split_again_and_keeps_what_was_left() {
    let mut ring = RingBuffer::<u64, 4>::new();
    {
        let (mut producer, mut consumer) = ring.split();
        assert_eq!(producer.push_slice(&[1, 2, 3]), 3);
        assert_eq!(consumer.pop(), Some(1));
    }
    let (producer, mut consumer) = ring.split();
    assert!(!producer.is_abandoned());
    assert!(!consumer.is_abandoned());
    assert_eq!(consumer.pop(), Some(2));
    assert_eq!(consumer.available(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "what it is about is a leak, which Miri refuses")]
fn a_forgotten_consumer_leaks_and_repeats_nothing() {
    let values: Vec<_> = (0..4).map(Arc::new).collect();
    let mut ring = RingBuffer::<Arc<u64>, 32>::new();
    let (mut producer, mut consumer) = ring.split();
    assert_eq!(producer.push_iter(values.iter().cloned()), 4);
    let popped = consumer.pop();
    drop(producer);
    std::mem::forget(consumer);
    assert_eq!(ring.split().1.pop(), None);
    drop((ring, popped));
    assert_eq!(
        values.iter().map(Arc::strong_count).collect::<Vec<_>>(),
        [1, 2, 2, 2]
    );
}

#[test]
fn a_panic_in_a_batch_loses_only_what_was_handed_out() {
    let (mut producer, mut consumer) = RingBuffer::<Arc<u64>, 8>::channel();
    let values: Vec<_> = (0..6).map(Arc::new).collect();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        producer.push_iter(values.iter().cloned().inspect(|value| assert!(**value < 4)))
    }));
    assert!(panicked.is_err());
    assert_eq!(consumer.available(), 4);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.pop_each(9, |value| assert!(*value < 1))
    }));
    assert!(panicked.is_err());
    assert_eq!(consumer.pop().as_deref(), Some(&2));
    assert_eq!(producer.free(), 7);
    drop((producer, consumer));
    assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
}

#[test]
fn a_slice_is_pushed_and_popped_across_the_end_of_the_slots() {
    let (mut producer, mut consumer) = RingBuffer::<[u8; 3], 4>::channel();
    let mut out = [[0; 3]; 4];
    for lap in 0..20u8 {
        let batch = [[lap, 1, 2], [lap, 3, 4], [lap, 5, 6]];
        assert_eq!(producer.push_slice(&batch), 3);
        assert_eq!(consumer.pop_into(&mut out), 3);
        assert_eq!(out[..3], batch);
    }
}

#[test]
fn zero_sized_and_overaligned_elements_work() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(align(256))]
    struct Wide(u64);

    let (mut producer, mut consumer) = spsc::channel(4).unwrap();
    for value in 0..10 {
        producer.push(Wide(value)).unwrap();
        assert_eq!(
            consumer
                .peek()
                .map(|wide| std::ptr::from_ref(wide) as usize % 256),
            Some(0)
        );
        assert_eq!(consumer.pop(), Some(Wide(value)));
    }
    let (mut producer, mut consumer) = RingBuffer::<(), 2>::channel();
    assert_eq!(producer.push_slice(&[(), (), ()]), 2);
    assert_eq!(consumer.pop_each(8, |()| ()), 2);
}

#[test]
fn two_threads_lose_nothing_and_keep_the_order() {
    let count: u64 = if cfg!(miri) { 300 } else { 300_000 };
    for region in [
        Region::heap(1 << 16).unwrap(),
        Region::shared(1 << 16).unwrap(),
    ] {
        let (mut producer, mut consumer) = spsc::in_region::<u64>(region, 64).unwrap();
        let popped = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < count {
                    let end = count.min(next + 1 + next % 7);
                    let batch: Vec<u64> = (next..end).collect();
                    let pushed = if next % 3 == 0 {
                        usize::from(producer.push(next).is_ok())
                    } else {
                        producer.push_slice(&batch)
                    };
                    next += pushed as u64;
                    if pushed == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            loop {
                let finished = consumer.is_abandoned();
                let some = consumer.pop_each(5, |value| {
                    assert_eq!(value, expected);
                    expected += 1;
                });
                if some == 0 {
                    if finished {
                        break;
                    }
                    std::thread::yield_now();
                }
                popped.fetch_add(some, Ordering::Relaxed);
            }
            assert_eq!(expected, count);
        });
        assert_eq!(popped.into_inner() as u64, count);
    }
}
