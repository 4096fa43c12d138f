//! What a worker asks of the system: nothing that waits for the disk, which other threads do, and of everything else no more than it must. Counted, not
//! timed; how long turns take is measured by `cargo bench -p trunkline --bench stalls`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use support::Server;
use support::machine::{can_trace, traced};

/// Calls that wait for a device, or may.
const WAITING: [&str; 8] = [
    "fsync",
    "fdatasync",
    "sync_file_range",
    "msync",
    "fallocate",
    "ftruncate",
    "unlink",
    "rename",
];

#[test]
fn a_worker_makes_no_call_that_waits_for_the_disk() {
    if !can_trace() {
        return;
    }
    let config = "io: epoll\nworkers: 1\nlimits: {max_record: 64KiB}\nstreams:\n\
        - {name: main, subjects: ['>'], ack: synced, segment: 1MiB, tail: 512KiB, retention: {bytes: 4MiB}}\n";
    let trace = tempfile::NamedTempFile::new().unwrap();
    let calls = WAITING.map(|call| format!("?{call}")).join(",");
    let mut server = Server::inside(config, |_, serve| traced(&serve, &calls, trace.path()));
    let threads = threads(server.pid());
    let workers: Vec<&String> = threads
        .iter()
        .filter(|(_, name)| name.starts_with("worker-"))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(workers.len(), 1, "{threads:?}");
    // Starting is another matter: nobody is served yet.
    let before = fs::read_to_string(trace.path()).unwrap().len();
    // Enough for segments to be made, filled, and removed.
    let lines: String = (0..8000).map(|line| format!("{line:01000}\n")).collect();
    let published = server.feed(&["pub", "a", "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    let end = Instant::now() + Duration::from_secs(20);
    let calls = loop {
        let calls = fs::read_to_string(trace.path()).unwrap().split_off(before);
        // The tracer may be a moment behind.
        if calls.contains("fdatasync(") && calls.contains("unlink(") && calls.contains("rename(") {
            break calls;
        }
        assert!(Instant::now() < end, "nothing was synced: {calls}");
        std::thread::sleep(Duration::from_millis(20));
    };
    for call in calls.lines() {
        let thread = call.split_whitespace().next().unwrap_or_default();
        assert!(thread.parse::<u32>().is_ok(), "no thread: {call}");
        assert!(
            !workers.iter().any(|worker| *worker == thread),
            "the worker: {call}"
        );
    }
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
}

/// One record after the other, each acknowledged before the next one comes: it is read, written, and answered, and nothing else is asked in between.
#[test]
fn a_lone_record_is_acknowledged_by_three_calls() {
    if !can_trace() {
        return;
    }
    let config = "io: epoll\nidle: park\nworkers: 1\nstreams: [{name: main, subjects: ['>'], ack: stored}]\n";
    let trace = tempfile::NamedTempFile::new().unwrap();
    let calls = "recvfrom,pwrite64,sendto,epoll_wait";
    let mut server = Server::inside(config, |_, serve| traced(&serve, calls, trace.path()));
    let words = "bench --only acks --window 1 --time 300ms --json";
    let words: Vec<&str> = words.split(' ').collect();
    let ran = server.run(&[&words[..], &["--server", &server.address]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    let trace = fs::read_to_string(trace.path()).unwrap();
    let calls: Vec<(&str, &str)> = trace
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.split('(').next()?))
        })
        .collect();
    // Other threads fill segments and end the server.
    let (worker, _) = calls
        .iter()
        .find(|(_, name)| *name == "epoll_wait")
        .unwrap();
    let names: Vec<&str> = calls
        .iter()
        .filter_map(|(thread, name)| (thread == worker).then_some(*name))
        .collect();
    let records = names.iter().filter(|name| **name == "pwrite64").count();
    let straight = names
        .windows(3)
        .filter(|three| *three == ["recvfrom", "pwrite64", "sendto"])
        .count();
    assert!(records > 50, "{records} records");
    // Marks are written, too, and a busy machine splits a record from its answer now and then.
    assert!(straight * 4 > records * 3, "{straight} of {records}");
    let others = names.len() - 3 * straight;
    // One wait for each, and a few while nothing had come yet.
    assert!(others < records * 2, "{others} besides {records}");
}

/// Names of a process's threads, by their ids.
fn threads(process: u32) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks
        .map(|task| {
            let path = task.unwrap().path();
            let name = fs::read_to_string(path.join("comm")).unwrap();
            let id = path.file_name().unwrap().to_str().unwrap().to_owned();
            (id, name.trim().to_owned())
        })
        .collect()
}
