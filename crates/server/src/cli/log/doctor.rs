//! `trunkline log doctor`: what this disk makes of acknowledgements.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::doctor::{print_advice, refuse_file, storage};
use crate::cli::exit::Outcome;
use crate::cli::output::Output;
use crate::doctor::{StorageReport, examine_storage};
use crate::plan::DEFAULT_DATA_DIR;

/// Time the ways to make records durable on this disk, and say what each ack level means there
#[derive(Debug, Args)]
#[command(after_help = "\
Takes a few seconds. The disk is measured with a file of 8 MiB in the data directory, or where it would be created; the \
file is removed. A server may be running. `trunkline doctor` looks at the whole machine.

Examples:
  trunkline log doctor
  trunkline log doctor --data /var/lib/trunkline
  trunkline log doctor --json | jq '.disk.fastest, .disk.pick, .levels'

Exit codes: 0 whatever was found; 6 --data names a file.")]
pub(super) struct Doctor {
    /// Data directory whose disk is measured
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data: PathBuf,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// `--json`.
#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    storage: StorageReport,
    /// What could be better, in sentences.
    advice: Vec<String>,
}

impl Doctor {
    pub(super) fn run(&self) -> Outcome {
        refuse_file(&self.data)?;
        let mut advice = Vec::new();
        let found = Found {
            storage: examine_storage(&self.data, &mut advice),
            advice,
        };
        let mut output = Output::new();
        if self.json {
            output.json(&found)?;
        } else {
            storage(&found.storage, &mut output)?;
            print_advice(&found.advice, &mut output)?;
        }
        output.flush()
    }
}
