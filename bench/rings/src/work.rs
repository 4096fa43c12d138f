//! What is measured: one function per kind of row.

use std::hint::{black_box, spin_loop};
use std::ops::Range;
use std::time::Instant;

use bench_harness::cores::{pin, preemptions};
use bench_harness::{Failure, Latency, Sample};

use crate::rings::{Item, Receive1, Ring, Send1};
use crate::trial::{BATCH, Idle, Trial, core, on_two_cores, sample};

#[inline(always)]
fn send<T: Item>(sender: &mut impl Send1<T>, item: T, idle: &mut Idle<'_>) {
    while !sender.try_send(item) {
        idle.spin();
        spin_loop();
    }
}

/// Everybody has sent and taken what there was: whatever still comes was sent once and came twice.
pub fn nothing_is_left<T>(receiver: &mut impl Receive1<T>) -> Result<(), Failure> {
    let left: usize = (0..LAST_TRIES).map(|_| receiver.try_receive(|_| ())).sum();
    match left {
        0 => Ok(()),
        left => Err(format!("{left} items came after the last")),
    }
}

/// One item at a time from one core to the other.
pub fn stream<T: Item, R: Ring<T>>(operations: u64) -> Result<Sample, Failure> {
    let (sample, _sender, mut receiver) = on_two_cores(
        operations,
        R::make(),
        |sender, numbers, idle| numbers.for_each(|number| send(sender, T::number(number), idle)),
        |receiver, numbers, idle| {
            let mut expected = numbers.start;
            while expected < numbers.end {
                let some = receiver.try_receive(|item: &T| {
                    assert_eq!(item.check(), expected, "lost, repeated or out of order");
                    expected += 1;
                });
                if some == 0 {
                    idle.spin();
                    spin_loop();
                }
            }
        },
    )?;
    nothing_is_left(&mut receiver)?;
    Ok(sample)
}

/// Sends these numbers in batches of 64, made by `item`.
#[inline(always)]
pub fn send_batches<T: Item>(
    sender: &mut impl Send1<T>,
    numbers: Range<u64>,
    item: impl Fn(u64) -> T,
    mut wait: impl FnMut(),
) {
    let mut batch = [T::default(); BATCH];
    for first in numbers.step_by(BATCH) {
        for (number, place) in (first..).zip(&mut batch) {
            *place = item(number);
        }
        let mut sent = 0;
        while sent < BATCH {
            let some = sender.send_some(&black_box(&batch)[sent..]);
            sent += some;
            if some == 0 {
                wait();
            }
        }
    }
}

/// Batches of 64 from one core to the other.
pub fn batches<T: Item, R: Ring<T>>(operations: u64) -> Result<Sample, Failure> {
    let operations = operations / BATCH as u64 * BATCH as u64;
    let (sample, _sender, mut receiver) = on_two_cores(
        operations,
        R::make(),
        |sender, numbers, idle| {
            send_batches(sender, numbers, T::number, || {
                idle.spin();
                spin_loop();
            });
        },
        |receiver, numbers, idle| {
            let mut expected = numbers.start;
            while expected < numbers.end {
                let mut wrong = 0;
                let some = receiver.receive_some(BATCH, |item: &T| {
                    wrong |= item.check() ^ expected;
                    expected += 1;
                });
                assert_eq!(wrong, 0, "lost, repeated or out of order");
                if some == 0 {
                    idle.spin();
                    spin_loop();
                }
            }
        },
    )?;
    nothing_is_left(&mut receiver)?;
    Ok(sample)
}

