//! From a run that fails to a shorter one that fails: fewer steps, fewer kinds of faults.
//!
//! Each candidate runs in a process of its own, so that a panic, or an abort, is only one more way to fail.

use std::process::{Command, Stdio};

use sim::{Fault, Options};

/// The smallest run that still fails, or the run itself when it does not fail again.
pub(crate) fn shrink(options: &Options) -> Options {
    let mut best = options.clone();
    if !fails(&best) {
        eprintln!("sim: it did not fail again: is something not deterministic?");
        return best;
    }
    fewer_steps(&mut best);
    let on: Vec<Fault> = Fault::all()
        .filter(|fault| !best.without.contains(fault))
        .collect();
    fewer_faults(&mut best, &on);
    fewer_steps(&mut best);
    best
}

/// Halves the distance to the last step count that did not fail.
fn fewer_steps(best: &mut Options) {
    let mut passes = 0;
    while best.steps - passes > 1 {
        let steps = passes + (best.steps - passes) / 2;
        let candidate = Options {
            steps,
            ..best.clone()
        };
        if fails(&candidate) {
            *best = candidate;
        } else {
            passes = steps;
        }
    }
}

/// Switches off as many kinds at a time as possible.
fn fewer_faults(best: &mut Options, kinds: &[Fault]) {
    if kinds.is_empty() {
        return;
    }
    let mut candidate = best.clone();
    candidate.without.extend_from_slice(kinds);
    if fails(&candidate) {
        *best = candidate;
    } else if kinds.len() > 1 {
        let (first, second) = kinds.split_at(kinds.len() / 2);
        fewer_faults(best, first);
        fewer_faults(best, second);
    }
}

fn fails(options: &Options) -> bool {
    let Ok(program) = std::env::current_exe() else {
        return false;
    };
    let mut command = Command::new(program);
    command
        .args([
            "--quiet",
            "--jobs",
            "1",
            "--seed",
            &options.seed.to_string(),
        ])
        .args(["--steps", &options.steps.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !options.without.is_empty() {
        let names: Vec<&str> = options.without.iter().map(|fault| fault.name()).collect();
        command.args(["--without", &names.join(",")]);
    }
    command.status().is_ok_and(|status| !status.success())
}
