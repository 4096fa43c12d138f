//! `EVIDENCE.md`: numbers that were only ever written by the programs that counted.
//!
//! A task that counts leaves a file `evidence/TASK.tsv` in the target folder: a name, a tab and a count on each line, and the commit
//! that was tested. The page is made of these files; what has none of the present commit is run first.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{Outcome, fuzz, planted, shell, sim, torture, workspace};

/// Writes the page, after running what was not run on this commit. Longer runs of a task before it are kept: the last one of a task
/// that was as long as CI's counts.
pub(crate) fn run() -> Outcome {
    let commit = commit()?;
    if commit.ends_with(CHANGED) {
        return Err("there are changes that are not committed: evidence is about a commit".into());
    }
    let tasks: [(&str, &dyn Fn() -> Outcome); 6] = [
        ("sim", &|| sim::run(sim::CI_SEEDS)),
        ("small", &|| sim::small_scope(sim::OPERATIONS)),
        ("planted", &|| planted::run("")),
        ("torture", &|| torture::kill(torture::CI_KILLS).map(drop)),
        ("power", &|| {
            torture::lose_power(torture::CI_STATES).map(drop)
        }),
        ("fuzz", &|| fuzz::smoke().map(drop)),
    ];
    for (nth, (task, run)) in tasks.iter().enumerate() {
        let begin = Instant::now();
        let counted = Counted::read(task)?.is_some_and(|counted| counted.commit == commit);
        let (nth, count) = (nth + 1, tasks.len());
        if counted {
            eprintln!("\n== evidence {nth} of {count}: {task} has been counted on this commit");
            continue;
        }
        eprintln!("\n== evidence {nth} of {count}: {task}");
        run()?;
        eprintln!("== {task} took {:.0} s", begin.elapsed().as_secs_f64());
    }
    let path = workspace::root().join("EVIDENCE.md");
    fs::write(&path, page(&commit)?).map_err(|error| format!("{}: {error}", path.display()))?;
    eprintln!("xtask: wrote {}", path.display());
    Ok(())
}

/// Runs a task that leaves its counts in the file that it is given, and signs them with the commit. When it fails there
/// are none. One that is shorter than CI's is no evidence, and takes none away when it succeeds: its counts go beside it.
pub(crate) fn counted(task: &str, whole: bool, run: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let path = path(task)?;
    count(&path, whole, &commit()?, run)
}

fn count(path: &Path, whole: bool, commit: &str, run: impl FnOnce(&Path) -> Outcome) -> Outcome {
    if !whole {
        return run(&path.with_extension("short.tsv")).inspect_err(|_| {
            let _ = fs::remove_file(path);
        });
    }
    let _ = fs::remove_file(path);
    run(path)?;
    let failed = |error| format!("{}: {error}", path.display());
    let mut text = fs::read_to_string(path).map_err(failed)?;
    let _ = writeln!(text, "commit\t{commit}");
    fs::write(path, text).map_err(failed)
}

/// What a task has left.
struct Counted {
    commit: String,
    rows: Vec<(String, String)>,
}

impl Counted {
    fn read(task: &str) -> Result<Option<Self>, String> {
        let Ok(text) = fs::read_to_string(path(task)?) else {
            return Ok(None);
        };
        let rows = text.lines().filter_map(|line| line.split_once('\t'));
        let mut rows: Vec<(String, String)> = rows
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // The last line: a file without it is of a run that did not end.
        let signed = rows.pop().filter(|(name, _)| name == "commit");
        Ok(signed.map(|(_, commit)| Self { commit, rows }))
    }

    fn value(&self, name: &str) -> String {
        let row = self.rows.iter().find(|row| row.0 == name);
        row.map_or("?".into(), |row| grouped(&row.1))
    }

    /// The rows whose names start so, without it.
    fn below(&self, start: &str) -> impl Iterator<Item = (&str, &str)> {
        self.rows
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(start)?, value.as_str())))
    }
}

fn page(commit: &str) -> Result<String, String> {
    let read = |task: &str| Counted::read(task)?.ok_or(format!("{task} has left no counts"));
    let mut page = format!(
        "# Evidence\n\nWritten by `cargo xtask evidence` from what the programs counted that tested commit `{commit}`. \
         [docs/TESTING.md](docs/TESTING.md) says what they are.\n"
    );
    simulation(&mut page, &read("sim")?);
    let small = read("small")?;
    let _ = writeln!(
        page,
        "\n## Everything that is small\n\nEvery sequence of a few operations on one log, with a crash at every moment: {} violations.",
        small.value("violations")
    );
    table(&mut page, "count", &small.rows);
    planted_bugs(&mut page, &read("planted")?);
    let torture = read("torture")?;
    let _ = write!(
        page,
        "\n## Kills of the real server\n\n{} kills with the back-ends {}: of acknowledged records {}.\n",
        torture.value("kills"),
        torture.value("back-ends"),
        findings(&torture)
    );
    table(&mut page, "count", &torture.rows);
    page.push_str("\n## Losses of power under the real server\n\n");
    match Counted::read("power")?.filter(|power| power.commit == commit) {
        Some(power) => {
            let states = power.value("crash states");
            let _ = writeln!(
                page,
                "{states} crash states of real file systems: of synced records {}.",
                findings(&power)
            );
            table(&mut page, "count", &power.rows);
        }
        None => page.push_str("Not run: the machine has not what it needs.\n"),
    }
    page.push_str("\n## Tests\n\n");
    match Counted::read("test")?.filter(|test| test.commit == commit) {
        Some(test) => {
            let (passed, skipped) = (test.value("passed"), test.value("skipped"));
            let _ = writeln!(page, "{passed} passed, {skipped} skipped.");
            for (name, reason) in test.below("skipped: ") {
                let _ = writeln!(page, "* {name}: {reason}");
            }
        }
        None => page.push_str("Not counted on this commit: `cargo xtask test`, or `ci`.\n"),
    }
    page.push_str("\n## Mutants\n\n");
    match Counted::read("mutants")? {
        Some(mutants) => {
            let _ = writeln!(
                page,
                "Counted on commit `{}`: {} of {} that could be built were caught.",
                mutants.commit,
                mutants.value("caught"),
                mutants.value("viable"),
            );
            table(&mut page, "count", &mutants.rows);
        }
        None => page.push_str("Not run: `cargo xtask mutants` takes its time.\n"),
    }
    page.push_str("\n## Fuzzing\n");
    match Counted::read("fuzz")?.filter(|fuzz| fuzz.commit == commit) {
        Some(fuzz) => table(&mut page, "seconds", &fuzz.rows),
        None => page.push_str("\nNot run: the machine has not what it needs.\n"),
    }
    Ok(page)
}

