//! Messages there and back between two cores of one machine: sockets, pipes, shared memory. A row of ours joins when there is a
//! transport of ours over shared memory.
//!
//! `cargo xtask bench --peers --only ipc`, or by itself
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-ipc -- [--quick] [--row WORDS] [--contender TEXT,…]`
#![forbid(unsafe_code)]

mod transport;
mod transports;
mod trips;

use std::process::ExitCode;

use bench_harness::contest::{Contest, Effort};
use bench_harness::{Contender, Failure, Figure, Options, Row, cores};
use clap::Parser;

use transport::{Idle, Transport};
use transports::iceoryx::Iceoryx;
use transports::stream::{Pipe, Tcp, Unix};

/// Messages between two cores of one machine, side by side
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
    let mut contest = Contest::open("ipc", options)?;
    if !options.ours {
        contest.absent(
            "Aeron",
            "its crate builds a C driver with CMake and libclang; it is left out",
        )?;
        contest.absent(
            "ZeroMQ",
            "its crate builds a C++ library, or needs one of the system; it is left out",
        )?;
        contest.absent(
            "iceoryx2, parked",
            "its events are a service of their own; only polling is measured",
        )?;
    }
    for idle in [Idle::Spin, Idle::Park] {
        for (name, bytes, trips) in [
            ("64 B", 64, 20_000),
            ("1 KiB", 1 << 10, 20_000),
            ("64 KiB", 64 << 10, 2000),
            ("1 MiB", 1 << 20, 200),
        ] {
            let trips = if options.quick { trips / 10 } else { trips };
            contest.run(row(options.quick, idle, name, bytes, trips))?;
        }
    }
    Ok(contest.finish())
}

fn row(quick: bool, idle: Idle, size: &str, bytes: usize, trips: usize) -> Row {
    let mut contenders = vec![
        contender("Unix socket", Unix { idle }, bytes, trips),
        contender("pipe", Pipe { idle }, bytes, trips),
        contender("TCP", Tcp { idle }, bytes, trips),
    ];
    if idle == Idle::Spin {
        contenders.push(contender(
            "iceoryx2, copied in and out",
            Iceoryx { bytes },
            bytes,
            trips,
        ));
    }
    let words = match idle {
        Idle::Spin => "both spin",
        Idle::Park => "both park",
    };
    Row {
        name: format!("round trip, {size}, {words}"),
        about:
            "two threads, each bound to a core; the message is copied out, sent back, and compared"
                .into(),
        shows: vec![Figure::P50Us, Figure::P99Us, Figure::P999Us],
        bars: Vec::new(),
        point: None,
        discard_preempted: false,
        effort: if quick {
            Effort {
                samples: 3,
                rounds: 5,
            }
        } else {
            Effort {
                samples: 9,
                rounds: 25,
            }
        },
        contenders,
    }
}

fn contender(
    name: &str,
    transport: impl Transport + 'static,
    bytes: usize,
    trips: usize,
) -> Contender {
    Contender::new(name, move || trips::run(&transport, bytes, trips))
}
