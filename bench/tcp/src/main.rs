//! TCP echo of 64-byte frames: our reactor against a raw loop and its peers.
//!
//! `cargo xtask bench --peers --only tcp`, or by itself
//! `cargo run --release --manifest-path bench/Cargo.toml -p bench-tcp -- [--quick] [--row WORDS] [--contender TEXT,…]`.
//! `bench-tcp study …` compares ways of doing it in our reactor ([`studies`]).
//!
//! Server and client are threads pinned to different cores; every byte is checked.

mod client;
mod crowd;
mod files;
mod rows;
mod servers;
mod settings;
mod studies;
mod thread_time;

use std::process::ExitCode;
use std::sync::OnceLock;

use bench_harness::contest::Contest;
use bench_harness::{Failure, Options, cores};
use clap::Parser;

/// TCP echo side by side
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("study", rest)) = words
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        studies::run(rest);
        return ExitCode::SUCCESS;
    }
    let done = match words.split_first() {
        Some((first, rest)) if first == crowd::COMMAND => {
            crowd::serve(rest).map(|()| ExitCode::SUCCESS)
        }
        _ => run(&Arguments::parse().options),
    };
    done.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut contest = Contest::open("tcp", options)?;
    contest.crates(&["mio", "tokio", "monoio", "compio", "glommio"])?;
    contest.run_all(rows::rows(options.quick)?)?;
    Ok(contest.finish())
}

/// The server's core and the client's. They are asked for once: a thread that is bound to one knows of no other.
fn seats() -> [usize; 2] {
    static SEATS: OnceLock<[usize; 2]> = OnceLock::new();
    *SEATS.get_or_init(|| cores::pair().expect("two cores are needed"))
}
