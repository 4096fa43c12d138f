//! Waiting and waking with real threads.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trunkline_ring::Counter;
use trunkline_ring::spsc::RingBuffer;
use trunkline_ring::wait::{Signal, Strategy};

const STRATEGIES: [Strategy; 3] = [
    Strategy::Spin,
    Strategy::SpinThenPark { spins: 50 },
    Strategy::Park,
];

#[test]
fn a_ping_pong_never_misses_a_wake_up() {
    let rounds = if cfg!(miri) { 20 } else { 2_000 };
    for strategy in STRATEGIES {
        let (mut ping, mut pinged) = RingBuffer::<u64, 2>::channel();
        let (mut pong, mut ponged) = RingBuffer::<u64, 2>::channel();
        let (there, back) = (Signal::new(), Signal::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..rounds {
                    assert_eq!(there.wait(strategy, None, || pinged.pop()), Some(round));
                    pong.push(round).unwrap();
                    back.notify();
                }
            });
            for round in 0..rounds {
                ping.push(round).unwrap();
                there.notify();
                assert_eq!(back.wait(strategy, None, || ponged.pop()), Some(round));
            }
        });
    }
}

#[test]
fn all_who_sleep_on_one_signal_are_woken() {
    let signal = Signal::new();
    let ready = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let sleepers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    signal.wait(Strategy::Park, None, || {
                        (ready.load(Ordering::Acquire) == 1).then_some(())
                    })
                })
            })
            .collect();
        ready.store(1, Ordering::Release);
        signal.notify();
        assert!(
            sleepers
                .into_iter()
                .all(|sleeper| sleeper.join().unwrap().is_some())
        );
    });
}

#[test]
fn a_wait_with_a_timeout_ends_without_a_value() {
    let signal = Signal::new();
    for strategy in STRATEGIES {
        let start = Instant::now();
        let timeout = Duration::from_millis(5);
        assert_eq!(signal.wait(strategy, Some(timeout), || None::<()>), None);
        assert!(start.elapsed() >= timeout);
        assert_eq!(
            signal.wait(strategy, Some(Duration::ZERO), || Some(3)),
            Some(3)
        );
    }
}

#[test]
fn a_counter_is_read_by_other_threads() {
    let mut counter = Counter::new();
    let reader = counter.reader();
    let other = reader.clone();
    let watcher = std::thread::spawn(move || {
        let mut last = 0;
        while last < 1000 {
            let value = other.value();
            assert!(value >= last);
            last = value;
            std::thread::yield_now();
        }
    });
    for _ in 0..1000 {
        counter.add(1);
    }
    watcher.join().unwrap();
    assert_eq!((counter.value(), reader.value()), (1000, 1000));
    counter.set(7);
    assert_eq!(
        format!("{counter:?} {reader:?}"),
        "Counter(7) CounterReader(7)"
    );
}
