//! What cannot be read, or is not what its name says: it is named with its place, nothing is written to it, and the rest is looked at.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::machine::{contents, segment, segments};
use support::{Ran, Server};

const CONFIG: &str = "workers: 1\nlimits: {max_record: 16KiB}\nstreams:\n\
- {name: main, subjects: ['a.>'], segment: 1MiB, tail: 1MiB}\n\
- {name: logs, subjects: ['logs.>'], segment: 1MiB, tail: 1MiB}\n";

const RECORDS: usize = 10_000;

fn line(number: usize) -> String {
    format!("{number:06} {}\n", "z".repeat(300))
}

/// A stopped server with a stream of several segments, and one of one.
fn stopped() -> Server {
    let mut server = Server::with(CONFIG);
    let lines: String = (1..=RECORDS).map(line).collect();
    for (subject, lines) in [("a.x", lines.as_str()), ("logs.x", "payload\n")] {
        let published = server.feed(
            &["pub", subject, "--lines", "--ack", "synced"],
            lines.as_bytes(),
        );
        assert_eq!(published.code, 0, "{}", published.err);
    }
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    assert!(segments(&server).len() >= 4);
    server
}

fn named<'a>(found: &'a Value, name: &str) -> &'a Value {
    let mut streams = found["streams"].as_array().unwrap().iter();
    let stream = streams.find(|stream| stream["name"] == name);
    stream.unwrap_or_else(|| panic!("no {name}: {found}"))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, &bytes).unwrap();
}

fn says(ran: &Ran, code: i32, words: &[&str]) {
    // An export is long.
    let out: String = ran
        .out
        .lines()
        .take(50)
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(ran.code, code, "{out}{}", ran.err);
    for word in words {
        let there = ran.out.contains(word) || ran.err.contains(word);
        assert!(there, "{word}: {out}{}", ran.err);
    }
}

/// The first and the last sequence of a segment of `main`.
fn sequences(server: &Server, index: usize) -> (u64, u64) {
    let found = server.run_log(&["inspect", "main", "--json"]).json();
    let segment = &named(&found, "main")["segments"][index];
    let first = segment["first_sequence"].as_u64().unwrap();
    (first, segment["next_sequence"].as_u64().unwrap() - 1)
}

/// One segment of `main` cannot be read, for which there is a reason.
fn one_is_unread(server: &mut Server, (first, last): (u64, u64), why: &str, is_refused: bool) {
    let path = segment(server, 1);
    let place = path.to_str().unwrap();
    let held = format!("cannot read segment 1, with sequences {first} to {last}: ");
    let verified = server.run_log(&["verify", "--json"]);
    says(&verified, 6, &[why, place, &held]);
    let found = verified.json();
    assert_eq!(found["intact"], false);
    let main = named(&found, "main");
    assert_eq!(main["damages"][0]["first_sequence"].as_u64(), Some(first));
    assert_eq!(main["damages"][0]["last_sequence"].as_u64(), Some(last));
    let lost = last + 1 - first;
    assert_eq!(main["records"].as_u64(), Some(RECORDS as u64 - lost));
    assert_eq!(named(&found, "logs")["problem"], Value::Null);
    says(
        &server.run_log(&["verify"]),
        6,
        &["main: ", "1 segment cannot be read", &held, "logs: "],
    );

    let before = (1..first as usize).map(line).collect::<String>();
    let ended = server.run_log(&["export", "main", "--raw"]);
    says(&ended, 6, &[why, place, "--skip-damaged"]);
    assert!(ended.out == before, "{}", ended.err);
    let rest = server.run_log(&["export", "main", "--raw", "--skip-damaged"]);
    says(&rest, 1, &[why, "left out: 1 damaged place, "]);
    let behind = (last as usize + 1..=RECORDS).map(line);
    assert!(rest.out == before + &behind.collect::<String>());

    for command in [&["repair", "--dry-run"][..], &["repair", "--yes"]] {
        says(
            &server.run_log(command),
            6,
            &[why, place, "main: cannot be read", "logs: can be served"],
        );
    }
    if is_refused {
        let reason = server.refusal_of("main");
        assert!(reason.contains(why) && reason.contains(place), "{reason}");
    }
}

