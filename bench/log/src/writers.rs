//! Threads that append, one record at a time each.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_harness::flushes::Flushes;
use bench_harness::payload::{Checker, Maker};
use bench_harness::server::Meter;
use bench_harness::{Failure, Figure, Latency, Sample};

use crate::appender::{Appender, Open, Syncs};

/// So many of them for so long.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    pub count: usize,
    pub bytes: usize,
    pub sync: Syncs,
    pub time: Duration,
}

impl Writers {
    /// In a store of its own, below `data`; what is there afterwards is read and checked.
    pub fn run(self, open: Open, data: &Path) -> Result<Sample, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("trunkline-bench-")
            .tempdir_in(data);
        let folder = folder.map_err(|error| error.to_string())?;
        let store = open(folder.path(), self.sync)?;
        let (measures, end) = (AtomicBool::new(false), AtomicBool::new(false));
        let (wrote, flushes, wall, reading) = std::thread::scope(|scope| {
            let writer = |number: usize| {
                let (store, measures, end) = (&store, &measures, &end);
                scope.spawn(move || self.write(number, &**store, measures, end))
            };
            let writers: Vec<_> = (0..self.count).map(writer).collect();
            std::thread::sleep(self.time / WARM_UP_PARTS);
            let flushes = Flushes::of(folder.path());
            let meter = Meter::start(None);
            let begin = Instant::now();
            measures.store(true, Ordering::Relaxed);
            std::thread::sleep(self.time);
            end.store(true, Ordering::Relaxed);
            let joined = writers.into_iter().map(|writer| writer.join());
            let wrote: Vec<Result<Wrote, Failure>> = joined
                .map(|wrote| wrote.unwrap_or_else(|_| Err("a writer panicked".into())))
                .collect();
            let wall = begin.elapsed();
            (wrote, flushes.since(), wall, meter.read(None))
        });
        let (mut latency, mut records) = (Latency::default(), Vec::new());
        for own in wrote {
            let own = own?;
            latency.add(&own.latency);
            records.push(own.records);
        }
        let count = latency.count();
        self.check(store, &records)?;
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

    /// Appends until the end; only what begins while it is measured is timed.
    fn write(
        self,
        number: usize,
        store: &dyn Appender,
        measures: &AtomicBool,
        end: &AtomicBool,
    ) -> Result<Wrote, Failure> {
        let mut maker = Maker::new(number as u16, self.bytes);
        let mut wrote = Wrote {
            latency: Latency::default(),
            records: 0,
        };
        while !end.load(Ordering::Relaxed) {
            let measured = measures.load(Ordering::Relaxed);
            let start = Instant::now();
            store.append(maker.make(wrote.records, 0))?;
            if measured {
                wrote.latency.record(start.elapsed().as_nanos() as u64);
            }
            wrote.records += 1;
        }
        Ok(wrote)
    }

    /// Whether everything that the writers appended is in the store, as it was and in each one's order.
    fn check(self, store: Box<dyn Appender>, records: &[u64]) -> Result<(), Failure> {
        let mut checker = Checker::midway(self.count, self.bytes);
        let gone = store.read_again(&mut |record| checker.take(record).map(drop))?;
        let (all, came): (u64, u64) = (records.iter().sum(), checker.count());
        if gone + came != all {
            return Err(format!(
                "{all} records were appended, {came} are there, {gone} were let go before"
            ));
        }
        // Together with the count: nothing is missing at anybody's end.
        for (writer, records) in records.iter().enumerate() {
            if let Some(next) = checker.next(writer).filter(|next| next != records) {
                return Err(format!(
                    "the last record of writer {writer} that is there is {next} of {records}"
                ));
            }
        }
        Ok(())
    }
}

/// What a writer did.
struct Wrote {
    latency: Latency,
    records: u64,
}

/// The first part, as long as this part of the measured time, warms up.
const WARM_UP_PARTS: u32 = 4;
