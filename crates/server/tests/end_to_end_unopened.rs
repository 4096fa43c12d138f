//! A stream that cannot be opened at the start: it says why wherever somebody meets it, and the others are served.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::machine::{around, mount_namespace, mounted, segments};
use support::raw::{ERROR, EXPECTS_RESPONSE, PUBLISH, Raw, Refused, SUBSCRIBE, data, definition};
use support::raw::{frame, subscribe};
use support::{SMALL, Server, finish};
use trunkline_client::{Client, Subscription};

const MAIN: &str = "limits: {max_record: 64KiB}\nstreams:\n\
- {name: main, subjects: ['a.>'], segment: 1MiB, tail: 1MiB}\n";
const REFUSED: i32 = 5;
const REFUSED_BY_MACHINE: i32 = 6;
const READ_ONLY: u16 = 14;

/// A stopped server with records in `main`, and in `other`, which was added while it ran.
fn stopped(flags: &[&str]) -> Server {
    let mut server = Server::with_flags(MAIN, flags);
    let words = ["stream", "add", "other", "--subjects", "b.>"];
    assert_eq!(server.run(&words).code, 0);
    for subject in ["a.x", "b.x"] {
        let published = server.run(&["pub", subject, "before", "--ack", "synced"]);
        assert_eq!(published.code, 0, "{}", published.err);
    }
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server
}

/// The ways in which a stream cannot be opened, with words of what is said about it.
fn break_other(server: &Server, how: &str) -> &'static str {
    let folder = server.data().join("streams/other");
    let first = folder.join("0000000000000000.seg");
    let mut bytes = fs::read(&first).unwrap();
    match how {
        "damaged" => {
            let mut windows = bytes.windows(6);
            let at = windows.position(|window| window == b"before");
            bytes[at.expect("the record")] ^= 1;
            fs::write(&first, bytes).unwrap();
            "`trunkline log repair other --data"
        }
        "newer" => {
            bytes[4] = 2;
            bytes[28] ^= 1;
            fs::write(&first, bytes).unwrap();
            "newer"
        }
        "missing" => {
            fs::remove_dir_all(&folder).unwrap();
            "are missing"
        }
        "unreadable" => {
            fs::remove_file(&first).unwrap();
            fs::create_dir(&first).unwrap();
            "`trunkline log verify other --data"
        }
        "no directory" => {
            fs::remove_dir_all(&folder).unwrap();
            fs::write(&folder, "x").unwrap();
            "not a directory"
        }
        _ => unreachable!(),
    }
}

#[test]
fn whatever_is_wrong_with_a_stream_the_others_are_served_and_it_says_why() {
    for how in ["damaged", "newer", "missing", "unreadable", "no directory"] {
        let mut server = stopped(&[]);
        let words = break_other(&server, how);
        server.restart();
        let info = server.stream("other");
        assert_eq!(info["state"], "refused", "{how}: {info}");
        let reason = info["reason"].as_str().unwrap();
        assert!(reason.contains(words), "{how}: {reason}");
        assert!(
            server.log().contains("the stream is not served") && server.log().contains(words),
            "{how}: {}",
            server.log()
        );
        assert_eq!(server.run(&["pub", "a.x", "after"]).code, 0, "{how}");
        assert_eq!(server.everything("a.>", 2).out, "before\nafter\n", "{how}");
        // Whoever looks after it learns of it at the end, too.
        assert_eq!(server.end("TERM"), REFUSED_BY_MACHINE, "{how}");
        assert!(server.log().contains(words), "{how}: {}", server.log());
    }
}

