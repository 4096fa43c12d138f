//! `bench`: it starts a server, checks every record, and leaves nothing behind.

mod support;

use std::fs;

use support::{Server, ran, run, trunkline};

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

#[test]
fn a_server_that_is_there_is_used() {
    let server = Server::start();
    let bench = server.run(&[
        "bench", "--only", "latency", "--rate", "500", "--time", "200ms", "--ack", "synced",
    ]);
    assert_eq!(bench.code, 0, "{}", bench.err);
    assert!(
        bench
            .out
            .contains("acknowledged when synced, a server that was there"),
        "{}",
        bench.out
    );
    assert!(bench.out.contains("publish to delivery"), "{}", bench.out);
}
