//! The command line: what can be said, and what is printed.
//!
//! Standard output carries results, standard error everything else: progress (on a terminal only), logs, failures. With `--json` both speak JSON.
//! `exit.rs` has the table of exit codes.

mod bench;
mod check;
mod completions;
mod connect;
mod doctor;
mod exit;
mod log;
mod output;
mod publish;
mod record;
mod request;
mod serve;
mod stream;
mod subscribe;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use exit::{Failure, Outcome};

/// Takes messages off an application and carries them: a durable, low-latency message broker.
#[derive(Debug, Parser)]
#[command(
    name = "trunkline",
    version,
    about,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP,
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Pub(publish::Publish),
    Sub(subscribe::Subscribe),
    Request(request::Request),
    Reply(request::Reply),
    Stream(stream::Stream),
    Log(log::Log),
    Bench(bench::Bench),
    Check(check::Check),
    Plan(check::ShowPlan),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// Runs the command line of this process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, wants_json(&matches))));
    let (cli, json) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help goes to standard output with code 0, all else to standard error with code 2.
            let code = if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
            let _ = error.print();
            return code;
        }
    };
    let outcome = match cli.command {
        None => cli.serve.run(),
        Some(Command::Serve(command)) => command.run(),
        Some(Command::Pub(command)) => command.run(),
        Some(Command::Sub(command)) => command.run(),
        Some(Command::Request(command)) => command.run(),
        Some(Command::Reply(command)) => command.run(),
        Some(Command::Stream(command)) => command.run(),
        Some(Command::Log(command)) => command.run(),
        Some(Command::Bench(command)) => command.run(),
        Some(Command::Check(command)) => command.run(),
        Some(Command::Plan(command)) => command.run(),
        Some(Command::Doctor(command)) => command.run(),
        Some(Command::Completions(command)) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure, json);
            failure.code()
        }
    }
}

/// Whether the command, of whatever depth, was given `--json`.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, inner)) => wants_json(inner),
        // A command without the flag does not know its name.
        None => matches!(matches.try_get_one("json"), Ok(Some(true))),
    }
}

const AFTER_HELP: &str = "\
Without a command the server starts.

Examples:
  trunkline                   # serve: ./trunkline-data, 127.0.0.1:7400
  trunkline sub 'orders.>'    # in another terminal
  trunkline pub orders.eu.new '{\"id\": 1}'
  trunkline sub 'orders.>' --from first --count 1
  trunkline bench

`trunkline COMMAND --help` has more examples.

With --json a command prints its results as JSON on standard output. When it fails, the last line on standard error is \
{\"error\": TEXT, \"code\": EXIT CODE}. Exceptions: a command line that is not understood is answered in text, what `check` finds wrong is \
its result, and Ctrl-C is not remarked on.

Exit codes:
  0    done; for `sub --count N`: N records came
  1    what was waited for did not come: `sub` ran out of time, nobody
       answered a `request`, `serve` could not stop in time; or `stream rm`
       was not confirmed; or acknowledged data is damaged: `log`
  2    the command line is wrong
  3    the configuration is refused
  4    no connection to the server, it was lost, or the server does not answer
  5    the server refused
  6    this machine refused: a file, an address, a limit
  130  Ctrl-C before it was done";
