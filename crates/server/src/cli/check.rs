//! `trunkline check` and `trunkline plan`: what a configuration means, without starting anything.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::exit::{Failure, Outcome};
use super::output::{Output, Table, grouped};
use super::serve::Source;
use crate::config::{Bytes, File, Problem, Span, Storage};
use crate::plan::{Flags, Machine, Plan, StreamPlan, Term};

/// Check a configuration file without starting anything
#[derive(Debug, Args)]
#[command(after_help = "\
Everything that `serve` would refuse is refused here, with file, line and column, and the valid choices.

Examples:
  trunkline check trunkline.yaml
  trunkline check trunkline.yaml --json | jq '.problems[]'

Exit codes: 0 valid, 3 refused.")]
pub(super) struct Check {
    /// The configuration file (YAML)
    #[arg(value_name = "CONFIG")]
    config: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Show every number that a server would run with, and the terms of its worst-case memory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trunkline plan
  trunkline plan --config trunkline.yaml
  trunkline plan --workers 4 --json | jq '.memory[] | {name, bytes}'")]
pub(super) struct ShowPlan {
    #[command(flatten)]
    source: Source,

    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// `check --json`.
#[derive(Serialize)]
struct Verdict<'a> {
    valid: bool,
    problems: &'a [Problem],
}

/// `plan --json`.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    memory: Vec<Term>,
    memory_bytes: u64,
    memory_at_start_bytes: u64,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let computed = File::read(&self.config)
            .and_then(|file| Plan::compute(Some(&file), &Flags::default(), &Machine::here()));
        let mut output = Output::new();
        if self.json {
            let problems = computed
                .as_ref()
                .err()
                .map_or(&[][..], |problems| &problems.0);
            output.json(&Verdict {
                valid: problems.is_empty(),
                problems,
            })?;
            output.flush()?;
            // The problems are in the JSON; standard error gets no second copy.
            return if problems.is_empty() {
                Ok(())
            } else {
                Err(Failure::Config(String::new()))
            };
        }
        let plan = computed.map_err(|problems| Failure::Config(problems.to_string()))?;
        output.line(&format!(
            "{} is valid: {}, {}, {}",
            self.config.display(),
            counted(plan.streams.len(), "stream"),
            counted(plan.listeners.len(), "listener"),
            counted(plan.workers.len(), "worker"),
        ))?;
        output.flush()
    }
}

impl ShowPlan {
    pub(super) fn run(self) -> Outcome {
        let plan = self.source.plan(None)?;
        let mut output = Output::new();
        if self.json {
            let shown = Shown {
                memory: plan.memory(),
                memory_bytes: plan.memory_bytes(),
                memory_at_start_bytes: plan.memory_at_start_bytes(),
                plan: &plan,
            };
            output.json(&shown)?;
            return output.flush();
        }
        overview(&plan, &mut output)?;
        streams(&plan, &mut output)?;
        limits(&plan, &mut output)?;
        memory(&plan, &mut output)?;
        output.flush()
    }
}

fn overview(plan: &Plan, output: &mut Output) -> Outcome {
    let source = plan
        .config_file
        .as_ref()
        .map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    output.line(&format!("configuration  {source}"))?;
    output.line(&format!("data           {}", plan.data_dir.display()))?;
    for listener in &plan.listeners {
        let exposed = if listener.exposed {
            "  (other machines can reach it; no authentication)"
        } else {
            ""
        };
        output.line(&format!("listen         {}{exposed}", listener.address))?;
    }
    let pins: Vec<String> = plan
        .workers
        .iter()
        .filter_map(|worker| worker.cpu)
        .map(|cpu| cpu.to_string())
        .collect();
    let pinned = if pins.is_empty() {
        "not pinned".to_owned()
    } else {
        format!("on CPU {}", pins.join(", "))
    };
    output.line(&format!("workers        {}, {pinned}", plan.workers.len()))?;
    output.line(&format!(
        "idle, io       {}, {}",
        word(&plan.idle),
        word(&plan.io)
    ))?;
    output.line(&format!("synced writes  {}", plan.synced_writes.word()))
}