#[test]
fn a_stream_for_which_there_is_no_space_is_served_as_soon_as_there_is() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    for workers in ["1", "2"] {
        // Nothing is known to be synced, so that what is damaged at the end is a torn tail, which recovery copies aside.
        let config = MAIN.replace("tail: 1MiB", "tail: 1MiB, sync_interval: 1h");
        let mut server = Server::with_flags(&config, &["--workers", workers]);
        for payload in ["before", "torn"] {
            assert_eq!(server.run(&["pub", "a.x", payload]).code, 0);
        }
        // One that was there before is served again, too: it is not refused for good when it comes back.
        let mut sub = server.command(&["sub", "a.>", "--raw", "--count", "1", "--timeout", "60s"]);
        sub.stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let sub = sub.spawn().unwrap();
        server.wait_for("main", "the subscriber", |info| {
            info["subscribers"].as_u64() == Some(1)
        });
        server.kill();
        let address = server.address.clone();
        let path = segments(&server).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|window| window == b"torn");
        bytes[at.expect("the record")] ^= 1;
        fs::write(&path, bytes).unwrap();
        server.restart_inside(|directory, mut serve| {
            serve.args(["--workers", workers, "--listen", &address]);
            let (data, before) = (directory.join("data"), directory.join("before"));
            fs::rename(&data, &before).unwrap();
            fs::create_dir(&data).unwrap();
            let script = format!(
                "cp -a --sparse=never {before}/. {data} && dd if=/dev/zero of={data}/filler bs=64k 2>/dev/null; exec \"$@\"",
                before = before.display(),
                data = data.display(),
            );
            let mut full = Command::new("sh");
            full.args(["-c", &script, "sh"]);
            mounted(namespace, "size=32m", &data, &around(full, &serve))
        });
        server.address = address;
        let info = server.stream("main");
        assert_eq!(info["state"], "refused", "{info}");
        let reason = info["reason"].as_str().unwrap();
        let words = ["space", "make room", "tried again every few seconds"];
        assert!(words.iter().all(|words| reason.contains(words)), "{reason}");
        assert!(!reason.contains("log verify"), "{reason}");
        assert_eq!(server.run(&["pub", "a.x", "x"]).code, REFUSED);
        let inside = format!("/proc/{}/root{}", server.pid(), server.data().display());
        fs::remove_file(Path::new(&inside).join("filler")).unwrap();
        server.wait_for("main", "the stream", |info| info["state"] == "ok");
        server.wait_for("main", "the subscriber that is back", |info| {
            info["subscribers"].as_u64() == Some(1)
        });
        let words = ["the stream is not served", "could be opened and is served"];
        for words in words {
            let log = server.log();
            assert_eq!(log.matches(words).count(), 1, "{log}");
        }
        let published = server.run(&["pub", "a.x", "after", "--ack", "synced"]);
        assert_eq!(published.code, 0, "{}", published.err);
        assert_eq!(server.everything("a.>", 2).out, "before\nafter\n");
        let ran = finish(sub, Duration::from_secs(60));
        assert_eq!((ran.code, ran.out.as_str()), (0, "after\n"), "{}", ran.err);
        assert!(ran.err.contains("stream main is not served"), "{}", ran.err);
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
    }
}

#[test]
fn a_stream_that_is_served_later_is_read_from_when_it_was_subscribed_to() {
    for workers in ["1", "2"] {
        let mut server = stopped(&["--workers", workers]);
        let first = server.data().join("streams/other/0000000000000000.seg");
        let whole = fs::read(&first).unwrap();
        break_other(&server, "damaged");
        server.restart();
        let client = Client::connect(&server.address).unwrap();
        let mut subscriber = client.subscribe(&Subscription::new(">")).unwrap();
        let mut next = || {
            let message = subscriber.next_timeout(Duration::from_secs(20)).unwrap();
            let message = message.expect("a record");
            (message.subject().to_owned(), message.payload().to_owned())
        };
        assert_eq!(server.run(&["pub", "a.x", "1"]).code, 0);
        assert_eq!(next(), ("a.x".to_owned(), b"1".to_vec()));
        server.kill();
        fs::write(&first, whole).unwrap();
        server.restart_in_place();
        assert_eq!(server.run(&["pub", "b.x", "2"]).code, 0);
        // What was there before it subscribed is not new.
        assert_eq!(next(), ("b.x".to_owned(), b"2".to_vec()));
    }
}

