//! The client commands against a server: what is published comes out, and each ends as it should.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Server, ran, run, send_signal};

#[test]
fn a_record_is_acknowledged_and_comes_back() {
    let server = Server::start();
    let published = server.run(&["pub", "orders.eu.new", "{\"id\": 1}"]);
    assert_eq!(
        (published.code, published.out.as_str()),
        (0, "1 record stored, 9B, last sequence 1\n"),
        "{}",
        published.err
    );
    let sub = server.run(&[
        "sub",
        "orders.>",
        "--from",
        "first",
        "--count",
        "1",
        "--timeout",
        "20s",
    ]);
    assert_eq!(sub.code, 0, "{}", sub.err);
    assert!(
        sub.out.ends_with(" main 1 orders.eu.new  {\"id\": 1}\n"),
        "{}",
        sub.out
    );
}

#[test]
fn lines_come_out_byte_for_byte() {
    let server = Server::start();
    // Every byte but the line feed, an empty line, a carriage return, and a last line without an end.
    let mut text: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    text.extend_from_slice(b"\n\nplain\r\n");
    text.extend(
        (0..5000).flat_map(|line| format!("{line} {}\n", "x".repeat(line % 300)).into_bytes()),
    );
    text.extend_from_slice(b"the last");
    let published = server.feed(&["pub", "bytes.all", "--lines", "--json"], &text);
    assert_eq!(published.code, 0, "{}", published.err);
    let summary = published.json();
    assert_eq!(
        (
            summary["records"].as_u64(),
            summary["last_sequence"].as_u64()
        ),
        (Some(5004), Some(5004))
    );
    assert_eq!(
        (summary["level"].as_str(), summary["refused"].as_u64()),
        (Some("stored"), Some(0))
    );
    let mut sub = server
        .command(&[
            "sub",
            "bytes.*",
            "--from",
            "first",
            "--raw",
            "--count",
            "5004",
            "--timeout",
            "30s",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = Vec::new();
    sub.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert!(sub.wait().unwrap().success());
    text.push(b'\n');
    assert!(out == text);
}

/// How far from its neighbours an age lies that falls between two records: longer than a command takes to start.
const AGE: Duration = Duration::from_secs(2);

#[test]
fn subscriptions_start_where_they_are_told_to() {
    let server = Server::start();
    let lines: String = (1..=9).map(|line| format!("{line}\n")).collect();
    assert_eq!(
        server
            .feed(&["pub", "a.b", "--lines"], lines.as_bytes())
            .code,
        0
    );
    let raw = |from: &str, count: &str| {
        let sub = server.run(&[
            "sub",
            "a.*",
            "--from",
            from,
            "--raw",
            "--count",
            count,
            "--timeout",
            "20s",
        ]);
        assert_eq!(sub.code, 0, "{from}: {}", sub.err);
        sub.out.replace('\n', "")
    };
    assert_eq!(raw("first", "9"), "123456789");
    assert_eq!(raw("seq:7", "3"), "789");
    assert_eq!(raw("last", "1"), "9");
    assert_eq!(raw("-10m", "4"), "1234");
    // What is older than the age is left out: it begins between the records above and the next one.
    let old = Instant::now();
    std::thread::sleep(AGE * 2);
    assert_eq!(server.run(&["pub", "a.b", "x"]).code, 0);
    let age = format!("-{}ms", (old.elapsed() - AGE).as_millis());
    assert_eq!(raw(&age, "1"), "x");
    let third = server.run(&[
        "sub",
        "a.b",
        "--from",
        "seq:3",
        "--json",
        "--count",
        "1",
        "--timeout",
        "20s",
    ]);
    let third = third.json();
    assert_eq!(
        (third["sequence"].as_u64(), third["payload"].as_str()),
        (Some(3), Some("3"))
    );
    assert_eq!(
        (third["stream"].as_str(), third["subject"].as_str()),
        (Some("main"), Some("a.b"))
    );
    let time = format!("time:{}", third["time"].as_str().unwrap());
    // Records of one batch may share their time, so it starts at the third or before.
    assert!(
        "123".starts_with(raw(&time, "1").as_str())
            || raw(&time, "1") == "2"
            || raw(&time, "1") == "3"
    );
}

#[test]
fn running_out_of_time_ends_with_1() {
    let server = Server::start();
    server.run(&["pub", "a", "x"]);
    let sub = server.run(&[
        "sub",
        "a",
        "--from",
        "first",
        "--count",
        "2",
        "--timeout",
        "300ms",
        "--raw",
    ]);
    assert_eq!((sub.code, sub.out.as_str()), (1, "x\n"));
    assert_eq!(sub.err, "error: the time ran out after 1 of 2 records\n");
}

#[test]
fn a_payload_that_is_not_text_is_base64_in_json() {
    let server = Server::start();
    server.feed(&["pub", "a"], &[255, 0, 10, 27]);
    let sub = server.run(&[
        "sub",
        "a",
        "--from",
        "first",
        "--count",
        "1",
        "--json",
        "--timeout",
        "20s",
    ]);
    let record = sub.json();
    assert_eq!(record["payload_base64"], "/wAKGw==");
    assert!(record["payload"].is_null());
    // A terminal must not be given what could command it.
    let sub = server.run(&[
        "sub",
        "a",
        "--from",
        "first",
        "--count",
        "1",
        "--timeout",
        "20s",
    ]);
    assert!(sub.out.ends_with("\\u{0}\\n\\u{1b}\n"), "{:?}", sub.out);
}

/// Waits until a subscriber is known to the server.
fn subscribed(server: &Server) {
    for _ in 0..2000 {
        let info = server.run(&["stream", "info", "main", "--json"]);
        let info = info.json();
        if info["subscribers"].as_u64() > Some(0) {
            return;
        }
    }
    panic!("nobody subscribed");
}

#[test]
fn control_c_ends_a_subscription_well_unless_records_are_missing() {
    let server = Server::start();
    let ends = |arguments: &[&str]| {
        let sub = server
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        subscribed(&server);
        send_signal(sub.id(), "INT");
        ran(sub.wait_with_output().unwrap())
    };
    let endless = ends(&["sub", "a"]);
    assert_eq!((endless.code, endless.err.as_str()), (0, ""));
    let counted = ends(&["sub", "a", "--count", "3"]);
    assert_eq!((counted.code, counted.err.as_str()), (130, ""));
}

#[test]
fn a_subscription_prints_each_record_when_it_comes_and_ends_with_its_reader() {
    let server = Server::start();
    let mut sub = server
        .command(&["sub", "a", "--raw"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    subscribed(&server);
    let mut lines = BufReader::new(sub.stdout.take().unwrap());
    let mut line = String::new();
    for payload in ["one", "two"] {
        server.run(&["pub", "a", payload]);
        line.clear();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), payload);
    }
    drop(lines);
    server.run(&["pub", "a", "three"]);
    let ended = ran(sub.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn a_lone_line_is_published_while_the_input_stays_open() {
    let server = Server::start();
    let mut publisher = server
        .command(&["pub", "a", "--lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = publisher.stdin.take().unwrap();
    stdin.write_all(b"now\nlat").unwrap();
    assert_eq!(server.everything("a", 1).out, "now\n");
    stdin.write_all(b"er").unwrap();
    drop(stdin);
    assert_eq!(ran(publisher.wait_with_output().unwrap()).code, 0);
    let sub = server.run(&[
        "sub",
        "a",
        "--from",
        "last",
        "--count",
        "1",
        "--raw",
        "--timeout",
        "20s",
    ]);
    assert_eq!(sub.out, "later\n");
}

#[test]
fn repeats_and_rates_are_kept() {
    let server = Server::start();
    let begin = std::time::Instant::now();
    let published = server.run(&[
        "pub", "a", "x", "--repeat", "100", "--rate", "500", "--json",
    ]);
    let summary = published.json();
    assert_eq!(summary["records"], 100);
    assert!(
        begin.elapsed() >= std::time::Duration::from_millis(198),
        "{:?}",
        begin.elapsed()
    );
    let published = server.feed(
        &["pub", "b", "--lines", "--repeat", "3", "--json"],
        b"1\n2\n",
    );
    let summary = published.json();
    assert_eq!(summary["records"], 6);
    assert_eq!(server.everything("b", 6).out, "1\n2\n1\n2\n1\n2\n");
}

#[test]
fn every_ack_level_can_be_asked_for() {
    let server = Server::start();
    for level in ["received", "stored", "synced"] {
        let published = server.run(&["pub", "a", "x", "--ack", level]);
        assert_eq!(published.code, 0, "{level}: {}", published.err);
        assert!(
            published.out.starts_with(&format!("1 record {level}, ")),
            "{}",
            published.out
        );
    }
}

#[test]
fn what_the_server_refuses_ends_with_5_and_its_reason() {
    let server = Server::with(
        "limits: {max_record: 64KiB}\nstreams:\n- {name: small, subjects: ['a.>'], segment: 4MiB, tail: 256KiB}\n",
    );
    let refused = server.run(&["pub", "a..b", "x"]);
    assert_eq!((refused.code, refused.out.as_str()), (5, ""));
    assert!(refused.err.contains("empty token"), "{}", refused.err);
    let refused = server.run(&["pub", "b.c", "x"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(refused.err.contains("(error 12)"), "{}", refused.err);
    let refused = server.feed(&["pub", "a.b"], &vec![b'x'; 70_000]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(refused.err.contains("limit"), "{}", refused.err);
    let refused = server.run(&["sub", "a.>.b"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    let refused = server.run(&["stream", "info", "other"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert!(
        refused.err.contains("no stream other") && refused.err.contains("(error 16)"),
        "{}",
        refused.err
    );
    // Nothing of it disturbed anybody.
    assert_eq!(server.run(&["pub", "a.b", "x"]).code, 0);
}

#[test]
fn a_server_that_is_not_there_ends_with_4_and_says_how_to_start_one() {
    let absent = run(&["pub", "a", "x", "--server", "127.0.0.1:1"]);
    assert_eq!(absent.code, 4);
    assert!(
        absent
            .err
            .contains("is the server running? `trunkline serve` starts one"),
        "{}",
        absent.err
    );
}

#[test]
fn streams_are_listed_and_shown() {
    let server = Server::start();
    server.run(&["pub", "a.b", "x"]);
    let list = server.run(&["stream", "ls"]);
    assert_eq!(list.code, 0, "{}", list.err);
    let row = list.out.lines().nth(1).unwrap();
    assert!(
        row.starts_with("main ") && row.trim_end().ends_with(" ok"),
        "{}",
        list.out
    );
    let info = server.run(&["stream", "info", "main", "--json"]);
    let info = info.json();
    assert_eq!(
        (info["records"].as_u64(), info["last_sequence"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(
        (info["ack"].as_str(), info["storage"].as_str()),
        (Some("stored"), Some("file"))
    );
    assert!(
        server
            .run(&["stream", "info", "main"])
            .out
            .contains("last sequence   1\n")
    );
    let kept = server.run(&["stream", "rm", "main"]);
    assert_eq!(kept.code, 1);
    assert!(kept.err.contains("give --yes"), "{}", kept.err);
}

#[test]
fn a_cursor_goes_on_after_what_was_printed() {
    let server = Server::start();
    let lines: String = (1..=6).map(|line| format!("{line}\n")).collect();
    server.run(&["pub", "other", "x"]);
    server.feed(&["pub", "a.b", "--lines"], lines.as_bytes());
    let next = |count: &str| {
        let sub = server.run(&[
            "sub",
            "a.*",
            "--cursor",
            "c",
            "--raw",
            "--count",
            count,
            "--timeout",
            "20s",
        ]);
        assert_eq!(sub.code, 0, "{}", sub.err);
        sub.out.replace('\n', "")
    };
    assert_eq!([next("2"), next("3"), next("1")], ["12", "345", "6"]);
}

#[test]
fn a_line_that_is_refused_is_named_and_everything_before_it_is_published() {
    let server = Server::with(support::ONE_STREAM);
    let long = "x".repeat(70_000);
    let input = format!("one\ntwo\n{long}\nfour\n");
    let ran = server.feed(&["pub", "a", "--lines"], input.as_bytes());
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(
        ran.out.starts_with("2 records stored, 6B, last sequence 2"),
        "{}",
        ran.out
    );
    assert!(
        ran.err
            .starts_with("error: line 3: record over the limit: it has 70000 bytes")
            && ran.err.ends_with("; nothing behind line 3 was read\n"),
        "{}",
        ran.err
    );
    let ran = server.feed(&["pub", "a", "--lines", "--json"], input.as_bytes());
    let summary = ran.json();
    assert_eq!(
        ["records", "refused", "read"].map(|key| summary[key].as_u64()),
        [Some(2), Some(1), Some(3)],
        "{summary}"
    );
    assert_eq!(summary["all_read"], false);
    // Longer than any server takes, so that it is not even read to its end; with nothing before it.
    let endless = vec![b'x'; (16 << 20) + (1 << 20)];
    let ran = server.feed(&["pub", "a", "--lines", "--json"], &endless);
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert_eq!(
        ["records", "refused", "read"].map(|key| ran.json()[key].as_u64()),
        [Some(0), Some(1), Some(1)],
        "{}",
        ran.out
    );
    assert!(
        ran.err.contains("line 1: it has more than 16777216 bytes"),
        "{}",
        ran.err
    );
    // The second time through.
    let words = ["pub", "a", "--lines", "--repeat", "3", "--json"];
    assert_eq!(server.feed(&words, b"1\n2\n").json()["all_read"], true);
    assert_eq!(server.stream("main")["last_sequence"].as_u64(), Some(10));
}

#[test]
fn lines_that_the_server_refuses_are_counted_and_the_first_is_named() {
    let server = Server::with(
        "limits: {max_record: 64KiB}\nstreams:\n- {name: a, subjects: [a], segment: 1MiB, tail: 1MiB}\n",
    );
    let ran = server.feed(&["pub", "b", "--lines"], b"1\n2\n3\n");
    assert_eq!((ran.code, &*ran.out), (5, ""), "{}", ran.err);
    assert!(
        ran.err.starts_with(
            "error: 3 records are not stored; the first: line 1: refused: no stream captures `b`"
        ),
        "{}",
        ran.err
    );
    let ran = server.feed(&["pub", "b", "--lines", "--json"], b"1\n2\n3\n");
    assert_eq!(
        (
            ran.json()["records"].as_u64(),
            ran.json()["refused"].as_u64()
        ),
        (Some(0), Some(3))
    );
    let one = server.run(&["pub", "b", "x"]);
    assert!(
        one.err
            .starts_with("error: refused: no stream captures `b`"),
        "{}",
        one.err
    );
}

#[test]
fn a_second_server_on_the_same_data_is_refused_with_the_process_of_the_first() {
    let server = Server::start();
    let data = server.data();
    let second = run(&[
        "serve",
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(second.code, 6, "{}", second.err);
    assert!(
        second.err.contains("is in use by process "),
        "{}",
        second.err
    );
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("d");
    let second = run(&[
        "serve",
        "--data",
        data.to_str().unwrap(),
        "--listen",
        &server.address,
    ]);
    assert_eq!(second.code, 6, "{}", second.err);
    assert!(second.err.contains(&server.address), "{}", second.err);
}

#[test]
fn acknowledged_records_survive_a_kill_and_a_clean_stop() {
    let mut server = Server::start();
    for (signal, expected) in [("KILL", -1), ("TERM", 0)] {
        server.feed(&["pub", "a", "--lines"], b"1\n2\n3\n");
        assert_eq!(server.end(signal), expected, "{signal}");
        server.restart();
    }
    assert_eq!(server.everything("a", 6).out, "1\n2\n3\n1\n2\n3\n");
}

#[test]
fn a_subscription_goes_on_behind_the_last_record_when_the_server_comes_back() {
    let mut server = Server::start();
    let mut sub = server
        .command(&[
            "sub",
            "a",
            "--from",
            "first",
            "--raw",
            "--count",
            "6",
            "--timeout",
            "60s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.feed(&["pub", "a", "--lines"], b"1\n2\n3\n");
    let mut lines = BufReader::new(sub.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..3 {
        lines.read_line(&mut line).unwrap();
    }
    server.end("KILL");
    server.restart_in_place();
    server.feed(&["pub", "a", "--lines"], b"4\n5\n6\n");
    lines.read_to_string(&mut line).unwrap();
    assert_eq!(line, "1\n2\n3\n4\n5\n6\n");
    assert!(sub.wait().unwrap().success());
}

#[test]
fn a_subscription_may_end_with_its_connection() {
    let mut server = Server::start();
    let sub = server
        .command(&["sub", "a", "--no-reconnect"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    subscribed(&server);
    server.end("KILL");
    let ended = ran(sub.wait_with_output().unwrap());
    assert_eq!(ended.code, 4, "{}", ended.err);
    // What had not been read yet when the server was killed makes the system say it in other words.
    let words = ["closed the connection", "is lost"];
    assert!(
        words.iter().any(|words| ended.err.contains(words)),
        "{}",
        ended.err
    );
}

#[test]
fn streams_are_added_and_removed_while_the_server_runs() {
    let mut server =
        Server::with("streams:\n- {name: a, subjects: ['a.>'], segment: 4MiB, tail: 4MiB}\n");
    let add = [
        "stream",
        "add",
        "b",
        "--subjects",
        "b.>",
        "--segment",
        "4MiB",
        "--tail",
        "4MiB",
        "--ack",
        "synced",
    ];
    let added = server.run(&add);
    assert_eq!(
        (added.code, added.out.as_str()),
        (0, "added b, which captures b.>\n"),
        "{}",
        added.err
    );
    let twice = server.run(&add);
    assert_eq!(twice.code, 5, "{}", twice.out);
    let overlap = server.run(&["stream", "add", "c", "--subjects", "b.c"]);
    assert_eq!(overlap.code, 5, "{}", overlap.out);
    let wrong = server.run(&[
        "stream",
        "add",
        "c",
        "--subjects",
        "c",
        "--keep-bytes",
        "10GB",
    ]);
    assert_eq!(wrong.code, 2, "{}", wrong.out);
    assert!(wrong.err.contains("did you mean 10GiB?"), "{}", wrong.err);
    assert!(
        server
            .run(&["pub", "b.x", "x"])
            .out
            .starts_with("1 record synced, ")
    );
    // It is there after a restart, with its records, and gone for good when it is removed.
    server.end("TERM");
    server.restart();
    let removed = server.run(&["stream", "rm", "b", "--yes"]);
    assert_eq!(
        (removed.code, removed.out.as_str()),
        (0, "removed b and its 1 record\n"),
        "{}",
        removed.err
    );
    assert_eq!(server.run(&["pub", "b.x", "x"]).code, 5);
    let configured = server.run(&["stream", "rm", "a", "--yes"]);
    assert_eq!(configured.code, 5, "{}", configured.out);
    server.end("TERM");
    server.restart();
    assert_eq!(server.run(&["stream", "ls"]).out.lines().count(), 2);
}
