//! `bench`: it starts a server, checks every record, and leaves nothing behind.

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Server, finish, ran, run, send_signal, trunkline};

#[test]
fn every_part_is_measured_against_a_server_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let bench = trunkline(&[
        "bench",
        "--records",
        "20k",
        "--rate",
        "1k",
        "--time",
        "200ms",
        "--json",
    ])
    .env("TMPDIR", directory.path())
    .output()
    .unwrap();
    let bench = ran(bench);
    assert_eq!(bench.code, 0, "{}", bench.err);
    let results = bench.json();
    assert_eq!(
        (results["payload_bytes"].as_u64(), results["ack"].as_str()),
        (Some(64), Some("stored"))
    );
    assert_eq!(results["throughput"]["records"], 20_000);
    assert!(results["throughput"]["delivered_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(results["latency"]["delivery"]["count"], 200);
    assert_eq!(results["latency"]["ack"]["count"], 200);
    let windows: Vec<u64> = results["acks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["window"].as_u64().unwrap())
        .collect();
    assert_eq!(windows, [1, 1000]);
    let server = &results["server"];
    assert_eq!(
        (server["started"].as_bool(), server["idle"].as_str()),
        (Some(true), Some("adaptive"))
    );
    assert!(
        server["address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn people_get_tables() {
    let bench = run(&[
        "bench",
        "--only",
        "throughput",
        "--records",
        "1k",
        "--size",
        "1024",
        "--idle",
        "park",
    ]);
    assert_eq!(bench.code, 0, "{}", bench.err);
    assert!(
        bench.out.starts_with(
            "payloads of 1024 B, acknowledged when stored, a started server, idle park, "
        ),
        "{}",
        bench.out
    );
    assert!(
        bench.out.contains("delivered and checked    1,000"),
        "{}",
        bench.out
    );
    assert!(!bench.out.contains("LATENCY"), "{}", bench.out);
}

const SHORT: [&str; 9] = [
    "bench", "--only", "latency", "--rate", "500", "--time", "200ms", "--ack", "synced",
];

#[test]
fn a_server_that_is_named_is_used() {
    let server = Server::start();
    let named = ["--server", &server.address];
    let bench = run(&[&SHORT[..], &named].concat());
    assert_eq!(bench.code, 0, "{}", bench.err);
    let said = format!(
        "acknowledged when synced, the server at {}\n",
        server.address
    );
    assert!(bench.out.contains(&said), "{}", bench.out);
    assert!(bench.out.contains("publish to delivery"), "{}", bench.out);
    assert!(server.stream("main")["records"].as_u64() > Some(0));
    let bench = run(&[&SHORT[..], &named, &["--json"]].concat());
    let results = bench.json();
    let measured = &results["server"];
    assert_eq!(measured["address"], server.address.as_str());
    assert_eq!(measured["started"], false);
}

#[test]
fn a_server_that_the_environment_names_is_left_alone() {
    let server = Server::start();
    let bench = server.run(&[&SHORT[..], &["--json"]].concat());
    assert_eq!(bench.code, 0, "{}", bench.err);
    let measured = bench.json();
    assert_eq!(measured["server"]["started"], true);
    assert_ne!(measured["server"]["address"], server.address.as_str());
    assert_eq!(server.stream("main")["records"], 0);
    let help = run(&["bench", "--help"]).out;
    assert!(
        help.contains("TRUNKLINE_SERVER does not count here"),
        "{help}"
    );
}

#[test]
fn whoever_interrupts_it_twice_is_left_nothing_to_clear_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = trunkline(&["bench", "--only", "latency", "--time", "60s"]);
    let bench = bench
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let ready = || {
        let mut runs = fs::read_dir(directory.path()).unwrap().flatten();
        runs.any(|run| run.path().join("ready").exists())
    };
    while !ready() {
        assert!(Instant::now() < end, "no server");
        std::thread::sleep(Duration::from_millis(2));
    }
    for _ in 0..2 {
        send_signal(bench.id(), "INT");
    }
    let ended = finish(bench, Duration::from_secs(30));
    assert_eq!(ended.code, 130, "{}", ended.err);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_a_started_server_is_told_cannot_be_told_to_another() {
    for flags in [
        &["--server-cpus", "0"][..],
        &["--idle", "spin"],
        &["--io", "epoll"],
        &["--visible-received"],
    ] {
        let words = [&["bench", "--server", "127.0.0.1:1"], flags].concat();
        let refused = run(&words);
        assert_eq!(refused.code, 2, "{flags:?}: {}", refused.err);
        let (flag, err) = (flags[0], &refused.err);
        assert!(
            err.contains(flag) && err.contains("'--server <HOST:PORT>'"),
            "{flags:?}: {err}"
        );
    }
}
