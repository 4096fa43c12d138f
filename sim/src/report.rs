//! What is printed.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sim::{Fault, Invariant, Options, Outcome, Small, Stats};

use crate::shrink;

/// The sum of all runs.
#[derive(Debug)]
pub(crate) struct Totals {
    seeds: u64,
    pub(crate) faults: Vec<u64>,
    pub(crate) checks: [u64; Invariant::COUNT],
    records: (u64, u64),
    events: u64,
    stats: Stats,
    violations: u64,
    /// The failing run with the lowest seed, and why it failed.
    pub(crate) failure: Option<(Options, String)>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            seeds: 0,
            faults: vec![0; Fault::COUNT],
            checks: [0; Invariant::COUNT],
            records: (0, 0),
            events: 0,
            stats: Stats::default(),
            violations: 0,
            failure: None,
        }
    }
}

impl Totals {
    pub(crate) fn add(&mut self, options: Options, outcome: Outcome) {
        self.seeds += 1;
        for (sum, count) in self.faults.iter_mut().zip(&outcome.faults) {
            *sum += count;
        }
        for (sum, count) in self.checks.iter_mut().zip(outcome.checks) {
            *sum += count;
        }
        self.records.0 += outcome.records.0;
        self.records.1 += outcome.records.1;
        self.events += outcome.events;
        self.stats.steps += outcome.stats.steps;
        self.stats.simulated_ns += outcome.stats.simulated_ns;
        self.stats.recoveries += outcome.stats.recoveries;
        self.stats.crash_states += outcome.stats.crash_states;
        self.stats.delivered += outcome.stats.delivered;
        if let Some(violation) = outcome.violation {
            self.violations += 1;
            let first = self
                .failure
                .as_ref()
                .is_none_or(|(known, _)| options.seed < known.seed);
            if first {
                self.failure = Some((options, violation.to_string()));
            }
        }
    }

    pub(crate) fn progress(&self, seeds: u64, elapsed: Duration) {
        eprintln!(
            "sim: {} of {seeds} seeds, {:.0} seeds/s, {} simulated",
            self.seeds,
            self.seeds as f64 / elapsed.as_secs_f64(),
            simulated(self.stats.simulated_ns)
        );
    }

    pub(crate) fn print(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        println!("faults by kind");
        let mut group = "";
        for fault in Fault::all() {
            if fault.group() != group {
                group = fault.group();
                println!("  {group}");
            }
            println!(
                "    {:<36}{:>12}",
                fault.name(),
                self.faults[fault as usize]
            );
        }
        println!("invariants checked");
        for invariant in Invariant::all() {
            let count = self.checks[invariant as usize];
            println!(
                "    {:<12}{count:>12}  {}",
                invariant.name(),
                invariant.text()
            );
        }
        let struck = self.faults.iter().filter(|count| **count > 0).count();
        println!(
            "{} seeds in {seconds:.1} s ({:.0} seeds/s), {} steps, {} events, {} simulated",
            self.seeds,
            self.seeds as f64 / seconds,
            self.stats.steps,
            self.events,
            simulated(self.stats.simulated_ns)
        );
        println!(
            "{} records sent, {} acknowledged, {} delivered; {} recoveries, {} crash states tried beside",
            self.records.0,
            self.records.1,
            self.stats.delivered,
            self.stats.recoveries,
            self.stats.crash_states
        );
        println!(
            "{} faults of {struck} kinds out of {}, {} checks, {} violations",
            self.faults.iter().sum::<u64>(),
            Fault::COUNT,
            self.checks.iter().sum::<u64>(),
            self.violations
        );
    }
}

impl Totals {
    /// Every kind of fault must have struck, and every invariant been checked.
    ///
    /// # Errors
    /// What never was.
    pub(crate) fn require_all(&self) -> Result<(), String> {
        let faults = Fault::all().filter(|fault| self.faults[*fault as usize] == 0);
        let faults: Vec<&str> = faults.map(Fault::name).collect();
        if !faults.is_empty() {
            return Err(format!("these faults never struck: {}", faults.join(", ")));
        }
        let unchecked = Invariant::all().filter(|one| self.checks[*one as usize] == 0);
        let unchecked: Vec<&str> = unchecked.map(Invariant::name).collect();
        if !unchecked.is_empty() {
            let names = unchecked.join(", ");
            return Err(format!("these invariants were never checked: {names}"));
        }
        Ok(())
    }

