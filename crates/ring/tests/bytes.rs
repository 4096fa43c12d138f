//! The byte ring on one thread, against a `VecDeque`, and on two.
#![cfg(not(loom))]

mod support;

use std::collections::VecDeque;

use proptest::prelude::*;
use support::strategy;
use trunkline_ring::bytes::{self, ALIGN, HEADER_BYTES, frame_bytes};

const CAPACITY: usize = 4096;

/// Something done to a byte ring. Lengths are multiples that never cross the end of the ring under
/// Miri, which has no mirrored memory.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Push { len: usize },
    Stage { len: usize, kept: usize },
    Abandon { len: usize },
    Publish,
    Read,
    ReadRun { max_bytes: usize, release: bool },
    Peek,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    // 24 and 8 of a frame divide the ring's capacity under Miri.
    let len = if cfg!(miri) {
        (24..25usize).boxed()
    } else {
        prop_oneof![0..80usize, 0..4089usize].boxed()
    };
    let operation = prop_oneof![
        4 => len.clone().prop_map(|len| Operation::Push { len }),
        3 => (len.clone(), 0..=100usize).prop_map(|(len, percent)| Operation::Stage {
            len,
            kept: if cfg!(miri) { len } else { len * percent / 100 },
        }),
        1 => len.prop_map(|len| Operation::Abandon { len }),
        1 => Just(Operation::Publish),
        2 => Just(Operation::Read),
        2 => (0..6000usize, any::<bool>()).prop_map(|(max_bytes, release)| Operation::ReadRun { max_bytes, release }),
        1 => Just(Operation::Peek),
    ];
    prop::collection::vec(operation, 0..if cfg!(miri) { 20 } else { 200 })
}

fn message(seed: &mut u8, len: usize) -> Vec<u8> {
    *seed = seed.wrapping_add(1);
    (0..len)
        .map(|i| (i as u8).wrapping_mul(7) ^ *seed)
        .collect()
}

fn agree_with_a_deque(start: u64, operations: &[Operation]) {
    let (mut producer, mut consumer) = bytes::starting_at(CAPACITY, start).unwrap();
    let mut oracle: VecDeque<Vec<u8>> = VecDeque::new();
    let mut staged: Vec<Vec<u8>> = Vec::new();
    let mut used = 0;
    let mut seed = 0;
    for &operation in operations {
        match operation {
            Operation::Push { len } => {
                let message = message(&mut seed, len);
                let fits = used + frame_bytes(len) <= CAPACITY;
                assert_eq!(producer.push(&message), fits);
                if fits {
                    used += frame_bytes(len);
                    oracle.extend(staged.drain(..));
                    oracle.push_back(message);
                }
            }
            Operation::Stage { len, kept } => {
                let claim = producer.claim(len);
                assert_eq!(claim.is_some(), used + frame_bytes(len) <= CAPACITY);
                if let Some(mut claim) = claim {
                    let message = message(&mut seed, kept);
                    claim[..kept].copy_from_slice(&message);
                    claim.stage_first(kept);
                    used += frame_bytes(kept);
                    staged.push(message);
                }
            }
            Operation::Abandon { len } => {
                if let Some(mut claim) = producer.claim(len) {
                    claim.fill(0xff);
                }
            }
            Operation::Publish => {
                producer.publish();
                oracle.extend(staged.drain(..));
            }
            Operation::Read => {
                let available = consumer.available();
                assert_eq!(
                    available,
                    oracle
                        .iter()
                        .map(|message| frame_bytes(message.len()))
                        .sum()
                );
                let count =
                    consumer.read(|message| assert_eq!(message, oracle.pop_front().unwrap()));
                assert_eq!(count > 0, available > 0);
                assert!(oracle.is_empty());
                used -= available;
            }
            Operation::ReadRun { max_bytes, release } => {
                let empty = consumer.is_empty();
                assert_eq!(empty, oracle.is_empty());
                let run = consumer.run(max_bytes);
                assert_eq!(run.is_empty(), empty);
                let mut bytes = 0;
                for (index, message) in run.messages().enumerate() {
                    assert_eq!(message.as_ptr() as usize % ALIGN, 0);
                    assert_eq!(message, oracle[index]);
                    bytes += frame_bytes(message.len());
                    assert!(bytes <= max_bytes || index == 0);
                }
                assert_eq!(bytes, run.bytes().len());
                if release {
                    let count = run.messages().count();
                    run.release();
                    oracle.drain(..count);
                    used -= bytes;
                }
            }
            Operation::Peek => assert_eq!(consumer.peek(), oracle.front().map(Vec::as_slice)),
        }
        assert!(producer.free() <= CAPACITY - used);
    }
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn agrees_with_a_deque_whatever_is_done(operations in operations()) {
        agree_with_a_deque(0, &operations);
    }

    #[test]
    fn agrees_with_a_deque_at_positions_beyond_32_bits(operations in operations(), lap in 0..4u64) {
        agree_with_a_deque(((1 << 32) + lap) * CAPACITY as u64, &operations);
    }
}

