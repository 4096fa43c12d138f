//! Samples of all contenders of a row in turn: A B C, then B C A, so that what comes periodically, and what changes slowly,
//! meets all of them.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;
use crate::results::{Line, Results, Run};
use crate::row::{Contender, Effort, Row};
use crate::summary::Standing;
use crate::{Failure, Options, Sample, machine, versions};

/// A group's run: its rows one after the other.
pub struct Contest {
    group: &'static str,
    options: Options,
    results: Results,
    interrupt: Interrupt,
    /// How many rows were wanted so far.
    rows: usize,
}

impl Contest {
    /// # Errors
    /// When the results cannot be kept, or those that are there are of something else.
    pub fn open(group: &'static str, options: &Options) -> Result<Self, Failure> {
        let mut results = options
            .out
            .as_deref()
            .map_or_else(|| Ok(Results::unkept()), Results::open)?;
        let run = Run {
            quick: options.quick,
            ours: options.ours,
            contenders: options.contender.clone(),
            machine: machine::facts(&options.data()),
        };
        let differences = results.run().map(|before| before.differences(&run));
        match differences {
            None => results.add(Line::Run(run))?,
            Some(differences) if differences.is_empty() => {}
            Some(differences) => return Err(another_run(&differences)),
        }
        Ok(Self {
            group,
            options: options.clone(),
            results,
            interrupt: Interrupt::install()?,
            rows: 0,
        })
    }

    /// Notes a peer's version, once.
    ///
    /// # Errors
    /// When the results cannot be kept, or have samples of another version.
    pub fn peer(&mut self, contender: &str, version: &str) -> Result<(), Failure> {
        let other = |line: &Line| match line {
            Line::Peer {
                contender: known,
                version: before,
                ..
            } if known == contender && before != version => Some(before.clone()),
            _ => None,
        };
        if let Some(before) = self.results.lines.iter().find_map(other) {
            let difference = format!("{contender} was `{before}` and is `{version}`");
            return Err(another_run(&[difference]));
        }
        if matches!(self.last_of(contender), Some(Line::Peer { .. })) {
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
        if matches!(self.last_of(contender), Some(Line::Absent { why: known, .. }) if known == why)
        {
            return Ok(());
        }
        self.results.add(Line::Absent {
            group: self.group.into(),
            contender: contender.into(),
            why: why.into(),
        })
    }

    /// What was noted last of whether a peer is there.
    fn last_of(&self, contender: &str) -> Option<&Line> {
        let of_it = |line: &&Line| match line {
            Line::Peer {
                contender: known, ..
            }
            | Line::Absent {
                contender: known, ..
            } => known == contender,
            _ => false,
        };
        self.results.lines.iter().rfind(of_it)
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
        self.rows += of;
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
        let names: Vec<&str> = row.contenders.iter().map(|own| own.name.as_str()).collect();
        if self.options.list {
            println!("{} · {}: {}", self.group, row.name, names.join(", "));
            return Ok(());
        }
        if self.results.is_done(self.group, &row.name, &names) {
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
                self.interrupt.check().inspect_err(|_| progress.clear())?;
                progress.show(&contender.name, round, row.effort);
                let name = contender.name.clone();
                let took = (contender.run)();
                match took.and_then(|sample| row.check_sample(&sample).map(|()| sample)) {
                    Ok(sample) => {
                        if let Some(why) = &sample.fell_behind {
                            progress.clear();
                            eprintln!(
                                "{} · {} · {name}: a sample does not count: {why}",
                                self.group, row.name
                            );
                        }
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
                        self.note_failure(&row, &name, &why)?;
                        failed.push((name, why));
                    }
                }
            }
        }
        progress.clear();
        for contender in &row.contenders {
            let has_failed = failed.iter().any(|(failed, _)| *failed == contender.name);
            if let Some(why) = always_behind(&contender.name, &samples).filter(|_| !has_failed) {
                self.note_failure(&row, &contender.name, &why)?;
                failed.push((contender.name.clone(), why));
            }
        }
        if failed.is_empty() {
            self.results.add(Line::Done {
                group: self.group.into(),
                row: row.name.clone(),
            })?;
        }
        self.print(&row, &samples, failed);
        Ok(())
    }

    /// Says how it went, to the caller of the program too. Failures that were kept count.
    pub fn finish(self) -> ExitCode {
        if self.rows == 0 {
            eprintln!(
                "{}: no row is called that, or nobody who takes part in one: --list names them",
                self.group
            );
        }
        let failures = self.results.failures(self.group);
        if failures.is_empty() {
            return ExitCode::SUCCESS;
        }
        eprintln!("{}: these failed, and their rows are not done:", self.group);
        for failure in failures {
            eprintln!("  {failure}");
        }
        ExitCode::FAILURE
    }

