//! `synced_writes: direct`: commits go past the page cache, by one call, and what they left is what any other start finds.

mod support;

use std::fs;

use support::Server;
use support::machine::{can_trace, has_direct_writes, traced};

const STREAMS: &str = "io: epoll\nlimits: {max_record: 64KiB}\nstreams:\n\
    - {name: main, subjects: ['>'], ack: synced, segment: 1MiB, tail: 1MiB}\n";

fn direct() -> String {
    format!("synced_writes: direct\n{STREAMS}")
}

/// What a number of records looks like, as `pub --lines` takes it and `sub --raw` gives it.
fn lines(numbers: std::ops::RangeInclusive<usize>) -> String {
    numbers
        .map(|n| format!("{n:0width$}\n", width = 1 + n * 37 % 5000))
        .collect()
}

fn publish(server: &Server, numbers: std::ops::RangeInclusive<usize>) {
    let published = server.feed(&["pub", "a", "--lines"], lines(numbers).as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
}

#[test]
fn what_was_written_past_the_page_cache_is_found_whichever_way_comes_next() {
    let mut server = Server::with(&direct());
    // Over several segments, with a kill and the other setting between.
    publish(&server, 1..=500);
    server.kill();
    server.restart();
    publish(&server, 501..=800);
    server.kill();
    server.reconfigure(STREAMS);
    server.restart();
    publish(&server, 801..=1000);
    server.kill();
    server.reconfigure(&direct());
    server.restart();
    publish(&server, 1001..=1100);
    assert_eq!(server.everything("a", 1100).out, lines(1..=1100));
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    let data = server.data();
    let verified = server.run(&["log", "verify", "--data", data.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}", verified.err);
}

#[test]
fn a_commit_is_one_call_that_writes_and_syncs() {
    if !can_trace() {
        return;
    }
    let trace = tempfile::NamedTempFile::new().unwrap();
    let calls = "openat,pwrite64,pwritev2,fdatasync";
    let mut server = Server::inside(&direct(), |_, serve| traced(&serve, calls, trace.path()));
    if !has_direct_writes(&server.data()) {
        return;
    }
    for number in 1..=30 {
        let sent = server.run(&["pub", "a", &number.to_string()]);
        assert_eq!(sent.code, 0, "{}", sent.err);
    }
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    let trace = fs::read_to_string(trace.path()).unwrap();
    let segment = "streams/main/0000000000000000.seg>";
    let of_segment = |call: &str| {
        let call = format!(" {call}(");
        let lines = trace.lines();
        lines
            .filter(|line| line.contains(&call) && line.contains(segment))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let opened = trace.lines().any(|line| {
        line.contains(" openat(") && line.contains("O_DIRECT") && line.contains(segment)
    });
    assert!(
        opened,
        "this test has written past the page cache, and the server has not: {}",
        server.log()
    );
    let commits = of_segment("pwritev2");
    let synced = commits.iter().filter(|line| line.contains("RWF_DSYNC"));
    assert!(synced.count() >= 30, "{commits:#?}");
    // A start and an end have theirs.
    let others = of_segment("fdatasync");
    assert!(others.len() < 5, "{others:#?}");
}
