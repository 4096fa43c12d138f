//! Several workers: a connection is one worker's, streams are others', and nobody can tell.

mod support;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::machine::back_ends;
use support::raw::{
    ACK, DELIVER, EXPECTS_RESPONSE, PUBLISH, RPC_CALL, RPC_RESPONSE, Raw, SUBSCRIBE, SUBSCRIBED,
    call, data, definition, frame, hello, payloads, subscribe,
};
use support::{Ran, Server, finish};
use trunkline_client::{
    AckLevel, Client, Connection, ConnectionOptions, Event, Start, Subscription,
};

/// Eight streams, which hash to both workers.
fn config() -> String {
    let mut config = "workers: 2\nlimits: {max_record: 64KiB}\nstreams:\n".to_owned();
    for stream in 0..STREAMS {
        config.push_str(&format!(
            "- {{name: s{stream}, subjects: ['t{stream}.>'], segment: 1MiB, tail: 1MiB}}\n"
        ));
    }
    config
}

const STREAMS: usize = 8;

fn workers_of(server: &Server) -> Vec<u64> {
    (0..STREAMS)
        .map(|stream| {
            server.stream(&format!("s{stream}"))["worker"]
                .as_u64()
                .unwrap()
        })
        .collect()
}

#[test]
fn every_stream_takes_and_gives_records_whichever_worker_has_the_connection() {
    let mut server = Server::with(&config());
    let workers = workers_of(&server);
    assert!(workers.contains(&0) && workers.contains(&1), "{workers:?}");
    // Connections are dealt out as the kernel likes: of several, some are far from their stream.
    for round in 0..3 {
        for stream in 0..STREAMS {
            let lines: String = (0..500)
                .map(|line| format!("{round}.{stream}.{line}\n"))
                .collect();
            let published = server.feed(
                &["pub", &format!("t{stream}.x"), "--lines", "--json"],
                lines.as_bytes(),
            );
            assert_eq!(published.code, 0, "{}", published.err);
            let summary = published.json();
            assert_eq!(
                summary["last_sequence"].as_u64(),
                Some((round + 1) * 500),
                "{summary}"
            );
        }
    }
    for start in 0..2 {
        if start == 1 {
            assert_eq!(server.end("TERM"), 0, "{}", server.log());
            server.restart();
        }
        for (stream, worker) in workers.iter().enumerate() {
            let sub = server.everything(&format!("t{stream}.>"), 1500);
            let expected: String = (0..1500)
                .map(|at| format!("{}.{stream}.{}\n", at / 500, at % 500))
                .collect();
            assert!(sub.out == expected, "stream {stream} of worker {worker}");
        }
    }
}

#[test]
fn what_is_read_from_the_disk_comes_before_what_is_in_memory_whichever_worker_has_it() {
    let mut server = Server::with(&config());
    for stream in 0..STREAMS {
        let published = server.feed(&["pub", &format!("t{stream}.x"), "--lines"], b"1\n2\n");
        assert_eq!(published.code, 0, "{}", published.err);
    }
    assert_eq!(server.end("TERM"), 0, "{}", server.log());
    server.restart();
    // Records keep coming, so that there are always newer ones when those of the disk are there.
    let (address, done) = (server.address.clone(), Arc::new(AtomicBool::new(false)));
    let publishing = thread::spawn({
        let done = done.clone();
        move || {
            let client = Client::connect(&address).unwrap();
            let publisher = client.publisher();
            while !done.load(Ordering::Relaxed) {
                for stream in 0..STREAMS {
                    publisher.publish(&format!("t{stream}.x"), b"new").unwrap();
                }
                publisher.flush(Duration::from_secs(5)).unwrap();
            }
        }
    });
    let client = Client::connect(&server.address).unwrap();
    for round in 0..10 {
        for stream in 0..STREAMS {
            let pattern = format!("t{stream}.>");
            let subscription = Subscription::new(&pattern).start(Start::First);
            let mut subscriber = client.subscribe(&subscription).unwrap();
            for sequence in 1..=20 {
                let message = subscriber.next_timeout(Duration::from_secs(5)).unwrap();
                let message = message.unwrap_or_else(|| panic!("{pattern}: no {sequence}"));
                assert_eq!(message.sequence(), sequence, "{pattern}, round {round}");
            }
        }
    }
    done.store(true, Ordering::Relaxed);
    publishing.join().unwrap();
}