#[test]
fn a_message_may_fill_the_whole_ring_and_no_more() {
    let (mut producer, mut consumer) = bytes::channel(CAPACITY).unwrap();
    let most = producer.message_bytes_max();
    assert_eq!(most, CAPACITY - HEADER_BYTES);
    for lap in 0..3 {
        assert!(producer.claim(most + 1).is_none());
        assert!(producer.claim(usize::MAX).is_none());
        let message = vec![lap; most];
        assert!(producer.push(&message));
        assert!(!producer.push(&[]));
        assert_eq!(consumer.read(|read| assert_eq!(read, message)), 1);
    }
}

#[test]
fn a_claim_or_run_that_is_dropped_changes_nothing() {
    let (mut producer, mut consumer) = bytes::channel(CAPACITY).unwrap();
    assert!(producer.claim(100).is_some());
    assert!(consumer.is_empty());
    assert!(producer.push(b"one, of 24 bytes in all."));
    assert!(!consumer.run(usize::MAX).is_empty());
    assert_eq!(consumer.peek(), Some(&b"one, of 24 bytes in all."[..]));
    assert_eq!(consumer.read(|_| ()), 1);
}

#[test]
fn what_is_staged_is_seen_when_published_or_when_the_producer_is_dropped() {
    let (mut producer, mut consumer) = bytes::channel(CAPACITY).unwrap();
    for _ in 0..3 {
        producer.claim(24).unwrap().stage();
    }
    assert!(consumer.is_empty());
    producer.publish();
    assert_eq!(consumer.read(|_| ()), 3);
    producer.claim(24).unwrap().stage();
    drop(producer);
    assert_eq!(consumer.read(|_| ()), 1);
}

#[test]
fn refuses_a_capacity_that_is_not_a_power_of_two() {
    assert!(bytes::channel(CAPACITY - 8).is_err());
    assert!(bytes::channel(3 * CAPACITY).is_err());
}

#[test]
fn two_threads_lose_nothing_and_keep_the_order() {
    let count: u64 = if cfg!(miri) { 300 } else { 200_000 };
    let (mut producer, mut consumer) = bytes::channel(CAPACITY).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = 0u64;
            while next < count {
                let len = if cfg!(miri) {
                    24
                } else {
                    8 + (next * 13 % 300) as usize
                };
                match producer.claim(len) {
                    Some(mut claim) => {
                        claim[8..].fill(next as u8);
                        claim[..8].copy_from_slice(&next.to_le_bytes());
                        if next.is_multiple_of(3) {
                            claim.commit()
                        } else {
                            claim.stage()
                        }
                        next += 1;
                    }
                    None => {
                        producer.publish();
                        std::thread::yield_now();
                    }
                }
            }
        });
        let mut expected = 0u64;
        while expected < count {
            let some = consumer.read(|message| {
                let (number, rest) = message.split_first_chunk().unwrap();
                assert_eq!(u64::from_le_bytes(*number), expected);
                assert!(rest.iter().all(|&byte| byte == expected as u8));
                expected += 1;
            });
            if some == 0 {
                std::thread::yield_now();
            }
        }
    });
}
