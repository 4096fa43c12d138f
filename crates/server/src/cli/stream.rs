//! `trunkline stream`: what streams there are, and adding and removing them.

mod refusal;

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connect::Target;
use super::exit::{Failure, Outcome};
use super::output::{Output, Table, confirmed, counted, grouped};
use super::request::call;
use crate::config::{Bytes, Span};
use crate::system::{self, StreamInfo, StreamList, StreamRemoved};

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
    #[command(after_help = "\
Examples:
  trunkline stream ls
  trunkline stream ls --json | jq -r '.streams[].name'")]
    Ls {
        #[command(flatten)]
        common: Common,
    },
    /// Show one stream: subjects, records, bytes, sequences, subscribers
    #[command(after_help = "\
Examples:
  trunkline stream info main
  trunkline stream info main --json | jq .last_sequence")]
    Info {
        /// The stream
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Add a stream; it stays over restarts
    Add(Box<Add>),
    /// Remove a stream and its records for good
    #[command(after_help = "\
Examples:
  trunkline stream rm orders                  # asks first
  trunkline stream rm orders --yes")]
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
#[command(after_help = "\
Examples:
  trunkline stream add audit --subjects 'audit.>'
  trunkline stream add orders --subjects 'orders.>' --ack synced --keep-age 30d
  trunkline stream add ticks --subjects 'ticks.>' --storage memory --tail 256MiB

A subject belongs to one stream: patterns that overlap those of another stream are refused.")]
struct Add {
    /// Its name: letters, digits, - and _
    name: String,
    /// A pattern that it captures; may be given several times
    #[arg(long, value_name = "PATTERN", required = true, num_args = 1..)]
    subjects: Vec<String>,
    /// Where the records live [default: file]
    #[arg(long, value_name = "STORAGE", value_parser = ["file", "memory"])]
    storage: Option<String>,
    /// What an acknowledgement says [default: stored; received in memory]
    #[arg(long, value_name = "LEVEL", value_parser = ["received", "stored", "synced"])]
    ack: Option<String>,
    /// When subscribers see a record [default: ack]
    #[arg(long, value_name = "WHEN", value_parser = ["ack", "received"])]
    visible: Option<String>,
    /// Bytes to keep [default: 1GiB; in memory what the tail holds]
    #[arg(long, value_name = "SIZE", value_parser = written::<Bytes>)]
    keep_bytes: Option<String>,
    /// Age to keep, such as 7d
    #[arg(long, value_name = "TIME", value_parser = written::<Span>)]
    keep_age: Option<String>,
    /// Number of records to keep
    #[arg(long, value_name = "N")]
    keep_records: Option<u64>,
    /// Size of a segment file
    #[arg(long, value_name = "SIZE", value_parser = written::<Bytes>)]
    segment: Option<String>,
    /// Memory for the newest records
    #[arg(long, value_name = "SIZE", value_parser = written::<Bytes>)]
    tail: Option<String>,
    /// Longest time that a stored record waits for a sync
    #[arg(long, value_name = "TIME", value_parser = written::<Span>)]
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

/// An entry of `streams`, as JSON.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    subjects: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visible: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<Kept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_interval: Option<&'a str>,
}

#[derive(Serialize)]
struct Kept<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
}

impl Stream {
    pub(super) fn run(self) -> Outcome {
        match &self.action {
            Action::Ls { common } => list(common),
            Action::Info { name, common } => info(name, common),
            Action::Add(add) => add.run(),
            Action::Rm { name, yes, common } => remove(name, *yes, common),
        }
    }
}

impl Add {
    fn run(&self) -> Outcome {
        let kept =
            self.keep_bytes.is_some() || self.keep_age.is_some() || self.keep_records.is_some();
        let entry = Entry {
            name: &self.name,
            subjects: &self.subjects,
            storage: self.storage.as_deref(),
            ack: self.ack.as_deref(),
            visible: self.visible.as_deref(),
            retention: kept.then_some(Kept {
                bytes: self.keep_bytes.as_deref(),
                age: self.keep_age.as_deref(),
                records: self.keep_records,
            }),
            segment: self.segment.as_deref(),
            tail: self.tail.as_deref(),
            sync_interval: self.sync_interval.as_deref(),
        };
        let request =
            serde_json::to_vec(&entry).map_err(|error| Failure::Usage(error.to_string()))?;
        let added = ask(&self.common, system::STREAM_ADD, &request);
        let added: StreamInfo = added.map_err(|failure| match failure {
            Failure::Refused(text) => Failure::Refused(refusal::in_flags(&text)),
            other => other,
        })?;
        let mut output = Output::new();
        if self.common.json {
            output.json(&added)?;
        } else {
            output.line(&format!(
                "added {}, which captures {}",
                added.name,
                added.subjects.join(" ")
            ))?;
        }
        output.flush()
    }
}

fn list(common: &Common) -> Outcome {
    let list: StreamList = ask(common, system::STREAM_LIST, b"")?;
    let mut output = Output::new();
    if common.json {
        output.json(&list)?;
        return output.flush();
    }
    let mut table = Table::new(&[
        "stream",
        "subjects",
        "storage",
        "ack",
        "records>",
        "bytes>",
        "first>",
        "last>",
        "subscribers>",
        "state",
    ]);
    for stream in &list.streams {
        let known = |shown: String| known(stream, shown);
        table.row(vec![
            stream.name.clone(),
            stream.subjects.join(" "),
            stream.storage.clone(),
            stream.ack.clone(),
            known(grouped(stream.records)),
            known(Bytes(stream.bytes).to_string()),
            known(stream.first_sequence.to_string()),
            known(stream.last_sequence.to_string()),
            grouped(stream.subscribers),
            match stream.damaged.is_empty() {
                true => spelled(&stream.state),
                false => format!("{}, damaged", spelled(&stream.state)),
            },
        ]);
    }
    table.print(&mut output)?;
    output.flush()
}

