//! Acknowledged publishes with a bounded number in flight.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bench_harness::payload::Maker;
use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Latency, Sample};

use super::{PATIENCE, Seats, Wait, metered, quiet, read_back, seated};
use crate::line::{Event, Line, wait};
use crate::peer::{Peer, Running};

/// So many publishers, each with so many unacknowledged messages at most, or fewer where a peer has a bound for all.
#[derive(Clone, Copy, Debug)]
pub struct Acks {
    pub publishers: usize,
    pub window: u64,
    pub bytes: usize,
    pub time: Duration,
    pub wait: Wait,
}

struct Publisher<L> {
    line: L,
    maker: Maker,
    number: u64,
    /// When messages were published, and how many at that time are unacknowledged.
    groups: VecDeque<(u64, u64)>,
    in_flight: u64,
    flushed: bool,
}

impl Acks {
    pub fn run<P: Peer>(self, peer: &P, seats: &Seats) -> Result<Sample, Failure> {
        seated(peer, seats, |running| self.drive(peer, running))
    }

    /// What each may have out, where all together may have no more than a peer's bound.
    fn window_of<P: Peer>(self, peer: &P) -> u64 {
        let share = |all: u64| (all / self.publishers as u64).max(1);
        let all = peer.window();
        all.map_or(self.window, |all| self.window.min(share(all)))
    }

    fn drive<P: Peer>(self, peer: &P, running: &Running) -> Result<Sample, Failure> {
        let window = self.window_of(peer);
        let mut publishers = Vec::new();
        for number in 0..self.publishers {
            publishers.push(Publisher {
                line: peer.publisher(running.address)?,
                maker: Maker::new(number as u16, self.bytes),
                number: 0,
                groups: VecDeque::new(),
                in_flight: 0,
                flushed: true,
            });
        }
        let mut latency = Latency::default();
        let warm_up_ns = WARM_UP.as_nanos() as u64;
        let (mut meter, mut counted, mut reading) = (None, 0u64, None);
        let begin = Instant::now();
        let now_ns = || begin.elapsed().as_nanos() as u64;
        let mut alive_ns = 0;
        loop {
            let now = now_ns();
            if meter.is_none() && now >= warm_up_ns {
                meter = Some(Meter::start(Some(&running.server)));
                counted = 0;
            }
            if let Some(meter) = &meter
                && reading.is_none()
                && meter.elapsed() >= self.time
                // A disk may take longer for one batch than a short sample lasts.
                && (latency.count() >= COUNT_LEAST || meter.elapsed() > PATIENCE)
            {
                reading = Some((meter.read(Some(&running.server)), counted));
            }
            if reading.is_some() && publishers.iter().all(|publisher| publisher.in_flight == 0) {
                break;
            }
            if now.saturating_sub(alive_ns) > PATIENCE.as_nanos() as u64 {
                return Err(format!("no acknowledgement in {} s", PATIENCE.as_secs()));
            }
            let mut idle = true;
            for publisher in &mut publishers {
                let mut group = 0;
                while reading.is_none()
                    && publisher.in_flight < window
                    && publisher
                        .line
                        .publish(publisher.maker.make(publisher.number, now))?
                {
                    publisher.number += 1;
                    publisher.in_flight += 1;
                    group += 1;
                }
                if group > 0 {
                    publisher.groups.push_back((now, group));
                }
                if group > 0 || !publisher.flushed {
                    // What the socket did not take at once goes out as soon as it does.
                    publisher.flushed = publisher.line.flush()?;
                    idle = false;
                }
                let (groups, in_flight) = (&mut publisher.groups, &mut publisher.in_flight);
                let came = publisher.line.poll(&mut |event| {
                    let Event::Acked(mut count) = event else {
                        return Ok(());
                    };
                    *in_flight = in_flight
                        .checked_sub(count)
                        .ok_or("more was acknowledged than was published")?;
                    counted += count;
                    let now = now_ns();
                    while let Some((sent, left)) = groups.front_mut().filter(|_| count > 0) {
                        let taken = count.min(*left);
                        if *sent >= warm_up_ns {
                            latency.record_n(now - *sent, taken);
                        }
                        (*left, count) = (*left - taken, count - taken);
                        if *left == 0 {
                            groups.pop_front();
                        }
                    }
                    Ok(())
                })?;
                if came {
                    alive_ns = now;
                    idle = false;
                }
            }
            if idle && self.wait == Wait::Park {
                let lines: Vec<&P::Line> =
                    publishers.iter().map(|publisher| &publisher.line).collect();
                wait(&lines, Some(Duration::from_millis(20)))?;
            }
        }
        let (reading, counted) = reading.ok_or("nothing was measured")?;
        if latency.count() == 0 {
            return Err(
                "nothing that was published after the warm-up was acknowledged in time".into(),
            );
        }
        let rate = counted as f64 / reading.wall.as_secs_f64();
        let sample = metered(&reading, counted, running)
            .with(Figure::PerSecond, rate)
            .with_latency(latency);
        // Outside the measured time: whether what was acknowledged is there.
        let mut lines: Vec<&mut P::Line> = publishers.iter_mut().map(|own| &mut own.line).collect();
        quiet(&mut lines)?;
        let published: Vec<u64> = publishers.iter().map(|own| own.number).collect();
        read_back(peer, running, self.bytes, &published)?;
        Ok(sample)
    }
}

/// Acknowledgements that a sample has at least.
const COUNT_LEAST: u64 = 100;
const WARM_UP: Duration = Duration::from_millis(300);
