//! Messages at fixed times: from when one was due to when it came, whatever happened to those before it.

use std::time::{Duration, Instant};

use bench_harness::payload::{Checker, Maker};
use bench_harness::server::Meter;
use bench_harness::{Failure, Latency, Sample};

use super::{PATIENCE, Seats, Wait, metered, quiet, seated};
use crate::line::{Event, Line, wait};
use crate::peer::{Peer, Running};

/// One publisher, one subscriber, so many messages a second.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    pub rate: f64,
    pub bytes: usize,
    pub time: Duration,
    pub wait: Wait,
}

impl OpenLoop {
    pub fn run<P: Peer>(self, peer: &P, seats: &Seats) -> Result<Sample, Failure> {
        seated(peer, seats, |running| self.drive(peer, running))
    }

    fn drive<P: Peer>(self, peer: &P, running: &Running) -> Result<Sample, Failure> {
        let mut subscriber = peer.subscriber(running.address)?;
        let mut publisher = peer.publisher(running.address)?;
        let (mut maker, mut checker) = (Maker::new(0, self.bytes), Checker::new(1, self.bytes));
        let warm_up = (self.rate * WARM_UP.as_secs_f64()) as u64;
        let count = warm_up + (self.rate * self.time.as_secs_f64()) as u64;
        let interval_ns = 1e9 / self.rate;
        let due_ns = |number: u64| (number as f64 * interval_ns) as u64;
        let end_ns = due_ns(count) + PATIENCE.as_nanos() as u64;
        let (mut published, mut acked, mut latency) = (0u64, 0u64, Latency::default());
        let (mut meter, mut flushed) = (None, true);
        let begin = Instant::now();
        let now_ns = || begin.elapsed().as_nanos() as u64;
        while checker.count() < count || (peer.acknowledges() && acked < count) {
            let now = now_ns();
            if meter.is_none() && published >= warm_up {
                meter = Some(Meter::start(Some(&running.server)));
            }
            let mut sent = false;
            while published < count
                && due_ns(published) <= now
                && publisher.publish(maker.make(published, due_ns(published)))?
            {
                published += 1;
                sent = true;
            }
            // What the socket did not take at once goes out as soon as it does.
            if sent || !flushed {
                flushed = publisher.flush()?;
            }
            let mut came = subscriber.poll(&mut |event| {
                if let Event::Message(message) = event {
                    let number = checker.count();
                    let due = checker.take(message)?;
                    if number >= warm_up {
                        latency.record(now_ns().saturating_sub(due));
                    }
                }
                Ok(())
            })?;
            if came {
                subscriber.flush()?;
            }
            // An acknowledgement is no hurry: what is due and what has come go first.
            if !sent && !came {
                came = publisher.poll(&mut |event| {
                    if let Event::Acked(count) = event {
                        acked += count;
                    }
                    Ok(())
                })?;
            }
            if sent || came {
                continue;
            }
            let now = now_ns();
            if now > end_ns {
                return Err(format!(
                    "{} of {count} messages did not come; {published} were published, {acked} acknowledged",
                    count - checker.count()
                ));
            }
            let until = if published < count {
                due_ns(published)
            } else {
                end_ns
            };
            // It sleeps while it waits for a delivery, or long; not just before a message is due: how late the system
            // wakes a client that sleeps until then says nothing about brokers.
            let waits = published > checker.count() || until > now + SOON_NS;
            if self.wait == Wait::Park && waits && until > now && flushed {
                let sleep = if published > checker.count() {
                    until - now
                } else {
                    until - now - SOON_NS
                };
                wait(
                    &[&subscriber, &publisher],
                    Some(Duration::from_nanos(sleep)),
                )?;
            }
        }
        let meter = meter.ok_or("nothing was measured")?;
        let reading = meter.read(Some(&running.server));
        let sample = metered(&reading, count - warm_up, running).with_latency(latency);
        if acked > count {
            return Err(format!(
                "{acked} acknowledgements came for {count} messages"
            ));
        }
        quiet(&mut [&mut subscriber, &mut publisher])?;
        Ok(sample)
    }
}

/// Connections, caches and idle strategies settle before anything counts.
const WARM_UP: Duration = Duration::from_millis(300);
/// More than the system takes to wake somebody.
const SOON_NS: u64 = 150_000;
