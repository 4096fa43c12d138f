//! `log export`: records out of files, while a server runs and without one, intact and damaged.

mod support;

use std::fs;

use serde_json::Value;
use support::machine::segment;
use support::{Ran, Server};

const CONFIG: &str = "limits: {max_record: 16KiB}\nstreams:\n\
- {name: main, subjects: ['a.>'], segment: 1MiB, tail: 1MiB}\n\
- {name: other, subjects: ['b.>'], segment: 1MiB, tail: 1MiB}\n";
const RECORDS: usize = 10_000;

fn filled() -> Server {
    let server = Server::with(CONFIG);
    let published = server.feed(
        &["pub", "a.x", "--lines", "--ack", "synced"],
        lines().as_bytes(),
    );
    assert_eq!(published.code, 0, "{}", published.err);
    assert_eq!(server.run(&["pub", "b.y", "from the other"]).code, 0);
    server
}

fn line(number: usize) -> String {
    format!("{number:06} {}\n", "e".repeat(200))
}

fn lines() -> String {
    (1..=RECORDS).map(line).collect()
}

fn export(server: &Server, arguments: &[&str]) -> Ran {
    server.run_log(&[&["export"], arguments].concat())
}

#[test]
fn what_comes_is_what_a_subscriber_gets() {
    let mut server = filled();
    let count = RECORDS.to_string();
    let sub = server.run(&[
        "sub",
        "a.>",
        "--from",
        "first",
        "--json",
        "--count",
        &count,
        "--timeout",
        "30s",
    ]);
    assert_eq!(sub.code, 0, "{}", sub.err);
    let served = export(&server, &["main"]);
    assert_eq!(served.code, 0, "{}", served.err);
    assert!(
        served.out == sub.out,
        "{} and {} bytes",
        served.out.len(),
        sub.out.len()
    );
    let raw = export(&server, &["main", "--raw"]);
    assert!(raw.code == 0 && raw.out == lines(), "{}", raw.err);

    assert_eq!(server.end("TERM"), 0);
    let both = export(&server, &[]);
    assert_eq!(both.code, 0, "{}", both.err);
    let last: Value = serde_json::from_str(both.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["stream"], &last["subject"]),
        (&"other".into(), &"b.y".into())
    );
    assert_eq!(last["payload"], "from the other");
    assert_eq!(both.out.lines().count(), RECORDS + 1);
}

