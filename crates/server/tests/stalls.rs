//! A worker never waits for the disk: what can take milliseconds is done by other threads. Counted, not timed; how long turns
//! take is measured by `cargo bench -p trunkline --bench stalls`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::Server;

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
    let tried = Command::new("strace").args(["-D", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: there is no strace here to see what threads wait for");
        return;
    }
    let config = "io: epoll\nlimits: {max_record: 64KiB}\nstreams:\n\
        - {name: main, subjects: ['>'], ack: synced, segment: 1MiB, tail: 512KiB, retention: {bytes: 4MiB}}\n";
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut server = Server::inside(config, |_, serve| {
        // The tracer is the child, so that the process is the server.
        let mut outer = Command::new("strace");
        let calls = format!("trace={}", WAITING.map(|call| format!("?{call}")).join(","));
        outer
            .args(["-D", "-f", "-qq", "-e", &calls, "-o"])
            .arg(trace.path())
            .arg(serve.get_program())
            .args(serve.get_args())
            .stdin(Stdio::null());
        outer
    });
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
