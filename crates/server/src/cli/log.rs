//! `trunkline log`: what the files of durable streams hold.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use trunkline_log::{Damage, SegmentReport, Verified, verify};

use super::exit::{Failure, Outcome};
use super::output::{Output, Progress, Table, grouped, time};
use crate::plan::DEFAULT_DATA_DIR;
use crate::storage::{StorageError, View};

/// Look into the files of durable streams
#[derive(Debug, Args)]
pub(super) struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every record of every segment, also while a server runs
    #[command(after_help = "\
Nothing is changed, and a server may be running on the directory. Every byte is read: framing, checksums, the order of
sequences and times, seals. Damage is named with its segment, its bytes and the sequences that they held.

Examples:
  trunkline log verify
  trunkline log verify orders payments --data /var/lib/trunkline
  trunkline log verify --json | jq '.streams[] | {name, damages}'

Exit codes: 0 all intact, 1 there is damage, 6 the files cannot be read.")]
    Verify(Selection),

    /// Show each segment: its sequences, times and bytes
    #[command(after_help = "\
Reads and checks every record, as `verify` does.

Examples:
  trunkline log inspect main
  trunkline log inspect --data /var/lib/trunkline --json

Exit codes: 0 all intact, 1 there is damage, 6 the files cannot be read.")]
    Inspect(Selection),
}

/// Which streams.
#[derive(Debug, Args)]
struct Selection {
    /// Streams; all when absent
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,

    /// Data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// `--json`.
#[derive(Serialize)]
struct Found {
    /// Whether all streams are intact.
    intact: bool,
    /// The process that serves the directory now.
    served_by: Option<u32>,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    name: String,
    records: u64,
    /// Absent in an empty stream, as `last_sequence`.
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    bytes: u64,
    /// The last sequence that is known to be on the device, as far as the files tell.
    synced_sequence: u64,
    /// Bytes behind the last whole record that are not zero.
    torn_bytes: u64,
    damages: Vec<Harm>,
    segments: Vec<Segment>,
}

#[derive(Serialize)]
struct Harm {
    segment: u64,
    first_byte: u64,
    end_byte: u64,
    /// Absent when no data record is affected, as `last_sequence`.
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    message: String,
}

#[derive(Serialize)]
struct Segment {
    index: u64,
    records: u64,
    first_sequence: u64,
    next_sequence: u64,
    bytes: u64,
    last_ns: u64,
    sealed: bool,
}

impl Log {
    pub(super) fn run(self) -> Outcome {
        let (selection, inspect) = match self.command {
            Command::Verify(selection) => (selection, false),
            Command::Inspect(selection) => (selection, true),
        };
        let found = selection.look()?;
        let mut output = Output::new();
        if selection.json {
            output.json(&found)?;
        } else {
            for stream in &found.streams {
                if inspect {
                    stream.print_segments(&mut output)?;
                }
                stream.print(found.served_by, &mut output)?;
            }
        }
        output.flush()?;
        if found.intact {
            return Ok(());
        }
        let damaged: Vec<&str> = found
            .streams
            .iter()
            .filter(|stream| !stream.damages.is_empty())
            .map(|stream| stream.name.as_str())
            .collect();
        Err(Failure::Absent(format!(
            "acknowledged data is damaged in {}; keep a copy of the directory before anything else is tried",
            damaged.join(", ")
        )))
    }
}

impl Selection {
    fn look(&self) -> Result<Found, Failure> {
        let machine = |error: StorageError| Failure::Machine(error.to_string());
        let view = View::open(&self.data).map_err(machine)?;
        let there = view.streams().map_err(machine)?;
        for name in &self.streams {
            if !there.contains(name) {
                return Err(Failure::Usage(format!(
                    "{} has no stream {name}; it has {}",
                    self.data.display(),
                    if there.is_empty() {
                        "none".to_owned()
                    } else {
                        there.join(", ")
                    }
                )));
            }
        }
        let names = if self.streams.is_empty() {
            there
        } else {
            self.streams.clone()
        };
        let served_by = view.holder();
        let mut streams = Vec::with_capacity(names.len());
        for name in names {
            let verified = look_at(&view, &name)?;
            streams.push(Stream::new(name, &verified));
        }
        Ok(Found {
            intact: streams.iter().all(|stream| stream.damages.is_empty()),
            served_by,
            streams,
        })
    }
}

/// Verifies a stream; again when a server removed a segment meanwhile.
fn look_at(view: &View, name: &str) -> Result<Verified, Failure> {
    let mut attempt = 1;
    loop {
        let mut progress: Option<Progress> = None;
        let mut told = 0;
        let verified = verify(&mut view.stream(name), |done, total| {
            progress
                .get_or_insert_with(|| Progress::new("bytes verified", Some(total)))
                .add(done - told);
            told = done;
        });
        match verified {
            Ok(verified) => return Ok(verified),
            Err(_) if view.holder().is_some() && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(Failure::Machine(format!("stream {name}: {error}"))),
        }
    }
}

impl Stream {
    fn new(name: String, verified: &Verified) -> Self {
        let next = verified.segments.last().map_or(1, |segment| segment.next);
        let first = verified.segments.first().map_or(1, |segment| segment.first);
        let records = verified
            .segments
            .iter()
            .map(|segment| segment.records)
            .sum();
        Self {
            name,
            records,
            first_sequence: (first < next).then_some(first),
            last_sequence: (first < next).then(|| next - 1),
            bytes: verified.segments.iter().map(|segment| segment.bytes).sum(),
            synced_sequence: verified.durable_sequence.saturating_sub(1),
            torn_bytes: verified.torn.map_or(0, |torn| torn.bytes),
            damages: verified.damages.iter().map(Harm::new).collect(),
            segments: verified.segments.iter().map(Segment::new).collect(),
        }
    }