#[test]
fn a_range_is_cut_by_sequence_and_by_time() {
    let mut server = filled();
    assert_eq!(server.end("TERM"), 0);
    let raw = export(
        &server,
        &["main", "--raw", "--from", "seq:7000", "--to", "seq:7999"],
    );
    assert_eq!(raw.code, 0, "{}", raw.err);
    assert!(raw.out == (7000..=7999).map(line).collect::<String>());
    let all = export(&server, &["main"]);
    let times: Vec<String> = all
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["time"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    // Printed with microseconds: what has the same is before or behind.
    let (from, to) = (&times[3000], &times[6000]);
    let some = export(
        &server,
        &[
            "main",
            "--from",
            &format!("time:{from}"),
            "--to",
            &format!("time:{to}"),
        ],
    );
    assert_eq!(some.code, 0, "{}", some.err);
    let came: Vec<&str> = some.out.lines().collect();
    let first = times.iter().position(|time| time >= from).unwrap();
    let end = times.iter().position(|time| time > to).unwrap_or(RECORDS);
    assert!(
        came.len() <= end - first && came.len() + 3000 > end - first,
        "{} of {first}..{end}",
        came.len()
    );
    assert_eq!(export(&server, &["main", "--from", "-1h"]).out, all.out);
    assert_eq!(export(&server, &["main", "--to", "-1h"]).out, "");
    let never = export(&server, &["main", "--from", "new"]);
    assert_eq!(never.code, 2, "{}", never.err);
}

#[test]
fn a_range_without_a_record_is_said_and_one_that_is_the_wrong_way_round_refused() {
    let mut server = filled();
    assert_eq!(server.end("TERM"), 0);
    let behind = export(&server, &["main", "--from", "seq:20000"]);
    assert_eq!((behind.code, behind.out.as_str()), (0, ""));
    assert!(
        behind.err.contains("no record is in the range"),
        "{}",
        behind.err
    );
    for (from, to) in [("seq:10", "seq:5"), ("-1m", "-2m")] {
        let turned = export(&server, &["main", "--from", from, "--to", to]);
        assert_eq!(turned.code, 2, "{}", turned.err);
        assert!(
            turned.err.contains("--from is behind --to"),
            "{}",
            turned.err
        );
    }
    let one = export(&server, &["main", "--from", "seq:5", "--to", "seq:5"]);
    assert_eq!((one.code, one.out.lines().count()), (0, 1), "{}", one.err);
    assert_eq!(one.err, "");
}

#[test]
fn damage_ends_it_with_its_range_or_is_left_out_when_asked() {
    let mut server = filled();
    assert_eq!(server.end("TERM"), 0);
    let path = segment(&server, 1);
    let mut bytes = fs::read(&path).unwrap();
    let text = line(6000);
    let text = text.trim_end().as_bytes();
    let at = bytes.windows(text.len()).position(|window| window == text);
    bytes[at.expect("it is in the second segment")] ^= 8;
    fs::write(&path, &bytes).unwrap();
    let ended = export(&server, &["main", "--raw"]);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(
        ended.err.contains("segment 1 is damaged at bytes") && ended.err.contains("--skip-damaged"),
        "{}",
        ended.err
    );
    let count = ended.out.lines().count();
    assert!(ended.out == (1..=count).map(line).collect::<String>());
    // The sequences of what is damaged follow what came, and what lies behind is had from there.
    let held = format!("held sequences {} to ", count + 1);
    assert!(ended.err.contains(&held), "{}", ended.err);
    let next = ended.err.split("--from seq:").nth(1).expect(&ended.err);
    let next: usize = next
        .trim()
        .trim_end_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap();
    let behind = export(
        &server,
        &["main", "--raw", "--from", &format!("seq:{next}")],
    );
    assert!(
        behind.code == 0 && behind.out == (next..=RECORDS).map(line).collect::<String>(),
        "{}",
        behind.err
    );
    let rest = export(&server, &["main", "--raw", "--skip-damaged"]);
    assert_eq!(rest.code, 1, "{}", rest.err);
    assert!(
        rest.err.contains("left out: 1 damaged place, 1 record"),
        "{}",
        rest.err
    );
    assert!(rest.out == ended.out + &behind.out);
}

#[test]
fn a_file_is_made_once() {
    let server = filled();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("main.txt");
    let path = path.to_str().unwrap();
    let made = export(&server, &["main", "--raw", "--output", path]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert_eq!(made.out, format!("10,000 records in {path}\n"));
    assert!(fs::read_to_string(path).unwrap() == lines());
    let again = export(&server, &["other", "--output", path]);
    assert_eq!(again.code, 2, "{}", again.err);
    assert!(again.err.contains("exists already"), "{}", again.err);
    assert!(fs::read_to_string(path).unwrap() == lines());
}

#[test]
fn retention_may_take_segments_away_meanwhile() {
    let server = Server::with(
        "limits: {max_record: 16KiB}\nstreams:\n- {name: main, subjects: ['a.>'], segment: 256KiB, tail: 256KiB, retention: {bytes: 1MiB}}\n",
    );
    let lines: String = (1..=30_000).map(line).collect();
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| server.feed(&["pub", "a.x", "--lines"], lines.as_bytes()));
        let mut exports = 0;
        while !publishing.is_finished() {
            for command in ["export", "verify"] {
                let ran = server.run_log(&[command, "main"]);
                assert_eq!(ran.code, 0, "{command}: {}", ran.err);
                if command == "export" {
                    let sequences: Vec<u64> = ran
                        .out
                        .lines()
                        .map(|line| {
                            serde_json::from_str::<Value>(line).unwrap()["sequence"]
                                .as_u64()
                                .unwrap()
                        })
                        .collect();
                    assert!(sequences.is_sorted_by(|a, b| a < b));
                    exports += 1;
                }
            }
        }
        let published = publishing.join().unwrap();
        assert_eq!(published.code, 0, "{}", published.err);
        assert!(exports > 0);
    });
}
