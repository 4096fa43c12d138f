//! `stream rm`: what it has answered is gone stays gone, and what was interrupted is finished.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Server, finish};
use trunkline_client::{Client, Subscription};

/// A server with a stream of its own for what the tests do not remove.
const BESIDE: &str = "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['main.>'], segment: 1MiB, tail: 1MiB}\n";
/// Files that make removing a stream take its time.
const MANY: usize = 20_000;

fn add(server: &Server) {
    let added = server.run(&["stream", "add", "logs", "--subjects", "logs.>"]);
    assert_eq!(added.code, 0, "{}", added.err);
}

/// A server with a stream `logs` that has three records.
fn with_logs() -> Server {
    let server = Server::with(BESIDE);
    add(&server);
    publish(&server);
    server
}

fn publish(server: &Server) {
    let published = server.feed(&["pub", "logs.a", "--lines"], b"one\ntwo\nthree\n");
    assert_eq!(published.code, 0, "{}", published.err);
}

fn files(server: &Server) -> PathBuf {
    server.data().join("streams/logs")
}

/// Puts files into the stream's directory, all of which have to be removed with it.
fn make_many(server: &Server) {
    let folder = files(server).join("quarantine");
    fs::create_dir_all(&folder).unwrap();
    for nth in 0..MANY {
        fs::write(folder.join(format!("{nth}")), "").unwrap();
    }
}

/// What the data directory remembers of streams that were added.
fn remembered(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.data().join("added")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn is_new(server: &Server) {
    let info = server.stream("logs");
    assert_eq!(info["records"].as_u64(), Some(0), "{info}");
    assert_eq!(info["last_sequence"].as_u64(), Some(0), "{info}");
}

#[test]
fn a_stream_is_gone_when_it_is_answered_that_it_is() {
    let mut server = with_logs();
    make_many(&server);
    let removed = server.run(&["stream", "rm", "logs", "--yes"]);
    assert!(!files(&server).exists(), "its files are there");
    assert_eq!(remembered(&server), [""; 0]);
    server.kill();
    assert_eq!(removed.code, 0, "{}", removed.err);
    assert!(removed.out.contains("its 3 records"), "{}", removed.out);
    server.restart();
    let info = server.run(&["stream", "info", "logs"]);
    assert!(info.err.contains("there is no stream logs"), "{}", info.err);
    add(&server);
    is_new(&server);
}

#[test]
fn a_stream_can_be_added_again_as_soon_as_it_is_removed() {
    let server = with_logs();
    for round in 0..5 {
        if round == 0 {
            make_many(&server);
        }
        let removed = server.run(&["stream", "rm", "logs", "--yes"]);
        assert_eq!(removed.code, 0, "{}", removed.err);
        add(&server);
        is_new(&server);
        publish(&server);
    }
}

#[test]
fn a_reader_with_a_cursor_begins_anew_with_a_stream_that_is_added_again() {
    let server = with_logs();
    let client = Client::connect(&server.address).unwrap();
    let mut reader = client
        .subscribe(&Subscription::new("logs.>").cursor("reader"))
        .unwrap();
    for round in 0..3 {
        for (sequence, payload) in (1..).zip(["one", "two", "three"]) {
            let message = reader.next_timeout(Duration::from_secs(20)).unwrap();
            let message = message.unwrap_or_else(|| panic!("round {round}: no record {sequence}"));
            assert_eq!(
                (message.sequence(), message.payload()),
                (sequence, payload.as_bytes())
            );
        }
        let removed = server.run(&["stream", "rm", "logs", "--yes"]);
        assert_eq!(removed.code, 0, "{}", removed.err);
        add(&server);
        publish(&server);
    }
}

#[test]
fn a_removal_that_a_kill_interrupts_is_finished_at_the_next_start() {
    let mut server = with_logs();
    make_many(&server);
    let description = server.data().join("added/logs.json");
    let mut remove = server.command(&["stream", "rm", "logs", "--yes"]);
    let remove = remove
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while description.exists() && Instant::now() < end {
        std::hint::spin_loop();
    }
    server.kill();
    let interrupted = files(&server).exists();
    let removed = finish(remove, Duration::from_secs(60));
    assert!(interrupted, "it was over already: {}", removed.out);
    assert_ne!(removed.code, 0, "{}", removed.out);
    server.restart();
    assert!(!files(&server).exists(), "its files are there");
    assert_eq!(remembered(&server), [""; 0]);
    assert!(
        server.log().contains("was being removed"),
        "{}",
        server.log()
    );
    add(&server);
    is_new(&server);
}

#[test]
fn a_removal_that_fails_says_so_and_can_be_done_again() {
    let server = with_logs();
    // The mark cannot be made.
    let in_the_way = server.data().join("added/logs.removed");
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    let failed = server.run(&["stream", "rm", "logs", "--yes"]);
    assert_ne!(failed.code, 0, "{}", failed.out);
    for word in ["files are still there", "logs.removed", "remove it again"] {
        assert!(failed.err.contains(word), "{word}: {}", failed.err);
    }
    assert!(files(&server).exists());
    let added = server.run(&["stream", "add", "logs", "--subjects", "logs.>"]);
    assert_ne!(added.code, 0, "{}", added.out);
    assert!(added.err.contains("remove it again"), "{}", added.err);
    fs::remove_dir_all(&in_the_way).unwrap();
    let removed = server.run(&["stream", "rm", "logs", "--yes"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
    assert!(!files(&server).exists(), "its files are there");
    add(&server);
    is_new(&server);
}

#[test]
fn removing_a_stream_in_memory_leaves_the_files_that_another_had_under_its_name() {
    let both =
        format!("{BESIDE}- {{name: logs, subjects: ['logs.>'], segment: 1MiB, tail: 1MiB}}\n");
    let mut server = Server::with(&both);
    publish(&server);
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server.reconfigure(BESIDE);
    server.restart();
    let words = [
        "stream",
        "add",
        "logs",
        "--subjects",
        "logs.>",
        "--storage",
        "memory",
    ];
    let added = server.run(&words);
    assert_eq!(added.code, 0, "{}", added.err);
    let removed = server.run(&["stream", "rm", "logs", "--yes"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server.reconfigure(&both);
    server.restart();
    assert_eq!(server.everything("logs.>", 3).out, "one\ntwo\nthree\n");
}

#[test]
fn the_memory_of_a_removed_stream_comes_back_from_all_workers() {
    let server = Server::with(
        "workers: 2\nlimits: {send_timeout: 100ms}\nstreams:\n- {name: main, subjects: ['main.>']}\n",
    );
    let first = resident_mib(&server);
    for nth in 0..MANY_STREAMS {
        let (name, subjects) = (format!("s{nth}"), format!("s{nth}.>"));
        let added = server.run(&["stream", "add", &name, "--subjects", &subjects]);
        assert_eq!(added.code, 0, "{}", added.err);
    }
    let tails = resident_mib(&server) - first;
    assert!(tails > 4 * MANY_STREAMS, "{tails} MiB for tails");
    for nth in 0..MANY_STREAMS {
        let removed = server.run(&["stream", "rm", &format!("s{nth}"), "--yes"]);
        assert_eq!(removed.code, 0, "{}", removed.err);
    }
    let begin = Instant::now();
    while resident_mib(&server) > first + tails / 4 {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{} MiB before, {tails} more with streams, {} without",
            first,
            resident_mib(&server)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn resident_mib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024
}

/// Streams whose tails are far more than what a server's memory varies by.
const MANY_STREAMS: u64 = 6;
