//! Appends, synced and not, against stores that have a log of their own, and against the plain calls; and how long a worker
//! stands still while its log is written.
//!
//! `cargo xtask bench --peers --only log`, or by itself
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-log -- [--quick] [--data DIR] [--row WORDS] [--contender TEXT,…]`
#![forbid(unsafe_code)]

mod appender;
mod appenders;
mod lapped;
mod readback;
mod rows;
mod turns;
mod writers;

use std::process::ExitCode;

use bench_foreign::rocksdb;
use bench_harness::contest::Contest;
use bench_harness::{Failure, Options};
use clap::Parser;

/// Appends side by side
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    run(&Arguments::parse().options).unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut contest = Contest::open("log", options)?;
    let has_rocksdb = !options.ours && has_rocksdb(&mut contest)?;
    contest.crates(&["fjall", "redb", "okaywal"])?;
    contest.run_all(rows::rows(options, has_rocksdb))?;
    Ok(contest.finish())
}

/// Whether RocksDB takes part; notes its version, or why it does not.
fn has_rocksdb(contest: &mut Contest) -> Result<bool, Failure> {
    match rocksdb::library() {
        Ok(library) => contest.peer("RocksDB", library.version()).map(|()| true),
        Err(why) => contest.absent("RocksDB", &why).map(|()| false),
    }
}
