//! `log verify` and `log inspect`: what the files hold, while a server runs and afterwards, intact and damaged.

mod support;

use std::fs;

use serde_json::Value;
use support::machine::segment;
use support::{Server, run};

const CONFIG: &str = "limits: {max_record: 16KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}\n";

/// A server with a stream of several segments.
fn filled() -> Server {
    let server = Server::with(CONFIG);
    let lines: String = (0..20_000)
        .map(|line| format!("{line:06} {}\n", "z".repeat(100)))
        .collect();
    let published = server.feed(&["pub", "a", "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    server
}

#[test]
fn a_stream_is_verified_while_it_is_served_and_afterwards() {
    let mut server = filled();
    let served = server.run_log(&["verify", "--json"]);
    assert_eq!(served.code, 0, "{}", served.err);
    let found = served.json();
    assert_eq!(found["served_by"].as_u64(), Some(u64::from(server.pid())));
    assert_eq!(found["intact"], true);
    assert_eq!(found["streams"][0]["records"].as_u64(), Some(20_000));

    assert_eq!(server.end("TERM"), 0);
    let quiet = server.run_log(&["verify", "main"]);
    assert_eq!(quiet.code, 0, "{}", quiet.err);
    assert!(
        quiet.out.contains("main: 20,000 records (1 to 20,000)")
            && quiet.out.contains("synced up to 20,000: all intact"),
        "{}",
        quiet.out
    );
    let found = server.run_log(&["inspect", "--json"]).json();
    assert_eq!(found["served_by"], Value::Null);
    let segments = found["streams"][0]["segments"].as_array().unwrap();
    assert!(segments.len() >= 3, "{segments:?}");
    assert_eq!(
        segments
            .iter()
            .map(|segment| segment["records"].as_u64().unwrap())
            .sum::<u64>(),
        20_000
    );
    let table = server.run_log(&["inspect", "main"]);
    assert!(
        table.out.contains("SEGMENT") && table.out.contains("sealed"),
        "{}",
        table.out
    );
}

#[test]
fn damage_is_named_counted_and_left_as_it_is() {
    let mut server = filled();
    assert_eq!(server.end("TERM"), 0);
    let path = segment(&server, 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[500_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let named = server.run_log(&["verify"]);
    assert_eq!(named.code, 1, "{}", named.out);
    assert!(
        named.out.contains("1 place is damaged")
            && named.out.contains("segment 1 is damaged at bytes"),
        "{}",
        named.out
    );
    assert!(
        named.err.contains("acknowledged data is damaged in main")
            && named.err.contains("repair --dry-run --data "),
        "{}",
        named.err
    );
    let found = server.run_log(&["verify", "--json"]).json();
    let stream = &found["streams"][0];
    let damage = &stream["damages"][0];
    let (first, end) = (
        damage["first_byte"].as_u64().unwrap(),
        damage["end_byte"].as_u64().unwrap(),
    );
    assert!(
        (first..end).contains(&500_000) && end - first < 8192,
        "{damage}"
    );
    let lost =
        damage["last_sequence"].as_u64().unwrap() + 1 - damage["first_sequence"].as_u64().unwrap();
    assert_eq!(stream["records"].as_u64().unwrap() + lost, 20_000);
    assert!(fs::read(&path).unwrap() == bytes, "the file is as it was");
}

#[test]
fn what_is_not_there_is_said() {
    let server = filled();
    let unknown = server.run_log(&["verify", "orders"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.err.contains("no stream orders; it has main"),
        "{}",
        unknown.err
    );
    let empty = tempfile::tempdir().unwrap();
    let nothing = run(&["log", "verify", "--data", empty.path().to_str().unwrap()]);
    assert_eq!(nothing.code, 6);
    assert!(
        nothing
            .err
            .contains("is no data directory of trunkline; name with --data")
            && nothing.err.contains("FORMAT"),
        "{}",
        nothing.err
    );
    let gone = empty.path().join("gone");
    for command in ["verify", "export", "repair"] {
        let gone = run(&["log", command, "--data", gone.to_str().unwrap()]);
        assert_eq!(gone.code, 6);
        assert!(
            gone.err.contains("gone is not there; name with --data"),
            "{}",
            gone.err
        );
    }
}

#[test]
fn a_last_segment_that_is_missing_is_said_everywhere() {
    let mut server = filled();
    assert_eq!(server.end("TERM"), 0);
    let found = server.run_log(&["inspect", "main", "--json"]).json();
    let segments = found["streams"][0]["segments"].as_array().unwrap().clone();
    let last = segments.last().unwrap();
    let index = last["index"].as_u64().unwrap();
    fs::remove_file(segment(&server, index)).unwrap();
    // The one that is prepared for the next.
    let _ = fs::remove_file(segment(&server, index + 1));
    let said = format!("segment {index} is missing, and nothing tells how many records it held");
    for command in ["verify", "export"] {
        let ran = server.run_log(&[command, "main"]);
        assert_eq!(ran.code, 1, "{command}: {}", ran.err);
        assert!(
            ran.out.contains(&said) || ran.err.contains(&said),
            "{command}: {}",
            ran.err
        );
    }
    let dry = server.run_log(&["repair", "--dry-run"]);
    assert_eq!(dry.code, 1, "{}", dry.err);
    assert!(
        dry.out.contains(&said) && dry.out.contains("nothing tells how many records are lost"),
        "{}",
        dry.out
    );
    assert!(!dry.out.contains("no record is lost"), "{}", dry.out);
    // The smallest record has 40 bytes.
    let next = last["first_sequence"].as_u64().unwrap() + (1 << 20) / 40;
    let goes_on = format!("with sequence {next}");
    assert!(dry.out.contains(&goes_on), "{}", dry.out);
    assert_eq!(server.run_log(&["repair", "--yes"]).code, 0);
    let again = server.run_log(&["repair", "--dry-run"]);
    assert_eq!(again.code, 0, "{}", again.err);
}

#[test]
fn files_that_changed_places_are_named_with_what_to_do_and_the_rest_is_checked() {
    let mut server = filled();
    assert_eq!(server.end("TERM"), 0);
    let aside = server.data().join("aside");
    fs::rename(segment(&server, 0), &aside).unwrap();
    fs::rename(segment(&server, 1), segment(&server, 0)).unwrap();
    fs::rename(&aside, segment(&server, 1)).unwrap();
    let verified = server.run_log(&["verify", "--json"]);
    assert_eq!(verified.code, 1, "{}", verified.err);
    let found = verified.json();
    let main = named(&found, "main");
    assert_eq!(main["problem"], Value::Null);
    assert!(main["records"].as_u64().unwrap() > 1000, "{main}");
    let remedy =
        "0000000000000000.seg holds segment 1 of this stream: call it 0000000000000001.seg";
    let message = main["damages"][0]["message"].as_str().unwrap();
    assert!(message.starts_with(remedy), "{message}");
    let dry = server.run_log(&["repair", "--dry-run"]);
    assert_eq!(dry.code, 1, "{}", dry.err);
    assert!(dry.out.contains(remedy), "{}", dry.out);
}

#[test]
fn one_streams_directory_or_a_copy_of_it_is_enough_to_look_at() {
    let server = filled();
    let copy = tempfile::tempdir().unwrap();
    let there = server.data().join("streams/main");
    let rescued = copy.path().join("rescued");
    fs::create_dir(&rescued).unwrap();
    for index in 0..2 {
        let name = format!("{index:016x}.seg");
        fs::copy(there.join(&name), rescued.join(&name)).unwrap();
    }
    let found = run(&["log", "verify", "--json", "--data", there.to_str().unwrap()]);
    assert_eq!(found.code, 0, "{}", found.err);
    assert_eq!(found.json()["streams"][0]["name"], "main");
    assert_eq!(
        found.json()["served_by"].as_u64(),
        Some(u64::from(server.pid()))
    );
    let rescued = rescued.to_str().unwrap();
    let some = run(&["log", "export", "--raw", "--data", rescued]);
    // All that is in it comes, and that it is not all of the stream is said.
    assert_eq!(some.code, 1, "{}", some.err);
    assert!(some.err.contains("segment 2 is missing"), "{}", some.err);
    assert!(some.out.starts_with("000000 zzz") && some.out.lines().count() > 5000);
    let refused = run(&["log", "repair", "--yes", "--data", rescued]);
    assert_eq!(refused.code, 6, "{}", refused.out);
    assert!(
        refused.err.contains("name the data directory"),
        "{}",
        refused.err
    );
    assert_eq!(
        fs::read_dir(rescued).unwrap().count(),
        2,
        "not even a lock was made"
    );
}

const TWO: &str = "limits: {max_record: 16KiB}\nstreams:\n\
- {name: main, subjects: ['a.>'], segment: 1MiB, tail: 1MiB}\n\
- {name: early, subjects: ['b.>'], segment: 1MiB, tail: 1MiB}\n";

/// A stopped server with a record in each of two streams.
fn two() -> Server {
    let mut server = Server::with(TWO);
    for subject in ["a.x", "b.x"] {
        let published = server.run(&["pub", subject, "payload"]);
        assert_eq!(published.code, 0, "{}", published.err);
    }
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server
}

fn named<'a>(found: &'a Value, name: &str) -> &'a Value {
    let mut streams = found["streams"].as_array().unwrap().iter();
    let stream = streams.find(|stream| stream["name"] == name);
    stream.unwrap_or_else(|| panic!("no {name}: {found}"))
}

#[test]
fn a_stream_that_cannot_be_read_keeps_none_from_being_verified() {
    let server = two();
    let unreadable = server.data().join("streams/early/0000000000000000.seg");
    let mut bytes = fs::read(&unreadable).unwrap();
    // A newer format.
    bytes[4] = 2;
    bytes[28] ^= 1;
    fs::write(&unreadable, &bytes).unwrap();
    let verified = server.run_log(&["verify", "--json"]);
    assert_eq!(verified.code, 6, "{}", verified.err);
    assert!(verified.err.contains("stream early: "), "{}", verified.err);
    let found = verified.json();
    assert_eq!(found["intact"], false);
    let problem = named(&found, "early")["problem"].as_str().unwrap();
    assert!(problem.contains("newer"), "{problem}");
    assert_eq!(named(&found, "main")["records"].as_u64(), Some(1));
    assert_eq!(named(&found, "main")["problem"], Value::Null);
    // Neither does one whose file the system does not give.
    let aside = server.data().join("aside");
    fs::rename(&unreadable, &aside).unwrap();
    fs::create_dir(&unreadable).unwrap();
    for command in [&["verify"][..], &["repair", "--dry-run"]] {
        let ran = server.run_log(command);
        assert_eq!(ran.code, 6, "{}{}", ran.out, ran.err);
        assert!(
            ran.out.contains("early: cannot be read") && ran.out.contains("main: "),
            "{}",
            ran.out
        );
        let file = "/streams/early/0000000000000000.seg: ";
        assert!(ran.err.contains(file), "{}", ran.err);
    }
    fs::remove_dir(&unreadable).unwrap();
    fs::rename(&aside, &unreadable).unwrap();
    let text = server.run_log(&["verify"]);
    assert!(
        text.out.contains("early: cannot be read") && text.out.contains("main: 1 records"),
        "{}",
        text.out
    );

    // Damage is the worse news, and takes nothing from the other.
    let path = segment(&server, 0);
    let mut bytes = fs::read(&path).unwrap();
    let mut windows = bytes.windows(7);
    let at = windows.position(|window| window == b"payload").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let verified = server.run_log(&["verify", "--json"]);
    assert_eq!(verified.code, 1, "{}", verified.err);
    assert!(
        verified.err.contains("damaged in main") && verified.err.contains("stream early: "),
        "{}",
        verified.err
    );
    assert_eq!(
        named(&verified.json(), "main")["damages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_stream_whose_files_have_all_gone_is_named_as_missing() {
    let server = two();
    assert_eq!(server.run_log(&["verify"]).code, 0);
    let folder = server.data().join("streams/early");
    fs::remove_dir_all(&folder).unwrap();
    // Without its directory, and with an empty one, as a start that refuses it leaves behind.
    for _ in 0..2 {
        for which in [&["verify", "--json"][..], &["verify", "early", "--json"]] {
            let verified = server.run_log(which);
            assert_eq!(verified.code, 1, "{}", verified.err);
            assert!(
                verified.err.contains("damaged in early"),
                "{}",
                verified.err
            );
            let found = verified.json();
            assert_eq!(found["intact"], false);
            let early = named(&found, "early");
            assert_eq!(early["missing"], true);
            let note = server.data().join("created/early");
            let problem = early["problem"].as_str().unwrap();
            assert!(problem.contains(note.to_str().unwrap()), "{problem}");
        }
        let dry = server.run_log(&["repair", "--dry-run"]);
        assert_eq!(dry.code, 1, "{}", dry.err);
        assert!(
            dry.out.contains("early: cannot be served")
                && dry.out.contains("main: can be served as it is"),
            "{}",
            dry.out
        );
        fs::create_dir_all(&folder).unwrap();
    }
    // A removal that was interrupted takes its stream on purpose.
    fs::write(server.data().join("added/early.removed"), "").unwrap();
    assert_eq!(server.run_log(&["verify", "main"]).code, 0);
    assert_eq!(server.run_log(&["verify"]).code, 0);
}
