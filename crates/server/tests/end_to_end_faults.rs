//! What goes wrong while a server runs: a full disk, subscribers that sleep, clients that fall silent.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use support::machine::{Ext4, back_ends, mount_namespace, mounted, segment};
use support::raw::{
    ACK, DELIVER, ERROR, EXPECTS_RESPONSE, PING, PONG, PUBLISH, Raw, Refused, data, definition,
    frame, payloads, sleeper,
};
use support::{Server, finish};

const SMALL_SEGMENTS: &str = "workers: 1\nlimits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 256KiB, tail: 256KiB}\n";

#[test]
fn a_full_disk_refuses_publishes_serves_reads_and_is_over_when_there_is_space() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    full_disk(&Server::inside(SMALL_SEGMENTS, |directory, serve| {
        let data = directory.join("data");
        fs::create_dir(&data).unwrap();
        mounted(namespace, "size=32m", &data, &serve)
    }));
}

#[test]
fn so_does_a_full_ext4() {
    let Some(ext4) = Ext4::new(96, None) else {
        return;
    };
    full_disk(&Server::inside(SMALL_SEGMENTS, |directory, serve| {
        let data = directory.join("data");
        fs::create_dir(&data).unwrap();
        ext4.mounted(&data, &serve)
    }));
}

fn full_disk(server: &Server) {
    // The mount is the server's alone: seen from here it is behind its root.
    let inside = PathBuf::from(format!(
        "/proc/{}/root{}",
        server.pid(),
        server.data().display()
    ));
    let filler = inside.join("filler");
    fs::write(&filler, vec![1; 1 << 20]).unwrap();
    // What the server has made at its start stays; 2 MB are left for records.
    let space = rustix::fs::statvfs(&inside).unwrap();
    let taken = (space.f_bavail * space.f_frsize)
        .checked_sub(2 << 20)
        .expect("the server takes less than this");
    fs::write(inside.join("ballast"), vec![1; taken as usize]).unwrap();
    let mut publisher = Raw::greeted(&server.address);
    publisher.publish(1, &definition(1, "a"));
    let mut accepted = Vec::new();
    let mut number = 0_u64;
    let refusal = loop {
        match publish_ten(&mut publisher, &mut number, &mut accepted) {
            None => assert!(number < 4000, "4 MB fit into 2 MB"),
            Some(refusal) => break refusal,
        }
    };
    assert!(number > 500, "{number} records of 1 KiB were offered");
    assert_eq!((refusal.code, refusal.closing), (13, false), "{refusal:?}");
    assert!(refusal.message.contains("space"), "{refusal:?}");
    let again = publish_ten(&mut publisher, &mut number, &mut accepted)
        .expect("a refusal: nothing has changed");
    assert_eq!((again.code, again.count), (13, 10), "{again:?}");
    // As the command line says it.
    let told = server.feed(&["pub", "a"], &[b'x'; 2000]);
    assert_eq!(told.code, 5, "{}", told.err);
    assert!(told.err.contains("space"), "{}", told.err);
    let info = server.stream("main");
    assert_eq!(info["state"], "no_space", "{info}");
    assert!(
        info["reason"]
            .as_str()
            .unwrap()
            .contains("no space on the device"),
        "{info}"
    );
    assert!(
        server.log().contains("the stream will be full"),
        "{}",
        server.log()
    );
    // Reads go on.
    assert_eq!(
        server.everything("a", accepted.len()).out,
        joined(&accepted)
    );

    fs::remove_file(&filler).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while let Some(refusal) = publish_ten(&mut publisher, &mut number, &mut accepted) {
        assert_eq!(refusal.code, 13, "{refusal:?}");
        assert!(
            Instant::now() < end,
            "there is space, and still: {refusal:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.stream("main")["state"], "ok");
    assert!(
        server.log().contains("there is space again"),
        "{}",
        server.log()
    );
    assert_eq!(
        server.everything("a", accepted.len()).out,
        joined(&accepted)
    );
}

/// Publishes ten records of about 1 KiB, notes which were accepted, and returns the refusal of the others.
fn publish_ten(
    publisher: &mut Raw,
    number: &mut u64,
    accepted: &mut Vec<String>,
) -> Option<Refused> {
    let offered: Vec<String> = (0..10)
        .map(|at| format!("{:04} {}", *number + at, "x".repeat(1000)))
        .collect();
    let records: Vec<u8> = offered
        .iter()
        .flat_map(|payload| data(1, 1, payload.as_bytes()))
        .collect();
    *number += 10;
    let name = (*number / 10 % 60_000 + 2) as u16;
    publisher.send(&frame(PUBLISH, EXPECTS_RESPONSE, name, &records));
    let mut count = 0;
    let refusal = loop {
        let answer = publisher.answer().unwrap();
        assert_eq!(answer.sequence, name);
        if answer.opcode == ERROR {
            break Some(Refused::read(&answer));
        }
        assert_eq!(answer.opcode, ACK);
        count += u32::from_le_bytes(answer.body[4..8].try_into().unwrap());
        if count == 10 {
            break None;
        }
    };
    assert_eq!(
        count + refusal.as_ref().map_or(0, |refusal| refusal.count),
        10
    );
    accepted.extend(offered.into_iter().take(count as usize));
    refusal
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// 16 MB in lines of 1.3 KB: more than the sockets of one connection hold.
fn many_lines() -> String {
    (0..12_000)
        .map(|line| format!("{line:06} {}\n", "y".repeat(1300)))
        .collect()
}

#[test]
fn a_subscriber_that_stops_reading_disturbs_nobody_and_is_let_go() {
    let server = Server::with(
        "limits: {max_record: 16KiB, send_timeout: 500ms}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 256KiB}\n",
    );
    let mut asleep = sleeper(&server);
    let lines = many_lines();
    let awake = server
        .command(&["sub", "a", "--raw", "--count", "12000", "--timeout", "50s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_for("main", "both subscribers", |info| {
        info["subscribers"].as_u64() == Some(2)
    });
    let published = server.feed(&["pub", "a", "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    let came = finish(awake, Duration::from_secs(55));
    assert!(
        came.code == 0 && came.out == lines,
        "{} of {} bytes: {}",
        came.out.len(),
        lines.len(),
        came.err
    );
    server.wait_for("main", "the end of the sleeper", |info| {
        info["subscribers"].as_u64() == Some(0)
    });
    // What it wakes up to is the beginning of the stream, and then the end of the connection.
    let came = deliveries_to_the_end(&mut asleep);
    assert!(
        !came.is_empty() && came.len() < lines.len() && lines.starts_with(&came),
        "{} bytes",
        came.len()
    );
}

#[test]
fn a_subscriber_whose_reader_sleeps_for_a_while_gets_everything() {
    let server = Server::with(
        "limits: {max_record: 16KiB, send_timeout: 60s}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}\n",
    );
    // As in `trunkline sub a | less`: nobody reads the pipe.
    let asleep = server
        .command(&["sub", "a", "--raw", "--count", "12000", "--timeout", "50s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_for("main", "the subscriber", |info| {
        info["subscribers"].as_u64() == Some(1)
    });
    let lines = many_lines();
    let published = server.feed(&["pub", "a", "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    let came = finish(asleep, Duration::from_secs(55));
    assert!(
        came.code == 0 && came.out == lines,
        "{} of {} bytes: {}",
        came.out.len(),
        lines.len(),
        came.err
    );
}

#[test]
fn sleeping_subscribers_do_not_keep_publishers_waiting_and_get_everything_when_they_wake() {
    let back_ends = back_ends().iter();
    for (workers, io) in back_ends.flat_map(|io| [(1, io), (2, io)]) {
        let server = Server::with(&format!(
            "workers: {workers}\nio: {io}\nlimits: {{max_record: 16KiB, send_timeout: 60s}}\nstreams:\n- {{name: main, subjects: ['>'], segment: 1MiB, tail: 256KiB}}\n"
        ));
        // Some of these are another worker's than the stream.
        let mut asleep = [0; 4].map(|_| sleeper(&server));
        // Slowly enough that the sleepers are handed the tail itself, until they take no more; and then many times the tail.
        let lines = many_lines();
        assert!(lines.len() > 8 * (256 << 10));
        let published = server.feed(&["pub", "a", "--lines", "--rate", "6000"], lines.as_bytes());
        assert_eq!(published.code, 0, "{}", published.err);
        assert_eq!(server.stream("main")["subscribers"].as_u64(), Some(4));
        for asleep in &mut asleep {
            let came = deliveries(asleep, 12_000);
            assert!(came == lines, "{} of {} bytes", came.len(), lines.len());
        }
    }
}

fn deliveries_to_the_end(raw: &mut Raw) -> String {
    let mut came = String::new();
    while let Some(next) = raw.frame() {
        match next.opcode {
            DELIVER => push_payloads(&next.body, &mut came),
            PING => {}
            ERROR => assert_eq!(Refused::read(&next).code, 7),
            _ => panic!("{next:?}"),
        }
    }
    came
}

/// What comes until there are so many lines.
fn deliveries(raw: &mut Raw, lines: usize) -> String {
    let (mut came, mut count) = (String::new(), 0);
    while count < lines {
        let next = raw.frame().expect("more deliveries");
        match next.opcode {
            DELIVER => {
                count += payloads(&next.body).len();
                push_payloads(&next.body, &mut came);
            }
            PING => {}
            _ => panic!("{next:?}"),
        }
    }
    came
}

fn push_payloads(run: &[u8], text: &mut String) {
    for payload in payloads(run) {
        text.push_str(std::str::from_utf8(payload).unwrap());
        text.push('\n');
    }
}

#[test]
fn damage_that_a_reader_comes_upon_is_told_once_to_whoever_looks_after_the_server() {
    for workers in ["1", "2"] {
        let mut server = Server::with_flags(SMALL_SEGMENTS, &["--workers", workers]);
        let line = |number: usize| format!("{number:04} {}\n", "z".repeat(1000));
        let lines: String = (1..=1000).map(line).collect();
        let published = server.feed(&["pub", "a", "--lines"], lines.as_bytes());
        assert_eq!(published.code, 0, "{}", published.err);
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
        // Sealed, so that no start looks at it.
        let path = segment(&server, 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[100_000] ^= 1;
        fs::write(&path, bytes).unwrap();
        server.restart();
        assert_eq!(server.stream("main")["damaged"], json!([]));
        for _ in 0..2 {
            assert_eq!(server.everything("a", 999).out.lines().count(), 999);
        }
        let info = server.stream("main");
        let [first, last] = [0, 1].map(|end| info["damaged"][0][end].as_u64().unwrap());
        assert!(first == last && 1 < first && first < 1000, "{info}");
        assert_eq!(
            (&info["state"], info["damaged"].as_array().unwrap().len()),
            (&json!("ok"), 1)
        );
        let shown = server.run(&["stream", "info", "main"]).out;
        let words = format!("1 record, which readers do not get: {first} to {last}");
        assert!(shown.contains(&words), "{shown}");
        let table = server.run(&["stream", "ls"]).out;
        assert!(table.contains("ok, damaged"), "{table}");
        let log = server.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(told.len(), 1, "{log}");
        let words = [
            "stream=\"main\"".to_owned(),
            format!("first={first} last={last}"),
            path.display().to_string(),
            "`trunkline log verify main --data".to_owned(),
        ];
        assert!(words.iter().all(|words| told[0].contains(words)), "{log}");
        // The stream goes on.
        assert_eq!(server.run(&["pub", "a", "x"]).code, 0);
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
    }
}

#[test]
fn a_client_that_falls_silent_is_asked_and_then_let_go() {
    let server = Server::with(
        "limits: {max_record: 64KiB, idle_timeout: 1s}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}\n",
    );
    let mut silent = Raw::greeted(&server.address);
    let mut alive = Raw::greeted(&server.address);
    let begin = Instant::now();
    for _ in 0..5 {
        let ping = alive.frame().expect("a Ping");
        assert_eq!(ping.opcode, PING, "{ping:?}");
        alive.send(&frame(PONG, 0, ping.sequence, &ping.body));
    }
    assert!(
        begin.elapsed() > Duration::from_millis(1200),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(silent.frame().map(|ping| ping.opcode), Some(PING));
    let error = silent.frame().expect("an Error");
    assert_eq!(error.opcode, ERROR, "{error:?}");
    let refusal = Refused::read(&error);
    assert_eq!((refusal.code, refusal.closing), (7, true), "{refusal:?}");
    silent.expect_end();
    alive.publish(1, &[definition(1, "a"), data(1, 1, b"still here")].concat());
}