fn streams(plan: &Plan, output: &mut Output) -> Outcome {
    let mut table = Table::new(&[
        "stream",
        "worker>",
        "subjects",
        "storage",
        "ack",
        "visible",
        "retention",
        "segment>",
        "tail>",
        "sync>",
    ]);
    for stream in &plan.streams {
        let file = stream.storage == Storage::File;
        let only_files = |text: String| if file { text } else { "-".to_owned() };
        table.row(vec![
            stream.name.clone(),
            stream.worker.to_string(),
            stream.subjects.join(" "),
            word(&stream.storage),
            word(&stream.ack),
            word(&stream.visible),
            retention(stream),
            only_files(Bytes(stream.segment_bytes).to_string()),
            Bytes(stream.tail_bytes).to_string(),
            only_files(Span(stream.sync_interval_ns).to_string()),
        ]);
    }
    output.line("")?;
    table.print(output)
}

fn limits(plan: &Plan, output: &mut Output) -> Outcome {
    let limits = &plan.limits;
    let mut table = Table::new(&["limit", "value>"]);
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    row(
        "max_record",
        Bytes(limits.max_record_bytes.into()).to_string(),
    );
    row(
        "max_frame",
        Bytes(limits.max_frame_bytes.into()).to_string(),
    );
    row("connections", grouped(limits.connections.into()));
    row(
        "subscriptions of a connection",
        grouped(limits.subscriptions.into()),
    );
    row(
        "subjects of a connection",
        grouped(limits.session_subjects.into()),
    );
    row(
        "their names",
        Bytes(limits.session_subject_bytes.into()).to_string(),
    );
    row(
        "subjects of a stream",
        grouped(limits.stream_subjects.into()),
    );
    row("calls of a connection", grouped(limits.calls.into()));
    row(
        "send_queue of a connection",
        Bytes(limits.send_queue_bytes.into()).to_string(),
    );
    row(
        "receive_pool of a worker",
        Bytes(limits.receive_pool_bytes).to_string(),
    );
    row(
        "read_pool of a worker",
        Bytes(limits.read_pool_bytes).to_string(),
    );
    row("hello_timeout", Span(limits.hello_timeout_ns).to_string());
    row("idle_timeout", Span(limits.idle_timeout_ns).to_string());
    row("send_timeout", Span(limits.send_timeout_ns).to_string());
    row("drain_timeout", Span(limits.drain_timeout_ns).to_string());
    output.line("")?;
    table.print(output)
}

fn memory(plan: &Plan, output: &mut Output) -> Outcome {
    let mut table = Table::new(&[
        "worst-case memory",
        "count>",
        "each>",
        "bytes>",
        "when",
        "set by",
    ]);
    for term in plan.memory() {
        table.row(vec![
            term.name,
            grouped(term.count),
            Bytes(term.each_bytes).to_string(),
            Bytes(term.bytes).to_string(),
            if term.at_start {
                "at start"
            } else {
                "with use"
            }
            .to_owned(),
            term.set_by.to_owned(),
        ]);
    }
    let (sum, start) = (
        Bytes(plan.memory_bytes()),
        Bytes(plan.memory_at_start_bytes()),
    );
    let empty = String::new;
    table.row(vec![
        "sum".to_owned(),
        empty(),
        empty(),
        sum.to_string(),
        format!("{start} at start"),
        empty(),
    ]);
    output.line("")?;
    table.print(output)?;
    let machine = Machine::here();
    if machine.memory_bytes > 0 && plan.memory_bytes() > machine.memory_bytes {
        output.line(&format!(
            "\nThe worst case is more than this machine has ({}); lower the settings of the largest terms.",
            Bytes(machine.memory_bytes)
        ))?;
    }
    Ok(())
}

fn retention(stream: &StreamPlan) -> String {
    let kept = &stream.retention;
    let mut bounds = Vec::new();
    bounds.extend(kept.bytes.map(|bytes| Bytes(bytes).to_string()));
    bounds.extend(kept.age_ns.map(|age| Span(age).to_string()));
    bounds.extend(
        kept.records
            .map(|records| format!("{} records", grouped(records))),
    );
    if bounds.is_empty() {
        "its tail".to_owned()
    } else {
        bounds.join(", ")
    }
}

/// The word that the configuration uses.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
