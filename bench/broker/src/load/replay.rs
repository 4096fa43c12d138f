//! Everything that is kept, from its start, to one who comes late.

use std::time::Instant;

use bench_harness::payload::{Checker, Maker};
use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Sample};

use super::{PATIENCE, Seats, metered, seated};
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
        let meter = Meter::start(Some(&running.server));
        let replayer = peer.replayer(running.address).ok_or("nothing is kept")?;
        let mut line = replayer?;
        let mut checker = Checker::new(1, self.bytes);
        let mut alive = Instant::now();
        while checker.count() < self.count {
            let came = line.poll(&mut |event| match event {
                Event::Message(message) => checker.take(message).map(drop),
                Event::Acked(_) => Ok(()),
            })?;
            if came {
                alive = Instant::now();
                line.flush()?;
            } else if alive.elapsed() > PATIENCE {
                return Err(format!(
                    "{} of {} messages did not come again",
                    self.count - checker.count(),
                    self.count
                ));
            }
        }
        let reading = meter.read(Some(&running.server));
        let rate = self.count as f64 / reading.wall.as_secs_f64();
        Ok(metered(&reading, self.count, running).with(Figure::PerSecond, rate))
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
