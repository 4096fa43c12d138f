//! `trunkline request` and `trunkline reply`: calls and their answers.

use clap::Args;

use super::connect::Target;
use super::exit::Outcome;
use crate::config::Span;

/// Call a service and print its answer
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trunkline request svc.echo 'hi'
  trunkline request svc.resize --timeout 30s < picture.png > small.png
  trunkline request '$sys.stream.list' ''               # the server itself answers below $sys.

Exit codes: 0 answered; 1 nobody listens, the responder went away, or the time ran out.")]
pub(super) struct Request {
    /// The subject
    subject: String,

    /// The payload; standard input when absent
    payload: Option<String>,

    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5s")]
    timeout: Span,

    /// Print a JSON object with the answer and the time it took
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

/// Answer calls with the output of a command
#[derive(Debug, Args)]
#[command(after_help = "\
The command is run by the shell for each call, one at a time: the payload is its standard input, its standard output is the
answer, and TRUNKLINE_SUBJECT is the subject. When it fails there is no answer, and the caller's time runs out.

Examples:
  trunkline reply svc.echo --exec cat
  trunkline reply 'svc.upper.*' --exec 'tr a-z A-Z'
  trunkline reply svc.date --exec 'date -u' --count 1")]
pub(super) struct Reply {
    /// The subject, or a pattern
    subject: String,

    /// The command that answers
    #[arg(long, value_name = "CMD")]
    exec: String,

    /// End after so many calls
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print one JSON object for each call
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

impl Request {
    pub(super) fn run(self) -> Outcome {
        let _ = (&self.subject, &self.payload, self.timeout, self.json);
        self.target.connect().map(|_| ())
    }
}

impl Reply {
    pub(super) fn run(self) -> Outcome {
        let _ = (&self.subject, &self.exec, self.count, self.json);
        self.target.connect().map(|_| ())
    }
}
