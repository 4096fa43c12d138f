//! What a run leaves behind: a file of JSON lines, one for each sample, in the order in which things happened. Nothing is
//! summed up in it, so that whoever reads it can; and a run that was interrupted goes on from it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::Fact;
use crate::row::{Bar, Keeps, Point};
use crate::{Failure, Figure, Sample, machine};

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first: what is measured, and where.
    Run(Run),
    /// A row begins. What was measured of it before counts no longer.
    Row {
        group: String,
        row: String,
        about: String,
        shows: Vec<Figure>,
        bars: Vec<Bar>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<Point>,
        discard_preempted: bool,
    },
    /// Who takes part in it, and how it was set up.
    Contender {
        group: String,
        row: String,
        contender: String,
        ours: bool,
        settings: String,
        #[serde(default)]
        keeps: Keeps,
    },
    /// One run.
    Sample {
        group: String,
        row: String,
        contender: String,
        sample: Sample,
    },
    /// A run that failed, or whose messages were not all right.
    Failed {
        group: String,
        row: String,
        contender: String,
        why: String,
    },
    /// Who could not take part at all.
    Absent {
        group: String,
        contender: String,
        why: String,
    },
    /// What a peer says of its version.
    Peer {
        group: String,
        contender: String,
        version: String,
    },
    /// The row is complete, and nobody failed.
    Done { group: String, row: String },
}

/// What a run is of. Samples of two such do not belong together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    pub quick: bool,
    /// Only our own contenders.
    #[serde(default)]
    pub ours: bool,
    /// Contenders only whose name contains one of these; all when there are none.
    #[serde(default)]
    pub contenders: Vec<String>,
    pub machine: Vec<Fact>,
}

impl Run {
    /// In what another one differs, whatever varies from hour to hour left aside.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let words = |run: &Self| {
            let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
            let mut words = vec![
                ("quick", yes(run.quick)),
                ("ours only", yes(run.ours)),
                ("contenders", run.contenders.join(",")),
            ];
            words.extend(machine::STEADY.map(|name| (name, machine::value(&run.machine, name))));
            words
        };
        let pairs = words(self).into_iter().zip(words(other));
        pairs
            .filter(|((_, own), (_, theirs))| own != theirs)
            .map(|((name, own), (_, theirs))| format!("{name} was `{own}` and is `{theirs}`"))
            .collect()
    }
}

impl Line {
    /// The group and the row that it belongs to.
    fn row(&self) -> Option<(&str, &str)> {
        match self {
            Self::Row { group, row, .. }
            | Self::Contender { group, row, .. }
            | Self::Sample { group, row, .. }
            | Self::Failed { group, row, .. }
            | Self::Done { group, row } => Some((group, row)),
            Self::Run(_) | Self::Absent { .. } | Self::Peer { .. } => None,
        }
    }
}

/// The file, and what was in it.
pub struct Results {
    file: Option<File>,
    pub lines: Vec<Line>,
}

impl Results {
    /// Results that no file keeps.
    pub fn unkept() -> Self {
        Self {
            file: None,
            lines: Vec::new(),
        }
    }

    /// Goes on with a file, or begins one.
    ///
    /// # Errors
    /// When it cannot be read, written or understood.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let lines = if path.exists() {
            read(path)?
        } else {
            Vec::new()
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed)?;
        let text = std::fs::read(path).map_err(failed)?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(failed)?;
        Ok(Self {
            file: Some(file),
            lines,
        })
    }

    /// Adds a line, and has it written before it returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, line: Line) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            let mut text = serde_json::to_string(&line).map_err(|error| error.to_string())?;
            text.push('\n');
            file.write_all(text.as_bytes())
                .map_err(|error| format!("results: {error}"))?;
        }
        self.lines.push(line);
        Ok(())
    }

    /// What a file that is gone on with is a run of.
    pub fn run(&self) -> Option<&Run> {
        self.lines.iter().find_map(|line| match line {
            Line::Run(run) => Some(run),
            _ => None,
        })
    }

    /// Whether a row is complete, with all these contenders, none of whom failed.
    pub fn is_done(&self, group: &str, row: &str, wanted: &[&str]) -> bool {
        let lines = self.since_begun(group, row);
        let has = |name: &&str| {
            lines
                .iter()
                .any(|line| matches!(line, Line::Contender { contender, .. } if contender == *name))
        };
        let failed = |line: &&Line| matches!(line, Line::Failed { .. });
        let done = |line: &&Line| matches!(line, Line::Done { .. });
        lines.iter().any(done) && !lines.iter().any(failed) && wanted.iter().all(has)
    }

    /// Who failed in the rows of a group, and did not come through since.
    pub fn failures(&self, group: &str) -> Vec<String> {
        let mut rows: Vec<&str> = Vec::new();
        for (of, row) in self.lines.iter().filter_map(Line::row) {
            if of == group && !rows.contains(&row) {
                rows.push(row);
            }
        }
        let lines = rows
            .into_iter()
            .flat_map(|row| self.since_begun(group, row));
        lines
            .filter_map(|line| match line {
                Line::Failed { row, contender, .. } => Some(format!("{row} · {contender}")),
                _ => None,
            })
            .collect()
    }

    /// What is known of a row since it was begun for the last time.
    fn since_begun(&self, group: &str, row: &str) -> Vec<&Line> {
        let own = self.lines.iter();
        let mut own: Vec<&Line> = own
            .filter(|line| line.row() == Some((group, row)))
            .collect();
        let begun = |line: &&Line| matches!(line, Line::Row { .. });
        let begin = own.iter().rposition(begun).unwrap_or(0);
        own.split_off(begin)
    }
}

