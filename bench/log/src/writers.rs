//! Threads that append, one record at a time each.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_harness::flushes::Flushes;
use bench_harness::payload::Maker;
use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Latency, Sample};

use crate::appender::{Open, Syncs};

/// So many of them for so long.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    pub count: usize,
    pub bytes: usize,
    pub sync: Syncs,
    pub time: Duration,
}

impl Writers {
    /// In a store of its own, below `data`; what is there afterwards is counted.
    pub fn run(self, open: Open, data: &Path) -> Result<Sample, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("trunkline-bench-")
            .tempdir_in(data);
        let folder = folder.map_err(|error| error.to_string())?;
        let store = open(folder.path(), self.sync)?;
        let end = AtomicBool::new(false);
        let flushes = Flushes::of(folder.path());
        let meter = Meter::start(None);
        let begin = Instant::now();
        let wrote: Vec<Result<Latency, Failure>> = std::thread::scope(|scope| {
            let writer = |number: usize| {
                let (store, end) = (&store, &end);
                scope.spawn(move || {
                    let (mut maker, mut latency) =
                        (Maker::new(number as u16, self.bytes), Latency::default());
                    while !end.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        store.append(maker.make(latency.count(), 0))?;
                        latency.record(start.elapsed().as_nanos() as u64);
                    }
                    Ok(latency)
                })
            };
            let writers: Vec<_> = (0..self.count).map(writer).collect();
            std::thread::sleep(self.time);
            end.store(true, Ordering::Relaxed);
            writers
                .into_iter()
                .map(|writer| {
                    writer
                        .join()
                        .unwrap_or_else(|_| Err("a writer panicked".into()))
                })
                .collect()
        });
        let wall = begin.elapsed();
        let reading = meter.read(None);
        let flushes = flushes.since();
        let mut latency = Latency::default();
        for own in wrote {
            latency.add(&own?);
        }
        let count = latency.count();
        if let Some(kept) = store.count_again()?
            && kept != count
        {
            return Err(format!("{count} records were appended, {kept} are there"));
        }
        let mut sample = Sample::default()
            .with(Figure::PerSecond, count as f64 / wall.as_secs_f64())
            .with(
                Figure::CpuUs,
                reading.own.as_secs_f64() * 1e6 / count as f64,
            )
            .with_latency(latency);
        if self.sync == Syncs::Each
            && let Some(flushes) = flushes.filter(|flushes| *flushes > 0)
        {
            sample = sample.with(Figure::PerFlush, count as f64 / flushes as f64);
        }
        sample.others_percent = reading.others_percent;
        Ok(sample)
    }
}