/// What the torture has counted of what must not be.
fn findings(counted: &Counted) -> String {
    let [lost, twice, out_of_order] =
        ["records lost", "records twice", "records out of order"].map(|name| counted.value(name));
    format!("{lost} lost, {twice} twice, {out_of_order} out of order")
}

fn simulation(page: &mut String, sim: &Counted) {
    page.push_str("\n## Simulation\n\n| what | count |\n|---|---:|\n");
    for (name, value) in sim.rows.iter().filter(|(name, _)| !name.contains(": ")) {
        row(page, name, value);
    }
    page.push_str("\n| invariant | checks |\n|---|---:|\n");
    for (name, value) in sim.below("invariant: ") {
        row(page, name, value);
    }
    page.push_str("\n| fault | struck |\n|---|---:|\n");
    for (name, value) in sim.below("fault: ") {
        row(page, name, value);
    }
}

fn planted_bugs(page: &mut String, planted: &Counted) {
    let is_skipped = |row: &&(String, String)| row.1.starts_with(planted::SKIPPED);
    let skipped = planted.rows.iter().filter(is_skipped).count();
    let _ = write!(
        page,
        "\n## Planted bugs\n\n{} of {} caught",
        planted.rows.len() - skipped,
        planted.rows.len()
    );
    if skipped > 0 {
        let _ = write!(page, ", {skipped} not tried on this machine");
    }
    page.push_str(".\n\n| bug | caught by | which fails |\n|---|---|---|\n");
    for (name, value) in &planted.rows {
        let mut parts = value.split('\t');
        let mut part = || parts.next().unwrap_or_default();
        let (by, what, kind) = (part(), part(), part());
        let _ = writeln!(page, "| {name}: {what} | {by} | {kind} |");
    }
}

fn table(page: &mut String, what: &str, rows: &[(String, String)]) {
    let _ = write!(page, "\n| what | {what} |\n|---|---:|\n");
    for (name, value) in rows {
        row(page, name, value);
    }
}

fn row(page: &mut String, name: &str, value: &str) {
    let _ = writeln!(page, "| {name} | {} |", grouped(value));
}

/// A number with commas.
fn grouped(value: &str) -> String {
    if value.len() < 5 || !value.bytes().all(|byte| byte.is_ascii_digit()) || value.len() > 15 {
        return value.into();
    }
    let mut text = String::new();
    for (index, digit) in value.chars().enumerate() {
        if index > 0 && (value.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What files and folders hold at the present commit, as git names it; `None` where something was changed since.
pub(crate) fn sources(paths: &[&str]) -> Result<Option<String>, String> {
    if commit()?.ends_with(CHANGED) {
        return Ok(None);
    }
    let places: Vec<String> = paths.iter().map(|path| format!("HEAD:{path}")).collect();
    let mut words = vec!["rev-parse"];
    words.extend(places.iter().map(String::as_str));
    git(&words).map(Some)
}

fn git(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    shell::output(command.args(arguments).current_dir(workspace::root()))
        .ok_or("evidence needs a git checkout".into())
}

/// The present commit, and whether there are changes; the page itself is none.
fn commit() -> Result<String, String> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain"])?;
    let changed = changes.lines().any(|line| !line.ends_with(" EVIDENCE.md"));
    let suffix = if changed { CHANGED } else { "" };
    Ok(format!("{}{suffix}", commit.trim()))
}

/// Where the counts of a task are; its folder is there.
fn path(task: &str) -> Result<PathBuf, String> {
    let folder = workspace::target_dir().join("evidence");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.join(format!("{task}.tsv")))
}

const CHANGED: &str = " with changes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_run_takes_the_place_of_none_unless_it_fails() {
        let folder = std::env::temp_dir().join(format!("xtask-evidence-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("torture.tsv");
        let leaves = |count: &'static str| {
            move |path: &Path| fs::write(path, count).map_err(|error| error.to_string())
        };
        count(&path, true, "c0ffee", leaves("kills\t300\n")).unwrap();
        count(&path, false, "c0ffee", leaves("kills\t20\n")).unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(kept, "kills\t300\ncommit\tc0ffee\n");
        count(&path, false, "c0ffee", |_| Err("a record is lost".into())).unwrap_err();
        assert!(!path.exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn numbers_are_grouped_and_nothing_else_is() {
        assert_eq!(grouped("1234567"), "1,234,567");
        assert_eq!(grouped("123456"), "123,456");
        assert_eq!(grouped("1234"), "1234");
        assert_eq!(grouped("12.345"), "12.345");
    }
}
