//! The rings against their peers: interleaved samples on two pinned cores, every value checked.
//!
//! `cargo xtask bench --peers --only rings`, or by itself
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-rings -- [--quick] [--row WORDS] [--contender TEXT,…]`
//!
//! Everybody spins (the idle strategy of all rows); in the rows with more threads than cores they
//! also yield. A sample does not count when one of its threads was preempted or when the distance of
//! the cores changed, and is compared only with samples of the same distance.
#![forbid(unsafe_code)]

mod rings;
mod settings;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use bench_harness::contest::Contest;
use bench_harness::row::{Costs, Effort, Idle, Pace, Pinning, Waiting};
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

fn contender(name: &'static str, mut run: impl FnMut() -> Sample + 'static) -> Contender {
    let run = move || {
        catch_unwind(AssertUnwindSafe(&mut run)).map_err(|_| "a check failed; see above".into())
    };
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
            "trunkline dynamic" => OursDynamic,
            "rtrb slice, chunk" => Rtrb,
            "rtrb chunk, copy" => RtrbChunks,
            "ringbuf slices" => Ringbuf,
            "disruptor" => Disruptor,
        )
    };
}

macro_rules! many {
    ($receiver:expr; $($name:literal => $ring:ident),* $(,)?) => {
        vec![$(contender($name, || {
            work::many::<u64, $ring>(1_000_000, |sender| sender.clone(), $receiver)
        })),*]
    };
}

/// Every value goes through once and in order; those named in `bar` are to be at least as good as the best peer.
fn row(quick: bool, name: &str, shows: Figure, bar: &[&str], contenders: Vec<Contender>) -> Row {
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
        bars: bar
            .iter()
            .map(|name| Bar::times_best(name, shows, 1.0))
            .collect(),
        point: None,
        discard_preempted: true,
        effort,
        contenders,
    }
}

fn rows(quick: bool) -> Vec<Row> {
    let row = |name, rate, bar: &[&str], contenders| {
        row(
            quick,
            name,
            if rate { Figure::PerSecond } else { Figure::Ns },
            bar,
            contenders,
        )
    };
    // As the best peer does it: the item is made where it will lie.
    let in_place = ["trunkline in place"];
    let crowd = |name, bar: &[&str], contenders| Row {
        waiting: Waiting::All(Idle::SpinsAndYields),
        pinning: Pinning::Pinned("two senders to one core, the rest to the other"),
        discard_preempted: false,
        ..row(name, true, bar, contenders)
    };
    let alone = |name, contenders| Row {
        waiting: Waiting::Never,
        pinning: Pinning::Pinned("one thread to one core"),
        ..row(name, false, &in_place, contenders)
    };
    let fixed = ["trunkline fixed"];
    // One at a time; and whatever there is at once, as the disruptor takes it.
    let both = ["trunkline fixed", "trunkline drained"];
    let mut general = singles!(stream, u64, 400_000);
    general.extend(contenders!(stream, u64, 100_000;
        "crossbeam ArrayQueue" => ArrayQueue,
        "crossbeam channel" => CrossbeamChannel,
        "kanal" => Kanal,
        "std" => Std,
    ));
    vec![
        alone(
            "spsc u64, one thread push+pop",
            singles!(one_thread, u64, 1_000_000),
        ),
        alone(
            "spsc 64 B, one thread push+pop",
            singles!(one_thread, Line, 1_000_000),
        ),
        row("spsc u64, two cores", true, &both, general),
        row(
            "spsc 64 B, two cores",
            true,
            &both,
            singles!(stream, Line, 200_000),
        ),
        row(
            "spsc u64, batches of 64",
            true,
            &["trunkline slice, chunk"],
            batches!(u64, 1_000_000),
        ),
        row(
            "spsc 64 B, batches of 64",
            true,
            &["trunkline slice, chunk"],
            batches!(Line, 200_000),
        ),
        row(
            "spsc u64, round trip",
            false,
            &fixed,
            singles!(round_trips, u64, 10_000),
        ),
        crowd(
            "mpsc u64, 2 to 1",
            &["trunkline mpsc"],
            many!(None;
                "trunkline mpsc" => OursMpsc,
                "trunkline mpmc" => OursMpmc,
                "omango" => OmangoMpmc,
                "crossbeam ArrayQueue" => ArrayQueue,
                "crossbeam channel" => CrossbeamChannel,
                "kanal" => Kanal,
                "std" => Std,
            ),
        ),
        crowd(
            "mpmc u64, 2 to 2",
            &["trunkline mpmc"],
            many!(Some(|receiver| receiver.clone());
                "trunkline mpmc" => OursMpmc,
                "omango" => OmangoMpmc,
                "crossbeam ArrayQueue" => ArrayQueue,
                "crossbeam channel" => CrossbeamChannel,
                "kanal" => Kanal,
            ),
        ),
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
