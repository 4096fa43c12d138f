//! The timer wheel against a sorted list.

use proptest::prelude::*;
use trunkline_reactor::{TimerId, TimerWheel};

#[derive(Clone, Debug)]
enum Operation {
    Arm { delay_ns: u64 },
    Cancel { which: usize },
    Advance { by_ns: u64 },
    AdvanceToDeadline,
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..2_000u64,
        0..100_000u64,
        0..10_000_000u64,
        0..60_000_000_000u64,
        0..200_000_000_000_000u64
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => delay().prop_map(|delay_ns| Operation::Arm { delay_ns }),
        1 => (0..1000usize).prop_map(|which| Operation::Cancel { which }),
        3 => delay().prop_map(|by_ns| Operation::Advance { by_ns }),
        3 => Just(Operation::AdvanceToDeadline),
    ]
}

/// Deadlines, words and ids of what should be armed.
#[derive(Default)]
struct Oracle(Vec<(u64, u64, TimerId)>);

impl Oracle {
    fn take_due(&mut self, now_ns: u64) -> Vec<u64> {
        let mut due: Vec<u64> = self
            .0
            .iter()
            .filter(|(at_ns, ..)| *at_ns <= now_ns)
            .map(|(_, word, _)| *word)
            .collect();
        self.0.retain(|(at_ns, ..)| *at_ns > now_ns);
        due.sort_unstable();
        due
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fires_exactly_what_is_due_and_never_sleeps_past_a_deadline(
        start_ns in 0..u64::MAX / 4,
        operations in proptest::collection::vec(operation(), 1..200),
    ) {
        let (mut wheel, mut oracle, mut now_ns) = (TimerWheel::new(start_ns), Oracle::default(), start_ns);
        for (word, operation) in (0u64..).zip(operations) {
            match operation {
                Operation::Arm { delay_ns } => {
                    let id = wheel.arm(now_ns + delay_ns, word);
                    oracle.0.push((now_ns + delay_ns, word, id));
                }
                Operation::Cancel { which } => {
                    if !oracle.0.is_empty() {
                        let (_, _, id) = oracle.0.swap_remove(which % oracle.0.len());
                        prop_assert!(wheel.cancel(id));
                        prop_assert!(!wheel.cancel(id));
                    }
                    continue;
                }
                Operation::Advance { by_ns } => now_ns += by_ns,
                Operation::AdvanceToDeadline => now_ns = now_ns.max(wheel.next_deadline_ns().unwrap_or(now_ns)),
            }
            let mut fired = Vec::new();
            wheel.expire(now_ns, |word| fired.push(word));
            fired.sort_unstable();
            prop_assert_eq!(fired, oracle.take_due(now_ns));
            prop_assert_eq!(wheel.len(), oracle.0.len());
            let earliest = oracle.0.iter().map(|(at_ns, ..)| *at_ns).min();
            match (wheel.next_deadline_ns(), earliest) {
                (Some(said), Some(earliest)) => prop_assert!(said <= earliest, "would sleep from {now_ns} to {said}, past {earliest}"),
                (said, earliest) => prop_assert_eq!(said, earliest),
            }
        }
    }
}

#[test]
fn a_far_deadline_is_reached_in_few_steps() {
    let mut wheel = TimerWheel::new(0);
    let at_ns = 3_600_000_000_000;
    wheel.arm(at_ns, 7);
    let (mut steps, mut fired) = (0, Vec::new());
    while fired.is_empty() {
        let next_ns = wheel.next_deadline_ns().unwrap();
        wheel.expire(next_ns, |word| fired.push(word));
        steps += 1;
    }
    assert_eq!((steps, fired), (1, vec![7]));
}

#[test]
fn timers_that_come_and_go_reuse_their_places() {
    let mut wheel = TimerWheel::new(0);
    for round in 0..100_000u64 {
        let id = wheel.arm(round * 1000 + 5_000_000, round);
        assert!(wheel.cancel(id));
    }
    assert!(wheel.is_empty());
    assert_eq!(wheel.next_deadline_ns(), None);
}

#[test]
fn a_timer_beyond_the_horizon_does_not_hide_an_earlier_one() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let mut wheel = TimerWheel::new(0);
    // Waits in the last slot of the last level, and its deadline is a day after that slot's end.
    wheel.arm(44 * HOUR_NS, 1);
    wheel.expire(HOUR_NS, |_| panic!("too early"));
    // Goes to the slot after it.
    wheel.arm(20 * HOUR_NS, 2);
    assert!(wheel.next_deadline_ns().unwrap() <= 20 * HOUR_NS);
    let mut fired = Vec::new();
    wheel.expire(20 * HOUR_NS, |word| fired.push(word));
    assert_eq!(fired, [2]);
}
