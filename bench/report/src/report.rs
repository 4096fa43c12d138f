//! Results, put in order: rows with what can be said of their contenders.

use std::path::Path;

use bench_harness::results::{self, Line, Run};
use bench_harness::row::Point;
use bench_harness::summary::{Standing, Verdict};
use bench_harness::{Bar, Failure, Figure, Place, Sample};

/// A run.
#[derive(Debug, Default)]
pub struct Report {
    pub run: Run,
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

impl Row {
    /// The distances of the samples that count.
    pub fn distances(&self) -> impl Iterator<Item = Place> + '_ {
        self.standing
            .distances(&self.samples, self.discard_preempted)
    }

    /// What the samples came to at these places.
    pub fn at(&self, places: &[Place]) -> Standing {
        self.standing
            .at(places, &self.samples, self.discard_preempted)
    }
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
            Line::Run(run) => self.run = run,
            Line::Row {
                group,
                row,
                about,
                shows,
                bars,
                point,
                discard_preempted,
            } => {
                let row = Row {
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
                };
                // A row that begins again begins with nothing.
                match self.row(&row.group, &row.name) {
                    Some(known) => *known = row,
                    None => self.rows.push(row),
                }
            }
            Line::Contender {
                group,
                row,
                contender,
                settings,
                ..
            } => {
                if let Some(row) = self.row(&group, &row) {
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
            // What was noted last holds.
            Line::Absent { contender, why, .. } => {
                self.forget(&contender);
                self.absent.push((contender, why));
            }
            Line::Peer {
                contender, version, ..
            } => {
                self.forget(&contender);
                self.versions.push((contender, version));
            }
            Line::Done { .. } => {}
        }
    }

    /// Forgets whether a peer was there.
    fn forget(&mut self, contender: &str) {
        self.absent.retain(|(known, _)| known != contender);
        self.versions.retain(|(known, _)| known != contender);
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

    pub(crate) fn row(group: &str, row: &str) -> Line {
        Line::Row {
            group: group.into(),
            row: row.into(),
            about: "what is done".into(),
            shows: vec![Figure::Ns],
            bars: Vec::new(),
            point: None,
            discard_preempted: false,
        }
    }

    /// A sample of so many nanoseconds, at so many.
    pub(crate) fn sample(group: &str, row: &str, contender: &str, ns: f64, far: f64) -> Line {
        let sample = Sample {
            crossing_ns: [far; 2],
            ..Sample::default()
        };
        Line::Sample {
            group: group.into(),
            row: row.into(),
            contender: contender.into(),
            sample: sample.with(Figure::Ns, ns),
        }
    }

    #[test]
    fn a_row_that_was_begun_again_has_nothing_of_what_was_there() {
        let (group, name) = ("rings", "one");
        let mut again = row(group, name);
        if let Line::Row {
            discard_preempted, ..
        } = &mut again
        {
            *discard_preempted = true;
        }
        let report = Report::of(vec![
            row(group, name),
            contender(group, name, "gone"),
            sample(group, name, "gone", 1.0, 0.0),
            again,
            contender(group, name, "trunkline"),
            sample(group, name, "trunkline", 2.0, 0.0),
        ]);
        let row = &report.rows[0];
        assert!(row.discard_preempted && row.standing.contenders == ["trunkline"]);
        assert_eq!(row.standing.summaries.len(), 1);
    }

    #[test]
    fn a_peer_that_is_there_now_is_absent_no_longer() {
        let absent = || Line::Absent {
            group: "broker".into(),
            contender: "NATS".into(),
            why: "not here".into(),
        };
        let peer = Line::Peer {
            group: "broker".into(),
            contender: "NATS".into(),
            version: "2".into(),
        };
        assert_eq!(Report::of(vec![absent(), absent()]).absent.len(), 1);
        assert!(Report::of(vec![absent(), peer]).absent.is_empty());
    }
}
