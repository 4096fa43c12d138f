//! The measure of the tests: bugs that are planted on purpose, each of which must be caught.
//!
//! [`bug`] is the format of the files in `sim/planted/`, [`copy`] the copy of the sources in which they are planted: the working tree
//! is never changed. Afterwards everything that caught a bug is run without it, and must find nothing.

mod bug;
mod copy;

use std::collections::BTreeSet;
use std::time::Instant;

use self::bug::{Bug, Layer};
use self::copy::Copy;
use crate::{Outcome, evidence, workspace};

/// Plants each bug whose name contains `filter`, and says what caught it.
pub(crate) fn run(filter: &str) -> Outcome {
    let bugs = bug::read(&workspace::root().join("sim/planted"), filter)?;
    if bugs.is_empty() {
        return Err(format!("no planted bug has `{filter}` in its name"));
    }
    if !filter.is_empty() {
        return try_all(&bugs).map(drop);
    }
    evidence::counted("planted", true, |path| {
        let rows = try_all(&bugs)?;
        std::fs::write(path, rows).map_err(|error| format!("{}: {error}", path.display()))
    })
}

/// Whether each bug still has its place; for `tidy`.
pub(crate) fn check(complaints: &mut Vec<String>) {
    match bug::read(&workspace::root().join("sim/planted"), "") {
        Ok(bugs) => complaints.extend(bugs.iter().filter_map(|bug| {
            let sound = std::fs::read_to_string(workspace::root().join(&bug.file));
            let planted = sound
                .map_err(|error| format!("{}: {error}", bug.file.display()))
                .and_then(|sound| bug.plant(&sound));
            planted.err()
        })),
        Err(complaint) => complaints.push(complaint),
    }
}

/// Returns the table's rows: name, catcher, what the bug is, what failed.
fn try_all(bugs: &[Bug]) -> Result<String, String> {
    let begin = Instant::now();
    let copy = Copy::new()?;
    let (mut rows, mut escaped, mut catchers) = (String::new(), Vec::new(), BTreeSet::new());
    let mut skipped = 0;
    println!("{:<44} {:<14} what it said", "bug", "caught by");
    for bug in bugs {
        if let Some(reason) = missing_for(bug)? {
            println!("{:<44} {SKIPPED:<14} {reason}", bug.name);
            let (name, what) = (&bug.name, &bug.what);
            rows.push_str(&format!("{name}\t{SKIPPED}\t{what}\t{reason}\n"));
            skipped += 1;
            continue;
        }
        match try_one(&copy, bug)? {
            Some(Caught { catcher, said }) => {
                let shown: String = said.chars().take(SHOWN_CHARS).collect();
                println!("{:<44} {:<14} {shown}", bug.name, catcher.to_string());
                let row = [&bug.name, &catcher.to_string(), &bug.what, kind(&said)];
                rows.push_str(&(row.join("\t") + "\n"));
                catchers.insert(catcher);
            }
            None => {
                println!("{:<44} {:<14} {}", bug.name, "NOTHING", bug.what);
                escaped.push(bug.name.as_str());
            }
        }
    }
    let false_alarm = control(&copy, &catchers)?;
    println!(
        "\n{} of {} planted bugs caught, {skipped} skipped, in {:.0} s; without them {}",
        bugs.len() - escaped.len() - skipped,
        bugs.len(),
        begin.elapsed().as_secs_f64(),
        false_alarm
            .as_deref()
            .unwrap_or("nothing that caught one finds anything"),
    );
    if !escaped.is_empty() {
        return Err(format!("not caught: {}", escaped.join(", ")));
    }
    match false_alarm {
        Some(alarm) => Err(format!("without a bug, {alarm}")),
        None => Ok(rows),
    }
}

/// What caught a bug.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Catcher {
    Seed(u64),
    SmallScope,
    Test { package: String, name: String },
    Torture,
    PowerLoss,
}

struct Caught {
    catcher: Catcher,
    said: String,
}

impl std::fmt::Display for Catcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Seed(seed) => format!("seed {seed}"),
            Self::SmallScope => "small scope".into(),
            Self::Test { package, name } => format!("{package}: {name}"),
            Self::Torture => "torture".into(),
            Self::PowerLoss => "power loss".into(),
        };
        f.pad(&text)
    }
}