/// The lines of a file. A last line without an end, which an interrupted run can leave, is no error.
///
/// # Errors
/// When the file cannot be read, or a line is not understood.
pub fn read(path: &Path) -> Result<Vec<Line>, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut lines, mut text) = (Vec::new(), String::new());
    while reader.read_line(&mut text).map_err(failed)? > 0 && text.ends_with('\n') {
        let line = serde_json::from_str(&text);
        lines.push(
            line.map_err(|error| format!("{}, line {}: {error}", path.display(), lines.len() + 1))?,
        );
        text.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_where_it_was_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let mut results = Results::open(&path).unwrap();
        results
            .add(Line::Done {
                group: "rings".into(),
                row: "one".into(),
            })
            .unwrap();
        let sample = Sample {
            crossing_ns: [42.0, 43.0],
            ..Sample::default()
        }
        .with(Figure::Ns, 1.5);
        let line = Line::Sample {
            group: "rings".into(),
            row: "two".into(),
            contender: "ours".into(),
            sample,
        };
        results.add(line).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"kind\":\"sam")
            .unwrap();
        let mut results = Results::open(&path).unwrap();
        assert_eq!(results.lines.len(), 2);
        results
            .add(Line::Done {
                group: "rings".into(),
                row: "three".into(),
            })
            .unwrap();
        let results = Results::open(&path).unwrap();
        assert_eq!(results.lines.len(), 3);
        assert!(results.is_done("rings", "one", &[]) && !results.is_done("rings", "two", &[]));
    }

    fn begin(results: &mut Results, contenders: &[&str]) {
        let (group, row) = ("rings".to_owned(), "one".to_owned());
        let mut add = |line| results.add(line).unwrap();
        add(Line::Row {
            group: group.clone(),
            row: row.clone(),
            about: String::new(),
            shows: vec![Figure::Ns],
            bars: Vec::new(),
            point: None,
            discard_preempted: false,
        });
        for contender in contenders {
            add(Line::Contender {
                group: group.clone(),
                row: row.clone(),
                contender: (*contender).into(),
                ours: false,
                settings: "none".into(),
                keeps: Keeps::Nothing,
            });
        }
    }

    fn done() -> Line {
        let (group, row) = ("rings".into(), "one".into());
        Line::Done { group, row }
    }

    #[test]
    fn a_row_is_done_when_all_who_are_wanted_came_through() {
        let mut results = Results::unkept();
        begin(&mut results, &["a", "b"]);
        assert!(!results.is_done("rings", "one", &["a"]));
        results.add(done()).unwrap();
        assert!(results.is_done("rings", "one", &["a"]));
        assert!(results.is_done("rings", "one", &["b", "a"]));
        assert!(!results.is_done("rings", "one", &["a", "c"]));
    }

    #[test]
    fn a_row_in_which_somebody_failed_is_not_done_until_it_comes_through() {
        let mut results = Results::unkept();
        begin(&mut results, &["a"]);
        let failed = Line::Failed {
            group: "rings".into(),
            row: "one".into(),
            contender: "a".into(),
            why: "message 3 is missing".into(),
        };
        results.add(failed).unwrap();
        results.add(done()).unwrap();
        assert!(!results.is_done("rings", "one", &["a"]));
        assert_eq!(results.failures("rings"), ["one · a"]);
        begin(&mut results, &["a"]);
        assert!(!results.is_done("rings", "one", &["a"]));
        results.add(done()).unwrap();
        assert!(results.is_done("rings", "one", &["a"]) && results.failures("rings").is_empty());
    }

    #[test]
    fn runs_of_different_things_say_in_what_they_differ() {
        let fact = |name: &str, value: &str| Fact {
            name: name.into(),
            value: value.into(),
        };
        let run = |commit, time| Run {
            machine: vec![fact("commit", commit), fact("time", time)],
            ..Run::default()
        };
        assert!(
            run("a", "noon")
                .differences(&run("a", "midnight"))
                .is_empty()
        );
        let quick = Run {
            quick: true,
            ..run("b", "noon")
        };
        assert_eq!(
            run("a", "noon").differences(&quick),
            ["quick was `no` and is `yes`", "commit was `a` and is `b`"]
        );
    }
}
