//! The rings against their peers: interleaved samples on two pinned cores, every value checked.
//!
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-rings -- [--quick] [--json] [--row TEXT]`
//!
//! Everybody spins (the idle strategy of all rows); in the rows with more threads than cores they
//! also yield. A sample is discarded when one of its threads was preempted or when the distance of
//! the cores changed, and compared only with samples of the same distance.
#![forbid(unsafe_code)]

mod calibrate;
mod contest;
mod rings;
mod work;

use contest::{Contender, Effort, Row, Sample};
use rings::*;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("two cores are needed");
        std::process::exit(2);
    }
    let effort = if has("--quick") { Effort { samples: 5, rounds: 15 } } else { Effort { samples: 25, rounds: 100 } };
    let (wanted, only) = (after("--row").unwrap_or_default(), after("--only"));
    eprintln!("idle strategy: spin; capacity {CAPACITY}; median [min–max]; ▶ ours");
    for mut row in rows() {
        if !row.name.contains(&wanted) {
            continue;
        }
        if let Some(only) = &only {
            row.contenders.retain(|contender| only.split(',').any(|one| contender.name.contains(one)));
        }
        let json = contest::run(&mut row, &effort);
        if has("--json") {
            print!("{json}");
        }
    }
}

fn contender(name: &'static str, run: impl FnMut() -> Sample + 'static) -> Contender {
    Contender { name, ours: name.starts_with("trunkline"), run: Box::new(run) }
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

fn rows() -> Vec<Row> {
    let row = |name, rate, contenders| Row { name, rate, discard_preempted: true, contenders };
    let crowd = |name, contenders| Row { name, rate: true, discard_preempted: false, contenders };
    let mut general = singles!(stream, u64, 400_000);
    general.extend(contenders!(stream, u64, 100_000;
        "crossbeam ArrayQueue" => ArrayQueue,
        "crossbeam channel" => CrossbeamChannel,
        "kanal" => Kanal,
        "std" => Std,
    ));
    vec![
        row("spsc u64, one thread push+pop", false, singles!(one_thread, u64, 1_000_000)),
        row("spsc 64 B, one thread push+pop", false, singles!(one_thread, Line, 1_000_000)),
        row("spsc u64, two cores", true, general),
        row("spsc 64 B, two cores", true, singles!(stream, Line, 200_000)),
        row("spsc u64, batches of 64", true, batches!(u64, 4_000_000)),
        row("spsc 64 B, batches of 64", true, batches!(Line, 1_000_000)),
        row("spsc u64, round trip", false, singles!(round_trips, u64, 10_000)),
        crowd(
            "mpsc u64, 2 to 1",
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