#[test]
fn what_is_no_regular_file_is_no_segment_and_nothing_is_written_to_it() {
    let mut server = stopped();
    let path = segment(&server, 1);
    let held = sequences(&server, 1);
    let elsewhere = tempfile::tempdir().unwrap();
    let aside = elsewhere.path().join("1.seg");
    fs::rename(&path, &aside).unwrap();
    let bytes = fs::read(&aside).unwrap();

    symlink(&aside, &path).unwrap();
    one_is_unread(&mut server, held, "it is a symbolic link", true);
    assert!(fs::read(&aside).unwrap() == bytes, "the link was followed");
    assert!(path.symlink_metadata().unwrap().is_symlink());
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    one_is_unread(&mut server, held, "it is a directory", true);
    fs::remove_dir(&path).unwrap();

    // Whoever opens it waits for somebody who writes.
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    one_is_unread(&mut server, held, "it is a named pipe", true);
    fs::remove_file(&path).unwrap();

    fs::copy(&aside, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_err() {
        one_is_unread(&mut server, held, "run as a user who may read there", false);
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(server.run_log(&["verify"]).code, 0);
    server.restart();
    let came = server.everything("a.>", RECORDS);
    assert!(came.out == (1..=RECORDS).map(line).collect::<String>());
}

#[test]
fn a_directory_in_the_place_of_a_segment_in_preparation_is_named() {
    let mut server = stopped();
    let path = segment(&server, 9).with_extension("seg.new");
    fs::create_dir(&path).unwrap();
    let reason = server.refusal_of("main");
    assert!(
        reason.contains(path.to_str().unwrap()) && reason.contains("move it out"),
        "{reason}"
    );
}

#[test]
fn a_stream_in_whose_place_there_is_no_directory_is_named() {
    let server = stopped();
    let folder = server.data().join("streams/main");
    let place = folder.to_str().unwrap();
    fs::rename(&folder, server.data().join("aside")).unwrap();
    fs::write(&folder, "").unwrap();
    for command in ["verify", "inspect", "repair", "export"] {
        let ran = server.run_log(&[command, "main"]);
        says(
            &ran,
            6,
            &["main: ", place, "Not a directory", "put it back"],
        );
    }
    says(
        &server.run_log(&["verify"]),
        6,
        &["main: cannot be read", "logs: 1 records"],
    );
    fs::remove_file(&folder).unwrap();
    symlink("main", &folder).unwrap();
    for command in [&["verify"][..], &["export", "main"]] {
        says(&server.run_log(command), 6, &[place, "symbolic links"]);
    }
    fs::remove_file(&folder).unwrap();
    symlink("nowhere", &folder).unwrap();
    says(
        &server.run_log(&["verify"]),
        1,
        &["main: missing", "logs: 1 records"],
    );
}

#[test]
fn damage_is_named_although_the_quarantine_cannot_be_read() {
    let server = stopped();
    let quarantine = server.data().join("streams/main/quarantine");
    fs::write(&quarantine, "").unwrap();
    let place = quarantine.to_str().unwrap();
    says(&server.run_log(&["verify"]), 6, &["10,000 records", place]);
    flip(&segment(&server, 1), 500_000);
    let damaged = "segment 1 is damaged at bytes";
    says(
        &server.run_log(&["verify"]),
        1,
        &[damaged, "1 place is damaged", place],
    );
    let found = server.run_log(&["verify", "--json"]);
    says(&found, 1, &["damaged in main", place]);
    let found = found.json();
    let main = named(&found, "main");
    assert_eq!(main["damages"].as_array().unwrap().len(), 1);
    assert!(main["problem"].as_str().unwrap().contains(place), "{main}");
}

#[test]
fn a_repair_that_fails_keeps_no_other_stream_from_being_repaired() {
    let server = stopped();
    for name in ["logs", "main"] {
        let folder = server.data().join("streams").join(name);
        let path = folder.join("0000000000000000.seg");
        let bytes = fs::read(&path).unwrap();
        // What is cut off is copied, which needs the folder.
        fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
    }
    let quarantine = server.data().join("streams/logs/quarantine");
    fs::write(&quarantine, "").unwrap();
    let place = quarantine.to_str().unwrap();
    let repaired = server.run_log(&["repair", "--yes", "--json"]);
    says(&repaired, 6, &["stream logs: ", place]);
    let found = repaired.json();
    assert_eq!(found["sound"], false);
    assert_eq!(named(&found, "main")["state"], "repaired");
    assert_eq!(named(&found, "main")["problem"], Value::Null);
    let logs = named(&found, "logs");
    assert_eq!(logs["state"], "damaged");
    assert!(logs["problem"].as_str().unwrap().contains(place), "{logs}");
    assert_eq!(server.run_log(&["verify", "main"]).code, 0);

    fs::remove_file(&quarantine).unwrap();
    says(
        &server.run_log(&["repair", "--yes"]),
        0,
        &["logs: repaired", "main: can be served"],
    );
}

#[test]
fn lost_cursors_are_named_and_a_server_begins_new_ones() {
    let mut server = stopped();
    let folder = server.data().join("cursors");
    let log = folder.join("0");
    let place = log.to_str().unwrap();
    let kept = contents(&folder);
    fs::remove_dir_all(&folder).unwrap();
    for command in [&["verify"][..], &["verify", "cursors/0"]] {
        says(
            &server.run_log(command),
            1,
            &["cursors/0: missing", place, "put them back"],
        );
    }
    says(
        &server.run_log(&["repair", "--yes"]),
        0,
        &["cursors/0: can be served as it is"],
    );
    for (path, bytes) in kept {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(server.run_log(&["verify"]).code, 0);

    let aside = server.data().join("aside");
    fs::rename(&log, &aside).unwrap();
    fs::write(&log, "").unwrap();
    says(
        &server.run_log(&["verify"]),
        6,
        &["cursors/0: cannot be read", place],
    );
    says(&server.refused(), 6, &[place, "move it away"]);
    fs::remove_file(&log).unwrap();
    server.restart();
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    assert_eq!(server.run_log(&["verify"]).code, 0);
}

#[test]
fn a_number_of_cursor_logs_that_cannot_be_is_refused_at_once() {
    let mut server = stopped();
    let note = server.data().join("created/cursors.workers");
    let place = note.to_str().unwrap();
    for nonsense in [&b"99999999999"[..], b"65", b"0", b"", b"two", b"\xff\xfe"] {
        fs::write(&note, nonsense).unwrap();
        let words = [place, "a number from 1 to 64", "remove the file"];
        says(&server.run_log(&["verify"]), 6, &words);
        says(&server.refused(), 6, &words);
    }
    fs::remove_file(&note).unwrap();
    server.restart();
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    assert_eq!(fs::read_to_string(&note).unwrap().trim(), "1");
}

#[test]
fn a_format_that_was_lost_is_said_with_what_to_write() {
    let server = stopped();
    let format = server.data().join("FORMAT");
    let text = fs::read_to_string(&format).unwrap();
    let words = [
        "write the line `trunkline data directory, format 1` to ",
        format.to_str().unwrap(),
    ];
    fs::remove_file(&format).unwrap();
    says(&server.run_log(&["verify"]), 6, &words);
    says(&server.refused(), 6, &words);
    fs::write(&format, "").unwrap();
    let words = [
        "write the line `trunkline data directory, format 1` to it",
        format.to_str().unwrap(),
    ];
    says(&server.run_log(&["verify"]), 6, &words);
    says(&server.refused(), 6, &words);
    fs::write(&format, text).unwrap();
    assert_eq!(server.run_log(&["verify"]).code, 0);
}
