//! More threads than cores: several senders on core 0, one or several receivers on core 1.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bench_harness::cores::{self, Gate, pin};
use bench_harness::server::Meter;
use bench_harness::{Failure, Sample};

use crate::rings::{Item, Receive1, Ring, Send1};
use crate::trial::{BATCH, Idle, Trial, core, sample, warm_up};
use crate::work::{nothing_is_left, send_batches};

/// How an end of a ring is made from another.
pub type Cloned<T> = fn(&T) -> T;

const SENDERS: u64 = 2;

/// Whoever finds the ring full or empty tries some times more and then lets the other threads of its core run.
pub fn many<T: Item, R: Ring<T>, const BATCHES: bool>(
    operations: u64,
    clone_sender: Cloned<R::Sender>,
    clone_receiver: Option<Cloned<R::Receiver>>,
) -> Result<Sample, Failure> {
    let each = operations / SENDERS / BATCH as u64 * BATCH as u64;
    let pair = [core(0), core(1)];
    let before = cores::crossing_ns(pair);
    let (sender, receiver) = R::make();
    let mut senders: Vec<_> = (1..SENDERS).map(|_| clone_sender(&sender)).collect();
    senders.push(sender);
    let mut receivers: Vec<_> = clone_receiver
        .iter()
        .map(|clone| clone(&receiver))
        .collect();
    receivers.push(receiver);
    let crowd = Crowd {
        trial: Trial::new(),
        gate: Gate::default(),
        threads: (senders.len() + receivers.len()) as u64,
        receivers: receivers.len(),
        measured: warm_up(each)..warm_up(each) + each,
        done: AtomicU64::new(0),
    };
    let meter = Meter::start(None);
    let (times, seen) = std::thread::scope(|scope| {
        let crowd = &crowd;
        let sending = |(index, sender)| {
            scope.spawn(move || crowd.send::<T, _, BATCHES>(sender, index as u64))
        };
        let receiving = |receiver| scope.spawn(move || crowd.receive::<T, _, BATCHES>(receiver));
        let senders: Vec<_> = senders.iter_mut().enumerate().map(sending).collect();
        let receivers: Vec<_> = receivers.iter_mut().map(receiving).collect();
        let mut times = Vec::new();
        for sender in senders {
            times.push(sender.join().expect("checks are caught"));
        }
        let mut seen = Vec::new();
        for receiver in receivers {
            let (time, own) = receiver.join().expect("checks are caught");
            times.push(time);
            seen.push(own);
        }
        (times, seen)
    });
    let reading = meter.read(None);
    crowd.trial.verdict()?;
    crowd.check(&seen)?;
    nothing_is_left(&mut receivers[0])?;
    let start = times.iter().map(|time| time.start).min();
    let end = times.iter().map(|time| time.end).max();
    let elapsed = end.zip(start).map(|(end, start)| end - start);
    Ok(Sample {
        crossing_ns: [before, cores::crossing_ns(pair)],
        others_percent: reading.others_percent,
        ..sample(elapsed.ok_or("nobody took part")?, each * SENDERS)
    })
}

struct Crowd {
    trial: Trial,
    gate: Gate,
    threads: u64,
    receivers: usize,
    /// The numbers of each sender; those before warm up.
    measured: Range<u64>,
    /// What receivers have said that they took.
    done: AtomicU64,
}

/// What came from a sender: how many, a sum that no other set of numbers has, and the last, for the order.
#[derive(Clone, Copy)]
struct Seen {
    count: u64,
    sum: u64,
    next: u64,
}

impl Crowd {
    fn send<T: Item, S: Send1<T>, const BATCHES: bool>(
        &self,
        sender: &mut S,
        index: u64,
    ) -> Range<Instant> {
        pin(core(0));
        let item = |number| T::number((number << SENDER_BITS) | index);
        self.twice(|numbers, idle| {
            if BATCHES {
                return send_batches(sender, numbers, item, || idle.share());
            }
            for number in numbers {
                idle.over();
                while !sender.try_send(item(number)) {
                    idle.share();
                }
            }
        })
    }

    fn receive<T: Item, R: Receive1<T>, const BATCHES: bool>(
        &self,
        receiver: &mut R,
    ) -> (Range<Instant>, [Seen; SENDERS as usize]) {
        pin(core(1));
        let mut seen = [Seen {
            count: 0,
            sum: 0,
            next: 0,
        }; SENDERS as usize];
        let alone = self.receivers == 1;
        let times = self.twice(|numbers, idle| {
            let all = numbers.end * SENDERS;
            let mut on = |item: &T| {
                let number = item.check();
                let sender = number & ((1 << SENDER_BITS) - 1);
                let seen = seen.get_mut(sender as usize).expect("one of the senders");
                let number = number >> SENDER_BITS;
                // Whoever is alone gets all.
                let in_order = number == seen.next || !alone && number > seen.next;
                assert!(in_order, "lost, repeated or out of order");
                seen.next = number + 1;
                seen.count += 1;
                if !alone {
                    seen.sum = seen.sum.wrapping_add(mixed(number));
                }
            };
            let mut unreported = 0;
            loop {
                let some = if BATCHES {
                    receiver.receive_some(BATCH, &mut on)
                } else {
                    receiver.try_receive(&mut on)
                };
                unreported += some as u64;
                if some > 0 {
                    idle.over();
                } else {
                    let done = self.done.fetch_add(unreported, Ordering::Relaxed) + unreported;
                    unreported = 0;
                    if done >= all {
                        break;
                    }
                    idle.share();
                }
            }
        });
        (times, seen)
    }

    /// Warms up, and then works when all others do; from when to when.
    fn twice(&self, mut work: impl FnMut(Range<u64>, &mut Idle<'_>)) -> Range<Instant> {
        self.gate.pass(self.threads);
        self.trial.part(|idle| work(0..self.measured.start, idle));
        self.gate.pass(self.threads);
        let start = Instant::now();
        self.trial.part(|idle| work(self.measured.clone(), idle));
        start..Instant::now()
    }

    /// All receivers together have got each number of each sender once.
    fn check(&self, seen: &[[Seen; SENDERS as usize]]) -> Result<(), Failure> {
        let all = self.measured.end;
        let sum = match seen {
            [_] => 0,
            _ => (0..all).map(mixed).fold(0, u64::wrapping_add),
        };
        for sender in 0..SENDERS as usize {
            let own = seen.iter().map(|seen| seen[sender]);
            let came = own.fold((0, 0), |(count, sum), own| {
                (count + own.count, own.sum.wrapping_add(sum))
            });
            if came != (all, sum) {
                return Err(format!(
                    "{} of {all} items of sender {sender} came, or others in their place",
                    came.0
                ));
            }
        }
        Ok(())
    }
}

/// A number whose bits all depend on all bits of this one: two errors do not make up for each other in a sum.
#[inline(always)]
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed ^ mixed >> 32
}

const SENDER_BITS: u32 = 8;
