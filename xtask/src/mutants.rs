//! Mutants of the log: one change after the other to the code that reads and judges files, each of which a test should notice.

use std::fs;
use std::ops::AddAssign;
use std::path::Path;

use serde_json::Value;

use crate::{Outcome, evidence, shell, workspace};

/// Tries all mutants of [`FILES`], or of one file; fails when too few are caught. It takes an hour: files that were tried whole, with the same sources,
/// are not tried again.
pub(crate) fn run(file: Option<&str>) -> Outcome {
    if !shell::has_cargo_command("mutants") {
        return Err("cargo-mutants is not installed: cargo install cargo-mutants --locked".into());
    }
    let folder = workspace::target_dir().join("mutants");
    let sources = evidence::sources(&SOURCES)?;
    let files = file.map_or(FILES.to_vec(), |file| vec![file]);
    let mut counts = Counts::default();
    let mut is_sound = false;
    for (nth, file) in files.iter().enumerate() {
        eprintln!("\n== mutants {} of {}: {file}", nth + 1, files.len());
        let folder = folder.join(file.replace(['/', '*'], "-"));
        let key = folder.join("sources");
        let is_done = sources.is_some() && fs::read_to_string(&key).ok() == sources;
        if !is_done {
            try_all(file, &folder, is_sound)?;
            is_sound = true;
        }
        counts += Counts::read(&folder)?;
        if let Some(sources) = &sources {
            fs::write(&key, sources).map_err(|error| format!("{}: {error}", key.display()))?;
        }
    }
    println!(
        "{} of {} mutants caught, {} survive: {}",
        counts.caught + counts.timeout,
        counts.viable(),
        counts.missed,
        folder.join("*/mutants.out/missed.txt").display()
    );
    if counts.viable() == 0 {
        return Err("there are no mutants".into());
    }
    if (counts.caught + counts.timeout) * 100 < counts.viable() * CAUGHT_PERCENT {
        return Err(format!("fewer than {CAUGHT_PERCENT} % of them"));
    }
    if file.is_some() {
        return Ok(());
    }
    evidence::counted("mutants", true, |path| {
        let rows = [
            ("mutants", counts.all),
            ("viable", counts.viable()),
            ("caught", counts.caught + counts.timeout),
            ("of these, by running for ever", counts.timeout),
            ("survived", counts.missed),
        ];
        let rows = rows.map(|(name, count)| format!("{name}\t{count}\n"));
        let text = format!("files\t{}\n{}", files.join(", "), rows.concat());
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    })
}

/// Tries the mutants of a file. That the tests pass without any is tried with the first file.
fn try_all(file: &str, folder: &Path, is_sound: bool) -> Outcome {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = shell::cargo(&["mutants", "--package", "trunkline-log", "--no-times"]);
    command.args(["--file", file]);
    if is_sound {
        command.arg("--baseline=skip");
    }
    let has_nextest = shell::has_cargo_command("nextest");
    if has_nextest {
        command.args(["--test-tool", "nextest"]);
    }
    command.args(["--timeout", "60", "--output"]).arg(folder);
    // Nothing is built that is not run.
    for argument in ["--locked", "--lib", "--test=log"] {
        command.args(["--cargo-arg", argument]);
    }
    if has_nextest {
        // The first test that fails decides, and those that run beside it, some for many seconds, are not waited for.
        command.args(["--", "--max-fail=1:immediate"]);
    }
    // A mutant that survives is a status of its own: what was counted says more.
    shell::run(&mut command).or_else(|error| match Counts::read(folder) {
        Ok(_) => Ok(()),
        Err(_) => Err(error),
    })
}

/// What became of the mutants.
#[derive(Clone, Copy, Default)]
struct Counts {
    all: u64,
    unviable: u64,
    caught: u64,
    /// One that runs for ever is noticed.
    timeout: u64,
    missed: u64,
}

impl Counts {
    fn read(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| -> Result<Value, String> {
            let path = folder.join("mutants.out").join(name);
            let text = fs::read_to_string(&path);
            let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
        };
        let outcomes = read("outcomes.json")?;
        let count = |name: &str| outcomes[name].as_u64().unwrap_or(0);
        let counts = Self {
            // What outcomes.json calls the total are those that were tried so far.
            all: read("mutants.json")?.as_array().map_or(0, Vec::len) as u64,
            unviable: count("unviable"),
            caught: count("caught"),
            timeout: count("timeout"),
            missed: count("missed"),
        };
        match counts.caught + counts.timeout + counts.missed {
            tried if tried == counts.viable() => Ok(counts),
            tried => Err(format!("{tried} mutants of {} were tried", counts.viable())),
        }
    }

    fn viable(&self) -> u64 {
        self.all - self.unviable
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.unviable += other.unviable;
        self.caught += other.caught;
        self.timeout += other.timeout;
        self.missed += other.missed;
    }
}

/// What decides what a mutant does.
const SOURCES: [&str; 3] = ["crates/log", "crates/wire", "xtask/src/mutants.rs"];

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

#[cfg(test)]
mod tests {
    use super::*;

    /// As cargo-mutants leaves them: what it calls the total are the mutants that it has come to.
    fn left(name: &str, tried: u64) -> Result<Counts, String> {
        let name = format!("xtask-mutants-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let output = folder.join("mutants.out");
        fs::create_dir_all(&output).unwrap();
        let mutants = "[{}, {}, {}, {}]";
        fs::write(output.join("mutants.json"), mutants).unwrap();
        let outcomes = format!(
            "{{\"total_mutants\": {tried}, \"caught\": {}, \"missed\": 1, \"timeout\": 0, \"unviable\": 1}}",
            tried - 2
        );
        fs::write(output.join("outcomes.json"), outcomes).unwrap();
        let counts = Counts::read(&folder);
        fs::remove_dir_all(&folder).unwrap();
        counts
    }

    #[test]
    fn a_folder_in_which_only_some_mutants_were_tried_is_refused() {
        let refused = left("some", 3).err();
        assert_eq!(refused.as_deref(), Some("2 mutants of 3 were tried"));
        let counts = left("all", 4).unwrap();
        assert_eq!((counts.viable(), counts.caught, counts.missed), (3, 2, 1));
    }
}
