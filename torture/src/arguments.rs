//! The command line.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    /// The program that is killed.
    pub(crate) server: PathBuf,
    /// Data directories are made in it; removed when nothing was wrong.
    pub(crate) directory: PathBuf,
    pub(crate) kills: u64,
    /// Not the server is killed, but the power fails.
    pub(crate) power_loss: bool,
    /// How often.
    pub(crate) states: u64,
    /// Only says what the machine lacks for it.
    pub(crate) missing: bool,
    pub(crate) seed: u64,
    /// Back-ends, as `trunkline serve --io` calls them.
    pub(crate) io: Vec<String>,
    /// Where the counts go.
    pub(crate) counts: Option<PathBuf>,
    /// Fails when something that is counted never happened.
    pub(crate) all_kinds: bool,
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut arguments = Self {
            server: PathBuf::new(),
            directory: std::env::temp_dir(),
            kills: 300,
            power_loss: false,
            states: 300,
            missing: false,
            seed: since.map_or(1, |since| since.as_nanos() as u64),
            io: vec!["epoll".into(), "io_uring".into(), "direct".into()],
            counts: None,
            all_kinds: false,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            if word == "--help" {
                return Err(HELP.into());
            }
            let mut value = || {
                words
                    .next()
                    .ok_or(format!("torture: {word} needs a value\n"))
            };
            let number = |text: String| {
                text.parse::<u64>()
                    .map_err(|_| format!("torture: `{text}` is not a number\n"))
            };
            match word.as_str() {
                "--server" => arguments.server = value()?.into(),
                "--directory" => arguments.directory = value()?.into(),
                "--kills" => arguments.kills = number(value()?)?,
                "--power-loss" => arguments.power_loss = true,
                "--states" => arguments.states = number(value()?)?,
                "--missing" => arguments.missing = true,
                "--seed" => arguments.seed = number(value()?)?,
                "--io" => arguments.io = value()?.split(',').map(str::to_owned).collect(),
                "--all-kinds" => arguments.all_kinds = true,
                "--counts" => arguments.counts = Some(value()?.into()),
                _ => return Err(format!("torture: `{word}` is not an option\n\n{HELP}")),
            }
        }
        if arguments.server.as_os_str().is_empty() && !arguments.missing {
            return Err(format!("torture: --server is needed\n\n{HELP}"));
        }
        Ok(arguments)
    }
}

const HELP: &str = "\
Usage: torture --server FILE [OPTIONS]

  --server FILE      the trunkline program
  --directory DIR    where data directories are made (default: the system's for temporary files)
  --kills N          how many (default 300), over all back-ends
  --power-loss       cuts the power of real file systems instead; needs root, FUSE and loop devices
  --states N         how many crash states are checked then (default 300), over all file systems
  --missing          says what this machine lacks for that, and ends
  --io NAMES         back-ends, comma between (default epoll,io_uring,direct: epoll with
                     synced writes past the page cache)
  --seed N           what chance starts from (default: the time)
  --counts FILE      writes what was counted
  --all-kinds        fails when something that is counted never happened, but for what the machine lacks
";
