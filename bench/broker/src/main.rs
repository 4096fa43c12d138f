//! Brokers side by side.
//!
//! `cargo xtask bench --only broker` builds what this needs and runs it. By itself:
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-broker -- --server TRUNKLINE [--quick] [--row WORDS] [--contender TEXT,…]`
//!
//! | file | |
//! |---|---|
//! | `peer` | what a broker is to this comparison |
//! | `peers` | the brokers, each a file |
//! | `line` | a connection, whatever the protocol |
//! | `load` | what is done to them |
//! | `rows` | who is compared at what |
#![forbid(unsafe_code)]

mod line;
mod load;
mod peer;
mod peers;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use bench_harness::contest::Contest;
use bench_harness::{Failure, Options};
use clap::Parser;

/// Brokers side by side: the same client loop for all, every message checked
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Our server's binary
    #[arg(long, value_name = "FILE", env = "TRUNKLINE_BENCH_SERVER")]
    server: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((first, rest)) if first == peers::plain::COMMAND => {
            peers::plain::serve(rest).map(|()| ExitCode::SUCCESS)
        }
        Some((first, rest)) if first == peers::relay::COMMAND => {
            peers::relay::serve(rest).map(|()| ExitCode::SUCCESS)
        }
        _ => run(&Arguments::parse()),
    };
    done.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if !arguments.server.is_file() {
        return Err(format!(
            "{} is not there; build it, or say --server FILE",
            arguments.server.display()
        ));
    }
    let mut contest = Contest::open("broker", &arguments.options)?;
    rows::run(&mut contest, &arguments.options, &arguments.server)?;
    Ok(contest.finish())
}
