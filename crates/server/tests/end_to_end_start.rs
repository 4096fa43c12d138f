//! What keeps a server from starting, or from going on: directories, addresses, damage, workers that end.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::machine::{
    contents, inject_into, injected_anywhere, mount_namespace, mounted, segments,
};
use support::skipped::skipped;
use support::{SMALL, Server, finish, refused, refused_command, trunkline};

const REFUSED_BY_MACHINE: i32 = 6;

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
        Err(error) => skipped(format_args!(
            "no other user can run the binary here: {error}"
        )),
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
fn a_directory_that_is_served_is_refused_to_others_also_without_the_file_of_the_lock() {
    let server = Server::with(SMALL);
    assert_eq!(server.run(&["pub", "a", "x", "--ack", "synced"]).code, 0);
    let lock = server.data().join("LOCK");
    fs::remove_file(&lock).unwrap();
    let second = server.refused();
    assert_eq!(second.code, REFUSED_BY_MACHINE, "{}", second.err);
    assert!(second.err.contains("is in use by"), "{}", second.err);
    for words in [&["repair", "--yes"][..], &["repair", "--dry-run"]] {
        let repair = server.run_log(words);
        assert_eq!(repair.code, REFUSED_BY_MACHINE, "{}", repair.err);
        assert!(repair.err.contains("is in use by"), "{}", repair.err);
    }
    let verified = server.run_log(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert!(!lock.exists());
    assert_eq!(server.run(&["pub", "a", "y", "--ack", "synced"]).code, 0);
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

    let reason = server.refusal_of("main");
    assert!(reason.contains("cannot open stream main"), "{reason}");
    let range = reason
        .split("segment 0 is damaged at bytes ")
        .nth(1)
        .expect(&reason);
    let range = range.split([' ', ',', '\n']).next().unwrap();
    let (start, end) = range.split_once("..").unwrap();
    let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
    assert!((start..end).contains(&at), "{reason}");
    assert!(reason.contains("held sequences"), "{reason}");
    let command = format!(
        "`trunkline log repair main --data {} --dry-run`",
        server.data().display()
    );
    assert!(reason.contains(&command), "{reason}");
    assert!(
        contents(&server.data().join("streams")) == before,
        "a refused stream was changed"
    );

    // With the byte back, everything is.
    file.write_all_at(&byte, at).unwrap();
    server.restart();
    assert!(server.everything("a", 3001).out == format!("{lines}one more\n"));
}

/// What io_uring does after `kill -9`: the kernel still has the files of a process that is gone, and with them its lock.
#[test]
fn a_lock_that_outlives_its_process_is_waited_for() {
    let mut server = Server::with(SMALL);
    assert_eq!(server.run(&["pub", "a", "before"]).code, 0);
    server.kill();
    let lock = server.data().join("LOCK");
    let hold = |seconds: &str| {
        let holder = Command::new("flock")
            .arg("--no-fork")
            .arg(&lock)
            .args(["sleep", seconds])
            .spawn();
        let Ok(holder) = holder else {
            skipped("there is no flock here");
            return None;
        };
        let end = Instant::now() + Duration::from_secs(10);
        let file = fs::File::open(&lock).unwrap();
        while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok() {
            rustix::fs::flock(&file, rustix::fs::FlockOperation::Unlock).unwrap();
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(holder)
    };
    // Longer than a live process is waited for.
    let Some(mut holder) = hold("1") else { return };
    server.restart();
    assert_eq!(server.stream("main")["last_sequence"].as_u64(), Some(1));
    holder.wait().unwrap();
    let pid = server.pid();
    server.kill();
    let Some(mut holder) = hold("60") else { return };
    let ran = server.refused();
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err.contains(&format!("process {pid}, which has ended")),
        "{}",
        ran.err
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// So many streams in memory, as small as they can be.
fn many_streams(count: usize) -> String {
    let streams = (0..count).map(|n| {
        format!("- {{name: s{n}, subjects: ['s{n}.>'], storage: memory, tail: 256KiB}}\n")
    });
    format!(
        "limits: {{max_record: 64KiB}}\nstreams:\n{}",
        streams.collect::<String>()
    )
}

#[test]
fn one_worker_serves_every_stream_of_its_configuration() {
    let config = many_streams(300);
    let mut server = Server::with_flags(&config, &["--workers", "1"]);
    let last = server.run(&["pub", "s299.a", "x"]);
    assert_eq!(last.code, 0, "{}", last.err);
    let list = server.run(&["stream", "ls", "--json"]).json();
    assert_eq!(list["streams"].as_array().map(Vec::len), Some(300));
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
}

#[test]
fn more_added_streams_than_a_worker_takes_are_refused_with_the_number() {
    let config = "workers: 1\nlimits: {max_record: 64KiB}\nstreams: []\n";
    let mut server = Server::with(config);
    let add = |name: &str| {
        let (subjects, tail) = (format!("{name}.>"), "256KiB");
        let words = ["stream", "add", name, "--subjects", &subjects];
        let memory = ["--storage", "memory", "--tail", tail];
        server.run(&[&words[..], &memory].concat())
    };
    let added = add("s0");
    assert_eq!(added.code, 0, "{}", added.err);
    assert_eq!(server.end("TERM"), 0);
    // As a server with more workers would have taken them.
    let folder = server.data().join("added");
    let description = fs::read_to_string(folder.join("s0.json")).unwrap();
    for n in 1..300 {
        let name = format!("s{n}");
        fs::write(
            folder.join(format!("{name}.json")),
            description.replace("s0", &name),
        )
        .unwrap();
    }
    let ran = server.refused();
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err
            .contains("worker 0 has 256 added streams, and that is the most")
            && ran.err.contains("with more workers")
            && !ran.err.contains("listening"),
        "{}",
        ran.err
    );
    server.reconfigure(&config.replace("workers: 1", "workers: 2"));
    server.restart();
    assert_eq!(server.run(&["pub", "s299.a", "x"]).code, 0);
}

/// What is in front of the first connection: the worker cannot take its listener in.
#[test]
fn a_worker_that_cannot_start_ends_the_server_before_it_says_that_it_listens() {
    let base = tempfile::tempdir().unwrap();
    let (data, ready) = (base.path().join("data"), base.path().join("ready"));
    let mut serve = trunkline(&["serve", "--listen", "127.0.0.1:0", "--io", "epoll"]);
    serve
        .args(["--workers", "1", "--data"])
        .arg(&data)
        .arg("--ready-file")
        .arg(&ready);
    // A worker's first is for its wake-ups.
    let Some(command) = injected_anywhere("epoll_ctl:error=ENOSPC:when=2+", &serve) else {
        return;
    };
    let began = Instant::now();
    let ran = refused_command(command);
    assert_eq!(ran.code, REFUSED_BY_MACHINE, "{}", ran.err);
    assert!(
        ran.err
            .contains("a worker cannot go on, and the server ends with it: worker 0: ")
            && ran.err.contains("No space left")
            && !ran.err.contains("listening"),
        "{}",
        ran.err
    );
    assert!(!ready.exists());
    assert!(began.elapsed() < Duration::from_secs(8), "{}", ran.err);
}

#[test]
fn a_worker_that_cannot_go_on_ends_the_server_at_once_and_says_why() {
    let mut server = Server::with_flags(SMALL, &["--io", "epoll", "--workers", "2"]);
    assert_eq!(server.run(&["pub", "a", "before"]).code, 0);
    let waits = "?epoll_wait,epoll_pwait:error=EINVAL";
    let Some(mut tracer) = inject_into(server.pid(), waits) else {
        return;
    };
    let began = Instant::now();
    assert_eq!(server.ended(), REFUSED_BY_MACHINE, "{}", server.log());
    tracer.wait().unwrap();
    let log = server.log();
    assert!(
        log.contains("a worker cannot go on, and the server ends with it: worker ")
            && log.contains("Invalid argument"),
        "{log}"
    );
    assert!(began.elapsed() < Duration::from_secs(8), "{log}");
    assert!(!server.data().with_file_name("ready").exists());
    server.restart();
    assert_eq!(server.stream("main")["last_sequence"].as_u64(), Some(1));
}

#[test]
fn what_is_said_of_a_torn_tail_is_what_the_files_tell() {
    let mut server = Server::with(SMALL);
    server.run(&["pub", "a", "x"]);
    assert_eq!(server.end("TERM"), 0);
    let path = &segments(&server)[0];
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"half a record", 100_000).unwrap();
    server.restart();
    let log = server.log();
    assert!(
        log.contains("a torn tail was cut off and kept in quarantine")
            && log.contains("nothing in the files says that any of it had been synced"),
        "{log}"
    );
}
