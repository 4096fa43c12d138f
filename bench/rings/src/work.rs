//! What is measured: one function per kind of row.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_harness::cores::{self, Ball, Gate, pin, preemptions};
use bench_harness::{Figure, Sample};

use crate::rings::{Item, Receive1, Ring, Send1};

pub const BATCH: usize = 64;

/// The cores that are used.
fn core(side: usize) -> usize {
    cores::pair().expect("two cores are needed")[side]
}

fn sample(elapsed: Duration, operations: u64) -> Sample {
    let ns = elapsed.as_nanos() as f64 / operations as f64;
    Sample::default()
        .with(Figure::Ns, ns)
        .with(Figure::PerSecond, 1e9 / ns)
}

/// Two threads on two cores, with a calibration before and after. `first` runs on core 0, `second`
/// on core 1; the time is that from a common start to the end of the later one.
fn on_two_cores<A: Send + 'static, B: Send + 'static>(
    operations: u64,
    mut first: A,
    mut second: B,
    run_first: impl FnOnce(&mut A) + Send + 'static,
    run_second: impl FnOnce(&mut B) + Send + 'static,
) -> Sample {
    struct Shared {
        balls: [Ball; 2],
        gate: Gate,
    }
    struct Side {
        start: Instant,
        end: Instant,
        crossing_ns: [f64; 2],
        preemptions: u64,
    }
    fn side(shared: &Shared, number: usize, run: impl FnOnce()) -> Side {
        pin(core(number));
        shared.gate.pass(2);
        let before = shared.balls[0].crossing_ns(number as u64);
        let preempted = preemptions();
        shared.gate.pass(2);
        let start = Instant::now();
        run();
        let end = Instant::now();
        shared.gate.pass(2);
        let preempted = preemptions() - preempted;
        shared.gate.pass(2);
        let after = shared.balls[1].crossing_ns(number as u64);
        Side {
            start,
            end,
            crossing_ns: [before, after],
            preemptions: preempted,
        }
    }
    let shared = Arc::new(Shared {
        balls: Default::default(),
        gate: Gate::default(),
    });
    let other = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || side(&shared, 1, || run_second(&mut second)))
    };
    let one = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || side(&shared, 0, || run_first(&mut first)))
    };
    let (one, other) = (
        one.join().expect("no check failed"),
        other.join().expect("no check failed"),
    );
    let elapsed = one.end.max(other.end) - one.start.min(other.start);
    Sample {
        crossing_ns: [
            one.crossing_ns[0].min(other.crossing_ns[0]),
            one.crossing_ns[1].min(other.crossing_ns[1]),
        ],
        preemptions: one.preemptions + other.preemptions,
        ..sample(elapsed, operations)
    }
}

#[inline(always)]
fn send<T: Item>(sender: &mut impl Send1<T>, item: T) {
    while !sender.try_send(item) {
        spin_loop();
    }
}

/// One item at a time from one core to the other.
pub fn stream<T: Item, R: Ring<T>>(operations: u64) -> Sample {
    let (sender, receiver) = R::make();
    on_two_cores(
        operations,
        sender,
        receiver,
        move |sender| (0..operations).for_each(|number| send(sender, T::number(number))),
        move |receiver| {
            let mut expected = 0;
            while expected < operations {
                let some = receiver.try_receive(|item: &T| {
                    assert_eq!(item.check(), expected, "lost, repeated or out of order");
                    expected += 1;
                });
                if some == 0 {
                    spin_loop();
                }
            }
        },
    )
}

/// Batches of 64 from one core to the other.
pub fn batches<T: Item, R: Ring<T>>(operations: u64) -> Sample {
    let operations = operations / BATCH as u64 * BATCH as u64;
    let (sender, receiver) = R::make();
    on_two_cores(
        operations,
        sender,
        receiver,
        move |sender| {
            let mut batch = [T::default(); BATCH];
            for first in (0..operations).step_by(BATCH) {
                for (offset, item) in batch.iter_mut().enumerate() {
                    *item = T::number(first + offset as u64);
                }
                let mut sent = 0;
                while sent < BATCH {
                    let some = sender.send_some(&black_box(&batch)[sent..]);
                    sent += some;
                    if some == 0 {
                        spin_loop();
                    }
                }
            }
        },
        move |receiver| {
            let mut expected = 0;
            while expected < operations {
                let mut wrong = 0;
                let some = receiver.receive_some(BATCH, |item: &T| {
                    wrong |= item.check() ^ expected;
                    expected += 1;
                });
                assert_eq!(wrong, 0, "lost, repeated or out of order");
                if some == 0 {
                    spin_loop();
                }
            }
        },
    )
}

