//! Where it was measured: what a reader must know before comparing with another machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cores;

/// A name and what is so called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// What can be found out; `data` is where files are kept.
pub fn facts(data: &Path) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        let value = value
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty());
        facts.push(Fact {
            name: name.into(),
            value: value.unwrap_or_else(|| "unknown".into()),
        });
    };
    fact("commit", commit());
    fact("time", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]));
    fact("processor", cpu_field("model name"));
    fact(
        "cores",
        std::thread::available_parallelism()
            .ok()
            .map(|cores| cores.to_string()),
    );
    fact(
        "virtual",
        Some(if cpu_has("hypervisor") { "yes" } else { "no" }.into()),
    );
    fact("memory", memory());
    fact("kernel", read("/proc/sys/kernel/osrelease"));
    fact(
        "governor",
        read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
            .or(Some("not to be seen".into())),
    );
    fact(
        "huge pages",
        read("/sys/kernel/mm/transparent_hugepage/enabled"),
    );
    fact(
        "clock",
        read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    );
    fact("compiler", output("rustc", &["--version"]));
    fact("disk", disk(data));
    fact("one synced kilobyte", synced_kilobyte(data));
    if let Some(pair) = cores::pair() {
        let crossing: Vec<f64> = (0..5).map(|_| cores::crossing_ns(pair)).collect();
        let [low, high] = [
            crossing.iter().copied().fold(f64::MAX, f64::min),
            crossing.iter().copied().fold(0.0, f64::max),
        ];
        fact(
            "used cores",
            Some(format!(
                "{} and {}; a line crosses in {low:.0} to {high:.0} ns",
                pair[0], pair[1]
            )),
        );
    }
    facts
}

/// The value of a fact.
pub fn value(facts: &[Fact], name: &str) -> String {
    let fact = facts.iter().find(|fact| fact.name == name);
    fact.map_or_else(|| "unknown".into(), |fact| fact.value.clone())
}

/// What was built, where whoever built it says so, for the sources may have changed since.
fn commit() -> Option<String> {
    let here = env!("CARGO_MANIFEST_DIR");
    std::env::var(COMMIT)
        .ok()
        .or_else(|| output("git", &["-C", here, "describe", "--always", "--dirty"]))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn cpu_field(name: &str) -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.to_owned())
}

fn cpu_has(flag: &str) -> bool {
    cpu_field("flags").is_some_and(|flags| flags.split_whitespace().any(|own| own == flag))
}

fn memory() -> Option<String> {
    let text = read("/proc/meminfo")?;
    let kib: f64 = text
        .lines()
        .next()?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    Some(format!("{:.0} GiB", kib / f64::from(1 << 20)))
}

/// File system and device below a directory.
fn disk(data: &Path) -> Option<String> {
    let data = fs::canonicalize(data).ok()?;
    let mounts = read("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?, words.next()?))
    });
    let (device, _, kind) = mounts
        .filter(|(_, at, _)| data.starts_with(at))
        .max_by_key(|(_, at, _)| at.len())?;
    let name = device.rsplit('/').next()?;
    let cache = read(&format!("/sys/block/{name}/queue/write_cache")).unwrap_or_default();
    Some(format!("{kind} on {device} {}", cache.trim()))
}

/// The median of appending and syncing a kilobyte to a file that is written already.
fn synced_kilobyte(data: &Path) -> Option<String> {
    use std::os::unix::fs::FileExt;
    const ROUNDS: usize = 200;
    let file = tempfile::tempfile_in(data).ok()?;
    file.write_all_at(&vec![0; ROUNDS << 10], 0).ok()?;
    file.sync_all().ok()?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        file.write_all_at(&[1; 1024], (round << 10) as u64).ok()?;
        file.sync_data().ok()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Some(format!(
        "{:.0} µs (median of {ROUNDS}, p99 {:.0} µs)",
        times[ROUNDS / 2],
        times[ROUNDS * 99 / 100]
    ))
}

/// The facts that are the same as long as nobody changes the machine or the sources.
pub const STEADY: [&str; 11] = [
    "commit",
    "processor",
    "cores",
    "virtual",
    "memory",
    "kernel",
    "governor",
    "huge pages",
    "clock",
    "compiler",
    "disk",
];
/// The variable that says of which commit the programs are.
const COMMIT: &str = "TRUNKLINE_BENCH_COMMIT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_is() {
        let facts = facts(&std::env::temp_dir());
        let value = |name: &str| value(&facts, name);
        assert_ne!(value("kernel"), "unknown");
        assert_ne!(value("processor"), "unknown");
        assert!(value("one synced kilobyte").contains("µs"));
    }
}
