//! What a run leaves behind: a file of JSON lines, one for each sample, in the order in which things happened. Nothing is
//! summed up in it, so that whoever reads it can; and a run that was interrupted goes on from it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::Fact;
use crate::row::{Bar, Keeps, Point};
use crate::{Failure, Figure, Sample};

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first: where it was measured.
    Run { quick: bool, machine: Vec<Fact> },
    /// A row begins.
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
    /// The row is complete.
    Done { group: String, row: String },
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

    pub fn is_done(&self, group: &str, row: &str) -> bool {
        self.lines
            .iter()
            .any(|line| matches!(line, Line::Done { group: g, row: r } if g == group && r == row))
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
        assert!(results.is_done("rings", "one") && !results.is_done("rings", "two"));
    }
}
