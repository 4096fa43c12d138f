//! Mutants of the log: one change after the other to the code that reads and judges files, each of which a test should notice.

use serde_json::Value;

use crate::{Outcome, evidence, shell, workspace};

/// Tries all mutants of [`FILES`], or of one file; fails when too few are caught.
pub(crate) fn run(file: Option<&str>) -> Outcome {
    if !shell::has_cargo_command("mutants") {
        return Err("cargo-mutants is not installed: cargo install cargo-mutants --locked".into());
    }
    let folder = workspace::target_dir().join("mutants");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = shell::cargo(&["mutants", "--package", "trunkline-log", "--no-times"]);
    let files = file.map_or(FILES.to_vec(), |file| vec![file]);
    for file in &files {
        command.args(["--file", file]);
    }
    if shell::has_cargo_command("nextest") {
        // It stops at the first test that fails.
        command.args(["--test-tool", "nextest"]);
    }
    command.args(["--timeout", "120", "--output"]).arg(&folder);
    // Nothing is built that is not run.
    for argument in ["--locked", "--lib", "--test=log"] {
        command.args(["--cargo-arg", argument]);
    }
    // A mutant that survives is a status of its own: what was counted says more.
    let ended = shell::run(&mut command);
    let outcomes = folder.join("mutants.out/outcomes.json");
    let text = std::fs::read_to_string(&outcomes)
        .map_err(|error| format!("{}: {error}", outcomes.display()))?;
    let outcomes: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let count = |name: &str| outcomes[name].as_u64().unwrap_or(0);
    let (all, unviable) = (count("total_mutants"), count("unviable"));
    // One that runs for ever is noticed.
    let caught = count("caught") + count("timeout");
    let viable = all - unviable;
    if viable == 0 || caught + count("missed") != viable {
        ended?;
        return Err("not all mutants were tried".into());
    }
    println!(
        "{caught} of {viable} mutants caught, {} survive: {}",
        count("missed"),
        folder.join("mutants.out/missed.txt").display()
    );
    if caught * 100 < viable * CAUGHT_PERCENT {
        return Err(format!("fewer than {CAUGHT_PERCENT} % of them"));
    }
    if file.is_some() {
        return Ok(());
    }
    evidence::counted("mutants", |path| {
        let rows = [
            ("mutants", all),
            ("viable", viable),
            ("caught", caught),
            ("of these, by running for ever", count("timeout")),
            ("survived", count("missed")),
        ];
        let rows = rows.map(|(name, count)| format!("{name}\t{count}\n"));
        let text = format!("files\t{}\n{}", files.join(", "), rows.concat());
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    })
}

/// What reads files, judges them, and knows where things are.
const FILES: [&str; 8] = [
    "crates/log/src/recovery.rs",
    "crates/log/src/recovery/*.rs",
    "crates/log/src/scan.rs",
    "crates/log/src/marks.rs",
    "crates/log/src/layout.rs",
    "crates/log/src/segments.rs",
    "crates/log/src/directory.rs",
    "crates/log/src/files.rs",
];
const CAUGHT_PERCENT: u64 = 90;