#[test]
fn a_description_that_cannot_be_used_keeps_its_stream_alone_from_being_served() {
    type Breaks = fn(&Path);
    let ways: [(&str, Breaks); 4] = [
        ("empty", |path| fs::write(path, "").unwrap()),
        ("no text", |path| fs::write(path, [0xff; 9]).unwrap()),
        ("of another stream", |path| {
            fs::write(path, r#"{"name": "third", "subjects": ["c.>"]}"#).unwrap();
        }),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (how, breaks) in ways {
        let mut server = stopped(&[]);
        let path = server.data().join("added/other.json");
        breaks(&path);
        server.restart();
        let info = server.stream("other");
        assert_eq!(info["state"], "refused", "{how}: {info}");
        let reason = info["reason"].as_str().unwrap();
        let words = [path.to_str().unwrap(), "remove the file"];
        assert!(
            words.iter().all(|words| reason.contains(words)),
            "{how}: {reason}"
        );
        assert!(server.log().contains(words[0]), "{how}: {}", server.log());
        let table = server.run(&["stream", "ls"]);
        assert_eq!(table.code, 0, "{how}: {}", table.err);
        let shown = server.run(&["stream", "info", "other"]);
        assert!(shown.out.contains("refused: stream other"), "{}", shown.out);
        assert_eq!(server.run(&["pub", "a.x", "after"]).code, 0, "{how}");
        assert_eq!(server.everything("a.>", 2).out, "before\nafter\n", "{how}");
        assert_eq!(server.end("TERM"), REFUSED_BY_MACHINE, "{how}");
    }
    // The way out that is named: nothing of the stream is lost.
    let mut server = stopped(&[]);
    let path = server.data().join("added/other.json");
    fs::write(&path, "").unwrap();
    let declared = "- {name: other, subjects: ['b.>'], segment: 1MiB, tail: 1MiB}\n";
    server.reconfigure(&format!("{MAIN}{declared}"));
    server.restart();
    assert_eq!(server.everything("b.>", 1).out, "before\n");
    assert!(server.log().contains(path.to_str().unwrap()));
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    fs::remove_file(&path).unwrap();
    server.restart();
    assert_eq!(server.everything("b.>", 1).out, "before\n");
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn who_wants_a_stream_that_is_not_served_is_refused_with_the_reason() {
    for workers in ["1", "2"] {
        let mut server = stopped(&["--workers", workers]);
        let words = break_other(&server, "damaged");
        server.restart();

        let mut raw = Raw::greeted(&server.address);
        raw.publish(1, &definition(1, "b.x"));
        raw.publish(2, &definition(2, "a.x"));
        let both = [data(2, 1, b"1"), data(1, 2, b"2"), data(1, 3, b"3")].concat();
        raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 3, &both));
        let refused = raw.refusal_after_acks();
        assert_eq!((refused.code, refused.closing), (READ_ONLY, false));
        assert_eq!(refused.count, 2, "{refused:?}");
        assert!(
            refused.message.starts_with("stream other is not served: "),
            "{refused:?}"
        );
        assert!(refused.message.contains(words), "{refused:?}");
        assert_eq!(server.stream("main")["records"].as_u64(), Some(2));
        let told = server.run(&["pub", "b.x", "x"]);
        assert_eq!(told.code, REFUSED, "{}", told.err);
        assert!(told.err.contains(words), "{}", told.err);

        // Nothing else would come.
        raw.send(&frame(SUBSCRIBE, 0, 7, &subscribe(1, 1, 4, 1 << 20, "b.*")));
        let refused = raw.refusal_after_acks();
        assert_eq!((refused.code, refused.closing), (READ_ONLY, false));
        assert!(refused.message.contains(words), "{refused:?}");
        for only in [&["sub", "b.>"][..], &["sub", ">", "--stream", "other"]] {
            let sub = server.run(&[only, &["--timeout", "10s"]].concat());
            assert_eq!(sub.code, REFUSED, "{}", sub.err);
            assert!(sub.err.contains(words), "{}", sub.err);
        }

        // Something else comes, and what does not is said.
        raw.send(&frame(SUBSCRIBE, 0, 8, &subscribe(1, 1, 4, 1 << 20, ">")));
        let notice = loop {
            let frame = raw.frame().expect("the connection stays");
            if frame.opcode == ERROR {
                break frame;
            }
        };
        assert_eq!(notice.sequence, 0);
        let notice = Refused::read(&notice);
        assert_eq!((notice.code, notice.closing), (READ_ONLY, false));
        let sub = server.everything(">", 2);
        assert_eq!(sub.out, "before\n1\n");
        assert!(
            sub.err.contains("stream other is not served") && sub.err.contains(words),
            "{}",
            sub.err
        );
    }
}

#[test]
fn a_stream_that_is_not_served_is_listed_and_can_be_removed() {
    for workers in ["1", "2"] {
        let mut server = stopped(&["--workers", workers]);
        break_other(&server, "damaged");
        server.restart();
        let list = server.run(&["stream", "ls", "--json"]).json();
        let states = list["streams"].as_array().unwrap().iter();
        let states: Vec<_> = states
            .map(|stream| (stream["name"].as_str(), stream["state"].as_str()))
            .collect();
        assert_eq!(
            states,
            [(Some("main"), Some("ok")), (Some("other"), Some("refused"))]
        );
        let table = server.run(&["stream", "ls"]).out;
        assert!(
            table.lines().any(|line| line.starts_with("other")
                && line.contains(" - ")
                && line.ends_with("refused")),
            "{table}"
        );
        let info = server.run(&["stream", "info", "other"]).out;
        assert!(info.contains("refused: cannot open stream other"), "{info}");

        // Its name and its subjects are taken until it is gone.
        let again = ["stream", "add", "other", "--subjects", "b.>"];
        assert_eq!(server.run(&again).code, REFUSED);
        let beside = ["stream", "add", "beside", "--subjects", "b.x"];
        assert_eq!(server.run(&beside).code, REFUSED);
        let removed = server.run(&["stream", "rm", "other", "--yes"]);
        assert_eq!(removed.code, 0, "{}", removed.err);
        assert!(!server.data().join("streams/other").exists());
        let told = server.run(&["pub", "b.x", "x"]);
        assert!(told.err.contains("no stream captures"), "{}", told.err);
        assert_eq!(server.run(&again).code, 0);
        assert_eq!(server.run(&["pub", "b.x", "new"]).code, 0);
        assert_eq!(server.everything("b.>", 1).out, "new\n");
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
    }
}

#[test]
fn a_server_none_of_whose_streams_can_be_opened_runs_and_says_so() {
    let mut server = Server::with(SMALL);
    assert_eq!(server.run(&["pub", "a", "x"]).code, 0);
    assert_eq!(server.end("TERM"), 0);
    for path in segments(&server) {
        fs::remove_file(path).unwrap();
    }
    server.restart();
    assert_eq!(server.stream("main")["state"], "refused");
    let told = server.run(&["pub", "a", "x"]);
    assert_eq!(told.code, REFUSED, "{}", told.err);
    assert!(told.err.contains("are missing"), "{}", told.err);
    assert_eq!(server.end("TERM"), REFUSED_BY_MACHINE);
}

#[test]
fn a_subscriber_that_comes_back_is_told_that_its_stream_is_not_served_any_more() {
    let mut server = stopped(&[]);
    server.restart();
    let mut sub = server.command(&["sub", "b.>", "--count", "1", "--timeout", "8s"]);
    sub.stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let sub = sub.spawn().unwrap();
    server.wait_for("other", "the subscriber", |info| {
        info["subscribers"].as_u64() == Some(1)
    });
    server.kill();
    break_other(&server, "missing");
    server.restart_in_place();
    let ran = finish(sub, Duration::from_secs(40));
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.err.contains("stream other is not served"),
        "{}",
        ran.err
    );
}
