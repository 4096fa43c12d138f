//! A server that nobody uses.

use std::time::Duration;

use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Sample};

use super::{Seats, metered};
use crate::peer::{Peer, Seat};

/// One subscriber is connected; nothing is published for so long.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    pub time: Duration,
}

impl Idle {
    pub fn run<P: Peer>(self, peer: &P, seats: &Seats) -> Result<Sample, Failure> {
        let running = peer.start(&Seat {
            core: None,
            data: seats.data.clone(),
            connections: None,
        })?;
        let _subscriber = peer.subscriber(running.address)?;
        std::thread::sleep(SETTLE);
        let meter = Meter::start(Some(&running.server));
        std::thread::sleep(self.time);
        let reading = meter.read(Some(&running.server));
        let mut sample = metered(&reading, 1, &running);
        sample.figures.remove(&Figure::CpuUs);
        let percent = 100.0 * reading.server.as_secs_f64() / reading.wall.as_secs_f64();
        Ok(sample.with(Figure::IdlePercent, percent))
    }
}

/// What follows a start is not idling.
const SETTLE: Duration = Duration::from_millis(1500);
