//! `trunkline log verify` and `log inspect`: what the files hold.

use clap::Args;
use serde::Serialize;
use trunkline_log::{Damage, SegmentReport, Verified, verify};

use super::{Selection, machine, progress, told, unread};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::{Output, Table, counted, grouped, time};
use crate::storage::{StorageError, View};

/// Which streams, and how it is told.
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    selection: Selection,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) const VERIFY_HELP: &str = "\
Nothing is changed, and a server may be running on the directory. Every byte is read: framing, checksums, the order of \
sequences and times, seals. Damage is named with its segment, its bytes and the sequences that they held, and so is a stream \
whose files have all gone. The logs that durable cursors are kept in are checked too; they are called cursors/0, cursors/1 \
and so on. What cannot be read is named with the sequences that it may hold, and the rest is checked all the same.

Examples:
  trunkline log verify
  trunkline log verify orders payments --data /var/lib/trunkline
  trunkline log verify --json | jq '.streams[] | {name, damages}'

Exit codes: 0 all intact; 1 there is damage; 6 files cannot be read, and nothing else is damaged.";

pub(super) const INSPECT_HELP: &str = "\
Reads and checks every record, as `verify` does.

Examples:
  trunkline log inspect main
  trunkline log inspect --data /var/lib/trunkline --json

Exit codes: 0 all intact; 1 there is damage; 6 files cannot be read, and nothing else is damaged.";

