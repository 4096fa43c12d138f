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
use std::time::{Duration, Instant};

use bench_harness::payload::Checker;
use bench_harness::server::Reading;
use bench_harness::{Failure, Figure, Sample, cores};

pub use acks::Acks;
pub use crowd::Crowd;
pub use idle::Idle;
pub use latency::OpenLoop;
pub use replay::Replay;
pub use throughput::Flow;

use crate::line::{Event, Line};
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

/// Everything has come that was to: for a while nothing more may, on any of these connections. What comes twice comes soon.
fn quiet<L: Line>(lines: &mut [&mut L]) -> Result<(), Failure> {
    let begin = Instant::now();
    while begin.elapsed() < QUIET {
        for line in &mut *lines {
            line.poll(&mut |event| match event {
                Event::Message(_) => Err("a message came after the last".into()),
                Event::Acked(count) => Err(format!("{count} acknowledgements came after the last")),
            })?;
        }
    }
    Ok(())
}

/// Reads everything that is kept, from its start, up to the last message of each publisher, who has published so many.
/// Nothing where nothing is kept.
fn read_back<P: Peer>(
    peer: &P,
    running: &Running,
    bytes: usize,
    published: &[u64],
) -> Result<(), Failure> {
    let Some(replayer) = peer.replayer(running.address) else {
        return Ok(());
    };
    let mut line = replayer?;
    // Of more than a stream is to keep, the first are gone.
    let mut checker = Checker::midway(published.len(), bytes);
    let mut alive = Instant::now();
    let is_last = |checker: &Checker, publisher: usize, published: u64| {
        checker.next(publisher).unwrap_or_default() == published
    };
    loop {
        let missing = published
            .iter()
            .enumerate()
            .find(|(publisher, published)| !is_last(&checker, *publisher, **published));
        let Some((publisher, published)) = missing else {
            break;
        };
        let came = line.poll(&mut |event| match event {
            Event::Message(message) => checker.take(message).map(drop),
            Event::Acked(_) => Err("a reader was sent an acknowledgement".into()),
        })?;
        if came {
            alive = Instant::now();
            line.flush()?;
        } else if alive.elapsed() > PATIENCE {
            return Err(format!(
                "of {published} messages of publisher {publisher} that were acknowledged, those from {} on are not kept",
                checker.next(publisher).unwrap_or_default()
            ));
        }
    }
    let all: u64 = published.iter().sum();
    if checker.count() < all && all * (bytes + RECORD_BYTES) as u64 <= KEPT_BYTES {
        return Err(format!("{} of {all} messages are kept", checker.count()));
    }
    quiet(&mut [&mut line])
}

/// What a stream is to keep at least, in every setting that keeps messages.
const KEPT_BYTES: u64 = 1 << 30;
/// More than any of them takes beside a payload.
const RECORD_BYTES: usize = 256;
const QUIET: Duration = Duration::from_millis(20);
/// How long nothing at all may happen.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, BorrowedFd};

    use super::*;

    /// A connection on which these things are still to come.
    struct Late(TcpStream, Vec<Event<'static>>);

    impl Line for Late {
        fn publish(&mut self, _: &[u8]) -> Result<bool, Failure> {
            Ok(true)
        }

        fn flush(&mut self) -> Result<bool, Failure> {
            Ok(true)
        }

        fn poll(
            &mut self,
            on: &mut impl FnMut(Event<'_>) -> Result<(), Failure>,
        ) -> Result<bool, Failure> {
            self.1
                .pop()
                .map_or(Ok(false), |event| on(event).map(|()| true))
        }

        fn socket(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    #[test]
    fn what_comes_after_the_last_fails_the_sample() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let late = |events| Late(TcpStream::connect(address).unwrap(), events);
        let begin = Instant::now();
        assert!(quiet(&mut [&mut late(vec![]), &mut late(vec![])]).is_ok());
        for event in [Event::Message(b"twice"), Event::Acked(1)] {
            assert!(quiet(&mut [&mut late(vec![]), &mut late(vec![event])]).is_err());
        }
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}
