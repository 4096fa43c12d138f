//! There and back, one message at a time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_harness::payload::{Checker, Maker};
use bench_harness::server::Meter;
use bench_harness::{Failure, Latency, Sample, cores};

use crate::transport::{End, Link, Transport};

/// Measures so many round trips of messages of so many bytes, after some to warm up.
pub fn run<T: Transport>(transport: &T, bytes: usize, trips: usize) -> Result<Sample, Failure> {
    let pair = cores::pair().ok_or("two cores are needed")?;
    let before = cores::crossing_ns(pair);
    let warm_up = trips / 10 + 1;
    let link = transport.link()?;
    let both = Barrier::new(2);
    let done = AtomicBool::new(false);
    let (link, both, done) = (&link, &both, &done);
    let sample = std::thread::scope(|scope| {
        let answering = scope.spawn(move || {
            cores::pin(pair[0]);
            let end = link.end(1);
            both.wait();
            let mut end = end?;
            let mut message = vec![0; bytes];
            for _ in 0..warm_up + trips {
                end.receive(&mut message)?;
                end.send(&message)?;
            }
            // The other side reads first, then both ends may go.
            let begin = Instant::now();
            while !done.load(Ordering::Acquire) && begin.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            Ok::<_, Failure>(())
        });
        let asking = scope.spawn(move || {
            cores::pin(pair[1]);
            let end = link.end(0);
            both.wait();
            let mut end = end?;
            let (mut maker, mut checker, mut latency) = (
                Maker::new(0, bytes),
                Checker::new(1, bytes),
                Latency::default(),
            );
            let mut message = vec![0; bytes];
            let meter = Meter::start(link.between());
            for trip in 0..warm_up + trips {
                let made = maker.make(trip as u64, 0);
                let start = Instant::now();
                end.send(made)?;
                end.receive(&mut message)?;
                let ns = start.elapsed().as_nanos() as u64;
                checker.take(&message)?;
                if trip >= warm_up {
                    latency.record(ns);
                }
            }
            let reading = meter.read(link.between());
            done.store(true, Ordering::Release);
            let mut sample = Sample::default().with_latency(latency);
            (sample.others_percent, sample.preemptions) =
                (reading.others_percent, reading.preemptions);
            Ok::<_, Failure>(sample)
        });
        let asked = asking
            .join()
            .unwrap_or_else(|_| Err("the asking side panicked".into()));
        let answered = answering
            .join()
            .unwrap_or_else(|_| Err("the answering side panicked".into()));
        answered.and(asked)
    });
    let mut sample = sample?;
    sample.crossing_ns = [before, cores::crossing_ns(pair)];
    Ok(sample)
}

/// How long a side waits for the other.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use bench_foreign::zeromq;

    use super::*;
    use crate::transport::Idle;
    use crate::transports::aeron::{self, Aeron};
    use crate::transports::iceoryx::Iceoryx;
    use crate::transports::stream::{Pipe, Tcp, Unix};
    use crate::transports::zeromq::ZeroMq;

    fn brings_all_back(transport: &impl Transport, bytes: usize) {
        let sample = run(transport, bytes, 20).unwrap();
        assert_eq!(sample.latency.unwrap().count(), 20);
    }

    #[test]
    fn every_way_brings_messages_of_every_size_back_whole() {
        if cores::pair().is_none() {
            return;
        }
        for bytes in [64, 1 << 20] {
            for idle in [Idle::Spin, Idle::Park] {
                brings_all_back(&Unix { idle }, bytes);
                brings_all_back(&Pipe { idle }, bytes);
                brings_all_back(&Tcp { idle }, bytes);
                brings_all_back(&Iceoryx { bytes, idle }, bytes);
                if zeromq::library().is_ok() {
                    brings_all_back(&ZeroMq { idle }, bytes);
                }
            }
            if aeron::version().is_ok() {
                brings_all_back(&Aeron, bytes);
            }
        }
    }
}