    fn print(&self, served_by: Option<u32>, output: &mut Output) -> Outcome {
        let range = match (self.first_sequence, self.last_sequence) {
            (Some(first), Some(last)) => format!(" ({} to {})", grouped(first), grouped(last)),
            _ => String::new(),
        };
        let verdict = match self.damages.len() {
            0 => output.paint("all intact", "32"),
            1 => output.paint("1 place is damaged", "31"),
            count => output.paint(&format!("{count} places are damaged"), "31"),
        };
        output.line(&format!(
            "{}: {} records{range} in {} segments, {} bytes, synced up to {}: {verdict}",
            self.name,
            grouped(self.records),
            self.segments.len(),
            grouped(self.bytes),
            grouped(self.synced_sequence),
        ))?;
        for damage in &self.damages {
            output.line(&format!("  {}", damage.message))?;
        }
        match (self.torn_bytes, served_by) {
            (0, _) => Ok(()),
            (_, Some(0)) => output.line("  a server is writing behind the last whole record"),
            (_, Some(pid)) => output.line(&format!(
                "  process {pid} is writing behind the last whole record"
            )),
            (bytes, None) => output.line(&format!(
                "  {} bytes behind the last whole record were not written to the end; the next start cuts them off, after a copy",
                grouped(bytes)
            )),
        }
    }

    fn print_segments(&self, output: &mut Output) -> Outcome {
        let mut table = Table::new(&[
            "segment>",
            "first>",
            "last>",
            "records>",
            "bytes>",
            "last record",
            "state",
        ]);
        for segment in &self.segments {
            let empty = segment.first_sequence == segment.next_sequence;
            let dash = || "-".to_owned();
            table.row(vec![
                segment.index.to_string(),
                if empty {
                    dash()
                } else {
                    grouped(segment.first_sequence)
                },
                if empty {
                    dash()
                } else {
                    grouped(segment.next_sequence - 1)
                },
                grouped(segment.records),
                grouped(segment.bytes),
                if segment.last_ns == 0 {
                    dash()
                } else {
                    time(segment.last_ns)
                },
                if segment.sealed { "sealed" } else { "in use" }.to_owned(),
            ]);
        }
        table.print(output)
    }
}

impl Harm {
    fn new(damage: &Damage) -> Self {
        let some = damage.first <= damage.last;
        Self {
            segment: damage.segment,
            first_byte: damage.start,
            end_byte: damage.end,
            first_sequence: some.then_some(damage.first),
            last_sequence: some.then_some(damage.last),
            message: damage.to_string(),
        }
    }
}

impl Segment {
    fn new(report: &SegmentReport) -> Self {
        Self {
            index: report.index,
            records: report.records,
            first_sequence: report.first,
            next_sequence: report.next,
            bytes: report.bytes,
            last_ns: report.last_ns,
            sealed: report.sealed,
        }
    }
}

/// While a server runs, retention may remove a segment between its listing and its reading.
const ATTEMPTS: u32 = 5;
