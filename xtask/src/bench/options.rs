//! What `cargo xtask bench` was asked.

use std::path::PathBuf;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    Help,
    Run(Options),
    Compare(PathBuf, PathBuf),
    Report(PathBuf),
}

/// A run's options.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) peers: bool,
    pub(super) install: bool,
    pub(super) resume: bool,
    pub(super) list: bool,
    pub(super) only: Vec<String>,
    pub(super) server: Option<PathBuf>,
    pub(super) out: Option<PathBuf>,
    /// What every group is told.
    pub(super) passed: Vec<String>,
}

/// Reads the words after `bench`.
pub(super) fn parse(words: &[&str]) -> Result<Task, String> {
    match words {
        ["compare", before, after] => return Ok(Task::Compare(before.into(), after.into())),
        ["compare", ..] => return Err("compare takes two results: compare A B".into()),
        ["report"] => return Err("report takes the folder of a run: report FOLDER".into()),
        ["report", folder] => return Ok(Task::Report(folder.into())),
        ["help" | "--help" | "-h", ..] => return Ok(Task::Help),
        _ => {}
    }
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} takes a value"));
        match *word {
            "--peers" => options.peers = true,
            "--install" => (options.peers, options.install) = (true, true),
            "--resume" => options.resume = true,
            "--only" => options
                .only
                .extend(value()?.split(',').map(str::trim).map(str::to_owned)),
            "--server" => options.server = Some(value()?.into()),
            "--out" => options.out = Some(value()?.into()),
            "--quick" => options.passed.push((*word).to_owned()),
            "--list" => {
                options.list = true;
                options.passed.push((*word).to_owned());
            }
            "--row" | "--contender" | "--data" => {
                options
                    .passed
                    .extend([(*word).to_owned(), (*value()?).to_owned()]);
            }
            _ => return Err(format!("`{word}` is not an option of bench\n\n{HELP}")),
        }
    }
    Ok(Task::Run(options))
}

/// How it is used.
pub(super) const HELP: &str = "\
Usage: cargo xtask bench [OPTIONS]
       cargo xtask bench compare A B      two results: the ratio of each row, with its spread, and what got worse
       cargo xtask bench report FOLDER    writes the report of a run again

Without options: our own contenders only. Results, a Markdown table and an HTML page go to a folder below the target
directory, which is named at the start and at the end. Ctrl-C ends it after the sample that is being taken.

  --peers              the peers too, those that are installed; says which are not
  --install            --peers, and gets what is missing, into a folder of its own below the cache directory; Aeron is
                       built from its sources, a minute or two (root does this without being asked)
  --only GROUP,…       some groups only: parts, rings, tcp, log, broker, ipc
  --row WORDS          rows only whose name contains all these words
  --contender TEXT,…   contenders only whose name contains one of these
  --quick              short samples, and few: to steer by, not to publish
  --resume             goes on with the newest run, as it was begun: same options, commit and machine; rows that are complete
                       stay as they are, rows in which somebody failed are tried again
  --server FILE        takes this binary of our server instead of building one
  --data DIR           where servers and logs keep files while they are measured (default: the directory for temporary files)
  --out FOLDER         where the results go; rows that are complete in it stay as they are
  --list               names rows and contenders, and measures nothing
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_those_whom_they_concern() {
        let words = [
            "--peers",
            "--only",
            "rings,broker",
            "--quick",
            "--row",
            "64 B",
        ];
        let Ok(Task::Run(options)) = parse(&words) else {
            unreachable!("these are options of a run");
        };
        assert!(options.peers && !options.install);
        assert_eq!(options.only, ["rings", "broker"]);
        assert_eq!(options.passed, ["--quick", "--row", "64 B"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(parse(&["--perrs"]).is_err());
        assert!(parse(&["--only"]).is_err());
        assert!(parse(&["compare", "one"]).is_err());
    }
}
