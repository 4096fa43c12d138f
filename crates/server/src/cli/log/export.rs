//! `trunkline log export`: the records of files, without a server.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use trunkline_log::{Beginning, Damage, Extracted, extract};

use super::{Selection, machine, progress, told, unread};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::{Output, counted};
use crate::cli::record::Record;
use crate::cli::values::{From, wall_ns};
use crate::storage::View;

/// Write the records of streams as JSON lines, or their payloads, also while a server runs
#[derive(Debug, Args)]
#[command(after_help = "\
The files are read, not changed; no server is needed, and one may be running. Every record is checked. Where acknowledged \
data is damaged the export ends with an error that names the sequences, or leaves them out, with --skip-damaged.

A line of JSON is what `trunkline sub --json` prints. Ages and times are those of the records.

Examples:
  trunkline log export main > main.jsonl
  trunkline log export orders --from seq:1000 --to seq:1999
  trunkline log export orders --from time:2026-11-21T08:00:00Z --to -1h
  trunkline log export --data /mnt/rescued --skip-damaged --output rescued.jsonl
  trunkline log export pkg --raw | grep error

Exit codes: 0 everything that was asked for came, also when that was no record, which is said on standard error; 1 acknowledged data is damaged, and it ends there or leaves it out; 2 the \
range ends before it begins; 6 files cannot be read, and it ends there.")]
pub(super) struct Export {
    #[command(flatten)]
    selection: Selection,

    /// The first record: first, seq:N, time:RFC3339, or an age such as -10m
    #[arg(
        long,
        value_name = "START",
        default_value = "first",
        allow_hyphen_values = true
    )]
    from: From,

    /// The last record: last, seq:N, time:RFC3339, or an age such as -10m
    #[arg(
        long,
        value_name = "END",
        default_value = "last",
        allow_hyphen_values = true
    )]
    to: From,

    /// Write payloads only, a line feed behind each
    #[arg(long)]
    raw: bool,

    /// Leave out what is damaged and go on, instead of ending there
    #[arg(long)]
    skip_damaged: bool,

    /// Write to this file, which must not exist, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What came, and what did not.
#[derive(Default)]
struct Tally {
    records: u64,
    /// Places that are damaged, and the records that they held.
    damaged: u64,
    lost: u64,
}

/// Up to and including what is exported.
#[derive(Clone, Copy)]
struct End {
    sequence: u64,
    timestamp_ns: u64,
}

impl Export {
    pub(super) fn run(&self) -> Outcome {
        let (beginning, end) = (self.beginning()?, self.end()?);
        if beginning.sequence > end.sequence || beginning.timestamp_ns > end.timestamp_ns {
            return Err(Failure::Usage(
                "--from is behind --to: no record is in that range; exchange them".to_owned(),
            ));
        }
        let view = View::open(&self.selection.data).map_err(machine)?;
        let names = self.selection.names(&view, false)?;
        let mut output = match &self.output {
            Some(path) => Output::file(path)?,
            None => Output::new(),
        };
        let mut tally = Tally::default();
        let mut ended = Ok(());
        for name in &names {
            ended = self.stream(&view, name, beginning, end, &mut output, &mut tally);
            if ended.is_err() {
                break;
            }
        }
        output.flush()?;
        ended?;
        if tally.records == 0 && tally.damaged == 0 {
            eprintln!("no record is in the range");
        }
        if let Some(path) = &self.output {
            let mut said = Output::new();
            let records = counted(tally.records, "record");
            said.line(&format!("{records} in {}", path.display()))?;
            said.flush()?;
        }
        if tally.damaged == 0 {
            return Ok(());
        }
        Err(Failure::Absent(format!(
            "left out: {}, {}",
            counted(tally.damaged, "damaged place"),
            counted(tally.lost, "record")
        )))
    }

    fn stream(
        &self,
        view: &View,
        name: &str,
        beginning: Beginning,
        end: End,
        output: &mut Output,
        tally: &mut Tally,
    ) -> Outcome {
        let mut ended = Ok(());
        let take = |one: Extracted<'_>| {
            let done = match one {
                Extracted::Record { record, .. }
                    if record.sequence() > end.sequence
                        || record.timestamp_ns() > end.timestamp_ns =>
                {
                    return ControlFlow::Break(());
                }
                Extracted::Record { record, subject } => {
                    tally.records += 1;
                    self.write(name, subject, &record, output)
                }
                Extracted::Lost(damage) if damage.first > end.sequence => {
                    return ControlFlow::Break(());
                }
                Extracted::Lost(damage) => {
                    // In its place among the lines, where both go to a terminal.
                    let flushed = output.flush();
                    flushed.and_then(|()| self.damaged(view, name, &damage, tally))
                }
            };
            match done {
                Ok(()) => ControlFlow::Continue(()),
                failed => {
                    ended = failed;
                    ControlFlow::Break(())
                }
            }
        };
        extract(
            &mut view.stream(name),
            beginning,
            progress("bytes read"),
            take,
        )
        .map_err(|error| {
            Failure::Machine(format!("stream {name}: {}", unread(view, name, &error)))
        })?;
        ended
    }

    fn write(
        &self,
        stream: &str,
        subject: &str,
        record: &trunkline_wire::record::Record<'_>,
        output: &mut Output,
    ) -> Outcome {
        if self.raw {
            output.write(record.payload())?;
            return output.write(b"\n");
        }
        output.json(&Record::new(
            stream,
            subject,
            (record.sequence(), record.timestamp_ns()),
            record.headers(),
            record.payload(),
        ))
    }

    fn damaged(&self, view: &View, stream: &str, damage: &Damage, tally: &mut Tally) -> Outcome {
        let what = told(view, stream, damage);
        if self.skip_damaged {
            eprintln!("{stream}: {what}: left out");
            tally.damaged += 1;
            tally.lost += damage.records();
            return Ok(());
        }
        let more = if damage.records() > 0 {
            format!(", or what lies behind with --from seq:{}", damage.last + 1)
        } else {
            String::new()
        };
        let ended = format!(
            "stream {stream} ends here: {what}; have it left out with --skip-damaged{more}"
        );
        Err(match damage.what.is_unread() {
            true => Failure::Machine(ended),
            false => Failure::Absent(ended),
        })
    }

    fn beginning(&self) -> Result<Beginning, Failure> {
        let (sequence, timestamp_ns) = match self.from {
            From::First => (0, 0),
            From::Sequence(sequence) => (sequence, 0),
            From::Time(ns) => (0, ns),
            From::Ago(age) => (0, wall_ns().saturating_sub(age.0)),
            From::Last | From::New => {
                return Err(Failure::Usage(
                    "an export starts with first, seq:N, time:T or an age such as -10m".to_owned(),
                ));
            }
        };
        Ok(Beginning {
            sequence,
            timestamp_ns,
        })
    }

    fn end(&self) -> Result<End, Failure> {
        let (sequence, timestamp_ns) = match self.to {
            From::Last => (u64::MAX, u64::MAX),
            From::Sequence(sequence) => (sequence, u64::MAX),
            From::Time(ns) => (u64::MAX, ns),
            From::Ago(age) => (u64::MAX, wall_ns().saturating_sub(age.0)),
            From::First | From::New => {
                return Err(Failure::Usage(
                    "an export ends with last, seq:N, time:T or an age such as -10m".to_owned(),
                ));
            }
        };
        Ok(End {
            sequence,
            timestamp_ns,
        })
    }
}
