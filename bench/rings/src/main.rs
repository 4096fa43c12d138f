//! The rings against their peers: interleaved samples on two pinned cores, every value checked.
//!
//! `cargo xtask bench --peers --only rings`, or by itself
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-rings -- [--quick] [--row WORDS] [--contender TEXT,…]`
//!
//! Everybody spins (the idle strategy of all rows); in the rows with more threads than cores they
//! also yield. A sample does not count when one of its threads was preempted or when the distance of
//! the cores changed, and is compared only with samples of the same distance.
#![forbid(unsafe_code)]

mod crowd;
mod rings;
mod settings;
mod trial;
mod work;

use std::process::ExitCode;

use bench_harness::contest::Contest;
use bench_harness::row::{BEST_OF_OURS, Costs, Effort, Idle, Pace, Pinning, Waiting};
use bench_harness::{Bar, Contender, Failure, Figure, Options, Row, Sample, cores};
use clap::Parser;
use rings::*;

/// Rings side by side: interleaved samples on two pinned cores, every value checked
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    run(&Arguments::parse().options).unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

fn run(options: &Options) -> Result<ExitCode, Failure> {
    if cores::pair().is_none() {
        return Err("two cores are needed".into());
    }
    let mut contest = Contest::open("rings", options)?;
    contest.crates(&PEERS)?;
    contest.run_all(rows(options.quick))?;
    Ok(contest.finish())
}

fn contender(
    name: &'static str,
    run: impl FnMut() -> Result<Sample, Failure> + 'static,
) -> Contender {
    Contender::new(name, settings::of(name), run)
}

/// All SPSC rings through one kind of work.
macro_rules! contenders {
    ($work:ident, $item:ty, $operations:expr; $($name:literal => $ring:ident),* $(,)?) => {
        vec![$(contender($name, || work::$work::<$item, $ring>($operations))),*]
    };
}

macro_rules! singles {
    ($work:ident, $item:ty, $operations:expr) => {
        contenders!($work, $item, $operations;
            "trunkline fixed" => OursFixed,
            "trunkline dynamic" => OursDynamic,
            "trunkline in place" => OursInPlace,
            "trunkline drained" => OursDrained,
            "rtrb" => Rtrb,
            "ringbuf" => Ringbuf,
            "heapless" => Heapless,
            "omango" => OmangoSpsc,
            "disruptor" => Disruptor,
        )
    };
}

macro_rules! batches {
    ($item:ty, $operations:expr) => {
        contenders!(batches, $item, $operations;
            "trunkline slice, chunk" => OursFixed,
            "trunkline slice, copy" => OursCopied,
            "trunkline slice, drained" => OursDrained,
            "trunkline dynamic" => OursDynamic,
            "rtrb slice, chunk" => Rtrb,
            "rtrb chunk, copy" => RtrbChunks,
            "ringbuf slices" => Ringbuf,
            "disruptor" => Disruptor,
        )
    };
}

/// All rings for several threads, one item at a time or in batches.
macro_rules! many {
    ($item:ty, $batches:literal, $operations:expr, $receiver:expr; $($name:literal => $ring:ident),* $(,)?) => {
        vec![$(contender($name, || {
            crowd::many::<$item, $ring, $batches>($operations, |sender| sender.clone(), $receiver)
        })),*]
    };
}

macro_rules! mpsc {
    ($item:ty, $operations:expr) => {
        many!($item, false, $operations, None;
            "trunkline mpsc" => OursMpsc,
            "trunkline mpmc" => OursMpmc,
            "omango" => OmangoMpmc,
            "disruptor" => DisruptorMulti,
            "crossbeam ArrayQueue" => ArrayQueue,
            "crossbeam channel" => CrossbeamChannel,
            "kanal" => Kanal,
            "std" => Std,
        )
    };
}

/// Those who have batches for several senders.
macro_rules! mpsc_batches {
    ($item:ty, $operations:expr) => {
        many!($item, true, $operations, None;
            "trunkline mpsc slice, each" => OursMpsc,
            "trunkline mpsc slice, chunk" => OursMpscChunks,
            "disruptor" => DisruptorMulti,
            "kanal drain_into" => KanalDrained,
        )
    };
}

macro_rules! mpmc {
    ($item:ty, $operations:expr) => {
        many!($item, false, $operations, Some(|receiver| receiver.clone());
            "trunkline mpmc" => OursMpmc,
            "omango" => OmangoMpmc,
            "crossbeam ArrayQueue" => ArrayQueue,
            "crossbeam channel" => CrossbeamChannel,
            "kanal" => Kanal,
        )
    };
}

/// Channels for many threads, used by two.
macro_rules! general {
    ($work:ident, $item:ty, $operations:expr) => {
        contenders!($work, $item, $operations;
            "crossbeam ArrayQueue" => ArrayQueue,
            "crossbeam channel" => CrossbeamChannel,
            "kanal" => Kanal,
            "std" => Std,
        )
    };
}

/// Every value goes through once and in order; the best of our uses is to be at least as good as the best peer.
fn row(quick: bool, name: &str, shows: Figure, contenders: Vec<Contender>) -> Row {
    let effort = if quick {
        Effort {
            samples: 5,
            rounds: 15,
        }
    } else {
        Effort {
            samples: 25,
            rounds: 100,
        }
    };
    Row {
        name: name.into(),
        about: format!("capacity {CAPACITY}; every value is checked"),
        waiting: Waiting::All(Idle::Spins),
        pinning: Pinning::Pinned("each thread to a core of its own"),
        pace: Pace::ClosedLoop,
        costs: Costs::NotShown(
            "no CPU and no memory beside the rate: who spins takes the whole core, and all have the same capacity",
        ),
        shows: vec![shows],
        bars: vec![Bar::times_best(BEST_OF_OURS, shows, 1.0)],
        point: None,
        discard_preempted: true,
        effort,
        contenders,
    }
}

/// Samples last for a millisecond or two: the system takes a core away for a moment every few of them, and who is slow is not
/// to lose all samples to that.
fn rows(quick: bool) -> Vec<Row> {
    let rate = |name, contenders| row(quick, name, Figure::PerSecond, contenders);
    let time = |name, contenders| row(quick, name, Figure::Ns, contenders);
    let crowd = |name, contenders| Row {
        waiting: Waiting::All(Idle::SpinsAndYields),
        pinning: Pinning::Pinned("two senders to one core, the rest to the other"),
        discard_preempted: false,
        ..rate(name, contenders)
    };
    let alone = |name, contenders| Row {
        waiting: Waiting::Never,
        pinning: Pinning::Pinned("one thread to one core"),
        ..time(name, contenders)
    };
    let with = |mut singles: Vec<Contender>, general| {
        singles.extend(general);
        singles
    };
    let trips = |name, contenders| Row {
        about: format!(
            "capacity {CAPACITY}; every value is checked; the time is the mean of all trips, the \
             percentiles are of one trip in {}, with the reading of the clock in it",
            work::TRIPS_PER_TIMED
        ),
        shows: vec![Figure::Ns, Figure::P50Us, Figure::P99Us],
        ..time(name, contenders)
    };
    vec![
        alone(
            "spsc u64, one thread push+pop",
            singles!(one_thread, u64, 300_000),
        ),
        alone(
            "spsc 64 B, one thread push+pop",
            singles!(one_thread, Line, 300_000),
        ),
        rate(
            "spsc u64, two cores",
            with(
                singles!(stream, u64, 100_000),
                general!(stream, u64, 50_000),
            ),
        ),
        rate(
            "spsc 64 B, two cores",
            with(
                singles!(stream, Line, 50_000),
                general!(stream, Line, 25_000),
            ),
        ),
        rate("spsc u64, batches of 64", batches!(u64, 300_000)),
        rate("spsc 64 B, batches of 64", batches!(Line, 50_000)),
        trips("spsc u64, round trip", singles!(round_trips, u64, 4_000)),
        trips("spsc 64 B, round trip", singles!(round_trips, Line, 4_000)),
        crowd("mpsc u64, 2 to 1", mpsc!(u64, MANY)),
        crowd("mpsc 64 B, 2 to 1", mpsc!(Line, MANY)),
        crowd(
            "mpsc u64, 2 to 1, batches of 64",
            mpsc_batches!(u64, 2 * MANY),
        ),
        crowd(
            "mpsc 64 B, 2 to 1, batches of 64",
            mpsc_batches!(Line, MANY),
        ),
        crowd("mpmc u64, 2 to 2", mpmc!(u64, MANY)),
        crowd("mpmc 64 B, 2 to 2", mpmc!(Line, MANY)),
    ]
}

/// The crates that take part.
const PEERS: [&str; 8] = [
    "rtrb",
    "ringbuf",
    "heapless",
    "omango",
    "disruptor",
    "crossbeam-queue",
    "crossbeam-channel",
    "kanal",
];

/// As long as the system needs to tell what others used meanwhile: it counts in hundredths of a second.
const MANY: u64 = 4_000_000;
