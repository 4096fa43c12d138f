//! What a configuration says is what the running server does: settings that only show in what it does later.

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::machine::{has_io_uring, injected, injected_anywhere};
use support::{Server, send_signal};

const MAIN: &str = "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['main.>'], segment: 1MiB, tail: 1MiB}\n";

/// Waits for something.
fn until(what: &str, server: &Server, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(
            Instant::now() < end,
            "{what} did not come\n{}",
            server.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Publishes records of 8 kB, some 130 of which fill a segment of 1 MiB.
fn publish(server: &Server, subject: &str, count: usize) {
    let lines: String = (1..=count).map(|n| format!("{n:<8000}\n")).collect();
    let published = server.feed(&["pub", subject, "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
}

/// A server of which such a system call fails, and what it logs of its back-end.
fn reactor_without(injection: &str) -> Option<(Server, String)> {
    injected_anywhere(injection, &Command::new("true"))?;
    let server = Server::inside(MAIN, |_, serve| {
        injected_anywhere(injection, &serve).expect("it worked before")
    });
    let log = server.log();
    let mut lines = log.lines().filter(|line| line.contains("reactor backend="));
    let line = lines.next().unwrap_or_else(|| panic!("{log}")).to_owned();
    Some((server, line))
}

#[test]
fn the_back_end_that_the_system_leaves_is_logged_with_the_reason() {
    let Some((server, line)) = reactor_without("io_uring_setup:error=EPERM") else {
        return;
    };
    assert!(
        line.contains("backend=epoll reason=\"")
            && line.contains("io_uring cannot be used: Operation not permitted")
            && line.contains("allow io_uring_setup"),
        "{line}"
    );
    assert_eq!(server.run(&["pub", "main.a", "x"]).code, 0);
    // The other way round, where this machine has io_uring.
    if !has_io_uring() {
        return;
    }
    let Some((server, line)) = reactor_without("epoll_create1:error=ENOSYS") else {
        return;
    };
    assert!(
        line.contains("backend=io_uring reason=\"epoll cannot be used: Function not implemented"),
        "{line}"
    );
    assert_eq!(server.run(&["pub", "main.a", "x"]).code, 0);
}

#[test]
fn sighup_takes_new_streams_over_and_names_what_waits_for_the_next_start() {
    let server = Server::with(MAIN);
    let changed = MAIN.replace("['main.>']", "['main.>', 'more.>']");
    server.reconfigure(&format!(
        "{changed}- {{name: new, subjects: ['new.>'], segment: 1MiB, tail: 1MiB}}\n"
    ));
    send_signal(server.pid(), "HUP");
    until("the new stream", &server, || {
        server.run(&["stream", "info", "new"]).code == 0
    });
    assert_eq!(server.run(&["pub", "new.a", "x"]).code, 0);
    assert_eq!(server.everything("new.>", 1).out, "x\n");
    assert_eq!(server.stream("new")["configured"].as_bool(), Some(true));
    until("what differs", &server, || {
        server.log().contains("takes effect at the next start")
    });
    assert!(server.log().contains("stream main"), "{}", server.log());
    assert_ne!(server.run(&["pub", "more.a", "x"]).code, 0);
}

#[test]
fn sighup_with_a_configuration_that_is_wrong_changes_nothing() {
    let server = Server::with(MAIN);
    server.reconfigure("streams:\n- {name: main, subject: ['>']}\n");
    send_signal(server.pid(), "HUP");
    until("the refusal", &server, || {
        server.log().contains("the configuration is refused")
    });
    assert!(
        server.log().contains("unknown key `subject`"),
        "{}",
        server.log()
    );
    assert_eq!(server.run(&["pub", "main.a", "x"]).code, 0);
    assert_ne!(server.run(&["pub", "other", "x"]).code, 0);
}

#[test]
fn retention_by_records_and_by_age_removes_what_is_beyond_and_nothing_else() {
    let server = Server::with(
        "limits: {max_record: 64KiB}\nstreams:\n\
         - {name: few, subjects: [few], segment: 1MiB, tail: 1MiB, retention: {records: 200}}\n\
         - {name: fresh, subjects: [fresh], segment: 1MiB, tail: 1MiB, retention: {age: 1s}}\n\
         - {name: old, subjects: [old], segment: 1MiB, tail: 1MiB, retention: {age: 1h}}\n\
         - {name: all, subjects: [all], segment: 1MiB, tail: 1MiB}\n",
    );
    for subject in ["old", "all", "few", "fresh"] {
        publish(&server, subject, 600);
    }
    let few = server.wait_for("few", "retention by records", |info| {
        info["records"].as_u64() < Some(400)
    });
    assert!(few["records"].as_u64() >= Some(200), "{few}");
    server.wait_for("fresh", "retention by age", |info| {
        info["first_sequence"].as_u64() > Some(400)
    });
    for kept in ["old", "all"] {
        assert_eq!(server.stream(kept)["records"].as_u64(), Some(600), "{kept}");
    }
}

#[test]
fn records_wait_for_a_sync_as_long_as_their_stream_says() {
    let server = Server::with(
        "streams:\n\
         - {name: late, subjects: [late], segment: 4MiB, tail: 4MiB, sync_interval: 1h}\n\
         - {name: usual, subjects: [usual], segment: 4MiB, tail: 4MiB}\n",
    );
    for subject in ["late", "usual"] {
        assert_eq!(server.run(&["pub", subject, "x"]).code, 0);
    }
    let is_synced = |info: &Value| info["synced_sequence"].as_u64() == Some(1);
    server.wait_for("usual", "the sync", is_synced);
    let late = server.stream("late");
    assert_eq!(late["stored_sequence"].as_u64(), Some(1), "{late}");
    assert_eq!(late["synced_sequence"].as_u64(), Some(0), "{late}");
}

#[test]
fn what_is_to_be_visible_when_received_does_not_wait_for_the_disk() {
    // Each sync takes longer than the subscriber waits.
    let slow = "fdatasync:delay_enter=6s";
    let Some(_) = injected("/".as_ref(), slow, &Command::new("true")) else {
        return;
    };
    let config = MAIN.replace("segment:", "ack: synced, visible: received, segment:");
    let server = Server::inside(&config, |directory, mut serve| {
        serve.args(["--io", "epoll"]);
        let segment = directory.join("data/streams/main/0000000000000000.seg");
        injected(&segment, slow, &serve).expect("it worked before")
    });
    let published = server.run(&["pub", "main.a", "x", "--ack", "received"]);
    assert_eq!(published.code, 0, "{}", published.err);
    let words = ["sub", "main.a", "--from", "first", "--raw"];
    let sub = server.run(&[&words[..], &["--count", "1", "--timeout", "3s"]].concat());
    assert_eq!((sub.code, &sub.out[..]), (0, "x\n"), "{}", sub.err);
    let info = server.stream("main");
    assert_eq!(info["synced_sequence"].as_u64(), Some(0), "{info}");
}

/// Processor time that a process has used, in ticks of 10 ms.
fn ticks(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_worker_that_is_to_spin_spins_and_one_that_is_to_park_does_not() {
    let spinning = Server::with(&format!("idle: spin\n{MAIN}"));
    let parked = Server::with(&format!("idle: park\n{MAIN}"));
    let (spun, slept) = (ticks(&spinning), ticks(&parked));
    until("half a second of spinning", &spinning, || {
        ticks(&spinning) > spun + 50
    });
    assert!(ticks(&parked) < slept + 25, "{}", parked.log());
}

#[test]
fn a_worker_is_bound_to_the_cpu_that_it_is_pinned_to() {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let mut cpus = 0..rustix::thread::CpuSet::MAX_CPU;
    let cpu = cpus.find(|cpu| allowed.is_set(*cpu)).unwrap();
    let server = Server::with(&format!("workers: 1\npin: [{cpu}]\n{MAIN}"));
    let bound = |server: &Server| {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let status =
            tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
        let is_there = |status: &String| {
            let allowed = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            allowed.unwrap().trim() == cpu.to_string()
        };
        status.filter(is_there).count()
    };
    assert!(bound(&server) >= 1, "no thread is bound to CPU {cpu}");
    let free = Server::with(&format!("workers: 1\npin: none\n{MAIN}"));
    assert!(
        bound(&free) == 0 || allowed.count() == 1,
        "a thread is bound to CPU {cpu}"
    );
}

#[test]
fn a_log_in_json_is_one_object_for_each_line() {
    let mut server = Server::with_flags(MAIN, &["--log-format", "json"]);
    assert_eq!(server.end("TERM"), 0);
    let log = server.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
    }
    let opened = lines.iter().find(|line| line["message"] == "open");
    assert_eq!(opened.unwrap()["stream"], "main", "{log}");
}

#[test]
fn the_log_says_who_came_who_was_late_and_which_streams_came_and_went() {
    let server = Server::with_flags(
        &MAIN.replace("max_record: 64KiB", "max_record: 64KiB, hello_timeout: 1s"),
        &["--log", "debug"],
    );
    let silent = std::net::TcpStream::connect(&server.address).unwrap();
    let peer = format!("peer={}", silent.local_addr().unwrap());
    assert_eq!(
        server.run(&["stream", "add", "b", "--subjects", "b"]).code,
        0
    );
    assert_eq!(server.run(&["stream", "rm", "b", "--yes"]).code, 0);
    let said = |words: [&str; 3]| {
        let log = server.log();
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(said(["INFO", "added", "stream=\"b\""]), "{}", server.log());
    assert!(
        said(["INFO", "removed", "stream=\"b\""]),
        "{}",
        server.log()
    );
    assert!(said(["DEBUG", "connected", &peer]), "{}", server.log());
    until("the end of patience", &server, || {
        said(["INFO", "no Hello came in time", &peer])
    });
    drop(silent);
    let broken = {
        use std::io::Write;
        let mut socket = std::net::TcpStream::connect(&server.address).unwrap();
        socket.write_all(&[0xff; 64]).unwrap();
        socket
    };
    let peer = format!("peer={}", broken.local_addr().unwrap());
    until("what it broke", &server, || {
        said(["INFO", "connection broke the protocol", &peer])
    });
}
