//! What is shown on a terminal only.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use support::skipped::skipped;
use support::{Server, finish};

#[test]
fn progress_has_a_rate_that_can_be_read() {
    let server = Server::start();
    let binary = env!("CARGO_BIN_EXE_trunkline");
    let words = "pub a x --repeat 3000 --rate 2k --server";
    // `script` gives the command a terminal, and prints what comes on it.
    let child = Command::new("script")
        .args(["-qec", &format!("{binary} {words} {}", server.address)])
        .arg("/dev/null")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            return skipped(format_args!(
                "there is no terminal without `script` (cargo xtask setup): {error}"
            ));
        }
    };
    let shown = finish(child, Duration::from_secs(60));
    assert_eq!(shown.code, 0, "{}", shown.out);
    let bar = |line: &&str| line.contains("/3,000 records");
    let bars: Vec<&str> = shown.out.split(['\r', '\n']).filter(bar).collect();
    assert!(bars.len() > 2, "{:?}", shown.out);
    for bar in bars {
        let (_, rate) = bar.split_once(" records  ").unwrap();
        let (rate, _) = rate.split_once("/s  ").unwrap_or_else(|| panic!("{bar:?}"));
        let number = rate.trim_end_matches([' ', 'k', 'M']);
        let places = number.split_once('.').map_or(0, |(_, places)| places.len());
        assert!(number.parse::<f64>().is_ok() && places <= 2, "{bar:?}");
    }
    // It is gone before the result comes.
    assert!(
        shown.out.contains("3,000 records stored, "),
        "{:?}",
        shown.out
    );
}
