//! A real log goes in and comes out byte for byte: live, later, after a restart, after kills.
//!
//! The log is the package manager's own: what cargo traces while it reads this workspace. Where there is no cargo, it is the
//! system's package manager's.

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use support::{Ran, SMALL, Server, finish};

const LINES: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_real_log_comes_out_byte_for_byte_wherever_a_subscriber_starts() {
    let log = real_log();
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let count = lines.len();
    let mut server = Server::with(SMALL);

    let live = server
        .command(&[
            "sub",
            "pkg.>",
            "--raw",
            "--count",
            &count.to_string(),
            "--timeout",
            "60s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_for("main", "the subscriber", |info| {
        info["subscribers"].as_u64() > Some(0)
    });
    let published = server.feed(&["pub", "pkg.log", "--lines", "--json"], log);
    assert_eq!(published.code, 0, "{}", published.err);
    let summary = published.json();
    let numbers = ["records", "last_sequence", "refused"].map(|key| summary[key].as_u64().unwrap());
    assert_eq!(
        (numbers, summary["level"].as_str()),
        ([count as u64, count as u64, 0], Some("stored"))
    );

    // The one that was there before.
    same(&finish_raw(live), log, "live");
    // Those that come after.
    same(&raw(&server, "first", count), log, "--from first");
    for sequence in [2, count / 2, count] {
        same(
            &raw(&server, &format!("seq:{sequence}"), count + 1 - sequence),
            &lines[sequence - 1..].concat(),
            "--from seq:N",
        );
    }
    // By time: the middle of what the stream says of itself, and everything behind it.
    let times = times(&server, count);
    let middle = (count / 3..count)
        .find(|at| times[*at] != times[at - 1])
        .expect("records came at more than one time");
    same(
        &raw(&server, &format!("time:{}", times[middle]), count - middle),
        &lines[middle..].concat(),
        "--from time:T",
    );

    // After a clean restart.
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server.restart();
    same(
        &raw(&server, "first", count),
        log,
        "--from first after a restart",
    );
    same(
        &raw(&server, &format!("time:{}", times[middle]), count - middle),
        &lines[middle..].concat(),
        "--from time:T after a restart",
    );
    let next = server.run(&["pub", "pkg.log", "one more"]);
    assert_eq!(
        next.out,
        format!("1 record stored, 8B, last sequence {}\n", count + 1),
        "{}",
        next.err
    );
}

#[test]
fn a_count_that_comes_ends_with_0_and_one_that_does_not_with_1() {
    let log = real_log();
    let mut lines = log.split_inclusive(|byte| *byte == b'\n');
    let some: Vec<u8> = lines.by_ref().take(1000).flatten().copied().collect();
    let server = Server::with(SMALL);
    assert_eq!(server.feed(&["pub", "pkg.log", "--lines"], &some).code, 0);
    let all = sub(
        &server,
        &["--from", "first", "--count", "1000", "--timeout", "5s"],
    );
    assert_eq!((all.0, all.1 == some), (0, true));
    let more = sub(
        &server,
        &["--from", "first", "--count", "1001", "--timeout", "700ms"],
    );
    assert_eq!((more.0, more.1 == some), (1, true));
    let none = sub(&server, &["--count", "1", "--timeout", "200ms"]);
    assert_eq!((none.0, none.1.len()), (1, 0));
}