/// One item there and back over a pair of rings. A trip in [`TRIPS_PER_TIMED`] is timed by itself.
pub fn round_trips<T: Item, R: Ring<T>>(operations: u64) -> Result<Sample, Failure> {
    let (ping, pinged) = R::make();
    let (pong, ponged) = R::make();
    let mut timed = Vec::with_capacity((2 * operations / TRIPS_PER_TIMED) as usize);
    let (sample, (_ping, mut ponged), (_pong, mut pinged)) = on_two_cores(
        operations,
        ((ping, ponged), (pong, pinged)),
        |(ping, ponged), numbers, idle| {
            timed.clear();
            let mut trip = |number| {
                send(ping, T::number(number), idle);
                let mut back = 0;
                while back == 0 {
                    back = ponged.try_receive(|item: &T| {
                        assert_eq!(item.check(), number, "not what was sent")
                    });
                    if back == 0 {
                        idle.spin();
                    }
                }
            };
            for number in numbers {
                if number % TRIPS_PER_TIMED == 0 {
                    let start = Instant::now();
                    trip(number);
                    timed.push(start.elapsed().as_nanos() as u64);
                } else {
                    trip(number);
                }
            }
        },
        |(pong, pinged), numbers, idle| {
            let mut expected = numbers.start;
            while expected < numbers.end {
                let mut there = None;
                pinged.try_receive(|item: &T| there = Some(*item));
                if let Some(item) = there {
                    assert_eq!(item.check(), expected, "lost, repeated or out of order");
                    send(pong, item, idle);
                    expected += 1;
                } else {
                    idle.spin();
                }
            }
        },
    )?;
    nothing_is_left(&mut pinged)?;
    nothing_is_left(&mut ponged)?;
    let mut latency = Latency::default();
    timed.iter().for_each(|ns| latency.record(*ns));
    Ok(sample.with_latency(latency))
}

/// Push and pop on one thread, one item in the ring at a time.
pub fn one_thread<T: Item, R: Ring<T>>(operations: u64) -> Result<Sample, Failure> {
    let trial = Trial::new();
    let mut taken = None;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            trial.part(|_| {
                pin(core(0));
                let (mut sender, mut receiver) = R::make();
                let mut round = |operations: u64| {
                    for number in 0..operations {
                        assert!(sender.try_send(T::number(black_box(number))));
                        let some = receiver.try_receive(|item: &T| {
                            assert_eq!(item.check(), number, "not what was sent")
                        });
                        assert_eq!(some, 1);
                    }
                };
                round(operations / 10);
                let preempted = preemptions();
                let start = Instant::now();
                round(operations);
                let elapsed = start.elapsed();
                let sample = Sample {
                    preemptions: preemptions() - preempted,
                    ..sample(elapsed, operations)
                };
                taken = Some(nothing_is_left(&mut receiver).map(|()| sample));
            });
        });
    });
    trial.verdict()?;
    taken.ok_or("nothing was measured")?
}

