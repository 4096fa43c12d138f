//! Samples of all contenders of a row in turn: A B C, then B C A, so that what comes periodically, and what changes slowly,
//! meets all of them.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::results::{Line, Results};
use crate::row::{Contender, Effort, Row};
use crate::summary::Standing;
use crate::{Failure, Options, Sample, machine, versions};

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

    /// Notes the versions of peers that are crates, which are called as their crates are.
    ///
    /// # Errors
    /// When the results cannot be kept.
    pub fn crates(&mut self, names: &[&str]) -> Result<(), Failure> {
        if self.options.ours {
            return Ok(());
        }
        let program = format!("bench-{}", self.group);
        for name in names {
            let version = versions::of_crate(&program, name);
            self.peer(name, version.unwrap_or("unknown"))?;
        }
        Ok(())
    }

    /// Takes the samples of those rows that are wanted.
    ///
    /// # Errors
    /// When a row is refused, or the results cannot be kept.
    pub fn run_all(&mut self, rows: Vec<Row>) -> Result<(), Failure> {
        let rows: Vec<Row> = rows
            .into_iter()
            .filter_map(|row| self.wanted(row))
            .collect();
        let of = rows.len();
        rows.iter().try_for_each(Row::check)?;
        for (index, row) in rows.into_iter().enumerate() {
            let title = format!("{} · row {} of {of} · {}", self.group, index + 1, row.name);
            self.run(row, Progress::new(title))?;
        }
        Ok(())
    }

    /// The row with those of its contenders who are wanted, if there are any.
    fn wanted(&self, mut row: Row) -> Option<Row> {
        let options = &self.options;
        row.contenders.retain(|contender| {
            (contender.ours || !options.ours) && options.wants_contender(&contender.name)
        });
        (options.wants_row(&row.name) && !row.contenders.is_empty()).then_some(row)
    }

    /// Takes the samples of a row, keeps them, and prints what can be said of them. A contender that fails is noted and left
    /// out; [`finish`](Self::finish) says so.
    fn run(&mut self, mut row: Row, mut progress: Progress) -> Result<(), Failure> {
        if self.options.list {
            let names: Vec<&str> = row
                .contenders
                .iter()
                .map(|contender| contender.name.as_str())
                .collect();
            println!("{} · {}: {}", self.group, row.name, names.join(", "));
            return Ok(());
        }
        if self.results.is_done(self.group, &row.name) {
            eprintln!("{}: done before", progress.title);
            return Ok(());
        }
        self.open_row(&row)?;
        let mut samples: Vec<(String, Sample)> = Vec::new();
        let mut failed: Vec<(String, Failure)> = Vec::new();
        for round in 0..row.effort.rounds {
            let enough = |contender: &Contender| {
                let own = samples.iter().filter(|(name, _)| *name == contender.name);
                own.filter(|(_, sample)| row.is_good(sample)).count() >= row.effort.samples
            };
            let has_failed = |name: &str| failed.iter().any(|(failed, _)| failed == name);
            let mut left = row.contenders.iter();
            if left.all(|contender| has_failed(&contender.name) || enough(contender)) {
                break;
            }
            for turn in 0..row.contenders.len() {
                let index = (turn + round) % row.contenders.len();
                let contender = &mut row.contenders[index];
                if failed.iter().any(|(failed, _)| *failed == contender.name) {
                    continue;
                }
                progress.show(&contender.name, round, row.effort);
                let name = contender.name.clone();
                let took = (contender.run)();
                match took.and_then(|sample| row.check_sample(&sample).map(|()| sample)) {
                    Ok(sample) => {
                        samples.push((name.clone(), sample.clone()));
                        self.results.add(Line::Sample {
                            group: self.group.into(),
                            row: row.name.clone(),
                            contender: name,
                            sample,
                        })?;
                    }
                    Err(why) => {
                        progress.clear();
                        eprintln!("{} · {} · {name} FAILED: {why}", self.group, row.name);
                        failed.push((name.clone(), why.clone()));
                        self.failures += 1;
                        self.results.add(Line::Failed {
                            group: self.group.into(),
                            row: row.name.clone(),
                            contender: name,
                            why,
                        })?;
                    }
                }
            }
        }
        progress.clear();
        self.results.add(Line::Done {
            group: self.group.into(),
            row: row.name.clone(),
        })?;
        self.print(&row, &samples, failed);
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
            about: row.text(),
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
                keeps: contender.keeps,
            })?;
        }
        Ok(())
    }

    fn print(&self, row: &Row, samples: &[(String, Sample)], failed: Vec<(String, Failure)>) {
        eprintln!("\n{} · {}\n  {}", self.group, row.name, row.text());
        let names = row
            .contenders
            .iter()
            .map(|contender| contender.name.clone());
        let standing = Standing::of(names.collect(), failed, samples, row.discard_preempted);
        for line in standing.table(&row.shows) {
            eprintln!("  {line}");
        }
        for verdict in row.bars.iter().flat_map(|bar| standing.verdicts(bar)) {
            eprintln!("  {verdict}");
        }
    }
}