#[test]
fn a_real_log_survives_kills_in_mid_stream_complete_in_order_and_once() {
    let log = real_log();
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let mut server = Server::with(SMALL);
    let mut stored = 0;
    for kill in 1..=3 {
        // What was stored before is not sent again: what is there twice was stored twice.
        let rest = lines[stored..].concat();
        let mut publisher = server
            .command(&["pub", "pkg.log", "--lines", "--json", "--rate", "10k"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = publisher.stdin.take().unwrap();
        let ended: Ran = std::thread::scope(|scope| {
            scope.spawn(move || {
                // It ends before it has read everything.
                let _ = stdin.write_all(&rest);
            });
            let target = (stored + lines.len() / 8) as u64;
            server.wait_for("main", "the middle of the stream", |info| {
                info["last_sequence"].as_u64() >= Some(target)
            });
            server.kill();
            finish(publisher, PATIENCE)
        });
        assert_eq!(
            ended.code, 4,
            "kill {kill} was to come in mid-stream: {}{}",
            ended.out, ended.err
        );
        let summary = ended.json();
        let acknowledged = stored + summary["records"].as_u64().unwrap() as usize;
        assert!(acknowledged > stored, "{summary}");
        server.restart();
        let info = server.stream("main");
        let last = info["last_sequence"].as_u64().unwrap() as usize;
        assert!(
            last >= acknowledged,
            "kill {kill}: {acknowledged} records were acknowledged, {last} are there"
        );
        assert!(last < lines.len());
        same(
            &raw(&server, "first", last),
            &lines[..last].concat(),
            "after a kill",
        );
        stored = last;
    }
    let rest = lines[stored..].concat();
    let published = server.feed(&["pub", "pkg.log", "--lines"], &rest);
    assert_eq!(published.code, 0, "{}", published.err);
    same(
        &raw(&server, "first", lines.len()),
        log,
        "the whole log over three kills",
    );
    let further = sub(
        &server,
        &[
            "--from",
            "first",
            "--count",
            &(lines.len() + 1).to_string(),
            "--timeout",
            "1s",
        ],
    );
    assert_eq!(further.0, 1, "there are more records than lines");
}

/// What `sub --raw` printed when the count had come.
fn raw(server: &Server, from: &str, count: usize) -> Vec<u8> {
    let (code, out) = sub(
        server,
        &[
            "--from",
            from,
            "--count",
            &count.to_string(),
            "--timeout",
            "60s",
        ],
    );
    assert_eq!(code, 0, "--from {from}: {} bytes came", out.len());
    out
}

fn sub(server: &Server, arguments: &[&str]) -> (i32, Vec<u8>) {
    let out = tempfile::NamedTempFile::new().unwrap();
    let child = server
        .command(&["sub", "pkg.>", "--raw"])
        .args(arguments)
        .stdout(out.reopen().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = finish(child, PATIENCE);
    (ended.code, fs::read(out.path()).unwrap())
}

fn finish_raw(child: std::process::Child) -> Vec<u8> {
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The time of each record, as printed.
fn times(server: &Server, count: usize) -> Vec<String> {
    let child = server
        .command(&[
            "sub",
            "pkg.>",
            "--json",
            "--from",
            "first",
            "--count",
            &count.to_string(),
            "--timeout",
            "60s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = finish(child, PATIENCE);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let records = ended
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let times: Vec<String> = records
        .enumerate()
        .map(|(at, record)| {
            assert_eq!(record["sequence"].as_u64(), Some(at as u64 + 1));
            record["time"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(times.is_sorted(), "time goes back");
    times
}

/// Bytes that are to be the same, without printing megabytes when they are not.
fn same(came: &[u8], expected: &[u8], what: &str) {
    if came == expected {
        return;
    }
    let at = came
        .iter()
        .zip(expected)
        .take_while(|(a, b)| a == b)
        .count();
    let around = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[at.saturating_sub(80)..bytes.len().min(at + 80)])
            .into_owned()
    };
    panic!(
        "{what}: {} bytes came, {} were expected, and they differ from byte {at} on:\n{}\n--\n{}",
        came.len(),
        expected.len(),
        around(came),
        around(expected)
    );
}

/// At least 20,000 lines that nobody made up for this test.
fn real_log() -> &'static [u8] {
    static LOG: OnceLock<Vec<u8>> = OnceLock::new();
    LOG.get_or_init(|| {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mut log = Vec::new();
        for _ in 0..6 {
            if count_lines(&log) >= LINES {
                break;
            }
            // It may fail, on a machine without the registry's index: its log is as real.
            let traced = Command::new(env!("CARGO"))
                .args(["metadata", "--offline", "--locked", "--format-version", "1", "--manifest-path", manifest])
                .env("CARGO_LOG", "trace")
                .stdin(Stdio::null())
                .output();
            log.extend(traced.map_or_else(|_| Vec::new(), |output| output.stderr));
            end_line(&mut log);
        }
        for path in ["/var/log/dpkg.log", "/var/log/apt/term.log", "/var/log/apt/history.log", "/var/log/pacman.log", "/var/log/dnf.log"] {
            if count_lines(&log) < LINES {
                log.extend(fs::read(path).unwrap_or_default());
                end_line(&mut log);
            }
        }
        let lines = count_lines(&log);
        assert!(lines >= LINES, "this machine's package managers have a log of {lines} lines only; the test needs {LINES}");
        log
    })
}

fn count_lines(log: &[u8]) -> usize {
    log.iter().filter(|byte| **byte == b'\n').count()
}

/// `pub --lines` takes the line feed away, and `sub --raw` puts one behind each record.
fn end_line(log: &mut Vec<u8>) {
    if log.last().is_some_and(|byte| *byte != b'\n') {
        log.push(b'\n');
    }
}
