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

use bench_foreign::zeromq;
use bench_harness::contest::Contest;
use bench_harness::row::{self, Costs, Effort, Pace, Pinning, Waiting};
use bench_harness::{Contender, Failure, Figure, Options, Row, cores};
use clap::Parser;

use transport::{Idle, Transport};
use transports::aeron::{self, Aeron, SETTINGS as AERON_SETTINGS};
use transports::iceoryx::Iceoryx;
use transports::stream::{Pipe, Tcp, Unix};
use transports::zeromq::{SETTINGS as ZEROMQ_SETTINGS, ZeroMq};

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
    contest.crates(&["iceoryx2"])?;
    let there = There::find(&mut contest, options)?;
    let mut rows = Vec::new();
    for idle in [Idle::Spin, Idle::Park] {
        for (name, bytes, trips) in [
            ("64 B", 64, 20_000),
            ("1 KiB", 1 << 10, 20_000),
            ("64 KiB", 64 << 10, 2000),
            ("1 MiB", 1 << 20, 200),
        ] {
            let trips = if options.quick { trips / 10 } else { trips };
            let work = Work { bytes, trips };
            rows.push(row(options.quick, idle, name, work, there));
        }
    }
    contest.run_all(rows)?;
    Ok(contest.finish())
}

/// Peers that are no crates.
#[derive(Clone, Copy, Debug, Default)]
struct There {
    aeron: bool,
    zeromq: bool,
}

impl There {
    /// Notes their versions, or why they take no part.
    fn find(contest: &mut Contest, options: &Options) -> Result<Self, Failure> {
        if options.ours {
            return Ok(Self::default());
        }
        let mut find = |name: &str, version: Result<String, Failure>| match version {
            Ok(version) => contest.peer(name, &version).map(|()| true),
            Err(why) => contest.absent(name, &why).map(|()| false),
        };
        let there = Self {
            aeron: find("Aeron", aeron::version())?,
            zeromq: find("ZeroMQ", zeromq::library().map(|library| library.version()))?,
        };
        contest.absent(
            "Aeron, parked",
            "its receivers poll, at most with pauses: nobody wakes them",
        )?;
        Ok(there)
    }
}

/// So many messages of so many bytes.
#[derive(Clone, Copy, Debug)]
struct Work {
    bytes: usize,
    trips: usize,
}

impl Work {
    fn of(self, name: &str, settings: &str, transport: impl Transport + 'static) -> Contender {
        Contender::new(name, settings, move || {
            trips::run(&transport, self.bytes, self.trips)
        })
    }
}

fn row(quick: bool, idle: Idle, size: &str, work: Work, there: There) -> Row {
    let bytes = work.bytes;
    let mut contenders = vec![
        work.of("Unix socket", "a pair of streams", Unix { idle }),
        work.of("pipe", "one for each way", Pipe { idle }),
        work.of("TCP", "loopback, without delay", Tcp { idle }),
    ];
    contenders.push(match idle {
        Idle::Spin => work.of(
            "iceoryx2, copied in and out",
            "publish and subscribe, polled; defaults",
            Iceoryx { bytes, idle },
        ),
        Idle::Park => work.of(
            "iceoryx2 with events, copied in and out",
            "publish and subscribe, and an event service that wakes the receiver; defaults",
            Iceoryx { bytes, idle },
        ),
    });
    if there.zeromq {
        let name = match idle {
            Idle::Spin => "ZeroMQ ipc, its own threads park",
            Idle::Park => "ZeroMQ ipc",
        };
        contenders.push(work.of(name, ZEROMQ_SETTINGS, ZeroMq { idle }));
    }
    if there.aeron && idle == Idle::Spin {
        contenders.push(work.of("Aeron IPC", AERON_SETTINGS, Aeron));
    }
    let (words, waits) = match idle {
        Idle::Spin => ("both spin", row::Idle::Spins),
        Idle::Park => ("both park", row::Idle::Parks),
    };
    Row {
        name: format!("round trip, {size}, {words}"),
        about: "two threads; the message is copied out, sent back, and compared".into(),
        waiting: Waiting::All(waits),
        pinning: Pinning::Pinned("each thread to a core of its own"),
        pace: Pace::ClosedLoop,
        costs: Costs::Shown,
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
