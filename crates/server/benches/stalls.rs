//! The longest stall of a worker while its stream is written and synced: `cargo bench -p trunkline --bench stalls`.
//!
//! One connection publishes 1 KiB records at 100 MB/s to a stream that acknowledges at `synced`; another sends a Ping every 100 µs, by
//! the clock and whatever the others do. A worker that stands still answers late: so the round trip of a Ping is the time until
//! the worker looked, and the network twice, which the same Pings show without the load. Arguments: seconds (default 10).
//! `TRUNKLINE_STALLS_DATA` names the directory whose disk is written to. It takes two processors; the server spins.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use trunkline::config::File;
use trunkline::plan::{Flags, Machine, Plan};
use trunkline::serve::Server;
use trunkline_client::{Connection, ConnectionOptions, Event, PublishError};

fn main() {
    let mut seconds = std::env::args().filter_map(|argument| argument.parse().ok());
    let length = Duration::from_secs(seconds.next_back().unwrap_or(10));
    let directory = match std::env::var_os("TRUNKLINE_STALLS_DATA") {
        Some(path) => tempfile::tempdir_in(path),
        None => tempfile::tempdir(),
    };
    let directory = directory.expect("a directory for the data");
    let text = "idle: spin\nstreams:\n- {name: main, subjects: ['>'], ack: synced, retention: {bytes: 512MiB}}\n";
    let file = File::parse("stalls.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    let flags = Flags {
        listen: vec!["127.0.0.1:0".to_owned()],
        data: Some(directory.path().to_owned()),
        ..Flags::default()
    };
    let machine = Machine {
        cpus: (0..2).collect(),
        memory_bytes: 16 << 30,
    };
    let plan = Plan::compute(Some(&file), &flags, &machine)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let server = Server::start(plan).expect("a server");
    let address = server.addresses()[0].to_string();
    println!(
        "round trip of a Ping, µs:      p50       p99     p99.9    p99.99       max     pings   written"
    );
    for bytes_per_second in [0, 100_000_000] {
        measure(&address, length, bytes_per_second);
    }
    server.stop().expect("a clean end");
}

fn measure(address: &str, length: Duration, bytes_per_second: u64) {
    let connect = || Connection::connect(address, &ConnectionOptions::default()).expect("a server");
    let (mut publisher, mut pinger) = (connect(), connect());
    let mut greeted = false;
    while !greeted {
        pinger.flush().expect("a connection");
        let polled = pinger.poll(|event| greeted |= matches!(event, Event::Hello(_)));
        polled.expect("a connection");
    }
    let mut trips = Histogram::<u64>::new(3).expect("three digits");
    let payload = [7; PAYLOAD_BYTES as usize];
    let begin = Instant::now();
    let (mut published, mut pinged, mut ponged) = (0, 0, 0);
    while begin.elapsed() < length || ponged < pinged {
        let at = begin.elapsed();
        let due = (at.as_nanos() / PING_EVERY.as_nanos()) as u64;
        // One at a time: Pings that wait for each other would count one stall many times; those that were due meanwhile count from when
        // they were due.
        if pinged == ponged && due > pinged && at < length {
            pinger.ping().expect("room for a Ping");
            pinger.flush().expect("a connection");
            pinged = due;
        }
        let target =
            (at.as_micros() as u64).saturating_mul(bytes_per_second) / 1_000_000 / PAYLOAD_BYTES;
        for _ in 0..BURST.min(target.saturating_sub(published)) {
            match publisher.publish("a", &payload) {
                Ok(_) => published += 1,
                Err(PublishError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        publisher.flush().expect("a connection");
        let polled = publisher.poll(|event| {
            if let Event::Refused { error, .. } = event {
                panic!("{error:?}");
            }
        });
        polled.expect("a connection");
        let polled = pinger.poll(|event| {
            if matches!(event, Event::Pong) {
                while ponged < pinged {
                    ponged += 1;
                    let due = PING_EVERY * ponged as u32;
                    let trip = begin.elapsed().saturating_sub(due);
                    trips.saturating_record(trip.as_nanos() as u64);
                }
            }
        });
        polled.expect("a connection");
    }
    let us = |quantile| trips.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "{:>18} MB/s {:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10}{:>7} MB",
        bytes_per_second / 1_000_000,
        us(0.5),
        us(0.99),
        us(0.999),
        us(0.9999),
        trips.max() as f64 / 1000.0,
        trips.len(),
        published * PAYLOAD_BYTES / 1_000_000,
    );
}

const PING_EVERY: Duration = Duration::from_micros(100);
const PAYLOAD_BYTES: u64 = 1024;
/// Records that are published between two looks at the Pings: the client is no faster than this.
const BURST: u64 = 16;