    /// Leaves the counts in a file: name, tab, count.
    pub(crate) fn write(&self, path: &Path, elapsed: Duration) -> Result<(), String> {
        let rows = [
            ("seeds", self.seeds),
            ("steps", self.stats.steps),
            (
                "simulated hours",
                self.stats.simulated_ns / 3_600_000_000_000,
            ),
            ("records sent", self.records.0),
            ("records acknowledged", self.records.1),
            ("records delivered", self.stats.delivered),
            ("recoveries", self.stats.recoveries),
            ("crash states tried beside", self.stats.crash_states),
            ("faults", self.faults.iter().sum()),
            ("checks", self.checks.iter().sum()),
            ("violations", self.violations),
        ];
        let mut text = format!("seconds\t{:.1}\n", elapsed.as_secs_f64());
        for (name, count) in rows {
            text.push_str(&format!("{name}\t{count}\n"));
        }
        for fault in Fault::all() {
            let count = self.faults[fault as usize];
            text.push_str(&format!(
                "fault: {}: {}\t{count}\n",
                fault.group(),
                fault.name()
            ));
        }
        for invariant in Invariant::all() {
            let count = self.checks[invariant as usize];
            text.push_str(&format!("invariant: {}\t{count}\n", invariant.name()));
        }
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// What was covered of what is small.
pub(crate) fn small(length: usize, counts: &Small, elapsed: Duration) {
    for (name, count) in counts.rows() {
        println!("{count:>12}  {name}");
    }
    println!(
        "all sequences of up to {length} operations in {:.1} s: {} violations",
        elapsed.as_secs_f64(),
        violations(counts)
    );
}

/// Leaves that in a file: name, tab, count.
pub(crate) fn write_small(
    length: usize,
    counts: &Small,
    path: &Path,
    elapsed: Duration,
) -> Result<(), String> {
    let seconds = elapsed.as_secs_f64();
    let mut text = format!("seconds\t{seconds:.1}\noperations of a sequence\t{length}\n");
    for (name, count) in counts.rows() {
        text.push_str(&format!("{name}\t{count}\n"));
    }
    text.push_str(&format!("violations\t{}\n", violations(counts)));
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn violations(counts: &Small) -> u64 {
    counts.violations.load(Ordering::Relaxed)
}

/// Says which seed failed and why, and how to see it again with as little as possible around it.
pub(crate) fn failure(options: &Options, reason: &str, shrinks: bool) {
    eprintln!("sim: seed {} failed: {reason}", options.seed);
    let mut shrunk = options.clone();
    if shrinks {
        eprintln!("sim: looking for a shorter run that fails");
        shrunk = shrink::shrink(options);
    }
    eprintln!("sim: replay with\n\n    {}\n", command(&shrunk));
}

/// The command that runs exactly this, built as this program is: without the product's own assertions a seed that broke one does not fail.
fn command(options: &Options) -> String {
    let assertions = if cfg!(debug_assertions) {
        ASSERTIONS
    } else {
        ""
    };
    let mut words = format!(
        "cargo run -p sim --release{assertions} -- --seed {} --steps {}",
        options.seed, options.steps
    );
    let (off, on): (Vec<Fault>, Vec<Fault>) =
        Fault::all().partition(|fault| options.without.contains(fault));
    let names = |faults: &[Fault]| -> String {
        let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
        names.join(",")
    };
    if on.len() < off.len() {
        words.push_str(&format!(" --only '{}'", names(&on)));
    } else if !off.is_empty() {
        words.push_str(&format!(" --without {}", names(&off)));
    }
    words.push_str(" --trace");
    words
}

fn simulated(ns: u64) -> String {
    let hours = ns as f64 / 3600e9;
    if hours < 48.0 {
        format!("{hours:.1} hours")
    } else {
        format!("{:.1} days", hours / 24.0)
    }
}

/// What `cargo xtask sim` has changed in the release profile.
const ASSERTIONS: &str =
    " --config profile.release.debug-assertions=true --config profile.release.overflow-checks=true";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_never_struck_and_invariants_that_nobody_checked_are_named() {
        let mut totals = Totals::default();
        totals.faults.fill(1);
        totals.checks.fill(1);
        assert_eq!(totals.require_all(), Ok(()));
        totals.checks[Invariant::Lock as usize] = 0;
        let complaint = "these invariants were never checked: lock";
        assert_eq!(totals.require_all(), Err(complaint.into()));
        totals.faults[Fault::Kill as usize] = 0;
        let complaint = "these faults never struck: kill";
        assert_eq!(totals.require_all(), Err(complaint.into()));
    }

    #[test]
    fn a_run_is_replayed_with_the_assertions_that_it_had() {
        let command = command(&Options::new(7));
        assert_eq!(command.contains(ASSERTIONS), cfg!(debug_assertions));
        assert!(
            command.ends_with(" -- --seed 7 --steps 2500 --trace"),
            "{command}"
        );
    }
}
