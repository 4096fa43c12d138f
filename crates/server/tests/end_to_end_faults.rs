//! What goes wrong around a server: directories, addresses, disks, subscribers that sleep, kills.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use support::raw::{
    ACK, DELIVER, ERROR, EXPECTS_RESPONSE, PING, PONG, PUBLISH, Raw, Refused, SUBSCRIBE, data,
    definition, frame, payloads, subscribe,
};
use support::{Server, finish, refused, refused_command, send_signal, trunkline};
use trunkline_client::{
    Connection, ConnectionOptions, ErrorCode, Event, PublishError, Start, Subscription,
};

const SMALL: &str = "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 512KiB}\n";
const REFUSED_BY_MACHINE: i32 = 6;

// What keeps a server from starting.

#[test]
fn a_data_directory_that_cannot_be_written_is_refused_with_its_name_and_why() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("file"), "x").unwrap();
    let below_a_file = base.path().join("file/data");
    let data = below_a_file.to_str().unwrap();
    let ran = refused(&["--listen", "127.0.0.1:0", "--data", data]);
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err.contains(data) && ran.err.contains("directory"),
        "{}",
        ran.err
    );

    // Somebody else's directory. Root may write everywhere, so as root this is another user's attempt.
    let closed = base.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = closed.join("data");
    let mut command = trunkline(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ]);
    if fs::metadata(&closed).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => {
            let ran = finish(child, Duration::from_secs(20));
            assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
            assert!(
                ran.err.contains("ermission denied") && ran.err.contains(closed.to_str().unwrap()),
                "{}",
                ran.err
            );
        }
        Err(error) => eprintln!("SKIPPED: no other user can run the binary here: {error}"),
    }

    // A read-only file system.
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let mount = base.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let data = mount.join("data");
    let serve = trunkline(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ]);
    let ran = refused_command(mounted(namespace, "ro,size=1m", &mount, &serve));
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err.to_lowercase().contains("read-only file system"),
        "{}",
        ran.err
    );
}

#[test]
fn a_data_directory_that_another_server_has_is_refused_with_its_process() {
    let server = Server::with(SMALL);
    server.run(&["pub", "a", "before"]);
    let data = server.data();
    let ran = refused(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err
            .contains(&format!("in use by process {}", server.pid())),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("--data"), "{}", ran.err);
    assert_eq!(
        server.run(&["pub", "a", "after"]).out,
        "1 record stored, 5B, last sequence 2\n"
    );
}

#[test]
fn a_data_directory_of_a_newer_format_is_refused_and_left_alone() {
    let mut server = Server::with(SMALL);
    server.run(&["pub", "a", "x"]);
    assert_eq!(server.end("TERM"), 0);
    let format = server.data().join("FORMAT");
    fs::write(&format, "trunkline data directory, format 2\n").unwrap();
    let before = contents(&server.data());
    let ran = server.refused();
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err.contains("format 2") && ran.err.contains("newer"),
        "{}",
        ran.err
    );
    // All but the lock, which says who had it last.
    let lock = server.data().join("LOCK");
    let (mut before, mut after) = (before, contents(&server.data()));
    before.remove(&lock);
    after.remove(&lock);
    assert!(before == after);
    fs::write(&format, "trunkline data directory, format 1\n").unwrap();
    server.restart();
    assert_eq!(server.stream("main")["last_sequence"].as_u64(), Some(1));
}

#[test]
fn a_port_that_is_in_use_is_refused_with_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("data");
    let ran = refused(&["--listen", &address, "--data", data.to_str().unwrap()]);
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err
            .contains(&format!("cannot listen on {address}: another process does")),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("--listen"), "{}", ran.err);
}

#[test]
fn an_address_that_other_machines_reach_needs_a_word_of_consent() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("data");
    let data = data.to_str().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7400"] {
        let ran = refused(&["--listen", address, "--data", data]);
        assert_eq!(ran.code, 3, "{address}: {}", ran.err);
        assert!(
            ran.err.contains("no authentication") && ran.err.contains("--insecure-listen"),
            "{address}: {}",
            ran.err
        );
        assert!(
            !Path::new(data).exists(),
            "something was made before the refusal"
        );
    }
    let server = Server::with_flags(SMALL, &["--listen", "0.0.0.0:0", "--insecure-listen"]);
    assert!(
        server.log().contains("other machines can connect"),
        "{}",
        server.log()
    );
}

