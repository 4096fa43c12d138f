//! `trunkline bench`: throughput and latency through a server.

use clap::{Args, ValueEnum};

use super::exit::{Failure, Outcome};
use super::values::{AckWord, Rate};
use crate::config::Span;

/// Measure throughput and latency through a server
#[derive(Debug, Args)]
#[command(after_help = "\
Without --server a server is started for the run, with its data in a temporary directory (TMPDIR chooses the disk).
Every record is checked: its content, its order, and that none is missing or comes twice.

Latency is measured in an open loop: records are due at fixed times, whatever happened to those before, and the time of a
record counts from when it was due. One client thread publishes and receives.

Examples:
  trunkline bench
  trunkline bench --only latency --rate 10k --idle spin
  trunkline bench --only throughput --size 1024 --records 1M
  trunkline bench --only acks --ack synced --window 1000
  trunkline bench --server 127.0.0.1:7400 --json")]
pub(super) struct Bench {
    /// The server's address; without it a server is started
    #[arg(long, short, value_name = "HOST:PORT", env = crate::plan::SERVER_VARIABLE)]
    server: Option<String>,

    /// Run only this part
    #[arg(long, value_name = "PART")]
    only: Option<Part>,

    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    size: u32,

    /// Records for throughput, such as 500k or 2M
    #[arg(long, value_name = "N", default_value = "2M")]
    records: Rate,

    /// Records per second for latency
    #[arg(long, value_name = "N", default_value = "10k")]
    rate: Rate,

    /// How long latency is measured
    #[arg(long, value_name = "TIME", default_value = "5s")]
    time: Span,

    /// Ack level of the started server's stream, and what is asked for
    #[arg(long, value_name = "LEVEL", default_value = "stored")]
    ack: AckWord,

    /// Let subscribers of the started server see records at once, not at their ack level
    #[arg(long)]
    visible_received: bool,

    /// Publishes in flight for acks; 1 and 1000 when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: Option<u32>,

    /// Idle strategy of the started server, and of the client: with spin it polls
    #[arg(long, value_name = "STRATEGY", default_value = "adaptive")]
    idle: super::serve::IdleWord,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One publisher, one subscriber, as fast as it goes
    Throughput,
    /// One record after the other, at fixed times
    Latency,
    /// Acknowledged publishes with a bounded number in flight
    Acks,
}

impl Bench {
    pub(super) fn run(self) -> Outcome {
        Err(Failure::Connection(format!("{self:?}: not built yet")))
    }
}
