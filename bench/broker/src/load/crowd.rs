//! Many subscribers to whom nothing comes: what each costs the server.

use std::time::Duration;

use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Sample, limits};

use super::{Seats, metered};
use crate::peer::{Peer, Seat};

/// So many are connected and subscribed; nothing is published.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub connections: u32,
    /// How long the server is watched when all are there.
    pub time: Duration,
}

impl Crowd {
    pub fn run<P: Peer>(self, peer: &P, seats: &Seats) -> Result<Sample, Failure> {
        let all = FIRST + self.connections;
        limits::raise_open_files(u64::from(all + SPARE))?;
        let running = peer.start(&Seat {
            core: None,
            data: seats.data.clone(),
            connections: Some(all + SPARE),
        })?;
        let mut lines = Vec::with_capacity(all as usize);
        let mut join = |count: u32| {
            for number in 0..count {
                let line = peer.subscriber(running.address);
                lines.push(line.map_err(|why| {
                    format!(
                        "subscriber {number} of {count}: {why}; {}",
                        running.server.said()
                    )
                })?);
            }
            Ok::<_, Failure>(running.server.rss_mib())
        };
        // What the first ones make the server take belongs to no connection.
        let before = join(FIRST)?;
        let after = join(self.connections)?;
        std::thread::sleep(SETTLE);
        let meter = Meter::start(Some(&running.server));
        std::thread::sleep(self.time);
        let reading = meter.read(Some(&running.server));
        let mut sample = metered(&reading, 1, &running);
        sample.figures.remove(&Figure::CpuUs);
        let percent = 100.0 * reading.server.as_secs_f64() / reading.wall.as_secs_f64();
        let each = (after - before) * 1024.0 / f64::from(self.connections);
        Ok(sample
            .with(Figure::ConnectionKib, each)
            .with(Figure::IdlePercent, percent))
    }
}

const FIRST: u32 = 100;
/// Files that are no connections, and connections that are no subscribers.
const SPARE: u32 = 256;
/// What follows the last subscription is not idling.
const SETTLE: Duration = Duration::from_millis(1500);
