//! `trunkline pub`: publishes records.

use clap::Args;

use super::connect::Target;
use super::exit::Outcome;
use super::values::{AckWord, Rate};

/// Publish records
#[derive(Debug, Args)]
#[command(after_help = "\
Without PAYLOAD the record's payload is read from standard input, all of it; with --lines each line is a record.
It ends when the server has acknowledged everything, and prints the last sequence and the level that it has reached.

Examples:
  trunkline pub orders.eu.new '{\"id\": 1}'
  trunkline pub pkg.log --lines < /var/log/dpkg.log
  trunkline pub orders.eu.new '{\"id\": 1}' --ack synced
  trunkline pub load.test 'x' --repeat 1000000 --rate 50k")]
pub(super) struct Publish {
    /// The subject: tokens separated by dots
    subject: String,

    /// The payload; standard input when absent
    #[arg(conflicts_with = "lines")]
    payload: Option<String>,

    /// Each line of standard input is a record, without its line feed
    #[arg(long)]
    lines: bool,

    /// What the acknowledgement must say [default: the stream's own level]
    #[arg(long, value_name = "LEVEL")]
    ack: Option<AckWord>,

    /// Records per second, such as 5000 or 20k [default: as fast as it goes]
    #[arg(long, value_name = "N")]
    rate: Option<Rate>,

    /// Publish the payload so often; with --lines all lines so often
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

impl Publish {
    pub(super) fn run(self) -> Outcome {
        let _ = (
            &self.subject,
            &self.payload,
            self.lines,
            self.ack,
            self.rate,
            self.repeat,
            self.json,
        );
        self.target.connect().map(|_| ())
    }
}
