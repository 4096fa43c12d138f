//! `trunkline bench`: throughput and latency through a server.
//!
//! The parts are in files of their own: [`server`] starts one, [`payload`] makes records that can be checked,
//! [`throughput`], [`latency`] and [`acks`] measure.

mod acks;
mod latency;
mod payload;
mod server;
mod throughput;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::connect::{CONNECT_PATIENCE, Line, Stop};
use super::exit::{Failure, Outcome};
use super::output::{Output, Table, grouped, rate};
use super::serve::IdleWord;
use super::values::{AckWord, Rate, Records, level_word, some_time};
use crate::config::Span;
use crate::doctor::micros;
use server::Started;

/// Measure throughput and latency through a server
#[derive(Debug, Args)]
#[command(after_help = "\
Without --server a server is started for the run, with its data in a temporary directory (TMPDIR chooses the disk). \
TRUNKLINE_SERVER does not count here: the millions of records that are published would push real ones out of that server's \
streams. With --server they go into the streams that capture `bench.>`; give them one of their own.

Every record is checked: its content, its order, and that none is missing or comes twice.

Latency is measured in an open loop: records are due at fixed times, whatever happened to those before, and the time of a \
record counts from when it was due. One client thread publishes and receives.

Examples:
  trunkline bench
  trunkline bench --only latency --rate 10k --idle spin
  trunkline bench --only throughput --size 1024 --records 1M
  trunkline bench --only acks --ack synced --window 1000
  trunkline bench --server 127.0.0.1:7400 --json

Exit codes: 0 measured; 1 a record was missing, damaged, out of order or twice.")]
pub(super) struct Bench {
    /// Measure the server at this address, and fill its streams; without it a server is started
    #[arg(long, short, value_name = "HOST:PORT")]
    server: Option<String>,

    /// Run only this part
    #[arg(long, value_name = "PART")]
    only: Option<Part>,

    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    size: u32,

    /// Records for throughput, such as 500k or 2M
    #[arg(long, value_name = "N", default_value = "2M")]
    records: Records,

    /// Records per second for latency
    #[arg(long, value_name = "N", default_value = "10k")]
    rate: Rate,

    /// How long latency, and each window of acks, is measured
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = some_time)]
    time: Span,

    /// Ack level of the started server's stream, and what is asked for
    #[arg(long, value_name = "LEVEL", default_value = "stored")]
    ack: AckWord,

    /// Let subscribers of the started server see records at once, not at their ack level
    #[arg(long, conflicts_with = "server")]
    visible_received: bool,

    /// Publishes in flight for acks; 1 and 1000 when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    window: Option<u32>,

    /// Idle strategy of the started server, and of the client: with spin it polls
    #[arg(
        long,
        value_name = "STRATEGY",
        default_value = "adaptive",
        conflicts_with = "server"
    )]
    idle: IdleWord,

    /// How the started server's workers talk to the kernel
    #[arg(
        long,
        value_name = "BACKEND",
        default_value = "auto",
        conflicts_with = "server"
    )]
    io: super::serve::IoWord,

    /// CPUs that the started server may run on, such as 0 or 0-3; the client takes the others
    #[arg(long, value_name = "LIST", conflicts_with = "server")]
    server_cpus: Option<String>,

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

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
struct Results {
    payload_bytes: u32,
    ack: &'static str,
    server: Measured,
    #[serde(skip_serializing_if = "Option::is_none")]
    throughput: Option<throughput::Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<latency::Figures>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acks: Vec<acks::Figures>,
}

/// Which server was measured.
#[derive(Debug, Default, Serialize)]
struct Measured {
    address: String,
    /// Whether it was started for this run.
    started: bool,
    /// What it was told then.
    #[serde(flatten)]
    told: Option<server::Described>,
}

/// What every part needs.
struct Setting<'a> {
    address: &'a str,
    started: Option<&'a Started>,
    payload_bytes: usize,
    ack: AckWord,
    /// The client polls instead of sleeping.
    polls: bool,
}

impl Setting<'_> {
    fn connect(&self, part: &str) -> Result<Line, Failure> {
        let stop = self
            .started
            .map_or_else(Stop::install, |started| Ok(started.stop()))?;
        let command = format!("bench {part}");
        Line::connect_until(self.address, &command, CONNECT_PATIENCE, stop)
    }
}

