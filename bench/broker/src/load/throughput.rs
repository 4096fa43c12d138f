//! As much as goes through, with a bound on what is under way.

use std::time::{Duration, Instant};

use bench_harness::payload::{Checker, Maker};
use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Sample};

use super::{PATIENCE, Seats, metered, quiet, seated};
use crate::line::{Event, Line};
use crate::peer::{Peer, Running};

/// So many publishers to so many subscribers, each of whom gets everything.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub publishers: usize,
    pub subscribers: usize,
    pub bytes: usize,
    pub time: Duration,
}

impl Flow {
    pub fn run<P: Peer>(self, peer: &P, seats: &Seats) -> Result<Sample, Failure> {
        seated(peer, seats, |running| self.drive(peer, running))
    }

    /// Messages under way at most, so that nobody's buffers grow without end, and caches are the same for all.
    fn window<P: Peer>(self, peer: &P) -> u64 {
        let window = (UNDER_WAY_BYTES / (self.bytes + AROUND_BYTES)).max(16) as u64;
        peer.window().map_or(window, |own| window.min(own))
    }

    fn drive<P: Peer>(self, peer: &P, running: &Running) -> Result<Sample, Failure> {
        let mut subscribers = Vec::new();
        for _ in 0..self.subscribers {
            let checker = Checker::new(self.publishers, self.bytes);
            subscribers.push((peer.subscriber(running.address)?, checker));
        }
        let mut publishers = Vec::new();
        for number in 0..self.publishers {
            publishers.push((
                peer.publisher(running.address)?,
                Maker::new(number as u16, self.bytes),
                0u64,
            ));
        }
        let window = self.window(peer);
        let (mut published, mut acked) = (0u64, 0u64);
        let begin = Instant::now();
        let mut alive = begin;
        // The first part warms up; then the meter runs; then what is under way is waited for.
        let mut measured: Option<(Meter, u64)> = None;
        let mut sample = None;
        loop {
            let now = Instant::now();
            let received = subscribers
                .iter()
                .map(|(_, checker)| checker.count())
                .min()
                .unwrap_or(acked);
            if sample.is_none() {
                if measured.is_none() && now - begin >= self.time / WARM_UP_PARTS {
                    measured = Some((Meter::start(Some(&running.server)), received));
                } else if let Some((meter, before)) = &measured
                    && meter.elapsed() >= self.time
                {
                    let reading = meter.read(Some(&running.server));
                    let count = received - before;
                    if count == 0 {
                        return Err("nothing came while the clock ran".into());
                    }
                    let rate = count as f64 / reading.wall.as_secs_f64();
                    sample = Some(metered(&reading, count, running).with(Figure::PerSecond, rate));
                }
            } else if received == published && (acked == published || !peer.acknowledges()) {
                break;
            }
            if now - alive > PATIENCE {
                return Err(format!(
                    "{} of {published} messages are missing",
                    published - received
                ));
            }
            let under_way = published
                - if peer.acknowledges() {
                    received.min(acked)
                } else {
                    received
                };
            let mut room = if sample.is_some() {
                0
            } else {
                window.saturating_sub(under_way)
            };
            for (line, maker, number) in &mut publishers {
                let mut turn = (window / 4).max(1).min(room);
                while turn > 0 && line.publish(maker.make(*number, 0))? {
                    *number += 1;
                    published += 1;
                    (turn, room) = (turn - 1, room - 1);
                }
                line.flush()?;
                let came = line.poll(&mut |event| {
                    if let Event::Acked(count) = event {
                        acked += count;
                    }
                    Ok(())
                })?;
                if came {
                    alive = now;
                }
            }
            for (line, checker) in &mut subscribers {
                let came = line.poll(&mut |event| match event {
                    Event::Message(message) => checker.take(message).map(drop),
                    Event::Acked(_) => Ok(()),
                })?;
                if came {
                    alive = now;
                    line.flush()?;
                }
            }
        }
        if acked > published {
            return Err(format!(
                "{acked} acknowledgements came for {published} messages"
            ));
        }
        let subscribed = subscribers.iter_mut().map(|(line, _)| line);
        let mut lines: Vec<&mut P::Line> = subscribed.collect();
        lines.extend(publishers.iter_mut().map(|(line, _, _)| line));
        quiet(&mut lines)?;
        sample.ok_or_else(|| "nothing was measured".into())
    }
}

/// Bytes under way: what fits a second-level cache, and a window of most clients.
const UNDER_WAY_BYTES: usize = 1 << 20;
/// About what a protocol adds to a message.
const AROUND_BYTES: usize = 40;
const WARM_UP_PARTS: u32 = 4;
