//! `log repair`: a stream that a server refuses is one that it serves, with everything that is intact, and nothing is destroyed.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::machine::{contents, segment};
use support::skipped::skipped;
use support::{Server, ran, run, trunkline};

const CONFIG: &str = "limits: {max_record: 16KiB}\nstreams:\n\
- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}\n\
- {name: idle, subjects: ['idle.>'], segment: 1MiB, tail: 1MiB}\n";
/// Streams whose subjects do not overlap.
fn config() -> String {
    CONFIG.replace("'>'", "'a.>'")
}

const RECORDS: usize = 2000;

/// A stopped server with 2,000 records of 300 bytes that are synced, and known to be, in one segment.
fn stopped() -> Server {
    let mut server = Server::with(&config());
    let published = server.feed(
        &["pub", "a.x", "--lines", "--ack", "synced"],
        lines().as_bytes(),
    );
    assert_eq!(published.code, 0, "{}", published.err);
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server
}

fn line(number: usize) -> String {
    format!("{number:06} {}\n", "z".repeat(300))
}

fn lines() -> String {
    (1..=RECORDS).map(line).collect()
}

/// Flips a bit in the payload of a record, or where else `text` stands.
fn damage(path: &Path, text: &str) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    bytes[at.expect("it is there")] ^= 0x20;
    fs::write(path, &bytes).unwrap();
}

/// Everything but the lock, which says who had it last.
fn files(server: &Server) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = contents(&server.data());
    files.remove(&server.data().join("LOCK"));
    files
}