impl Bench {
    pub(super) fn run(self) -> Outcome {
        let started = match &self.server {
            Some(_) => None,
            None => Some(Started::start(&server::Wanted {
                ack: self.ack,
                visible_received: self.visible_received,
                idle: self.idle,
                io: self.io,
                cpus: self.server_cpus.as_deref(),
                payload_bytes: self.size,
            })?),
        };
        let address = self
            .server
            .as_deref()
            .or(started.as_ref().map(Started::address))
            .unwrap_or_default();
        let setting = Setting {
            address,
            started: started.as_ref(),
            payload_bytes: self.size as usize,
            ack: self.ack,
            polls: matches!(self.idle, IdleWord::Spin),
        };
        let wanted = |part: Part| self.only.is_none_or(|only| only == part);
        let mut results = Results {
            payload_bytes: self.size,
            ack: level_word(self.ack.level()),
            server: Measured {
                address: address.to_owned(),
                started: started.is_some(),
                told: started.as_ref().map(Started::described),
            },
            ..Results::default()
        };
        if wanted(Part::Throughput) {
            results.throughput = Some(throughput::measure(&setting, self.records.0)?);
        }
        if wanted(Part::Latency) {
            results.latency = Some(latency::measure(
                &setting,
                self.rate.0,
                self.time.duration(),
            )?);
        }
        if wanted(Part::Acks) {
            let both = [1, 1000];
            let windows = self.window.as_ref().map_or(&both[..], std::slice::from_ref);
            for window in windows {
                results
                    .acks
                    .push(acks::measure(&setting, *window, self.time.duration())?);
            }
        }
        let mut output = Output::new();
        if self.json {
            output.json(&results)?;
        } else {
            results.print(&mut output)?;
        }
        output.flush()
    }
}

impl Results {
    fn print(&self, output: &mut Output) -> Outcome {
        let how = self.server.told.as_ref().map_or_else(
            || format!("the server at {}", self.server.address),
            |server| {
                format!(
                    "a started server, idle {}, {}, {}, data in {}",
                    server.idle,
                    server.io,
                    match &server.cpus {
                        Some(cpus) => format!("bound to CPU {cpus}, the client to the others"),
                        None => "nothing bound to CPUs".to_owned(),
                    },
                    server.directory
                )
            },
        );
        output.line(&format!(
            "payloads of {} B, acknowledged when {}, {how}",
            self.payload_bytes, self.ack
        ))?;
        if let Some(throughput) = &self.throughput {
            output.line("")?;
            let mut table = Table::new(&[
                "throughput",
                "records>",
                "rate>",
                "MiB/s>",
                "server CPU/record>",
            ]);
            let cpu = throughput
                .server_cpu_ns_per_record
                .map_or_else(|| "-".to_owned(), |ns| format!("{:.3} µs", ns / 1e3));
            for (name, seconds) in [
                ("published and acked", throughput.acked_seconds),
                ("delivered and checked", throughput.delivered_seconds),
            ] {
                let per_second = throughput.records as f64 / seconds;
                table.row(vec![
                    name.to_owned(),
                    grouped(throughput.records),
                    rate(per_second),
                    format!(
                        "{:.0}",
                        per_second * f64::from(self.payload_bytes) / f64::from(1 << 20)
                    ),
                    cpu.clone(),
                ]);
            }
            table.print(output)?;
        }
        let mut table = Table::new(&[
            "latency", "rate>", "p50>", "p90>", "p99>", "p99.9>", "max>", "records>",
        ]);
        let mut row = |name: String, per_second: f64, times: &Percentiles| {
            let shown = [
                times.p50_ns,
                times.p90_ns,
                times.p99_ns,
                times.p99_9_ns,
                times.max_ns,
            ]
            .map(micros);
            let mut cells = vec![name, rate(per_second)];
            cells.extend(shown);
            cells.push(grouped(times.count));
            table.row(cells);
        };
        if let Some(latency) = &self.latency {
            row(
                "publish to delivery".to_owned(),
                latency.rate,
                &latency.delivery,
            );
            row("publish to ack".to_owned(), latency.rate, &latency.ack);
        }
        for acks in &self.acks {
            row(
                format!("ack, window {}", acks.window),
                acks.records_per_second,
                &acks.ack,
            );
        }
        if self.latency.is_some() || !self.acks.is_empty() {
            output.line("")?;
            table.print(output)?;
        }
        Ok(())
    }
}

/// A distribution of times.
#[derive(Debug, Clone, Serialize)]
struct Percentiles {
    count: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p99_9_ns: u64,
    max_ns: u64,
}

/// Times from 1 ns to a minute, to three digits.
struct Times(hdrhistogram::Histogram<u64>);

impl Times {
    fn new() -> Result<Self, Failure> {
        let histogram = hdrhistogram::Histogram::new_with_bounds(1, 60_000_000_000, 3);
        histogram
            .map(Self)
            .map_err(|error| Failure::Machine(error.to_string()))
    }

    fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    fn percentiles(&self) -> Percentiles {
        let at = |quantile: f64| self.0.value_at_quantile(quantile);
        Percentiles {
            count: self.0.len(),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            max_ns: self.0.max(),
        }
    }
}
