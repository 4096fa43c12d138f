//! The broadcast ring: every value or the number of those missed.
#![cfg(not(loom))]

use std::collections::VecDeque;

use proptest::prelude::*;
use trunkline_ring::broadcast::{self, Received};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Send(u8),
    Receive(usize),
    Subscribe,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        3 => (1..14u8).prop_map(Operation::Send),
        6 => (0..8usize).prop_map(Operation::Receive),
        1 => Just(Operation::Subscribe),
    ];
    prop::collection::vec(operation, 0..if cfg!(miri) { 20 } else { 150 })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn agrees_with_a_deque_of_the_newest_values(operations in operations(), lap in 0..3u64) {
        const CAPACITY: usize = 8;
        let (mut sender, first) = broadcast::starting_at::<[u32; 5]>(CAPACITY, (1 << 33) + lap * 8).unwrap();
        let mut newest: VecDeque<u64> = VecDeque::new();
        let mut sent = 0u64;
        // Each receiver with the number of the value that it must see next.
        let mut receivers = vec![(first, 0u64)];
        let value = |number: u64| [number as u32, 1, 2, 3, !(number as u32)];
        for operation in operations {
            match operation {
                Operation::Send(count) => {
                    for _ in 0..count {
                        sender.send(value(sent));
                        newest.push_back(sent);
                        sent += 1;
                        if newest.len() > CAPACITY {
                            newest.pop_front();
                        }
                    }
                }
                Operation::Receive(which) => {
                    let index = which % receivers.len();
                    let (receiver, next) = &mut receivers[index];
                    match receiver.receive() {
                        Received::Value(got) => {
                            prop_assert_eq!(got, value(*next));
                            prop_assert!(newest.contains(next));
                            *next += 1;
                        }
                        Received::Empty => prop_assert_eq!(*next, sent),
                        Received::Lost(lost) => {
                            prop_assert!(*next < newest[0], "nothing was lost that is still there");
                            *next += lost;
                            prop_assert!(newest.contains(next));
                        }
                    }
                }
                Operation::Subscribe => receivers.push((sender.subscribe(), sent)),
            }
        }
    }
}

#[test]
fn values_of_any_size_arrive_whole() {
    fn check<T: trunkline_ring::Plain + PartialEq + std::fmt::Debug>(value: T) {
        let (mut sender, mut receiver) = broadcast::channel(2).unwrap();
        sender.send(value);
        assert_eq!(receiver.receive(), Received::Value(value));
    }
    check(7u8);
    check([1u8, 2, 3]);
    check([1u16; 7]);
    check(u128::MAX - 5);
    check([-1.5f64; 9]);
    check([0u64; 0]);
}

#[test]
fn refuses_a_capacity_below_two_or_not_a_power_of_two() {
    for capacity in [0, 1, 3, usize::MAX] {
        assert!(broadcast::channel::<u64>(capacity).is_err());
    }
}

#[test]
fn what_is_received_and_what_is_lost_add_up_while_the_sender_overtakes() {
    let count: u64 = if cfg!(miri) { 400 } else { 300_000 };
    let (mut sender, receiver) = broadcast::channel::<[u64; 4]>(64).unwrap();
    std::thread::scope(|scope| {
        for pace in [0u64, 100] {
            let mut receiver = receiver.clone();
            scope.spawn(move || {
                let mut next = 0;
                while next < count {
                    match receiver.receive() {
                        Received::Value(value) => {
                            assert_eq!(value, [next, next + 1, !next, next]);
                            next += 1;
                            (0..pace).for_each(|_| std::hint::spin_loop());
                        }
                        Received::Lost(lost) => next += lost,
                        Received::Empty => std::thread::yield_now(),
                    }
                }
                assert_eq!(next, count);
            });
        }
        scope.spawn(move || {
            for number in 0..count {
                sender.send([number, number + 1, !number, number]);
                if number % 50 == 0 {
                    std::thread::yield_now();
                }
            }
        });
    });
}