#[test]
fn a_damaged_stream_is_served_again_without_what_is_damaged() {
    let mut server = stopped();
    damage(&segment(&server, 0), line(1500).trim_end());
    let reason = server.refusal_of("main");
    assert!(reason.contains("trunkline log repair main"), "{reason}");

    // What would be done is said, and nothing is done, nor without consent.
    let before = files(&server);
    let dry = server.run_log(&["repair", "--dry-run"]);
    assert_eq!(dry.code, 1, "{}{}", dry.out, dry.err);
    assert!(
        dry.out.contains("main: cannot be served")
            && dry.out.contains("idle: can be served as it is"),
        "{}",
        dry.out
    );
    assert!(
        dry.out.contains("segment 0 is damaged at bytes"),
        "{}",
        dry.out
    );
    assert!(dry.out.contains("1 record is lost"), "{}", dry.out);
    assert!(dry.err.contains("1 stream to repair"), "{}", dry.err);
    let asked = server.run_log(&["repair", "main"]);
    assert_eq!(asked.code, 1, "{}", asked.err);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    assert!(files(&server) == before, "something was changed");

    let repaired = server.run_log(&["repair", "--yes", "--json"]);
    assert_eq!(repaired.code, 0, "{}{}", repaired.out, repaired.err);
    let found = repaired.json();
    assert_eq!(found["sound"], true);
    let main = found["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stream| stream["name"] == "main");
    let main = main.expect("it was repaired");
    assert_eq!(
        (&main["state"], main["lost_records"].as_u64()),
        (&"repaired".into(), Some(1))
    );
    let lost = main["damages"][0]["first_sequence"].as_u64().unwrap();
    assert_eq!(
        (lost, main["damages"][0]["last_sequence"].as_u64()),
        (1500, Some(1500))
    );

    // What was overwritten is beside it.
    let after = files(&server);
    for (path, old) in &before {
        let new = &after[path];
        let changed: Vec<usize> = (0..old.len())
            .filter(|at| old[*at] != 0 && old[*at] != new[*at])
            .collect();
        if let (Some(first), Some(last)) = (changed.first(), changed.last()) {
            let copied = main["copied"].as_array().unwrap();
            let holds = |copy: &Value| {
                (copy["first_byte"].as_u64().unwrap()..copy["end_byte"].as_u64().unwrap())
                    .contains(&(*first as u64))
            };
            assert!(
                copied.iter().any(holds),
                "{path:?} {first}..={last}: {copied:?}"
            );
        }
    }
    let receipt =
        fs::read_to_string(server.data().join("streams/main/quarantine/repairs.jsonl")).unwrap();
    let receipt: Value = serde_json::from_str(receipt.trim()).unwrap();
    assert_eq!(receipt["changes"], main["changes"]);

    server.restart();
    let rest: String = (1..=RECORDS)
        .filter(|number| *number as u64 != lost)
        .map(line)
        .collect();
    let sub = server.everything("a.>", RECORDS - 1);
    assert!(sub.out == rest, "{} bytes came", sub.out.len());
    let told = format!("records {lost} to {lost} of main will not come: they are damaged");
    assert!(sub.err.contains(&told), "{}", sub.err);
    // Sequences go on where they were.
    let next = server.run(&["pub", "a.x", "one more"]);
    assert_eq!(
        next.out,
        format!("1 record stored, 8B, last sequence {}\n", RECORDS + 1),
        "{}",
        next.err
    );
    assert_eq!(server.end("TERM"), 0);

    // The damage is where it was, and named; there is nothing more to be done about it.
    let verified = server.run_log(&["verify", "--json"]);
    assert_eq!(verified.code, 1, "{}", verified.out);
    let found = verified.json();
    let damages = found["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stream| stream["name"] == "main")
        .unwrap()["damages"]
        .clone();
    assert_eq!(damages.as_array().unwrap().len(), 1, "{damages}");
    assert_eq!(damages[0]["first_sequence"].as_u64(), Some(lost));
    let again = server.run_log(&["repair", "--yes"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(
        again.out.contains("main: can be served as it is"),
        "{}",
        again.out
    );
}

/// Everything below a directory and itself: when it was changed, and what it holds.
fn traces(directory: &Path) -> BTreeMap<PathBuf, (std::time::SystemTime, Vec<u8>)> {
    let mut traces = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let about = fs::metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if about.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            bytes = fs::read(&path).unwrap();
        }
        traces.insert(path, (about.modified().unwrap(), bytes));
    }
    traces
}

#[test]
fn a_dry_run_leaves_no_trace_and_needs_no_right_to_write() {
    let server = stopped();
    damage(&segment(&server, 0), line(1500).trim_end());
    // What a preparation that a crash interrupted leaves.
    let unfinished = server.data().join("streams/main/0000000000000009.seg.new");
    fs::write(&unfinished, "x").unwrap();
    let before = traces(&server.data());
    let dry = server.run_log(&["repair", "--dry-run"]);
    assert_eq!(dry.code, 1, "{}{}", dry.out, dry.err);
    assert!(traces(&server.data()) == before, "something was changed");

    // Somebody who may read it and no more. Root may do anything, so as root this is another user.
    for path in before.keys() {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let base = server.data().parent().unwrap().to_owned();
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = trunkline(&["log", "repair", "--dry-run", "--data"]);
    command.arg(server.data());
    if fs::metadata(&base).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    match command.output() {
        Ok(output) => {
            let dry = ran(output);
            assert_eq!(dry.code, 1, "{}{}", dry.out, dry.err);
            assert!(dry.out.contains("main: cannot be served"), "{}", dry.out);
        }
        Err(error) => skipped(format_args!(
            "no other user can run the binary here: {error}"
        )),
    }
    assert!(traces(&server.data()) == before, "something was changed");
    for path in before.keys().filter(|path| path.is_dir()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_stream_whose_first_bytes_are_gone_loses_nothing() {
    let mut server = stopped();
    let path = segment(&server, 0);
    let mut bytes = fs::read(&path).unwrap();
    let head = bytes[..120].to_vec();
    bytes[..120].fill(0xee);
    fs::write(&path, &bytes).unwrap();
    server.refusal_of("main");
    let repaired = server.run_log(&["repair", "main", "--yes"]);
    assert_eq!(repaired.code, 0, "{}{}", repaired.out, repaired.err);
    assert!(
        repaired.out.contains("no record is lost"),
        "{}",
        repaired.out
    );
    let kept = fs::read(
        server
            .data()
            .join("streams/main/quarantine/0000000000000000-00000000"),
    )
    .unwrap();
    assert_eq!(kept, [0xee; 120]);
    assert_eq!(
        fs::read(&path).unwrap()[..28],
        head[..28],
        "kind, sequence, time and length are what they were"
    );
    server.restart();
    assert!(server.everything("a.>", RECORDS).out == lines());
}

#[test]
fn durable_cursors_are_repaired_like_streams() {
    let mut server = stopped();
    server.restart();
    let sub = server.run(&[
        "sub",
        "a.>",
        "--from",
        "first",
        "--cursor",
        "audit",
        "--count",
        "100",
        "--raw",
        "--timeout",
        "20s",
    ]);
    assert_eq!(sub.code, 0, "{}", sub.err);
    // What a client has confirmed counts when the server has heard it.
    let next = |server: &Server| {
        let sub = server.run(&[
            "sub",
            "a.>",
            "--cursor",
            "audit",
            "--count",
            "1",
            "--raw",
            "--timeout",
            "20s",
        ]);
        assert_eq!(sub.code, 0, "{}", sub.err);
        sub.out[..6].parse::<usize>().unwrap()
    };
    let mut before = 0;
    for _ in 0..100 {
        before = next(&server);
        if before > 100 {
            break;
        }
    }
    assert!((101..=200).contains(&before), "{before}");
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    let path = server.data().join("cursors/0/0000000000000000.seg");
    // In the segment record: which feature bits it has.
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = server.refused();
    assert_eq!(refused.code, 6, "{}", refused.err);
    let command = format!(
        "trunkline log repair cursors/0 --data {}",
        server.data().display()
    );
    assert!(refused.err.contains(&command), "{}", refused.err);
    let repaired = server.run_log(&["repair", "cursors/0", "--yes"]);
    assert_eq!(repaired.code, 0, "{}{}", repaired.out, repaired.err);
    server.restart();
    // The last one that was printed may have been confirmed too late.
    let after = next(&server);
    assert!(after == before || after == before + 1, "{before} {after}");
}

#[test]
fn nothing_is_repaired_while_a_server_has_the_directory() {
    let server = Server::with(&config());
    for flags in [&["--yes"][..], &["--dry-run"]] {
        let ran = server.run_log(&[&["repair"], flags].concat());
        assert_eq!(ran.code, 6, "{}", ran.out);
        let pid = server.pid();
        assert!(
            ran.err.contains(&format!("in use by process {pid}")),
            "{}",
            ran.err
        );
    }
    let nowhere = tempfile::tempdir().unwrap();
    let data = nowhere.path().join("data");
    let ran = run(&["log", "repair", "--yes", "--data", data.to_str().unwrap()]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(!data.exists(), "a directory that is not there is not made");
}

#[test]
fn what_cannot_be_repaired_is_said_and_left_alone() {
    let server = stopped();
    // Its files say that they belong to another stream.
    let other = server.data().join("streams/idle/0000000000000000.seg");
    fs::copy(&other, segment(&server, 1)).unwrap();
    let before = files(&server);
    let ran = server.run_log(&["repair", "--yes"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("cannot be repaired: main"), "{}", ran.err);
    assert!(ran.out.contains("belongs to another stream"), "{}", ran.out);
    assert!(files(&server) == before);
    let mut newer = fs::read(segment(&server, 0)).unwrap();
    newer[4] = 2;
    newer[28] ^= 1;
    fs::write(segment(&server, 0), &newer).unwrap();
    fs::remove_file(segment(&server, 1)).unwrap();
    let ran = server.run_log(&["repair", "--yes"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("use a newer one"), "{}", ran.out);
    assert!(fs::read(segment(&server, 0)).unwrap() == newer);
}
