//! What is done to a broker. One thread, bound to a core of its own, drives all connections: so two cores are enough, and
//! the client is the same for all.
//!
//! Every sample has a server of its own that begins with nothing; the cores' distance is taken before it starts and after
//! it has ended.

mod acks;
mod crowd;
mod idle;
mod latency;
mod replay;
mod throughput;

use std::path::PathBuf;
use std::time::Duration;

use bench_harness::server::Reading;
use bench_harness::{Failure, Figure, Sample, cores};

pub use acks::Acks;
pub use crowd::Crowd;
pub use idle::Idle;
pub use latency::OpenLoop;
pub use replay::Replay;
pub use throughput::Flow;

use crate::peer::{Peer, Running, Seat};

/// Where server and client run, and where files go.
#[derive(Clone, Debug)]
pub struct Seats {
    /// The server's core and the client's; neither is bound when there is only one.
    pub cores: Option<[usize; 2]>,
    pub data: PathBuf,
}

/// How the client waits when nothing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Spin,
    Park,
}

impl Wait {
    pub fn words(self) -> &'static str {
        match self {
            Self::Spin => "the client spins",
            Self::Park => "the client parks",
        }
    }
}

/// Starts a server, runs the work on the client's core, ends the server, and adds what was calibrated to the sample.
fn seated<P: Peer>(
    peer: &P,
    seats: &Seats,
    work: impl FnOnce(&Running) -> Result<Sample, Failure>,
) -> Result<Sample, Failure> {
    let crossing = || seats.cores.map_or(0.0, cores::crossing_ns);
    let before = crossing();
    let running = peer.start(&Seat {
        core: seats.cores.map(|cores| cores[0]),
        data: seats.data.clone(),
        connections: None,
    })?;
    let worked = cores::on_core(seats.cores.map(|cores| cores[1]), || work(&running));
    let mut sample = worked.map_err(|why| match running.server.said() {
        said if said.is_empty() => why,
        said => format!("{why}\nthe server said:\n{said}"),
    })?;
    drop(running);
    sample.crossing_ns = [before, crossing()];
    Ok(sample)
}

/// A sample with what a meter saw while so many messages went through.
fn metered(reading: &Reading, messages: u64, running: &Running) -> Sample {
    let mut sample = Sample::default()
        .with(
            Figure::CpuUs,
            reading.server.as_secs_f64() * 1e6 / messages.max(1) as f64,
        )
        .with(Figure::RssMib, running.server.rss_mib());
    sample.preemptions = reading.preemptions;
    sample.others_percent = reading.others_percent;
    sample
}

/// How long nothing at all may happen.
const PATIENCE: Duration = Duration::from_secs(10);