fn try_one(copy: &Copy, bug: &Bug) -> Result<Option<Caught>, String> {
    copy.planted(bug, || match &bug.layer {
        Layer::Simulation { seed } => {
            copy.build()?;
            // Where it was last caught is where it is caught again most quickly.
            let known = seed.map(|seed| copy.simulate(seed, 1)).transpose()?;
            let found = match known.flatten() {
                Some(found) => Some(found),
                None => copy.simulate(0, SEEDS)?,
            };
            Ok(found.map(|(seed, said)| Caught {
                catcher: Catcher::Seed(seed),
                said,
            }))
        }
        Layer::SmallScope => {
            copy.build()?;
            Ok(copy.small_scope(OPERATIONS)?.map(|said| Caught {
                catcher: Catcher::SmallScope,
                said,
            }))
        }
        Layer::Test { package, name } => Ok(copy.test(package, name)?.map(|said| Caught {
            catcher: Catcher::Test {
                package: package.clone(),
                name: name.clone(),
            },
            said,
        })),
        Layer::Torture => torture(copy, Catcher::Torture),
        Layer::PowerLoss => torture(copy, Catcher::PowerLoss),
    })
}

fn torture(copy: &Copy, catcher: Catcher) -> Result<Option<Caught>, String> {
    copy.build_server()?;
    let said = copy.torture(words(&catcher))?;
    Ok(said.map(|said| Caught { catcher, said }))
}

/// How much of the torture is tried; most bugs need a tenth of it.
fn words(catcher: &Catcher) -> &'static [&'static str] {
    match catcher {
        Catcher::PowerLoss => &["--power-loss", "--states", "60"],
        _ => &["--kills", "60"],
    }
}

/// Why this machine cannot try it.
fn missing_for(bug: &Bug) -> Result<Option<String>, String> {
    match bug.layer {
        Layer::PowerLoss => crate::torture::missing(),
        _ => Ok(None),
    }
}

/// Runs without a bug what has caught one: the first that fails.
fn control(copy: &Copy, catchers: &BTreeSet<Catcher>) -> Result<Option<String>, String> {
    copy.build()?;
    for catcher in catchers {
        let alarm = match catcher {
            Catcher::Seed(seed) => copy.simulate(*seed, 1)?.map(|found| found.1),
            Catcher::SmallScope => copy.small_scope(OPERATIONS)?,
            Catcher::Test { package, name } => copy.test(package, name)?,
            Catcher::Torture | Catcher::PowerLoss => {
                copy.build_server()?;
                copy.torture(words(catcher))?
            }
        };
        if let Some(alarm) = alarm {
            return Ok(Some(format!("{catcher} fails: {alarm}")));
        }
    }
    Ok(None)
}

/// The invariant, or the kind of failure: what stands before the first colon. In front of it the small scope tells where it was, in braces and brackets.
fn kind(said: &str) -> &str {
    let (mut rest, mut depth, mut start, mut is_place) = (said.char_indices(), 0_u32, 0, false);
    while let Some((at, c)) = rest.next() {
        match c {
            '{' | '[' => (depth, is_place) = (depth + 1, true),
            '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && rest.as_str().starts_with(' ') => {
                if !is_place {
                    return &said[start..at];
                }
                (start, is_place) = (at + 2, false);
            }
            _ => {}
        }
    }
    &said[start..]
}

/// As many as the simulation runs in CI.
const SEEDS: u64 = crate::sim::CI_SEEDS;
/// Two fewer than in CI: seconds.
const OPERATIONS: u64 = crate::sim::OPERATIONS - 2;
const SHOWN_CHARS: usize = 100;
/// In the place of what caught a bug: nothing could be tried.
pub(crate) const SKIPPED: &str = "SKIPPED";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_without_the_place() {
        assert_eq!(
            kind("durability: orders has everything before 7"),
            "durability"
        );
        assert_eq!(kind("the test fails"), "the test fails");
        assert_eq!(kind("panic: panicked at a.rs:1:2 x: y"), "panic");
        let small = "Beginning { durability: Synced, old: true }, [Append, Sync]: power failed and left [0, 1]: \
            reading ends before 5";
        assert_eq!(kind(small), "reading ends before 5");
    }
}
