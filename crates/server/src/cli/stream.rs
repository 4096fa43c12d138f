//! `trunkline stream`: what streams there are, and adding and removing them.

use clap::{Args, Subcommand};

use super::connect::Target;
use super::exit::Outcome;

/// List, show, add and remove streams
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trunkline stream ls
  trunkline stream info main --json
  trunkline stream add orders --subjects 'orders.>' --ack synced --keep-bytes 10GiB
  trunkline stream add ticks --subjects 'ticks.>' --storage memory --tail 256MiB
  trunkline stream rm orders --yes")]
pub(super) struct Stream {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the streams
    Ls {
        #[command(flatten)]
        common: Common,
    },
    /// Show one stream: subjects, records, bytes, sequences, subscribers
    Info {
        /// The stream
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Add a stream; it stays over restarts
    Add(Box<Add>),
    /// Remove a stream and its records for good
    Rm {
        /// The stream
        name: String,
        /// Do it without being asked again
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// One stream, as an entry of `streams` in a configuration would say it.
#[derive(Debug, Args)]
struct Add {
    /// Its name: letters, digits, - and _
    name: String,
    /// A pattern that it captures; may be given several times
    #[arg(long, value_name = "PATTERN", required = true, num_args = 1..)]
    subjects: Vec<String>,
    /// Where the records live: file or memory [default: file]
    #[arg(long, value_name = "STORAGE")]
    storage: Option<String>,
    /// What an acknowledgement says: received, stored or synced [default: stored]
    #[arg(long, value_name = "LEVEL")]
    ack: Option<String>,
    /// When subscribers see a record: ack or received [default: ack]
    #[arg(long, value_name = "WHEN")]
    visible: Option<String>,
    /// Bytes to keep [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    keep_bytes: Option<String>,
    /// Age to keep, such as 7d
    #[arg(long, value_name = "TIME")]
    keep_age: Option<String>,
    /// Number of records to keep
    #[arg(long, value_name = "N")]
    keep_records: Option<u64>,
    /// Size of a segment file
    #[arg(long, value_name = "SIZE")]
    segment: Option<String>,
    /// Memory for the newest records
    #[arg(long, value_name = "SIZE")]
    tail: Option<String>,
    /// Longest time that a stored record waits for a sync
    #[arg(long, value_name = "TIME")]
    sync_interval: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Stream {
    pub(super) fn run(self) -> Outcome {
        let common = match &self.action {
            Action::Ls { common } | Action::Info { common, .. } | Action::Rm { common, .. } => {
                common
            }
            Action::Add(add) => &add.common,
        };
        common.target.connect().map(|_| ())
    }
}
