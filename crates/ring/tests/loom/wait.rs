use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use trunkline_ring::spsc::RingBuffer;
use trunkline_ring::wait::{Signal, Strategy};

#[test]
fn a_sleeper_is_woken_by_what_it_waits_for() {
    crate::check(3, || {
        let signal = Arc::new(Signal::new());
        let (mut producer, mut consumer) = RingBuffer::<u32, 2>::channel();
        let waker = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || {
                for value in 0..2 {
                    producer.push(value).unwrap();
                    signal.notify();
                }
            })
        };
        for value in 0..2 {
            assert_eq!(
                signal.wait(Strategy::Park, None, || consumer.pop()),
                Some(value)
            );
        }
        waker.join().unwrap();
    });
}

#[test]
fn two_sleepers_are_both_woken() {
    crate::check(2, || {
        let signal = Arc::new(Signal::new());
        let ready = Arc::new(AtomicU32::new(0));
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let (signal, ready) = (Arc::clone(&signal), Arc::clone(&ready));
                thread::spawn(move || {
                    signal.wait(Strategy::Park, None, || {
                        (ready.load(Ordering::Acquire) == 1).then_some(())
                    })
                })
            })
            .collect();
        ready.store(1, Ordering::Release);
        signal.notify();
        for sleeper in sleepers {
            assert!(sleeper.join().unwrap().is_some());
        }
    });
}
