//! `trunkline log`: what the files of durable streams hold, and what can be done when they are damaged.

mod doctor;
mod export;
mod repair;
mod verify;

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use trunkline_log::{Damage, Defect, NotRegular, OpenError, segment_name};

use super::exit::{Failure, Outcome};
use crate::plan::DEFAULT_DATA_DIR;
use crate::storage::{StorageError, View};

/// Look into the files of durable streams, and repair them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trunkline log verify                        # is everything intact?
  trunkline log inspect main                  # its segments
  trunkline log export main > main.jsonl
  trunkline log repair --dry-run              # what a repair would do
  trunkline log doctor                        # what acks mean on this disk")]
pub(super) struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every record of every segment, also while a server runs
    #[command(after_help = verify::VERIFY_HELP)]
    Verify(verify::Verify),

    /// Show each segment: its sequences, times and bytes
    #[command(after_help = verify::INSPECT_HELP)]
    Inspect(verify::Verify),

    Repair(repair::Repair),

    Export(export::Export),

    Doctor(doctor::Doctor),
}

/// Which streams of which directory.
#[derive(Debug, Args)]
struct Selection {
    /// Streams; all when absent
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,

    /// Data directory; to look at it, also one stream's directory or a copy of one
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data: PathBuf,
}

impl Log {
    pub(super) fn run(self) -> Outcome {
        match self.command {
            Command::Verify(verify) => verify.run(false),
            Command::Inspect(verify) => verify.run(true),
            Command::Repair(repair) => repair.run(),
            Command::Export(export) => export.run(),
            Command::Doctor(doctor) => doctor.run(),
        }
    }
}

impl Selection {
    /// The streams that are meant. With `everything`, the logs of durable cursors are among them, and those whose files are missing.
    fn names(&self, view: &View, everything: bool) -> Result<Vec<String>, Failure> {
        let mut streams = view.streams().map_err(machine)?;
        if everything {
            streams.extend(view.missing().map_err(machine)?);
            streams.sort();
            streams.dedup();
        }
        let mut logs = view.cursors().map_err(machine)?;
        if everything {
            // Where it is not known which there were, who asks for them says so.
            logs.extend(view.lost_cursors().unwrap_or_default());
            logs.sort();
            logs.dedup();
        }
        for name in &self.streams {
            if !streams.contains(name) && !logs.contains(name) {
                return Err(Failure::Usage(format!(
                    "{} has no stream {name}; it has {}",
                    self.data.display(),
                    if streams.is_empty() {
                        "none".to_owned()
                    } else {
                        streams.join(", ")
                    }
                )));
            }
        }
        Ok(if !self.streams.is_empty() {
            self.streams.clone()
        } else if everything {
            [streams, logs].concat()
        } else {
            streams
        })
    }
}

/// What keeps a stream's files from being looked at: with the file, and what to do.
fn unread(view: &View, name: &str, error: &OpenError) -> String {
    let OpenError::Io {
        doing,
        segment,
        error,
    } = error
    else {
        return error.to_string();
    };
    if let Some(found) = NotRegular::of(error) {
        return format!("cannot read {found}");
    }
    let folder = view.path_of(name);
    let refused = match segment {
        Some(segment) => {
            let file = folder.join(segment_name(*segment));
            format!("cannot {doing} {}: {error}", file.display())
        }
        None => format!("cannot {doing} in {}: {error}", folder.display()),
    };
    format!("{refused}{}", remedy(error.kind()))
}

/// What there is to say of damage: of a file that cannot be read, also where it is and what to do.
fn told(view: &View, name: &str, damage: &Damage) -> String {
    let file = view.path_of(name).join(segment_name(damage.segment));
    let why = match damage.what {
        Defect::Unreadable(refusal) => format!("{refusal}{}", remedy(refusal.kind)),
        Defect::NotRegular(is) => is.to_string(),
        _ => return damage.to_string(),
    };
    let held = match damage.records() {
        0 => String::new(),
        _ => format!(", with sequences {} to {}", damage.first, damage.last),
    };
    let Damage { segment, .. } = damage;
    format!(
        "cannot read segment {segment}{held}: {}: {why}",
        file.display()
    )
}

/// What to do about a refusal, where that is known.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "; run as a user who may read there",
        io::ErrorKind::NotADirectory => {
            "; the stream's directory has to be there: move what has its name, and put it back"
        }
        _ => "",
    }
}

fn machine(error: StorageError) -> Failure {
    Failure::Machine(error.to_string())
}

/// Told how many of how many bytes are done.
fn progress(what: &'static str) -> impl FnMut(u64, u64) {
    let mut bar: Option<super::output::Progress> = None;
    let mut told = 0;
    move |done, total| {
        let bar = bar.get_or_insert_with(|| super::output::Progress::new(what, Some(total)));
        // What is looked at a second time does not count again.
        bar.add(done.saturating_sub(told));
        told = told.max(done);
    }
}
