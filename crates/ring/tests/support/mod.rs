//! One model, many engines: what can be done to a queue, and a `VecDeque` that says what must come
//! of it. Proptest, hand-written cases and loom all run these operations.
#![allow(dead_code, reason = "each test uses the part it needs")]

use std::collections::VecDeque;

/// Something done to a queue of numbers. Values are given out by the model, ascending, so that
/// a loss, a repetition and a change of order all show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Push one.
    Push,
    /// Push so many in one batch, as many as fit.
    PushMany(usize),
    /// Pop one.
    Pop,
    /// Pop up to so many in one batch.
    PopMany(usize),
    /// Ask how many there are.
    Count,
}

/// A queue under test. `None` and short counts mean full or empty.
pub(crate) trait Queue {
    fn capacity(&self) -> usize;
    /// How many slots may seem taken although they were popped, until `count` or an empty pop.
    fn withheld_max(&self) -> usize {
        0
    }
    fn push(&mut self, value: u64) -> bool;
    fn push_many(&mut self, values: &[u64]) -> usize;
    fn pop(&mut self) -> Option<u64>;
    fn pop_many(&mut self, max: usize) -> Vec<u64>;
    fn count(&mut self) -> usize;
}

/// Runs `operations` on `queue` from one thread and compares each answer with the oracle's.
pub(crate) fn agree_with_a_deque(queue: &mut impl Queue, operations: &[Operation]) {
    let mut oracle = VecDeque::new();
    let mut next = 0;
    for (step, &operation) in operations.iter().enumerate() {
        let room = queue.capacity() - oracle.len();
        let sure = room.saturating_sub(queue.withheld_max());
        match operation {
            Operation::Push => {
                let pushed = queue.push(next);
                assert!(
                    pushed as usize <= room && pushed as usize >= sure.min(1),
                    "step {step}: {operation:?}"
                );
                if pushed {
                    oracle.push_back(next);
                    next += 1;
                }
            }
            Operation::PushMany(count) => {
                let values: Vec<u64> = (next..next + count as u64).collect();
                let pushed = queue.push_many(&values);
                assert!(
                    pushed <= count.min(room) && pushed >= count.min(sure),
                    "step {step}: {operation:?}"
                );
                oracle.extend(&values[..pushed]);
                next += pushed as u64;
            }
            Operation::Pop => assert_eq!(
                queue.pop(),
                oracle.pop_front(),
                "step {step}: {operation:?}"
            ),
            Operation::PopMany(max) => {
                let expected: Vec<u64> = oracle.drain(..max.min(oracle.len())).collect();
                assert_eq!(queue.pop_many(max), expected, "step {step}: {operation:?}");
            }
            Operation::Count => {
                assert_eq!(queue.count(), oracle.len(), "step {step}: {operation:?}")
            }
        }
    }
}

#[cfg(not(loom))]
pub(crate) mod strategy {
    use super::Operation;
    use proptest::prelude::*;

    /// Sequences that fill and empty a queue of up to a hundred elements many times.
    pub(crate) fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let operation = prop_oneof![
            4 => Just(Operation::Push),
            4 => Just(Operation::Pop),
            2 => (0..60usize).prop_map(Operation::PushMany),
            2 => (0..50usize).prop_map(Operation::PopMany),
            1 => Just(Operation::Count),
        ];
        prop::collection::vec(operation, 0..if cfg!(miri) { 20 } else { 200 })
    }

    /// Fewer cases under Miri, and no file of failing seeds, which needs a file system.
    pub(crate) fn config() -> ProptestConfig {
        ProptestConfig {
            cases: if cfg!(miri) { 2 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }
}
