//! How a command ends.
//!
//! | code | |
//! |---|---|
//! | 0 | done; for `sub --count N`: N records came |
//! | 1 | what was waited for did not come: `sub` ran out of time, nobody answered a `request` or its responder failed, a `bench` lost records, `serve` could not stop within `drain_timeout`; `stream rm` was not confirmed; `log` found acknowledged data damaged |
//! | 2 | the command line is wrong |
//! | 3 | the configuration is refused |
//! | 4 | no connection to the server, it was lost, or the server does not answer |
//! | 5 | the server refused |
//! | 6 | this machine refused: a file, an address, a limit |
//! | 130 | Ctrl-C before it was done |
//!
//! Why is said on standard error, so that standard output has results and nothing else: as text, or with `--json` as one line of JSON. (130 needs
//! no words, and what `check --json` finds wrong is its result.)

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why a command ended otherwise than done.
#[derive(Debug)]
pub enum Failure {
    /// 1
    Absent(String),
    /// 2
    Usage(String),
    /// 3
    Config(String),
    /// 4
    Connection(String),
    /// 5
    Refused(String),
    /// 6
    Machine(String),
    /// 130
    Interrupted,
    /// Whoever read our output has gone: no failure of ours, and nobody is there to read about it.
    Unread,
}

/// What a command returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// The same as a number.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Absent(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => 3,
            Self::Connection(_) => 4,
            Self::Refused(_) => 5,
            Self::Machine(_) => 6,
            Self::Interrupted => 130,
        }
    }

    /// A refusal of standard output.
    #[must_use]
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Machine(format!("cannot write to standard output: {error}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(text)
            | Self::Usage(text)
            | Self::Config(text)
            | Self::Connection(text)
            | Self::Refused(text)
            | Self::Machine(text) => f.write_str(text),
            Self::Interrupted | Self::Unread => Ok(()),
        }
    }
}