    fn note_failure(&mut self, row: &Row, name: &str, why: &str) -> Result<(), Failure> {
        eprintln!("{} · {} · {name} FAILED: {why}", self.group, row.name);
        self.results.add(Line::Failed {
            group: self.group.into(),
            row: row.name.clone(),
            contender: name.into(),
            why: why.into(),
        })
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

/// Why somebody is not up to the load: none of the samples had it.
fn always_behind(name: &str, samples: &[(String, Sample)]) -> Option<Failure> {
    let own = samples.iter().filter(|(own, _)| own == name);
    let mut last = None;
    for (_, sample) in own {
        last = Some(sample.fell_behind.as_ref()?);
    }
    last.map(|why| format!("in all rounds the load was less than the one asked for, at last {why}"))
}

/// Why results are not gone on with.
fn another_run(differences: &[String]) -> Failure {
    format!(
        "the results that are there are of another run, whose samples are not to be mixed with these: {}. Go on with it as it was \
         begun, or let --out name a new place",
        differences.join("; ")
    )
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
        assert_eq!((failed, samples), (1, 2));
        assert_eq!(contest.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn a_sample_that_fell_behind_is_taken_again_and_only_who_always_does_fails() {
        let behind = |times: usize| {
            let mut left = times;
            move || {
                let fell_behind = (left > 0).then(|| "half of the load".to_owned());
                left = left.saturating_sub(1);
                Ok(Sample {
                    fell_behind,
                    ..Sample::default().with(Figure::Ns, 1.0)
                })
            }
        };
        let mut row = row(vec![
            Contender::new("once", "none", behind(1)),
            Contender::new("always", "none", behind(usize::MAX)),
        ]);
        row.effort = Effort {
            samples: 2,
            rounds: 5,
        };
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        contest.run_all(vec![row]).unwrap();
        assert_eq!(contest.results.failures("test"), ["work · always"]);
        let mut own: Vec<(String, Sample)> = Vec::new();
        for line in &contest.results.lines {
            if let Line::Sample {
                contender, sample, ..
            } = line
            {
                own.push((contender.clone(), sample.clone()));
            }
        }
        let standing = Standing::of(vec!["once".into()], Vec::new(), &own, false);
        let [once] = &standing.summaries[..] else {
            unreachable!("one contender at one place");
        };
        assert_eq!((once.samples, once.left_out), (4, 1));
    }

    /// A run of one row with these contenders, who fail or not, kept in a file.
    fn kept(options: &Options, contenders: &[(&'static str, bool)]) -> Result<Contest, Failure> {
        let contender = |(name, fails): &(&'static str, bool)| {
            let fails = *fails;
            Contender::new(*name, "none", move || match fails {
                true => Err("message 3 is missing".into()),
                false => Ok(Sample::default().with(Figure::Ns, 1.0)),
            })
        };
        let mut contest = Contest::open("test", options)?;
        contest.run_all(vec![row(contenders.iter().map(contender).collect())])?;
        Ok(contest)
    }

    fn count(contest: &Contest, is: impl Fn(&Line) -> bool) -> usize {
        contest.results.lines.iter().filter(|line| is(line)).count()
    }

    #[test]
    fn a_row_in_which_somebody_failed_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            out: Some(folder.path().join("results.jsonl")),
            ..Options::default()
        };
        let rows = |contest: &Contest| count(contest, |line| matches!(line, Line::Row { .. }));
        let first = kept(&options, &[("a", true), ("b", false)]).unwrap();
        assert_eq!(count(&first, |line| matches!(line, Line::Done { .. })), 0);
        // What was kept counts, even when the row is not wanted now.
        let other = Options {
            row: "nothing".into(),
            ..options.clone()
        };
        assert_eq!(kept(&other, &[]).unwrap().finish(), ExitCode::FAILURE);
        let second = kept(&options, &[("a", false), ("b", false)]).unwrap();
        assert_eq!(rows(&second), 2);
        assert_eq!(second.finish(), ExitCode::SUCCESS);
        let third = kept(&options, &[("a", false), ("b", false)]).unwrap();
        assert_eq!(rows(&third), 2);
        // Somebody more is wanted.
        let fourth = kept(&options, &[("a", false), ("b", false), ("c", false)]).unwrap();
        assert_eq!(rows(&fourth), 3);
    }

    #[test]
    fn results_of_something_else_are_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            out: Some(folder.path().join("results.jsonl")),
            ..Options::default()
        };
        let mut contest = kept(&options, &[("a", false)]).unwrap();
        contest.peer("a", "1.0").unwrap();
        let refused = |options: &Options| kept(options, &[("a", false)]).err().unwrap_or_default();
        assert_eq!(refused(&options), "");
        let quick = Options {
            quick: true,
            ..options.clone()
        };
        assert!(refused(&quick).contains("quick was `no` and is `yes`"));
        let few = Options {
            contender: vec!["a".into()],
            ..options.clone()
        };
        assert!(refused(&few).contains("contenders was `` and is `a`"));
        let ours = Options {
            ours: true,
            ..options.clone()
        };
        assert!(refused(&ours).contains("ours only"));
        assert!(contest.peer("a", "1.1").unwrap_err().contains("1.1"));
    }

    #[test]
    fn who_is_absent_is_noted_once() {
        let mut contest = Contest::open("test", &Options::default()).unwrap();
        let notes = |contest: &Contest| {
            count(contest, |line| {
                matches!(line, Line::Absent { .. } | Line::Peer { .. })
            })
        };
        contest.absent("a", "not here").unwrap();
        contest.absent("a", "not here").unwrap();
        assert_eq!(notes(&contest), 1);
        contest.peer("a", "1.0").unwrap();
        contest.peer("a", "1.0").unwrap();
        assert_eq!(notes(&contest), 2);
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
