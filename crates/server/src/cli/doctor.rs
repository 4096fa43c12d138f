//! `trunkline doctor`: what this machine can do for a server.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Failure, Outcome};
use super::output::{Output, Table};
use crate::config::Bytes;
use crate::doctor::{DiskReport, Report, StorageReport, examine, micros};
use crate::plan::DEFAULT_DATA_DIR;

/// Measure what this machine can do: disk syncs, io_uring, cores, clock, wake-ups
#[derive(Debug, Args)]
#[command(after_help = "\
Takes a few seconds and changes no setting. The disk is measured with a file of 8 MiB in the data directory, or where it \
would be created; the file is removed.

Examples:
  trunkline doctor
  trunkline doctor --data /var/lib/trunkline
  trunkline doctor --json | jq '.disk.methods'

`trunkline log doctor` looks at the disk only.")]
pub(super) struct Doctor {
    /// Data directory whose disk is measured
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data: PathBuf,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        refuse_file(&self.data)?;
        let report = examine(&self.data);
        let mut output = Output::new();
        if self.json {
            output.json(&report)?;
            return output.flush();
        }
        machine(&report, &mut output)?;
        storage(&report.storage, &mut output)?;
        print_advice(&report.advice, &mut output)?;
        output.flush()
    }
}

/// A data directory may be one that is still to be made, but no file.
pub(super) fn refuse_file(path: &Path) -> Outcome {
    match path.metadata() {
        Ok(there) if !there.is_dir() => Err(Failure::Machine(format!(
            "{} is not a directory: name the data directory, or one that is still to be made, with --data",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// What was found out about the disk, and what acknowledgements mean there.
pub(super) fn storage(report: &StorageReport, output: &mut Output) -> Outcome {
    if let Some(report) = &report.disk {
        disk(report, output)?;
    }
    let mut table = Table::new(&["ack level", "survives", "costs here"]);
    for level in &report.levels {
        table.row(vec![
            level.level.to_owned(),
            level.survives.to_owned(),
            level.costs.clone(),
        ]);
    }
    output.line("")?;
    table.print(output)
}

pub(super) fn print_advice(advice: &[String], output: &mut Output) -> Outcome {
    for advice in advice {
        output.line(&format!("\n! {advice}"))?;
    }
    Ok(())
}

fn machine(report: &Report, output: &mut Output) -> Outcome {
    let cpu = &report.cpu;
    let governor = cpu.governor.as_deref().unwrap_or("none visible");
    let below = if cpu.virtual_machine {
        ", virtual machine"
    } else {
        ""
    };
    output.line(&format!("processor    {}{below}", cpu.model))?;
    output.line(&format!(
        "topology     {} CPUs on {} cores in {} NUMA nodes; governor: {governor}",
        cpu.cpus, cpu.cores, cpu.nodes
    ))?;
    output.line(&format!(
        "clock        {}, {} a reading",
        report.clock.source,
        micros(report.clock.read_ns)
    ))?;
    let spinning = report
        .wake
        .spinning_ns_p50
        .map_or_else(|| "unknown".to_owned(), micros);
    output.line(&format!(
        "wake-up      {} to a sleeping thread, {spinning} to a polling one: what `park` and `spin` trade",
        micros(report.wake.parked_ns_p50)
    ))?;
    let uring = report
        .io
        .refused
        .as_ref()
        .map_or_else(|| "works".to_owned(), |why| format!("refused: {why}"));
    output.line(&format!(
        "io_uring     {uring} (Linux {})",
        report.io.kernel
    ))?;
    output.line(&format!(
        "io auto      {}: {}",
        report.io.auto, report.io.reason
    ))?;
    let bytes = |limit: Option<u64>| {
        limit.map_or_else(|| "unlimited".to_owned(), |bytes| Bytes(bytes).to_string())
    };
    let files = report
        .memory
        .open_files
        .map_or_else(|| "unlimited".to_owned(), |files| files.to_string());
    output.line(&format!(
        "limits       memory {}, locked {}, open files {files}",
        Bytes(report.memory.total_bytes),
        bytes(report.memory.memlock_bytes)
    ))
}

fn disk(disk: &DiskReport, output: &mut Output) -> Outcome {
    let cache = match disk.volatile_cache {
        Some(true) => ", volatile write cache: only a sync survives a power cut",
        Some(false) => ", no volatile write cache",
        None => "",
    };
    let device = disk.device.as_deref().unwrap_or("no device");
    output.line(&format!(
        "disk         {} on {device} ({} free){cache}",
        disk.file_system,
        Bytes(disk.free_bytes)
    ))?;
    output.line(&format!(
        "             {} for a write of 4 KiB into the page cache",
        micros(disk.write_ns_p50)
    ))?;
    let mut table = Table::new(&[
        "one durable commit of",
        "4 KiB p50>",
        "p99>",
        "64 KiB p50>",
        "",
    ]);
    let shown = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), micros);
    for method in &disk.methods {
        table.row(vec![
            method.name.to_owned(),
            shown(method.ns_p50),
            shown(method.ns_p99),
            shown(method.large_ns_p50),
            method.refused.clone().unwrap_or_default(),
        ]);
    }
    output.line("")?;
    table.print(output)?;
    output.line("")?;
    let pick = disk.pick.word();
    output.line(&format!("pick         synced_writes: {pick}"))?;
    output.line(&format!("             {}", disk.why))
}
