//! Runs other programs, shows what they say, and counts the tests that they report.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Tests that were reported by the programs of one task.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Tests that found something missing on this machine, and left themselves out, or a part: why, in their own words.
    pub(crate) reasons: BTreeMap<String, BTreeSet<String>>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend(other.reasons);
    }

    /// Takes the lines that tests have left which skip: name, tab, reason. The runners have counted these tests as passed.
    pub(crate) fn skip(&mut self, lines: &str) {
        for (test, reason) in lines.lines().filter_map(|line| line.split_once('\t')) {
            let reasons = self.reasons.entry(test.to_owned()).or_default();
            if reasons.is_empty() {
                self.passed = self.passed.saturating_sub(1);
                self.skipped += 1;
            }
            reasons.insert(reason.to_owned());
        }
    }
}

/// A `cargo` of the toolchain that runs this task.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(crate::workspace::root());
    command
}

/// A `cargo` of the nightly toolchain. Below `cargo xtask` the path may start with one toolchain's own programs, which do not
/// know `+nightly`, so rustup is asked by name.
pub(crate) fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments);
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// Runs a program with our own output and no input.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    eprintln!("\n$ {shown}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{shown}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{shown}: {status}"))
    }
}

/// As [`run`], and counts the tests in the summaries of cargo's test runners. What was counted is added to `tally` even
/// when the program failed.
pub(crate) fn run_counting(command: &mut Command, tally: &mut Tally) -> Outcome {
    let shown = show(command);
    eprintln!("\n$ {shown}");
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let counted = std::thread::scope(|scope| {
        let out = scope.spawn(|| relay(out, std::io::stdout()));
        let err = scope.spawn(|| relay(err, std::io::stderr()));
        [out.join(), err.join()]
    });
    for part in counted.into_iter().flatten() {
        tally.add(part);
    }
    let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{shown}: {status}"))
    }
}

/// Runs a program that may take so long, in silence; the reason why it failed is its last words.
pub(crate) fn within(command: &mut Command, limit: Duration) -> Outcome {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let end = Instant::now() + limit;
    while child
        .try_wait()
        .map_err(|error| format!("{shown}: {error}"))?
        .is_none()
    {
        if Instant::now() > end {
            let _already_gone = child.kill();
            let _already_gone = child.wait();
            return Err(format!("{shown}: no answer within {limit:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = child
        .wait_with_output()
        .map_err(|error| format!("{shown}: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ended.stderr);
    let last = words.lines().rfind(|line| !line.trim().is_empty());
    Err(format!("{shown}: {}", last.unwrap_or("failed")))
}

/// What a program prints, or nothing when it is not there or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `cargo NAME` exists.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    output(Command::new(format!("cargo-{name}")).args([name, "--version"])).is_some()
}

/// Whether a program of this name is on the path.
pub(crate) fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| Path::is_file(&directory.join(name)))
    })
}

fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words[0] = words[0].rsplit('/').next().unwrap_or_default().to_owned();
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

fn relay(from: Option<impl Read>, mut to: impl Write) -> Tally {
    let mut tally = Tally::default();
    let Some(from) = from else { return tally };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        // A closed pipe on our side is no reason to lose the count.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        tally.add(summary(&plain(&String::from_utf8_lossy(&line))));
        line.clear();
    }
    tally
}

/// The counts in one line, if it is a runner's summary.
fn summary(line: &str) -> Tally {
    let line = line.trim();
    let libtest = line.starts_with("test result: ");
    let nextest = line.starts_with("Summary [") && line.contains(" run: ");
    if !libtest && !nextest {
        return Tally::default();
    }
    let mut tally = Tally::default();
    let words: Vec<&str> = line.split_whitespace().collect();
    for pair in words.windows(2) {
        let Ok(count) = pair[0].parse::<u64>() else {
            continue;
        };
        match pair[1].trim_end_matches([',', ';']) {
            "passed" => tally.passed += count,
            "failed" => tally.failed += count,
            "ignored" | "skipped" => tally.skipped += count,
            _ => {}
        }
    }
    tally
}

/// The line without colours.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_ended_and_one_that_fails_is_quoted() {
        let limit = Duration::from_millis(100);
        let late = within(Command::new("sleep").arg("60"), limit).unwrap_err();
        assert!(late.contains("no answer within 100ms"), "{late}");
        let mut fails = Command::new("sh");
        fails.args(["-c", "echo first >&2; echo why >&2; exit 1"]);
        let failed = within(&mut fails, Duration::from_secs(20)).unwrap_err();
        assert!(failed.ends_with(": why"), "{failed}");
        let done = within(&mut Command::new("true"), Duration::from_secs(20));
        assert_eq!(done, Ok(()));
    }

    #[test]
    fn counts_what_both_runners_report() {
        let line = "test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out";
        assert_eq!(
            summary(line),
            Tally {
                passed: 4,
                failed: 1,
                skipped: 2,
                ..Tally::default()
            }
        );
        let line = "     Summary [   0.351s] 32 tests run: 31 passed (1 slow), 1 failed, 3 skipped";
        assert_eq!(
            summary(line),
            Tally {
                passed: 31,
                failed: 1,
                skipped: 3,
                ..Tally::default()
            }
        );
        assert_eq!(summary("2 passed"), Tally::default());
    }

    #[test]
    fn a_test_that_skips_is_counted_once_and_not_as_passed() {
        let mut tally = Tally {
            passed: 10,
            ..Tally::default()
        };
        tally.skip("syncs: one\tno strace\ndirect: two\tno O_DIRECT\nsyncs: one\tno strace\n");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (8, 0, 2));
        let told: Vec<&str> = tally.reasons.keys().map(String::as_str).collect();
        assert_eq!(told, ["direct: two", "syncs: one"]);
        assert_eq!(tally.reasons["syncs: one"].len(), 1);
    }

    #[test]
    fn sees_through_colours() {
        assert_eq!(
            plain("\u{1b}[32;1m  Summary\u{1b}[0m [1s]"),
            "  Summary [1s]"
        );
    }
}
