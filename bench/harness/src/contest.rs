//! Rows, and samples of all contenders of a row in turn: A B C, then B C A, so that what comes periodically, and what
//! changes slowly, meets all of them.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::results::{Line, Results};
use crate::summary::{self, Summary};
use crate::{Failure, Figure, Options, Sample, machine};

/// Contenders who do the same work.
pub struct Row {
    pub name: String,
    /// What is done, on which cores, and how everybody waits.
    pub about: String,
    /// The columns; the first is what is compared.
    pub shows: Vec<Figure>,
    pub bars: Vec<Bar>,
    /// Where it stands among rows that differ in one number only.
    pub point: Option<Point>,
    /// Preempted samples do not count. With more threads than cores every sample is one.
    pub discard_preempted: bool,
    pub effort: Effort,
    pub contenders: Vec<Contender>,
}

/// A row of several that are one curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What they have in common.
    pub curve: String,
    /// In what they differ, with its unit.
    pub axis: String,
    pub at: f64,
}

/// Who does it.
pub struct Contender {
    pub name: String,
    pub ours: bool,
    /// Everything that was set, for the reader.
    pub settings: String,
    pub run: Box<dyn FnMut() -> Result<Sample, Failure>>,
}

impl Contender {
    pub fn new(
        name: impl Into<String>,
        run: impl FnMut() -> Result<Sample, Failure> + 'static,
    ) -> Self {
        let name = name.into();
        let ours = name.starts_with(OURS);
        Self {
            name,
            ours,
            settings: String::new(),
            run: Box::new(run),
        }
    }

    #[must_use]
    pub fn with_settings(mut self, settings: impl Into<String>) -> Self {
        self.settings = settings.into();
        self
    }
}

/// How much is spent on a row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Good samples wanted of each contender.
    pub samples: usize,
    /// Rounds after which the row ends, whatever was left out.
    pub rounds: usize,
}

/// What one of our figures must reach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bar {
    pub contender: String,
    pub figure: Figure,
    pub than: Than,
}

/// What a bar compares with: the figure is to be as good as so many times that, or better.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Than {
    /// The best who is not ours.
    BestPeer(f64),
    /// One of them.
    Peer(String, f64),
    /// A number.
    Value(f64),
}

impl Bar {
    pub fn value(contender: &str, figure: Figure, value: f64) -> Self {
        Self {
            contender: contender.into(),
            figure,
            than: Than::Value(value),
        }
    }

    pub fn times_best(contender: &str, figure: Figure, factor: f64) -> Self {
        Self {
            contender: contender.into(),
            figure,
            than: Than::BestPeer(factor),
        }
    }

    pub fn times(contender: &str, figure: Figure, factor: f64, peer: &str) -> Self {
        Self {
            contender: contender.into(),
            figure,
            than: Than::Peer(peer.into(), factor),
        }
    }
}

/// A group's run: its rows one after the other.
pub struct Contest {
    group: &'static str,
    options: Options,
    results: Results,
    failures: usize,
}

impl Contest {
    /// # Errors
    /// When the results cannot be kept.
    pub fn open(group: &'static str, options: &Options) -> Result<Self, Failure> {
        let mut results = options
            .out
            .as_deref()
            .map_or_else(|| Ok(Results::unkept()), Results::open)?;
        if results.lines.is_empty() {
            let machine = machine::facts(&options.data());
            results.add(Line::Run {
                quick: options.quick,
                machine,
            })?;
        }
        Ok(Self {
            group,
            options: options.clone(),
            results,
            failures: 0,
        })
    }

    /// Notes a peer's version, once.
    ///
    /// # Errors
    /// When the results cannot be kept.
    pub fn peer(&mut self, contender: &str, version: &str) -> Result<(), Failure> {
        let known = |line: &Line| matches!(line, Line::Peer { contender: c, version: v, .. } if c == contender && v == version);
        if self.results.lines.iter().any(known) {
            return Ok(());
        }
        self.results.add(Line::Peer {
            group: self.group.into(),
            contender: contender.into(),
            version: version.into(),
        })
    }

    /// Says loudly who is not there.
    ///
    /// # Errors
    /// When the results cannot be kept.
    pub fn absent(&mut self, contender: &str, why: &str) -> Result<(), Failure> {
        eprintln!("{}: {contender} takes no part: {why}", self.group);
        self.results.add(Line::Absent {
            group: self.group.into(),
            contender: contender.into(),
            why: why.into(),
        })
    }