#[test]
fn damage_to_what_was_synced_is_refused_with_the_segment_and_the_range() {
    let mut server = Server::with(SMALL);
    let lines: String = (0..3000)
        .map(|line| format!("line {line} {}\n", "x".repeat(line % 200)))
        .collect();
    assert_eq!(
        server
            .feed(
                &["pub", "a", "--lines", "--ack", "synced"],
                lines.as_bytes()
            )
            .code,
        0
    );
    // The mark that says how far the sync came is written when it is quiet.
    server.wait_for("main", "the sync", |info| {
        info["synced_sequence"].as_u64() == Some(3000)
    });
    assert_eq!(
        server
            .feed(&["pub", "a", "--lines", "--ack", "synced"], b"one more\n")
            .code,
        0
    );
    assert_eq!(server.end("TERM"), 0);
    let segment = segments(&server).remove(0);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&segment)
        .unwrap();
    let at = 100_003;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
    let before = contents(&server.data().join("streams"));

    let ran = server.refused();
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(ran.err.contains("cannot open stream main"), "{}", ran.err);
    let range = ran
        .err
        .split("segment 0 is damaged at bytes ")
        .nth(1)
        .expect(&ran.err);
    let range = range.split([' ', ',', '\n']).next().unwrap();
    let (start, end) = range.split_once("..").unwrap();
    let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
    assert!((start..end).contains(&at), "{}", ran.err);
    assert!(ran.err.contains("held sequences"), "{}", ran.err);
    // No command is named that there is not.
    assert!(!ran.err.contains("log repair"), "{}", ran.err);
    assert!(
        contents(&server.data().join("streams")) == before,
        "a refused start changed the data"
    );

    // With the byte back, everything is.
    file.write_all_at(&byte, at).unwrap();
    server.restart();
    let sub = server.run(&[
        "sub",
        "a",
        "--from",
        "first",
        "--raw",
        "--count",
        "3001",
        "--timeout",
        "20s",
    ]);
    assert!(
        sub.code == 0 && sub.out == format!("{lines}one more\n"),
        "{}",
        sub.err
    );
}

// What goes wrong while it runs.

#[test]
fn a_full_disk_refuses_publishes_serves_reads_and_is_over_when_there_is_space() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let config = "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 256KiB, tail: 256KiB}\n";
    let server = Server::inside(config, |directory, serve| {
        let data = directory.join("data");
        fs::create_dir(&data).unwrap();
        mounted(namespace, "size=32m", &data, &serve)
    });
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
    assert_ne!(info["state"], "ok", "{info}");
    // Reads go on.
    assert_eq!(everything(&server, accepted.len()), joined(&accepted));

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
    assert_eq!(everything(&server, accepted.len()), joined(&accepted));
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

