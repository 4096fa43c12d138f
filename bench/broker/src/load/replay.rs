//! Everything that is kept, from its start, to one who comes late.

use std::time::{Duration, Instant};

use bench_harness::payload::{Checker, Maker};
use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Sample};

use super::{PATIENCE, Seats, metered, quiet, seated};
use crate::line::{Event, Line};
use crate::peer::{Peer, Running};

/// So many messages, published and acknowledged before anybody reads.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    pub count: u64,
    pub bytes: usize,
}

impl Replay {
    pub fn run<P: Peer>(self, peer: &P, seats: &Seats) -> Result<Sample, Failure> {
        seated(peer, seats, |running| self.drive(peer, running))
    }

    fn drive<P: Peer>(self, peer: &P, running: &Running) -> Result<Sample, Failure> {
        self.fill(peer, running)?;
        // One who goes away soon warms up.
        drop(self.read(peer, running, self.count / WARM_UP_PARTS)?);
        std::thread::sleep(SETTLE);
        let meter = Meter::start(Some(&running.server));
        let mut line = self.read(peer, running, self.count)?;
        let reading = meter.read(Some(&running.server));
        let rate = self.count as f64 / reading.wall.as_secs_f64();
        let sample = metered(&reading, self.count, running).with(Figure::PerSecond, rate);
        quiet(&mut [&mut line])?;
        Ok(sample)
    }

    /// Has the first `count` messages come again.
    fn read<P: Peer>(self, peer: &P, running: &Running, count: u64) -> Result<P::Line, Failure> {
        let replayer = peer.replayer(running.address).ok_or("nothing is kept")?;
        let mut line = replayer?;
        let mut checker = Checker::new(1, self.bytes);
        let mut alive = Instant::now();
        while checker.count() < count {
            let came = line.poll(&mut |event| match event {
                Event::Message(message) => checker.take(message).map(drop),
                Event::Acked(_) => Ok(()),
            })?;
            if came {
                alive = Instant::now();
                line.flush()?;
            } else if alive.elapsed() > PATIENCE {
                return Err(format!(
                    "{} of {count} messages did not come again",
                    count - checker.count()
                ));
            }
        }
        Ok(line)
    }

    fn fill<P: Peer>(self, peer: &P, running: &Running) -> Result<(), Failure> {
        let mut line = peer.publisher(running.address)?;
        let mut maker = Maker::new(0, self.bytes);
        let (mut published, mut acked) = (0, 0);
        let window = peer.window().unwrap_or(WINDOW);
        let mut alive = Instant::now();
        while acked < self.count {
            while published < self.count
                && published - acked < window
                && line.publish(maker.make(published, 0))?
            {
                published += 1;
            }
            line.flush()?;
            let came = line.poll(&mut |event| {
                if let Event::Acked(count) = event {
                    acked += count;
                }
                Ok(())
            })?;
            if came {
                alive = Instant::now();
            } else if alive.elapsed() > PATIENCE {
                return Err("no acknowledgements come".into());
            }
        }
        Ok(())
    }
}

const WINDOW: u64 = 1000;
const WARM_UP_PARTS: u64 = 10;
/// What the server does for one who has gone away belongs to nobody.
const SETTLE: Duration = Duration::from_millis(100);