#[test]
fn one_subscription_over_all_workers_gets_each_stream_in_order_and_once() {
    let server = Server::with(&config());
    let live = server
        .command(&["sub", ">", "--json", "--count", "8000", "--timeout", "30s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for stream in 0..STREAMS {
        server.wait_for(&format!("s{stream}"), "the subscriber", |info| {
            info["subscribers"].as_u64() == Some(1)
        });
    }
    std::thread::scope(|scope| {
        for stream in 0..STREAMS {
            let server = &server;
            scope.spawn(move || {
                let lines: String = (0..1000).map(|line| format!("{line}\n")).collect();
                let published = server.feed(
                    &["pub", &format!("t{stream}.x"), "--lines"],
                    lines.as_bytes(),
                );
                assert_eq!(published.code, 0, "{}", published.err);
            });
        }
    });
    let came = finish(live, Duration::from_secs(40));
    assert_eq!(came.code, 0, "{}", came.err);
    let mut next = [0_u64; STREAMS];
    for line in came.out.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let stream: usize = record["stream"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!(
            record["payload"].as_str(),
            Some(next[stream].to_string().as_str()),
            "{record}"
        );
        next[stream] += 1;
        assert_eq!(record["sequence"].as_u64(), Some(next[stream]), "{record}");
    }
    assert_eq!(next, [1000; STREAMS]);
}

#[test]
fn a_frame_with_records_for_both_workers_is_acknowledged_once_and_whole() {
    let server = Server::with(&config());
    let mut raw = Raw::greeted(&server.address);
    let names: Vec<Vec<u8>> = (0..STREAMS as u32)
        .map(|stream| definition(stream, &format!("t{stream}.x")))
        .collect();
    raw.send(&frame(SUBSCRIBE, 0, 1, &subscribe(1, 0, 0, 1 << 30, ">")));
    let mut channels = 0;
    loop {
        let next = raw.answer().unwrap();
        match next.opcode {
            SUBSCRIBED => channels += 1,
            ACK => {
                assert_eq!(
                    (next.sequence, &next.body[4..8]),
                    (1, &[STREAMS as u8, 0, 0, 0][..])
                );
                break;
            }
            _ => panic!("{next:?}"),
        }
    }
    assert_eq!(channels, STREAMS);
    let mut records = names.concat();
    for number in 0..400_u64 {
        records.extend_from_slice(&data(
            (number % STREAMS as u64) as u32,
            number + 1,
            number.to_string().as_bytes(),
        ));
    }
    raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 2, &records));
    let (mut acked, mut came) = (0, vec![]);
    while acked < 400 || came.len() < 400 {
        let next = raw.answer().unwrap();
        match next.opcode {
            ACK => {
                assert_eq!(next.sequence, 2);
                acked += u32::from_le_bytes(next.body[4..8].try_into().unwrap());
            }
            DELIVER => came.extend(payloads(&next.body).into_iter().map(|payload| {
                std::str::from_utf8(payload)
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            })),
            _ => panic!("{next:?}"),
        }
    }
    assert_eq!(acked, 400);
    for stream in 0..STREAMS as u64 {
        let of_stream: Vec<u64> = came
            .iter()
            .copied()
            .filter(|number| number % STREAMS as u64 == stream)
            .collect();
        assert!(
            of_stream.len() == 50 && of_stream.is_sorted(),
            "{of_stream:?}"
        );
    }
}