/// One item there and back over a pair of rings.
pub fn round_trips<T: Item, R: Ring<T>>(operations: u64) -> Sample {
    let (ping, pinged) = R::make();
    let (pong, ponged) = R::make();
    on_two_cores(
        operations,
        (ping, ponged),
        (pong, pinged),
        move |(ping, ponged)| {
            for number in 0..operations {
                send(ping, T::number(number));
                let mut back = 0;
                while back == 0 {
                    back = ponged.try_receive(|item: &T| {
                        assert_eq!(item.check(), number, "not what was sent")
                    });
                }
            }
        },
        move |(pong, pinged)| {
            let mut expected = 0;
            while expected < operations {
                let mut there = None;
                pinged.try_receive(|item: &T| there = Some(*item));
                if let Some(item) = there {
                    assert_eq!(item.check(), expected, "lost, repeated or out of order");
                    send(pong, item);
                    expected += 1;
                }
            }
        },
    )
}

/// Push and pop on one thread, one item in the ring at a time.
pub fn one_thread<T: Item, R: Ring<T>>(operations: u64) -> Sample {
    std::thread::spawn(move || {
        pin(core(0));
        let (mut sender, mut receiver) = R::make();
        let mut round = |operations: u64| {
            for number in 0..operations {
                assert!(sender.try_send(T::number(black_box(number))));
                let some = receiver
                    .try_receive(|item: &T| assert_eq!(item.check(), number, "not what was sent"));
                assert_eq!(some, 1);
            }
        };
        round(operations / 10);
        let preempted = preemptions();
        let start = Instant::now();
        round(operations);
        let elapsed = start.elapsed();
        Sample {
            preemptions: preemptions() - preempted,
            ..sample(elapsed, operations)
        }
    })
    .join()
    .expect("no check failed")
}

/// How an end of a ring is made from another.
pub type Cloned<T> = fn(&T) -> T;

/// Several senders on core 0, several receivers on core 1. Whoever finds the ring full or empty
/// tries some times more and then lets the other threads of its core run.
pub fn many<T: Item, R: Ring<T>>(
    operations: u64,
    clone_sender: Cloned<R::Sender>,
    clone_receiver: Option<Cloned<R::Receiver>>,
) -> Sample {
    const SENDERS: u64 = 2;
    let pair = [core(0), core(1)];
    let before = cores::crossing_ns(pair);
    let each = operations / SENDERS;
    let (sender, receiver) = R::make();
    let mut senders: Vec<_> = (1..SENDERS).map(|_| clone_sender(&sender)).collect();
    senders.push(sender);
    let mut receivers: Vec<_> = clone_receiver
        .iter()
        .map(|clone| clone(&receiver))
        .collect();
    receivers.push(receiver);
    let gate = Arc::new(Gate::default());
    let threads = (senders.len() + receivers.len()) as u64;
    let done = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut handles = Vec::new();
    for (index, mut sender) in senders.into_iter().enumerate() {
        let gate = Arc::clone(&gate);
        handles.push(std::thread::spawn(move || {
            pin(core(0));
            gate.pass(threads);
            let start = Instant::now();
            for number in 0..each {
                let mut tries = 0u32;
                while !sender.try_send(T::number((number << 8) | index as u64)) {
                    pause(&mut tries);
                }
            }
            (start, Instant::now(), Vec::new())
        }));
    }
    for mut receiver in receivers {
        let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
        handles.push(std::thread::spawn(move || {
            pin(core(1));
            // What came from each sender: how many, their sum, and the last, for the order.
            let mut seen = vec![(0u64, 0u64, -1i64); SENDERS as usize];
            gate.pass(threads);
            let start = Instant::now();
            let mut tries = 0u32;
            let mut unreported = 0;
            loop {
                let some = receiver.try_receive(|item: &T| {
                    let number = item.check();
                    let (count, sum, last) = &mut seen[(number & 0xff) as usize];
                    let number = (number >> 8) as i64;
                    assert!(number > *last, "repeated or out of order");
                    *last = number;
                    *count += 1;
                    *sum += number as u64;
                });
                unreported += some as u64;
                if some > 0 {
                    tries = 0;
                } else {
                    let all = done.fetch_add(unreported, std::sync::atomic::Ordering::Relaxed)
                        + unreported;
                    unreported = 0;
                    if all == each * SENDERS {
                        break;
                    }
                    pause(&mut tries);
                }
            }
            (start, Instant::now(), seen)
        }));
    }
    let results: Vec<_> = handles
        .into_iter()
        .map(|handle| handle.join().expect("no check failed"))
        .collect();
    for sender in 0..SENDERS as usize {
        let seen = results.iter().filter_map(|(_, _, seen)| seen.get(sender));
        let (count, sum) = seen.fold((0, 0), |(count, sum), one| (count + one.0, sum + one.1));
        assert_eq!(
            (count, sum),
            (each, each * (each - 1) / 2),
            "lost or repeated"
        );
    }
    let start = results
        .iter()
        .map(|(start, _, _)| *start)
        .min()
        .expect("some");
    let end = results.iter().map(|(_, end, _)| *end).max().expect("some");
    Sample {
        crossing_ns: [before, cores::crossing_ns(pair)],
        ..sample(end - start, operations)
    }
}

#[inline(always)]
fn pause(tries: &mut u32) {
    *tries += 1;
    if tries.is_multiple_of(16) {
        std::thread::yield_now();
    } else {
        spin_loop();
    }
}
