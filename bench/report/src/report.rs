//! Results, put in order: rows with what can be said of their contenders.

use std::path::Path;

use bench_harness::machine::Fact;
use bench_harness::results::{self, Line};
use bench_harness::row::Point;
use bench_harness::summary::{Standing, Verdict};
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
    failed: Vec<(String, Failure)>,
    pub standing: Standing,
}

impl Report {
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        Ok(Self::of(results::read(path)?))
    }

    pub fn of(lines: Vec<Line>) -> Self {
        let mut report = Self::default();
        for line in lines {
            report.take(line);
        }
        for row in &mut report.rows {
            let names = row.contenders.iter().map(|(name, _)| name.clone());
            row.standing = Standing::of(
                names.collect(),
                std::mem::take(&mut row.failed),
                &row.samples,
                row.discard_preempted,
            );
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
                    standing: Standing::default(),
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

    /// Every bar of every row, and whether it is met.
    pub fn verdicts(&self) -> Vec<(&Row, Verdict)> {
        let of_row = |row: &'_ Row| -> Vec<Verdict> {
            row.bars
                .iter()
                .flat_map(|bar| row.standing.verdicts(bar))
                .collect()
        };
        self.rows
            .iter()
            .flat_map(|row| of_row(row).into_iter().map(move |verdict| (row, verdict)))
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bench_harness::row::Keeps;

    use super::*;

    pub(crate) fn contender(group: &str, row: &str, contender: &str) -> Line {
        Line::Contender {
            group: group.into(),
            row: row.into(),
            contender: contender.into(),
            ours: contender == "trunkline",
            settings: "none".into(),
            keeps: Keeps::Nothing,
        }
    }
}