#[test]
fn calls_and_streams_that_come_and_go_reach_over_workers() {
    let server = Server::with(&config());
    let list = server.run(&["stream", "ls", "--json"]);
    for stream in 0..STREAMS {
        assert!(
            list.out.contains(&format!("\"s{stream}\"")),
            "{}{}",
            list.out,
            list.err
        );
    }
    for name in ["u0", "u1", "u2"] {
        let added = server.run(&["stream", "add", name, "--subjects", &format!("{name}.>")]);
        assert_eq!(added.code, 0, "{}{}", added.out, added.err);
        for _ in 0..4 {
            let published = server.run(&["pub", &format!("{name}.x"), "x"]);
            assert_eq!(published.code, 0, "{}", published.err);
        }
        assert_eq!(server.stream(name)["last_sequence"].as_u64(), Some(4));
    }
    let mut replier = server
        .command(&["reply", "svc.echo", "--exec", "cat"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for round in 0..8 {
        let text = format!("call {round}");
        let mut answer = server.run(&["request", "svc.echo", &text, "--timeout", "5s"]);
        // The responder may not be there yet.
        for _ in 0..200 {
            if answer.code == 0 || round > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            answer = server.run(&["request", "svc.echo", &text, "--timeout", "5s"]);
        }
        assert_eq!(
            (answer.code, answer.out.trim_end()),
            (0, text.as_str()),
            "{}",
            answer.err
        );
    }
    replier.kill().unwrap();
    replier.wait().unwrap();
    let mut failing = server
        .command(&["reply", "svc.fails", "--exec", "exit 7"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Some of these calls come in where the responder is, some elsewhere.
    for _ in 0..8 {
        let failed = eventually_heard(&server, &["request", "svc.fails", "x"]);
        assert_eq!(failed.code, 1);
        assert!(failed.err.contains("(code 7)"), "{}", failed.err);
    }
    failing.kill().unwrap();
    failing.wait().unwrap();
}

/// Asks until somebody listens.
fn eventually_heard(server: &Server, arguments: &[&str]) -> Ran {
    for _ in 0..2000 {
        let answer = server.run(arguments);
        if !answer.err.contains("nobody listens") {
            return answer;
        }
    }
    panic!("nobody listens");
}

#[test]
fn the_server_counts_the_connections_of_all_workers() {
    let server = Server::with(&config());
    let mut connections = Vec::new();
    let mut homes = [0; 2];
    while homes.contains(&0) {
        assert!(connections.len() < 200, "{homes:?}");
        let mut raw = Raw::connect(&server.address);
        raw.send(&hello(1));
        let hello = raw.frame().expect("a Hello");
        // The number of a session begins with that of its worker.
        homes[usize::from(hello.body[31])] += 1;
        connections.push(raw);
    }
    let count = connections.len();
    for raw in &mut connections {
        let request = call(1000, "$sys.server.info", b"");
        raw.send(&frame(RPC_CALL, 0, 1, &request));
        let answer = raw.answer().expect("an answer");
        assert_eq!(answer.opcode, RPC_RESPONSE, "{answer:?}");
        let info: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(info["connections"], count, "{homes:?}: {info}");
    }
}

#[test]
fn a_connection_has_as_many_subjects_as_the_limit_says() {
    for workers in [1, 2] {
        let config = config().replace("workers: 2", &format!("workers: {workers}"));
        let server = Server::with(&config);
        let client = Client::connect(&server.address).unwrap();
        let publisher = client.publisher();
        let patience = Duration::from_secs(20);
        // Names of the length that is planned for, to streams of all workers.
        for nth in 0..4096 {
            let subject = format!("t{}.{nth:061}", nth % STREAMS);
            publisher.publish(&subject, b"x").unwrap();
        }
        let flushed = publisher.flush(patience);
        flushed.unwrap_or_else(|error| panic!("{workers} workers: {error}"));
        // Of several workers each counts what goes to its streams.
        if workers == 1 {
            let more = publisher.publish_acked("t0.x", b"x").unwrap();
            let refused = more.wait(patience).unwrap_err().to_string();
            assert!(refused.contains("(error 8)"), "{refused}");
        }
    }
}

#[test]
fn flushing_to_synced_waits_for_the_streams_of_all_workers() {
    let server = Server::with(&config());
    assert!(workers_of(&server).contains(&0) && workers_of(&server).contains(&1));
    let client = Client::connect(&server.address).unwrap();
    let publisher = client.publisher_with(AckLevel::Stored);
    for round in 1..=3 {
        for stream in 0..STREAMS {
            publisher.publish(&format!("t{stream}.x"), b"x").unwrap();
        }
        publisher
            .flush_to(AckLevel::Synced, Duration::from_secs(20))
            .unwrap();
        for stream in 0..STREAMS {
            let info = server.stream(&format!("s{stream}"));
            assert_eq!(info["synced_sequence"].as_u64(), Some(round), "{info}");
        }
    }
    // A frame without records that asks for nothing special is answered, too.
    let mut raw = Raw::greeted(&server.address);
    raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 1, b""));
    let answer = raw.answer().unwrap();
    assert_eq!((answer.opcode, answer.sequence), (ACK, 1));
}

#[test]
fn subscribers_get_as_much_as_they_asked_for_at_once_from_the_files_of_another_worker() {
    const RECORDS: u64 = 12_000;
    for &io in back_ends() {
        let mut server = Server::with_flags(&config(), &["--io", io]);
        let client = Client::connect(&server.address).unwrap();
        let publisher = client.publisher();
        for _ in 0..RECORDS {
            publisher.publish("t0.x", &[7; 1000]).unwrap();
        }
        publisher.flush(Duration::from_secs(20)).unwrap();
        client.close();
        assert_eq!(server.end("TERM"), 0, "{}", server.log());
        // Nothing is in memory now.
        server.restart();
        // Of so many connections some are far from the stream.
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| read_everything_late(&server, RECORDS));
            }
        });
    }
}

/// Asks for everything at once, asks for signs of life for a while without reading, and then reads.
fn read_everything_late(server: &Server, records: u64) {
    let mut connection =
        Connection::connect(&server.address, &ConnectionOptions::default()).unwrap();
    let everything = Subscription::new("t0.>")
        .start(Start::First)
        .credit_bytes(16 << 20);
    connection.subscribe(&everything).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(100) {
        connection.ping().unwrap();
        connection.flush().unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let mut next = 1;
    while next <= records {
        assert!(begin.elapsed() < Duration::from_secs(20), "{next} is due");
        let polled = connection.poll(|event| {
            if let Event::Record { message, .. } = event {
                assert_eq!(message.sequence(), next);
                next += 1;
            }
        });
        match polled {
            Ok(0) => thread::yield_now(),
            Ok(_) => {}
            Err(error) => panic!("{error} before {next}\n{}", server.log()),
        }
    }
}
