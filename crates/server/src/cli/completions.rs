//! `trunkline completions`: for the shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::exit::Outcome;
use super::output::Output;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trunkline completions bash \\
    > ~/.local/share/bash-completion/completions/trunkline
  trunkline completions zsh  > ~/.zfunc/_trunkline
  trunkline completions fish > ~/.config/fish/completions/trunkline.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "trunkline", &mut script);
        let mut output = Output::new();
        output.write(&script)?;
        output.flush()
    }
}