    /// Takes the samples of a row, keeps them, and prints what can be said of them.
    ///
    /// # Errors
    /// When the results cannot be kept. A contender that fails is noted and left out; [`finish`](Self::finish) says so.
    pub fn run(&mut self, mut row: Row) -> Result<(), Failure> {
        row.contenders.retain(|contender| {
            (contender.ours || !self.options.ours) && self.options.wants_contender(&contender.name)
        });
        if row.contenders.is_empty() || !self.options.wants_row(&row.name) {
            return Ok(());
        }
        let group = self.group.to_owned();
        if self.options.list {
            let names: Vec<&str> = row
                .contenders
                .iter()
                .map(|contender| contender.name.as_str())
                .collect();
            println!("{group} · {}: {}", row.name, names.join(", "));
            return Ok(());
        }
        if self.results.is_done(&group, &row.name) {
            eprintln!("{group} · {}: done before", row.name);
            return Ok(());
        }
        self.open_row(&row)?;
        let mut samples: Vec<(String, Sample)> = Vec::new();
        let mut out = vec![false; row.contenders.len()];
        let begin = Instant::now();
        for round in 0..row.effort.rounds {
            let enough = |contender: &Contender| {
                let own = samples.iter().filter(|(name, _)| *name == contender.name);
                own.filter(|(_, sample)| row.is_good(sample)).count() >= row.effort.samples
            };
            if row
                .contenders
                .iter()
                .zip(&out)
                .all(|(contender, out)| *out || enough(contender))
            {
                break;
            }
            for turn in 0..row.contenders.len() {
                let index = (turn + round) % row.contenders.len();
                if out[index] {
                    continue;
                }
                let contender = &mut row.contenders[index];
                progress(&group, &row.name, &contender.name, round, row.effort, begin);
                let name = contender.name.clone();
                match (contender.run)() {
                    Ok(sample) => {
                        samples.push((name.clone(), sample.clone()));
                        let (group, row) = (group.clone(), row.name.clone());
                        self.results.add(Line::Sample {
                            group,
                            row,
                            contender: name,
                            sample,
                        })?;
                    }
                    Err(why) => {
                        clear_progress();
                        eprintln!("{group} · {} · {name} FAILED: {why}", row.name);
                        out[index] = true;
                        self.failures += 1;
                        let (group, row) = (group.clone(), row.name.clone());
                        self.results.add(Line::Failed {
                            group,
                            row,
                            contender: name,
                            why,
                        })?;
                    }
                }
            }
        }
        clear_progress();
        self.results.add(Line::Done {
            group: group.clone(),
            row: row.name.clone(),
        })?;
        self.print(&row, &samples);
        Ok(())
    }

    /// Says how it went, to the caller of the program too.
    pub fn finish(self) -> ExitCode {
        if self.failures == 0 {
            return ExitCode::SUCCESS;
        }
        eprintln!(
            "{}: {} contenders failed in a row",
            self.group, self.failures
        );
        ExitCode::FAILURE
    }

    fn open_row(&mut self, row: &Row) -> Result<(), Failure> {
        self.results.add(Line::Row {
            group: self.group.into(),
            row: row.name.clone(),
            about: row.about.clone(),
            shows: row.shows.clone(),
            bars: row.bars.clone(),
            point: row.point.clone(),
            discard_preempted: row.discard_preempted,
        })?;
        for contender in &row.contenders {
            self.results.add(Line::Contender {
                group: self.group.into(),
                row: row.name.clone(),
                contender: contender.name.clone(),
                ours: contender.ours,
                settings: contender.settings.clone(),
            })?;
        }
        Ok(())
    }

    fn print(&self, row: &Row, samples: &[(String, Sample)]) {
        eprintln!("\n{} · {}\n  {}", self.group, row.name, row.about);
        let summaries = summary::of(samples, self.results.nearest_ns(), row.discard_preempted);
        for line in summary::table(&summaries, &row.shows) {
            eprintln!("  {line}");
        }
        for bar in &row.bars {
            for verdict in summary::verdicts(bar, &summaries) {
                eprintln!("  {verdict}");
            }
        }
    }
}

impl Row {
    fn is_good(&self, sample: &Sample) -> bool {
        let preempted = self.discard_preempted && sample.preemptions > 0;
        !(sample.moved() || sample.disturbed() || preempted)
    }
}

/// Whether a contender is ours.
pub fn is_ours(summary: &Summary) -> bool {
    summary.contender.starts_with(OURS)
}

fn progress(group: &str, row: &str, contender: &str, round: usize, effort: Effort, begin: Instant) {
    let seconds = begin.elapsed().as_secs();
    let round = round + 1;
    let text = format!(
        "{group} · {row} · {contender}: round {round} of {} to {}, {seconds} s",
        effort.samples, effort.rounds
    );
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    } else if round == 1 {
        eprintln!("{text}");
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// How our names begin.
pub const OURS: &str = "trunkline";

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    fn row(contenders: Vec<Contender>) -> Row {
        Row {
            name: "work".into(),
            about: String::new(),
            shows: vec![Figure::Ns],
            bars: Vec::new(),
            point: None,
            discard_preempted: true,
            effort: Effort {
                samples: 2,
                rounds: 5,
            },
            contenders,
        }
    }

    #[test]
    fn everybody_comes_in_turn_and_another_one_begins_each_round() {
        let order = Rc::new(RefCell::new(String::new()));
        let contender = |name: &'static str| {
            let order = Rc::clone(&order);
            Contender::new(name, move || {
                order.borrow_mut().push_str(name);
                Ok(Sample::default().with(Figure::Ns, 1.0))
            })
        };
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        contest
            .run(row(vec![contender("a"), contender("b"), contender("c")]))
            .unwrap();
        assert_eq!(*order.borrow(), "abcbca");
    }

    #[test]
    fn one_who_fails_is_noted_and_left_out() {
        let contenders = vec![
            Contender::new("bad", || Err("message 3 is missing".into())),
            Contender::new("good", || Ok(Sample::default().with(Figure::Ns, 1.0))),
        ];
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        contest.run(row(contenders)).unwrap();
        let failed = contest
            .results
            .lines
            .iter()
            .filter(|line| matches!(line, Line::Failed { .. }))
            .count();
        let samples = contest
            .results
            .lines
            .iter()
            .filter(|line| matches!(line, Line::Sample { .. }))
            .count();
        assert_eq!((failed, samples, contest.failures), (1, 2, 1));
    }

    #[test]
    fn disturbed_samples_are_taken_again_until_the_rounds_end() {
        let mut runs = 0;
        let disturbed = Contender::new("a", move || {
            runs += 1;
            let others_percent = if runs == 1 { 90.0 } else { 0.0 };
            Ok(Sample {
                others_percent,
                ..Sample::default()
            })
        });
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        contest.run(row(vec![disturbed])).unwrap();
        let samples = contest
            .results
            .lines
            .iter()
            .filter(|line| matches!(line, Line::Sample { .. }))
            .count();
        assert_eq!(samples, 3);
    }
}