fn info(name: &str, common: &Common) -> Outcome {
    let stream: StreamInfo = ask(common, system::STREAM_INFO, name.as_bytes())?;
    let mut output = Output::new();
    if common.json {
        output.json(&stream)?;
        return output.flush();
    }
    let origin = if stream.configured {
        "configuration"
    } else {
        "added"
    };
    let state = match &stream.reason {
        Some(reason) => format!("{}: {reason}", spelled(&stream.state)),
        None => spelled(&stream.state),
    };
    let retention = if stream.retention_held {
        format!(
            "{}; the clock is not believed yet: it is more than an hour later than it should be; age goes by the steady clock until it is set right, or for as long as the limit, six hours at most",
            stream.retention
        )
    } else {
        stream.retention.clone()
    };
    let damaged = damaged(&stream.damaged, name);
    let known = |shown: String| known(&stream, shown);
    let (records, bytes) = (
        known(grouped(stream.records)),
        known(Bytes(stream.bytes).to_string()),
    );
    let first = known(stream.first_sequence.to_string());
    let last = known(stream.last_sequence.to_string());
    let subjects_seen = known(grouped(stream.subjects_seen));
    let rows = [
        ("stream", stream.name),
        ("subjects", stream.subjects.join(" ")),
        ("storage", stream.storage),
        ("ack", stream.ack),
        ("visible", stream.visible),
        ("retention", retention),
        ("records", records),
        ("bytes", bytes),
        ("first sequence", first),
        ("last sequence", last),
        ("stored up to", reached(stream.stored_sequence)),
        ("synced up to", reached(stream.synced_sequence)),
        ("subjects seen", subjects_seen),
        ("subscribers", grouped(stream.subscribers)),
        ("too slow", too_slow(stream.skipped, stream.disconnected)),
        ("worker", stream.worker.to_string()),
        ("origin", origin.to_owned()),
        ("state", state),
        ("damaged", damaged),
    ];
    for (what, value) in rows {
        // What is damaged, and who was too slow: mostly there is nothing to say.
        if value.is_empty() {
            continue;
        }
        output.line(&format!("{what:<16}{value}"))?;
    }
    output.flush()
}

/// What became of subscribers that did not keep up; empty if all did.
fn too_slow(skipped: u64, disconnected: u64) -> String {
    let skipped = (skipped > 0).then(|| format!("{} passed over", counted(skipped, "record")));
    let disconnected =
        (disconnected > 0).then(|| format!("{} disconnected", counted(disconnected, "subscriber")));
    let said: Vec<String> = skipped.into_iter().chain(disconnected).collect();
    said.join(", ")
}

/// A number of a stream, unless it could not be opened: then nobody knows.
fn known(stream: &StreamInfo, shown: String) -> String {
    if stream.state == "refused" {
        "-".to_owned()
    } else {
        shown
    }
}

/// What readers came upon and did not get; empty if nothing.
fn damaged(ranges: &[(u64, u64)], stream: &str) -> String {
    if ranges.is_empty() {
        return String::new();
    }
    let records = ranges.iter().map(|(first, last)| last - first + 1).sum();
    let spelled = ranges
        .iter()
        .map(|(first, last)| format!("{first} to {last}"));
    format!(
        "{}, which readers do not get: {}; `trunkline log verify {stream}`, with the server's --data, looks at everything",
        counted(records, "record"),
        spelled.collect::<Vec<_>>().join(", ")
    )
}

/// How far a stream is kept, which one in memory is not.
fn reached(sequence: Option<u64>) -> String {
    sequence.map_or_else(|| "-".to_owned(), |sequence| sequence.to_string())
}

/// A state as people read it.
fn spelled(state: &str) -> String {
    match state {
        "no_space" => "no space".to_owned(),
        "read_only" => "read-only".to_owned(),
        other => other.to_owned(),
    }
}

fn remove(name: &str, yes: bool, common: &Common) -> Outcome {
    let question = format!("Remove {name} and all its records for good?");
    if !yes && !confirmed(&question)? {
        return Err(Failure::Absent(format!(
            "{name} stays: give --yes to remove it with its records"
        )));
    }
    let removed: StreamRemoved = ask(common, system::STREAM_REMOVE, name.as_bytes())?;
    let mut output = Output::new();
    if common.json {
        output.json(&removed)?;
    } else {
        let plural = if removed.records == 1 { "" } else { "s" };
        let records = grouped(removed.records);
        output.line(&format!(
            "removed {} and its {records} record{plural}",
            removed.name
        ))?;
    }
    output.flush()
}

fn ask<T: DeserializeOwned>(common: &Common, subject: &str, request: &[u8]) -> Result<T, Failure> {
    let mut line = common.target.connect("stream")?;
    let answer = call(&mut line, subject, request, TIMEOUT)?;
    line.close();
    serde_json::from_slice(&answer)
        .map_err(|error| Failure::Refused(format!("the server's answer cannot be read: {error}")))
}

/// A size or a time as it was written, which the server reads, when it can be read.
fn written<T: FromStr<Err = String>>(text: &str) -> Result<String, String> {
    text.parse::<T>().map(|_| text.to_owned())
}

/// Preparing a stream's first segment takes as long as the disk takes to write it.
const TIMEOUT: Duration = Duration::from_secs(30);
