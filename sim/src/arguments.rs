//! The command line.

use std::path::PathBuf;

use sim::{Fault, Options, STEPS};

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) seed: u64,
    pub(crate) seeds: u64,
    pub(crate) steps: u64,
    pub(crate) without: Vec<Fault>,
    pub(crate) jobs: usize,
    pub(crate) trace: bool,
    /// Only the exit status says how it went.
    pub(crate) quiet: bool,
    /// A failing seed is reported as it is.
    pub(crate) shrink: bool,
    /// Where the counts go.
    pub(crate) counts: Option<PathBuf>,
    /// Fails when a kind of fault never struck, or an invariant was never checked.
    pub(crate) all_faults: bool,
    /// Instead of seeds, all sequences of so many operations.
    pub(crate) small_scope: Option<u64>,
}

impl Arguments {
    /// `None`: how it is used was asked for.
    ///
    /// # Errors
    /// What is wrong, and how it is used.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut arguments = Self {
            seed: 0,
            seeds: 0,
            steps: STEPS,
            without: Vec::new(),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            trace: false,
            quiet: false,
            shrink: true,
            counts: None,
            all_faults: false,
            small_scope: None,
        };
        let mut words = words;
        let mut one_seed = false;
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| format!("sim: {word} needs a value\n\n{HELP}"))
            };
            match word.as_str() {
                "--seed" => {
                    arguments.seed = number(&value()?)?;
                    one_seed = true;
                }
                "--seeds" => arguments.seeds = number(&value()?)?,
                "--steps" => arguments.steps = number(&value()?)?,
                "--jobs" => arguments.jobs = number(&value()?)?.clamp(1, 256) as usize,
                "--without" => {
                    for name in value()?.split(',') {
                        let fault = Fault::from_name(name)
                            .ok_or_else(|| format!("sim: there is no fault `{name}`\n"))?;
                        arguments.without.push(fault);
                    }
                }
                "--only" => {
                    let names = value()?;
                    let only: Vec<&str> =
                        names.split(',').filter(|name| !name.is_empty()).collect();
                    if let Some(name) = only.iter().find(|name| Fault::from_name(name).is_none()) {
                        return Err(format!("sim: there is no fault `{name}`\n"));
                    }
                    let off = Fault::all().filter(|fault| !only.contains(&fault.name()));
                    arguments.without.extend(off);
                }
                "--small-scope" => arguments.small_scope = Some(number(&value()?)?),
                "--trace" => arguments.trace = true,
                "--counts" => arguments.counts = Some(value()?.into()),
                "--no-shrink" => arguments.shrink = false,
                "--quiet" => arguments.quiet = true,
                "--all-faults" => arguments.all_faults = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("sim: `{word}` is not an option\n\n{HELP}")),
            }
        }
        if arguments.seeds == 0 {
            arguments.seeds = if one_seed { 1 } else { 1000 };
        }
        if arguments.trace {
            arguments.jobs = 1;
        }
        Ok(Some(arguments))
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            seed: self.seed,
            steps: self.steps,
            without: self.without.clone(),
            trace: self.trace,
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("sim: `{text}` is not a number\n\n{HELP}"))
}

pub(crate) const HELP: &str = "\
Usage: cargo run -p sim --release -- [OPTIONS]

  --seeds N        how many seeds are run (default 1000, with --seed 1)
  --seed S         the first of them (default 0)
  --steps N        steps in which things go wrong (default 2500)
  --without KINDS  kinds of faults that are switched off, with commas between
  --only KINDS     kinds of faults that are not switched off
  --jobs N         threads (default: all cores)
  --trace          prints every event
  --counts FILE    writes what was counted
  --no-shrink      looks for no shorter run when a seed fails
  --small-scope N  instead of seeds: every sequence of up to N operations, every crash
  --all-faults     fails when a kind of fault never struck, or an invariant was never checked
  --quiet          prints nothing; the exit status says whether all invariants held
  --help           prints this

Examples:
  cargo run -p sim --release -- --seeds 10000      # seeds 0 to 9999
  cargo run -p sim --release -- --seed 42 --trace  # one, with every event
  cargo run -p sim --release -- --small-scope 5    # every sequence of up to five operations

Exit code: 0 all invariants held; 1 one did not, and the command that replays it is printed; 2 the command line is wrong.
docs/TESTING.md says what is simulated.
";