fn everything(server: &Server, count: usize) -> String {
    let sub = server.run(&[
        "sub",
        "a",
        "--from",
        "first",
        "--raw",
        "--count",
        &count.to_string(),
        "--timeout",
        "20s",
    ]);
    assert_eq!(sub.code, 0, "{}", sub.err);
    sub.out
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
fn a_sleeping_subscriber_does_not_keep_publishers_waiting_and_gets_everything_when_it_wakes() {
    let server = Server::with(
        "limits: {max_record: 16KiB, send_timeout: 60s}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 256KiB}\n",
    );
    let mut asleep = sleeper(&server);
    // Slowly enough that the sleeper is handed the tail itself, until it takes no more; and then many times the tail.
    let lines = many_lines();
    assert!(lines.len() > 8 * (256 << 10));
    let published = server.feed(&["pub", "a", "--lines", "--rate", "6000"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    assert_eq!(server.stream("main")["subscribers"].as_u64(), Some(1));
    let came = deliveries(&mut asleep, 12_000);
    assert!(came == lines, "{} of {} bytes", came.len(), lines.len());
}

/// Subscribes with all the credit there is, policy `spill`, and reads nothing more.
fn sleeper(server: &Server) -> Raw {
    let mut asleep = Raw::greeted(&server.address);
    asleep.send(&frame(SUBSCRIBE, 0, 1, &subscribe(1, 0, 4, 1 << 40, "a")));
    while asleep.answer().expect("the subscription").opcode != ACK {}
    asleep
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

// Ends.

#[test]
fn sigterm_tells_every_client_and_ends_in_good_order() {
    let mut server = Server::with(SMALL);
    let mut idle = Raw::greeted(&server.address);
    let mut subscriber = sleeper(&server);
    let mut publisher = Raw::greeted(&server.address);
    publisher.publish(1, &[definition(1, "b"), data(1, 1, b"x")].concat());
    let cli = server
        .command(&["sub", "b", "--from", "first", "--raw", "--no-reconnect"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A publisher that waits for its standard input.
    let mut waiting = server
        .command(&["pub", "c", "--lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = waiting.stdin.take().unwrap();
    stdin.write_all(b"a line\n").unwrap();
    server.wait_for("main", "its first record", |info| {
        info["last_sequence"].as_u64() == Some(2)
    });
    server.wait_for("main", "both subscribers", |info| {
        info["subscribers"].as_u64() == Some(2)
    });
    send_signal(server.pid(), "TERM");
    for raw in [&mut idle, &mut subscriber, &mut publisher] {
        let refusal = raw.refusal();
        assert_eq!((refusal.code, refusal.closing), (30, true), "{refusal:?}");
        raw.expect_end();
    }
    assert_eq!(server.ended(), 0, "{}", server.log());
    let cli = finish(cli, Duration::from_secs(20));
    assert_eq!((cli.code, cli.out.as_str()), (4, "x\n"), "{}", cli.err);
    let waiting = finish(waiting, Duration::from_secs(20));
    assert_eq!(waiting.code, 4, "{}", waiting.err);
    assert!(waiting.err.contains("shutting down"), "{}", waiting.err);
    let refused = TcpStream::connect(&server.address).expect_err("nobody listens any more");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn sigterm_ends_a_server_under_load_soon_and_without_loss() {
    let mut server = Server::with(SMALL);
    let mut ledger = Ledger::default();
    let mut term = None;
    let mut farewell = None;
    let run = ledger.publish(
        &server.address,
        |at| {
            if at > Duration::from_millis(200) && term.is_none() {
                send_signal(server.pid(), "TERM");
                term = Some(Instant::now());
            }
            term.is_none_or(|term| term.elapsed() < Duration::from_secs(20))
        },
        &mut farewell,
    );
    let took = term.unwrap().elapsed();
    assert_eq!(server.ended(), 0, "{}", server.log());
    assert_eq!(
        farewell,
        Some(ErrorCode::SHUTTING_DOWN),
        "after {took:?}\n{}",
        server.log()
    );
    assert!(
        took < Duration::from_secs(5),
        "it took {took:?}\n{}",
        server.log()
    );
    assert!(run.acknowledged > 0);
    server.restart();
    ledger.check(&server, run);
}

#[test]
fn sigterm_syncs_what_was_only_stored() {
    if Command::new("strace")
        .args(["-D", "true"])
        .output()
        .is_ok_and(|tried| tried.status.success())
    {
        stop_under_trace();
    } else {
        eprintln!("SKIPPED: there is no strace here to see what is synced");
    }
}

fn stop_under_trace() {
    let config = "limits: {max_record: 64KiB}\nio: epoll\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 512KiB, sync_interval: 1h}\n";
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut server = Server::inside(config, |_, serve| {
        // The tracer is the child, so that the process is the server.
        let mut outer = Command::new("strace");
        outer.args([
            "-D",
            "-f",
            "-y",
            "-qq",
            "-e",
            "trace=write,pwrite64,pwritev,pwritev2,fdatasync,fsync",
            "-o",
        ]);
        outer
            .arg(trace.path())
            .arg(serve.get_program())
            .args(serve.get_args())
            .stdin(Stdio::null());
        outer
    });
    let lines: String = (0..5000).map(|line| format!("line {line}\n")).collect();
    assert_eq!(
        server.feed(&["pub", "a", "--lines"], lines.as_bytes()).code,
        0
    );
    let info = server.stream("main");
    assert_eq!(info["stored_sequence"].as_u64(), Some(5000), "{info}");
    assert!(info["synced_sequence"].as_u64() < Some(5000), "{info}");
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    assert!(
        !server.log().contains("not everything could be written"),
        "{}",
        server.log()
    );
    // The detached tracer may be a moment behind.
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let unsynced = unsynced_bytes(&fs::read_to_string(trace.path()).unwrap());
        // A mark of at most a page may follow, which says how far the sync came.
        if unsynced.is_some_and(|bytes| bytes <= 4096) {
            return;
        }
        assert!(
            Instant::now() < end,
            "{unsynced:?} bytes were written and not synced"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes written to segments behind the last sync of one that followed a write; none without such a sync.
fn unsynced_bytes(trace: &str) -> Option<u64> {
    let (mut unsynced, mut written, mut synced) = (0, 0, false);
    // Threads whose sync of a segment is told in two lines, with what was unsynced when it began.
    let mut begun = BTreeMap::new();
    for line in trace.lines() {
        let thread = line.split(' ').next();
        let segment = line.contains("/streams/main/");
        let result: Option<u64> = line
            .rsplit(" = ")
            .next()
            .and_then(|result| result.trim().parse().ok());
        if segment && line.contains("sync(") && line.contains("unfinished") {
            begun.insert(thread, unsynced);
        } else if line.contains("sync(") && segment
            || line.contains("sync resumed") && begun.contains_key(&thread)
        {
            let covered = begun.remove(&thread).unwrap_or(unsynced);
            if result == Some(0) {
                synced |= written > 0;
                unsynced -= covered.min(unsynced);
            }
        } else if segment {
            written += result.unwrap_or(0);
            unsynced += result.unwrap_or(0);
        }
    }
    synced.then_some(unsynced)
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kills_at_random_moments() {
    let mut server = Server::with(SMALL);
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
        | 1;
    eprintln!("seed {seed}");
    let mut random = seed;
    let mut below = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let mut ledger = Ledger::default();
    for kill in 0..15 {
        let after = Duration::from_micros(5_000 + below(120_000));
        let mut killed = false;
        let run = ledger.publish(
            &server.address.clone(),
            |at| {
                if at > after && !killed {
                    server.kill();
                    killed = true;
                }
                true
            },
            &mut None,
        );
        assert!(
            killed,
            "kill {kill}: the connection ended by itself\n{}",
            server.log()
        );
        // Starting is a phase too.
        for _ in 0..below(3) {
            server.restart_and_kill(Duration::from_micros(below(40_000)));
        }
        server.restart();
        ledger.check(&server, run);
    }
    assert!(
        ledger.acknowledged > 1000,
        "{} acknowledged records prove little",
        ledger.acknowledged
    );
    ledger.check_everything(&server);
}

/// What was published, and what must be there.
#[derive(Default)]
struct Ledger {
    /// The number of the next record; each is used once.
    next: u64,
    /// First number and count of what each run left in the stream.
    stored: Vec<(u64, u64)>,
    acknowledged: u64,
}

/// One connection's publishing.
struct Run {
    first: u64,
    published: u64,
    acknowledged: u64,
}

impl Ledger {
    /// Publishes as fast as it goes until the connection ends; `goes_on` is asked all the time.
    fn publish(
        &mut self,
        address: &str,
        mut goes_on: impl FnMut(Duration) -> bool,
        farewell: &mut Option<ErrorCode>,
    ) -> Run {
        let options = ConnectionOptions {
            in_flight_records: 4000,
            ..ConnectionOptions::default()
        };
        let mut connection = Connection::connect(address, &options).unwrap();
        let mut run = Run {
            first: self.next,
            published: 0,
            acknowledged: 0,
        };
        let mut producer_first = None;
        let begin = Instant::now();
        loop {
            assert!(goes_on(begin.elapsed()), "the connection does not end");
            for _ in 0..32 {
                match connection.publish("load.all", &payload(self.next)) {
                    Ok(sequence) => {
                        producer_first.get_or_insert(sequence);
                        self.next += 1;
                        run.published += 1;
                    }
                    Err(PublishError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let flushed = connection.flush();
            let polled = connection.poll(|event| match event {
                Event::Acked { last, .. } => run.acknowledged = last - producer_first.unwrap() + 1,
                Event::Refused { error, .. } => panic!("{error:?}"),
                Event::Notice(error) => *farewell = Some(error.code),
                _ => {}
            });
            // After a failed send, what had been received is still read.
            if polled.is_err() || (flushed.is_err() && matches!(polled, Ok(0))) {
                self.acknowledged += run.acknowledged;
                return run;
            }
        }
    }

    /// What the run left is its beginning, in order and once, and at least what was acknowledged.
    fn check(&mut self, server: &Server, run: Run) {
        let before: u64 = self.stored.iter().map(|(_, count)| count).sum();
        let last = server.stream("main")["last_sequence"].as_u64().unwrap();
        assert!(
            last >= before + run.acknowledged,
            "{} of {} acknowledged records are there",
            last.saturating_sub(before),
            run.acknowledged
        );
        let count = last - before;
        assert!(
            count <= run.published,
            "{count} records are there of {} that were published",
            run.published
        );
        let mut number = run.first;
        read(server, before + 1, last, |bytes| {
            assert!(
                bytes == payload(number),
                "where record {number} belongs is {}",
                String::from_utf8_lossy(bytes)
            );
            number += 1;
        });
        self.stored.push((run.first, count));
    }

    /// All runs, from the first record of the stream on.
    fn check_everything(&self, server: &Server) {
        let mut numbers = self
            .stored
            .iter()
            .flat_map(|(first, count)| *first..first + count);
        let last = self.stored.iter().map(|(_, count)| count).sum();
        read(server, 1, last, |bytes| {
            assert!(bytes == payload(numbers.next().unwrap()))
        });
        assert_eq!(numbers.next(), None);
    }
}

/// Reads a range of sequences, which must be complete.
fn read(server: &Server, first: u64, last: u64, mut on: impl FnMut(&[u8])) {
    let mut connection =
        Connection::connect(&server.address, &ConnectionOptions::default()).unwrap();
    connection
        .subscribe(&Subscription::new("load.>").start(Start::Sequence(first)))
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let mut next = first;
    while next <= last {
        connection.flush().unwrap();
        let came = connection.poll(|event| match event {
            Event::Record { message, .. } => {
                assert_eq!(message.sequence(), next);
                next += 1;
                on(message.payload());
            }
            Event::Gap { gap, .. } => panic!("{gap:?}"),
            _ => {}
        });
        if came.unwrap() == 0 {
            assert!(
                Instant::now() < end,
                "sequence {next} of {last} does not come"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Records of many lengths, each of its own.
fn payload(number: u64) -> Vec<u8> {
    let mut payload = format!("{number:010} ").into_bytes();
    payload.resize(
        11 + (number * 37 % 400) as usize,
        b'a' + (number % 26) as u8,
    );
    payload
}

// The machine.

/// The segment files of stream `main`, oldest first.
fn segments(server: &Server) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(server.data().join("streams/main"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Every file below a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Flags with which `unshare` gives a process mounts of its own here, so that nothing is left behind however a test ends.
fn mount_namespace() -> Option<&'static str> {
    let found = ["-Urm", "-m"].into_iter().find(|flags| {
        let tried = Command::new("unshare")
            .args([flags, "sh", "-c", "mount -t tmpfs none /mnt"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!("SKIPPED: this user cannot mount a small file system (unshare -Urm)");
    }
    found
}

/// The command in a namespace in which a file system of its own is mounted.
fn mounted(namespace: &str, options: &str, at: &Path, command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer
        .args([
            namespace,
            "sh",
            "-c",
            "mount -t tmpfs -o \"$0\" none \"$1\" && shift && exec \"$@\"",
            options,
        ])
        .arg(at)
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    outer
}
