//! Results, put in order: rows with what can be said of their contenders.

use std::path::Path;

use bench_harness::machine::Fact;
use bench_harness::results::{self, Line};
use bench_harness::row::Point;
use bench_harness::summary::{self, Summary, Verdict};
use bench_harness::{Bar, Failure, Figure, Sample};

/// A run.
#[derive(Debug, Default)]
pub struct Report {
    pub quick: bool,
    pub machine: Vec<Fact>,
    /// Peers and their versions.
    pub versions: Vec<(String, String)>,
    /// Who could not take part, and why.
    pub absent: Vec<(String, String)>,
    pub rows: Vec<Row>,
}

/// A row of it.
#[derive(Debug)]
pub struct Row {
    pub group: String,
    pub name: String,
    pub about: String,
    pub shows: Vec<Figure>,
    pub bars: Vec<Bar>,
    pub point: Option<Point>,
    discard_preempted: bool,
    /// Names and settings.
    pub contenders: Vec<(String, String)>,
    samples: Vec<(String, Sample)>,
    pub failed: Vec<(String, String)>,
    pub summaries: Vec<Summary>,
}

impl Report {
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        Ok(Self::of(results::read(path)?))
    }

    pub fn of(lines: Vec<Line>) -> Self {
        let nearest_ns = results::nearest_ns(&lines);
        let mut report = Self::default();
        for line in lines {
            report.take(line);
        }
        for row in &mut report.rows {
            row.summaries = summary::of(&row.samples, nearest_ns, row.discard_preempted);
        }
        report
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Run { quick, machine } => (self.quick, self.machine) = (quick, machine),
            // A row that was begun before an interruption begins again, with the samples that there are.
            Line::Row {
                group,
                row,
                about,
                shows,
                bars,
                point,
                discard_preempted,
            } => match self.row(&group, &row) {
                Some(known) => (known.about, known.shows, known.bars) = (about, shows, bars),
                None => self.rows.push(Row {
                    group,
                    name: row,
                    about,
                    shows,
                    bars,
                    point,
                    discard_preempted,
                    contenders: Vec::new(),
                    samples: Vec::new(),
                    failed: Vec::new(),
                    summaries: Vec::new(),
                }),
            },
            Line::Contender {
                group,
                row,
                contender,
                settings,
                ..
            } => {
                if let Some(row) = self.row(&group, &row)
                    && !row.contenders.iter().any(|(known, _)| *known == contender)
                {
                    row.contenders.push((contender, settings));
                }
            }
            Line::Sample {
                group,
                row,
                contender,
                sample,
            } => {
                if let Some(row) = self.row(&group, &row) {
                    row.samples.push((contender, sample));
                }
            }
            Line::Failed {
                group,
                row,
                contender,
                why,
            } => {
                if let Some(row) = self.row(&group, &row) {
                    row.failed.push((contender, why));
                }
            }
            Line::Absent { contender, why, .. } => self.absent.push((contender, why)),
            Line::Peer {
                contender, version, ..
            } => self.versions.push((contender, version)),
            Line::Done { .. } => {}
        }
    }

    fn row(&mut self, group: &str, name: &str) -> Option<&mut Row> {
        self.rows
            .iter_mut()
            .find(|row| row.group == group && row.name == name)
    }

    /// The groups in the order in which they came.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !groups.contains(&row.group.as_str()) {
                groups.push(&row.group);
            }
        }
        groups
    }

    /// Who was measured in a row, and none of whose samples count.
    pub fn without(row: &Row) -> Vec<&str> {
        let counts = |name: &str| {
            row.summaries
                .iter()
                .any(|summary| summary.contender == name)
        };
        let mut without: Vec<&str> = Vec::new();
        for (name, _) in &row.samples {
            if !counts(name) && !without.contains(&name.as_str()) {
                without.push(name);
            }
        }
        without
    }

    /// Every bar of every row, and whether it is met.
    pub fn verdicts(&self) -> Vec<(&Row, Verdict)> {
        let of_row = |row: &'_ Row| -> Vec<Verdict> {
            row.bars
                .iter()
                .flat_map(|bar| summary::verdicts(bar, &row.summaries))
                .collect()
        };
        self.rows
            .iter()
            .flat_map(|row| of_row(row).into_iter().map(move |verdict| (row, verdict)))
            .collect()
    }
}