/// Few enough that reading the clock is lost in the mean.
pub const TRIPS_PER_TIMED: u64 = 16;
const LAST_TRIES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd;
    use crate::rings::{Line, OursMpmc};

    /// Our ring, with a sender that does wrong once, at item `AT`.
    struct Faulty<const FAULT: u8, const AT: u64>;

    const LOSE: u8 = 0;
    const DOUBLE: u8 = 1;
    const SWAP: u8 = 2;
    const ALTER: u8 = 3;

    type OursSender<T> = <OursMpmc as Ring<T>>::Sender;

    struct FaultySender<T: Item, const FAULT: u8, const AT: u64> {
        ring: OursSender<T>,
        sent: u64,
        held: Option<T>,
    }

    impl<T: Item, const FAULT: u8, const AT: u64> Clone for FaultySender<T, FAULT, AT> {
        fn clone(&self) -> Self {
            Self {
                ring: self.ring.clone(),
                ..*self
            }
        }
    }

    impl<T: Item, const FAULT: u8, const AT: u64> Ring<T> for Faulty<FAULT, AT> {
        type Sender = FaultySender<T, FAULT, AT>;
        type Receiver = <OursMpmc as Ring<T>>::Receiver;
        fn make() -> (Self::Sender, Self::Receiver) {
            let (ring, receiver) = OursMpmc::make();
            let sender = FaultySender {
                ring,
                sent: 0,
                held: None,
            };
            (sender, receiver)
        }
    }

    impl<T: Item, const FAULT: u8, const AT: u64> FaultySender<T, FAULT, AT> {
        fn push(&mut self, item: T) {
            // Not for ever, when nobody takes anything any more.
            for _ in 0..1_000_000 {
                if self.ring.try_send(item) {
                    return;
                }
                std::thread::yield_now();
            }
        }
    }

    impl<T: Item, const FAULT: u8, const AT: u64> Send1<T> for FaultySender<T, FAULT, AT> {
        fn try_send(&mut self, item: T) -> bool {
            if self.sent == AT {
                match FAULT {
                    LOSE => {}
                    DOUBLE => (0..2).for_each(|_| self.push(item)),
                    SWAP => self.held = Some(item),
                    _ => self.push(T::number(item.check() ^ (1 << 20))),
                }
            } else if !self.ring.try_send(item) {
                return false;
            }
            self.sent += 1;
            if self.sent == AT + 2
                && let Some(held) = self.held.take()
            {
                self.push(held);
            }
            true
        }
    }

    const COUNT: u64 = 6400;
    /// An item that no sample has.
    const NEVER: u64 = u64::MAX / 2;
    /// In the measured part, and the last: of one sender, and of each of two.
    const MIDDLE: u64 = 2000;
    const LAST: u64 = COUNT + 640 - 1;
    const LAST_OF_TWO: u64 = COUNT / 2 + 320 - 1;

    fn every_way<const FAULT: u8, const AT: u64>() -> [Result<Sample, Failure>; 4] {
        [
            stream::<u64, Faulty<FAULT, AT>>(COUNT),
            stream::<Line, Faulty<FAULT, AT>>(COUNT),
            batches::<u64, Faulty<FAULT, AT>>(COUNT),
            round_trips::<Line, Faulty<FAULT, AT>>(COUNT),
        ]
    }

    type ManySender<const FAULT: u8, const AT: u64> = <Faulty<FAULT, AT> as Ring<u64>>::Sender;

    fn in_crowds<const FAULT: u8, const AT: u64>() -> [Result<Sample, Failure>; 3] {
        type Way<const FAULT: u8, const AT: u64> = Faulty<FAULT, AT>;
        let clone = |sender: &ManySender<FAULT, AT>| sender.clone();
        [
            crowd::many::<u64, Way<FAULT, AT>, false>(COUNT, clone, None),
            crowd::many::<u64, Way<FAULT, AT>, true>(COUNT, clone, None),
            crowd::many::<u64, Way<FAULT, AT>, false>(COUNT, clone, Some(|own| own.clone())),
        ]
    }

    /// The runs pin their threads to the same cores: one at a time.
    #[test]
    fn what_is_lost_doubled_disordered_or_altered_fails_the_sample_and_ends_it() {
        for whole in every_way::<LOSE, NEVER>() {
            whole.unwrap();
        }
        for whole in in_crowds::<LOSE, NEVER>() {
            whole.unwrap();
        }
        let begin = Instant::now();
        let faults = [
            every_way::<LOSE, MIDDLE>(),
            every_way::<LOSE, LAST>(),
            every_way::<DOUBLE, MIDDLE>(),
            every_way::<DOUBLE, LAST>(),
            every_way::<SWAP, MIDDLE>(),
            every_way::<ALTER, MIDDLE>(),
        ];
        for (number, fault) in faults.into_iter().flatten().enumerate() {
            assert!(fault.is_err(), "{number}");
        }
        let faults = [
            in_crowds::<LOSE, MIDDLE>(),
            in_crowds::<LOSE, LAST_OF_TWO>(),
            in_crowds::<DOUBLE, MIDDLE>(),
            in_crowds::<DOUBLE, LAST_OF_TWO>(),
            in_crowds::<ALTER, MIDDLE>(),
        ];
        for (number, fault) in faults.into_iter().flatten().enumerate() {
            assert!(fault.is_err(), "{number} in a crowd");
        }
        assert!(begin.elapsed().as_secs() < 60);
    }

    #[test]
    fn a_line_shows_damage_in_each_of_its_words() {
        for word in 0..8 {
            let mut line = Line::number(7);
            line[word] ^= 1 << 40;
            assert!(std::panic::catch_unwind(|| line.check()).is_err());
        }
        assert_eq!(Line::number(u64::MAX).check(), u64::MAX);
    }
}