/// `--json`.
#[derive(Serialize)]
struct Found {
    /// Whether all streams could be read and are intact.
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
    /// Files with bytes that were copied aside before recovery or repair overwrote them.
    quarantine_files: u64,
    quarantine_bytes: u64,
    damages: Vec<Harm>,
    segments: Vec<Segment>,
    /// All its files are missing.
    missing: bool,
    /// What of it is missing, or cannot be read, and why.
    problem: Option<String>,
    /// That is all that is known of it.
    #[serde(skip)]
    unknown: bool,
    /// Why the copies cannot be counted; part of `problem`.
    #[serde(skip)]
    quarantine_problem: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Harm {
    segment: u64,
    first_byte: u64,
    end_byte: u64,
    /// Absent when no data record is affected, as `last_sequence`.
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    pub(super) message: String,
    /// It cannot be read, and may be intact.
    #[serde(skip)]
    unread: bool,
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

impl Verify {
    pub(super) fn run(&self, inspect: bool) -> Outcome {
        let found = self.look()?;
        let mut output = Output::new();
        if self.json {
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
            .filter(|stream| stream.is_damaged())
            .map(|stream| stream.name.as_str())
            .collect();
        let unread: Vec<String> = found
            .streams
            .iter()
            .filter(|stream| !stream.missing)
            .filter_map(|stream| {
                Some(format!(
                    "stream {}: {}",
                    stream.name,
                    stream.problem.as_ref()?
                ))
            })
            .collect();
        if damaged.is_empty() {
            return Err(Failure::Machine(unread.join("; ")));
        }
        let beside = match unread.is_empty() {
            true => String::new(),
            false => format!("; not everything can be read: {}", unread.join("; ")),
        };
        Err(Failure::Absent(format!(
            "acknowledged data is damaged in {}; `trunkline log repair --dry-run --data {}` says whether it can be served, and what can be done{beside}",
            damaged.join(", "),
            self.selection.data.display()
        )))
    }

    fn look(&self) -> Result<Found, Failure> {
        let view = View::open(&self.selection.data).map_err(machine)?;
        let served_by = view.holder();
        let missing = view.missing().map_err(machine)?;
        let mut streams = Vec::new();
        let lost = view.lost_cursors().unwrap_or_else(|error| {
            if self.selection.streams.is_empty() {
                let problem = error.to_string();
                streams.push(Stream::unknown("cursors".to_owned(), false, problem));
            }
            Vec::new()
        });
        for name in self.selection.names(&view, true)? {
            if missing.contains(&name) {
                let problem = view.gone(&name).to_string();
                streams.push(Stream::unknown(name, true, problem));
                continue;
            }
            if lost.contains(&name) {
                let problem = lost_cursors(&view, &name);
                streams.push(Stream::unknown(name, true, problem));
                continue;
            }
            let verified = verify(&mut view.stream(&name), progress("bytes verified"));
            let quarantine = view.quarantine(&name);
            streams.push(match verified {
                Ok(verified) => Stream::found(&view, name, &verified, quarantine),
                Err(error) => {
                    let problem = unread(&view, &name, &error);
                    Stream::unknown(name, false, problem)
                }
            });
        }
        Ok(Found {
            intact: streams
                .iter()
                .all(|stream| stream.damages.is_empty() && stream.problem.is_none()),
            served_by,
            streams,
        })
    }
}

/// What there is to say of a log of durable cursors of which nothing is left.
fn lost_cursors(view: &View, name: &str) -> String {
    format!(
        "durable cursors are lost: all files that they were kept in, in {}, are missing or hold nothing but zeros; \
         put them back before the server is started, or who reads with one of them begins with the first record",
        view.path_of(name).display()
    )
}

impl Stream {
    fn new(name: String, verified: &Verified, quarantine: (u64, u64)) -> Self {
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
            quarantine_files: quarantine.0,
            quarantine_bytes: quarantine.1,
            damages: verified.damages.iter().map(Harm::new).collect(),
            segments: verified.segments.iter().map(Segment::new).collect(),
            missing: false,
            problem: None,
            unknown: false,
            quarantine_problem: None,
        }
    }

    /// One of which files were read, if not all of them.
    fn found(
        view: &View,
        name: String,
        verified: &Verified,
        quarantine: Result<(u64, u64), StorageError>,
    ) -> Self {
        let copies = *quarantine.as_ref().unwrap_or(&(0, 0));
        let mut stream = Self::new(name, verified, copies);
        for (harm, damage) in stream.damages.iter_mut().zip(&verified.damages) {
            harm.message = told(view, &stream.name, damage);
        }
        let unread = stream.damages.iter().filter(|harm| harm.unread);
        let unread = unread.map(|harm| harm.message.clone());
        stream.quarantine_problem = quarantine.err().map(|error| error.to_string());
        let problems: Vec<_> = unread.chain(stream.quarantine_problem.clone()).collect();
        stream.problem = (!problems.is_empty()).then(|| problems.join("; "));
        stream
    }

    /// One of which only this is known.
    fn unknown(name: String, missing: bool, problem: String) -> Self {
        let nothing = Verified::default();
        Self {
            missing,
            problem: Some(problem),
            unknown: true,
            ..Self::new(name, &nothing, (0, 0))
        }
    }

    fn is_damaged(&self) -> bool {
        self.missing || self.damages.iter().any(|harm| !harm.unread)
    }

    fn print(&self, served_by: Option<u32>, output: &mut Output) -> Outcome {
        if let (Some(problem), true) = (&self.problem, self.unknown) {
            let what = if self.missing {
                "missing"
            } else {
                "cannot be read"
            };
            let verdict = output.paint(what, "31");
            output.line(&format!("{}: {verdict}", self.name))?;
            return output.line(&format!("  {problem}"));
        }
        let range = match (self.first_sequence, self.last_sequence) {
            (Some(first), Some(last)) => format!(" ({} to {})", grouped(first), grouped(last)),
            _ => String::new(),
        };
        let unread = self.damages.iter().filter(|harm| harm.unread).count();
        let verdict = match (self.damages.len() - unread, unread) {
            (0, 0) => output.paint("all intact", "32"),
            (0, 1) => output.paint("1 segment cannot be read", "31"),
            (0, count) => output.paint(&format!("{count} segments cannot be read"), "31"),
            (damaged, unread) => {
                let mut said = match damaged {
                    1 => "1 place is damaged".to_owned(),
                    count => format!("{count} places are damaged"),
                };
                if unread > 0 {
                    said += &format!(", {unread} cannot be read");
                }
                output.paint(&said, "31")
            }
        };
        output.line(&format!(
            "{}: {} records{range} in {}, {} bytes, synced up to {}: {verdict}",
            self.name,
            grouped(self.records),
            counted(self.segments.len() as u64, "segment"),
            grouped(self.bytes),
            grouped(self.synced_sequence),
        ))?;
        for damage in &self.damages {
            output.line(&format!("  {}", damage.message))?;
        }
        if let Some(problem) = &self.quarantine_problem {
            output.line(&format!("  {problem}"))?;
        }
        if self.quarantine_files > 0 {
            output.line(&format!(
                "  in quarantine: {} bytes that were cut off or overwritten, in {} files",
                grouped(self.quarantine_bytes),
                self.quarantine_files
            ))?;
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
    pub(super) fn new(damage: &Damage) -> Self {
        let some = damage.records() > 0;
        Self {
            segment: damage.segment,
            first_byte: damage.start,
            end_byte: damage.end,
            first_sequence: some.then_some(damage.first),
            last_sequence: some.then_some(damage.last),
            message: damage.to_string(),
            unread: damage.what.is_unread(),
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