/// How far a row is: on a terminal all the time, elsewhere as it begins and every now and then.
struct Progress {
    title: String,
    begin: Instant,
    told: Option<Instant>,
}

impl Progress {
    fn new(title: String) -> Self {
        Self {
            title,
            begin: Instant::now(),
            told: None,
        }
    }

    fn show(&mut self, contender: &str, round: usize, effort: Effort) {
        let text = format!(
            "{} · {contender}: round {} of {} to {}, {} s",
            self.title,
            round + 1,
            effort.samples,
            effort.rounds,
            self.begin.elapsed().as_secs()
        );
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
        } else if self.told.is_none_or(|told| told.elapsed() > EVERY) {
            eprintln!("{text}");
            self.told = Some(Instant::now());
        }
    }

    fn clear(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

/// How often somebody who watches a file of what is printed hears of a row.
const EVERY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::Figure;
    use crate::row::tests::row;

    #[test]
    fn everybody_comes_in_turn_and_another_one_begins_each_round() {
        let order = Rc::new(RefCell::new(String::new()));
        let contender = |name: &'static str| {
            let order = Rc::clone(&order);
            Contender::new(name, "none", move || {
                order.borrow_mut().push_str(name);
                Ok(Sample::default().with(Figure::Ns, 1.0))
            })
        };
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        contest
            .run_all(vec![row(vec![
                contender("a"),
                contender("b"),
                contender("c"),
            ])])
            .unwrap();
        assert_eq!(*order.borrow(), "abcbca");
    }

    #[test]
    fn a_row_that_is_refused_is_not_measured() {
        let rate = Row {
            shows: vec![Figure::PerSecond],
            ..row(vec![Contender::new("a", "none", || unreachable!())])
        };
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        assert!(contest.run_all(vec![rate]).is_err());
    }

    #[test]
    fn one_who_fails_is_noted_and_left_out() {
        let contenders = vec![
            Contender::new("bad", "none", || Err("message 3 is missing".into())),
            Contender::new("good", "none", || {
                Ok(Sample::default().with(Figure::Ns, 1.0))
            }),
        ];
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        contest.run_all(vec![row(contenders)]).unwrap();
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
        let disturbed = Contender::new("a", "none", move || {
            runs += 1;
            let others_percent = if runs == 1 { 90.0 } else { 0.0 };
            Ok(Sample {
                others_percent,
                ..Sample::default()
            })
        });
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        contest.run_all(vec![row(vec![disturbed])]).unwrap();
        let samples = contest
            .results
            .lines
            .iter()
            .filter(|line| matches!(line, Line::Sample { .. }))
            .count();
        assert_eq!(samples, 3);
    }
}
