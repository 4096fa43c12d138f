//! How a server ends: SIGTERM in good order, kills at any moment, and nothing that was acknowledged is lost.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use support::machine::{can_trace, injected, traced};
use support::raw::{Raw, data, definition, sleeper};
use support::{SMALL, Server, finish, send_signal};
use trunkline_client::{
    Connection, ConnectionOptions, ErrorCode, Event, PublishError, Start, Subscription,
};

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

/// What a server that may stop for half a second and has a slow disk says, and what is there afterwards.
#[test]
fn a_stop_that_the_disk_holds_up_for_too_long_tells_the_clients_and_ends_with_what_is_left() {
    let slow = "fdatasync:delay_enter=6s";
    let Some(_) = injected("/".as_ref(), slow, &Command::new("true")) else {
        return;
    };
    let config = SMALL.replace("limits: {", "workers: 1\nlimits: {drain_timeout: 500ms, ");
    let mut server = Server::inside(&config, |directory, mut serve| {
        serve.args(["--io", "epoll"]);
        let segment = directory.join("data/streams/main/0000000000000000.seg");
        injected(&segment, slow, &serve).expect("it worked before")
    });
    let mut client = Raw::greeted(&server.address);
    client.publish(1, &[definition(1, "a"), data(1, 1, b"x")].concat());
    send_signal(server.pid(), "TERM");
    let refusal = client.refusal();
    assert_eq!((refusal.code, refusal.closing), (30, true), "{refusal:?}");
    client.expect_end();
    assert_eq!(server.ended(), 1, "{}", server.log());
    let left = "the stop ran out of its drain_timeout of 500ms: 1 record not synced, 1 connection not closed;";
    assert!(server.log().contains(left), "{}", server.log());
    server.restart();
    assert_eq!(server.everything("a", 1).out, "x\n");
}

#[test]
fn a_stop_that_a_client_holds_up_for_too_long_says_so() {
    let config = SMALL.replace("limits: {", "workers: 1\nlimits: {drain_timeout: 100ms, ");
    let mut server = Server::with(&config);
    let asleep = sleeper(&server);
    // More than sockets take: a part of it waits to be sent.
    let lines: String = (0..400).map(|line| format!("{line:<60000}\n")).collect();
    let published = server.feed(&["pub", "a", "--lines"], lines.as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    assert_eq!(server.end("TERM"), 1, "{}", server.log());
    let left = "the stop ran out of its drain_timeout of 100ms: 1 connection not closed;";
    assert!(server.log().contains(left), "{}", server.log());
    drop(asleep);
}

#[test]
fn sigterm_syncs_what_was_only_stored() {
    if !can_trace() {
        return;
    }
    let config = "limits: {max_record: 64KiB}\nio: epoll\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 512KiB, sync_interval: 1h}\n";
    let trace = tempfile::NamedTempFile::new().unwrap();
    let calls = "write,pwrite64,pwritev,pwritev2,fdatasync,fsync";
    let mut server = Server::inside(config, |_, serve| traced(&serve, calls, trace.path()));
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
