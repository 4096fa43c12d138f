//! Limits at the connection: time to speak, lengths that are claimed, records and connections that are too many or too large.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::raw::{
    EXPECTS_RESPONSE, HELLO, PING, PONG, PUBLISH, RPC_CALL, Raw, Refused, SUBSCRIBE, Witness, data,
    definition, frame, header, hello,
};
use support::{ONE_STREAM, Server, with_workers};

const IMPATIENT: &str = "\
limits: {max_record: 64KiB, hello_timeout: 1s, idle_timeout: 1s}
streams:
- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}
";

#[test]
fn half_a_frame_and_then_silence_is_silence() {
    for workers in [1, 2] {
        half_a_frame_is_silence(workers);
    }
}

fn half_a_frame_is_silence(workers: usize) {
    let server = Server::with(&with_workers(workers, IMPATIENT));
    let whole = frame(PUBLISH, EXPECTS_RESPONSE, 1, &definition(1, "a"));
    let mut raw = Raw::greeted(&server.address);
    raw.send(&whole[..20]);
    let begin = Instant::now();
    // The Ping is not answered: a Pong would be taken for the rest.
    let ping = raw.frame().expect("a Ping");
    assert_eq!(ping.opcode, PING, "{ping:?}");
    let refusal = Refused::read(&raw.frame().expect("an Error frame"));
    assert_eq!((refusal.code, refusal.closing), (7, true), "{refusal:?}");
    assert!(begin.elapsed() > Duration::from_millis(700));
    raw.expect_end();
}

#[test]
fn claimed_lengths_take_no_memory() {
    for workers in [1, 2] {
        claims_take_no_memory(workers);
    }
}

fn claims_take_no_memory(workers: usize) {
    let server = Server::with(&with_workers(workers, ONE_STREAM));
    let mut witness = Witness::new(&server.address);
    let mut raws: Vec<Raw> = (0..64).map(|_| Raw::greeted(&server.address)).collect();
    let before = memory(server.pid());
    let define = definition(1, "a.b");
    for (number, raw) in raws.iter_mut().enumerate() {
        match number % 4 {
            // The most that may be claimed, of each kind, and not a byte of it.
            0 => raw.send(&header(PUBLISH, 0, 1, 4 << 20)),
            1 => raw.send(&header(RPC_CALL, 0, 1, 64 << 10)),
            2 => raw.send(&header(SUBSCRIBE, 0, 1, 64 << 10)),
            // A record of the largest size, a record of a size that is skipped.
            _ => {
                let mut claim = data(1, 1, b"");
                let length: u32 = if number % 8 == 3 {
                    (64 << 10) - 32
                } else {
                    3 << 20
                };
                claim[24..28].copy_from_slice(&length.to_le_bytes());
                raw.send(&header(PUBLISH, 0, 1, 4 << 20));
                raw.send(&[define.clone(), claim].concat());
            }
        }
    }
    witness.look();
    let after = memory(server.pid());
    let grown = after.saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes more for 64 claims");
    // And the record that is too long for any limit is refused when it has passed, without having been kept.
    let mut raw = Raw::greeted(&server.address);
    let long = data(1, 1, &vec![b'x'; 3 << 20]);
    raw.send(&frame(
        PUBLISH,
        EXPECTS_RESPONSE,
        1,
        &[define, long].concat(),
    ));
    assert_eq!(raw.refusal().code, 10);
    let grown = memory(server.pid()).saturating_sub(before);
    assert!(
        grown < 1 << 20,
        "{grown} bytes more for a record that is refused"
    );
    witness.look();
}

/// What a process has for itself: `VmData` sees what is allocated even if it was never touched.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmData:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[test]
fn a_record_over_the_limit_is_refused_with_the_limit_and_the_connection_goes_on() {
    for workers in [1, 2] {
        // Whichever worker has the connection: one of them has the stream.
        for worker in 0..workers as u64 {
            a_record_over_the_limit_is_refused(workers, worker);
        }
    }
}

fn a_record_over_the_limit_is_refused(workers: usize, worker: u64) {
    let server = Server::with(&with_workers(workers, ONE_STREAM));
    let mut witness = Witness::new(&server.address);
    let limit = (64 << 10) - 32 - 8;
    let mut raw = Raw::greeted_by(&server.address, worker);
    let fits = vec![b'x'; limit];
    assert_eq!(
        raw.publish(1, &[definition(1, "a.b"), data(1, 11, &fits)].concat()),
        1
    );
    witness.look();
    // Accepted, too long, and what comes behind it in the frame.
    let long = vec![b'x'; limit + 1];
    let records = [
        data(1, 12, b"accepted"),
        data(1, 13, &long),
        data(1, 14, b"behind"),
    ]
    .concat();
    raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 2, &records));
    assert_eq!(raw.ack(), (2, 1, 3));
    let refusal = raw.refusal();
    assert_eq!(
        (refusal.frame_sequence, refusal.code, refusal.closing),
        (2, 10, false),
        "{refusal:?}"
    );
    assert_eq!(
        (refusal.producer_sequence, refusal.count),
        (13, 2),
        "{refusal:?}"
    );
    let said = format!(
        "record over the limit: it has {} bytes of payload, the limit is {limit}",
        limit + 1
    );
    assert_eq!(refusal.message, said);
    assert_eq!(raw.publish(3, &data(1, 15, b"goes on")), 4);
    // As the command line says it: the same numbers, and what has that limit is taken.
    assert_eq!(server.feed(&["pub", "a.b"], &fits).code, 0);
    let refused = server.feed(&["pub", "a.b"], &long);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert_eq!(refused.out, "", "the refusal says it all");
    assert_eq!(refused.err, format!("error: {said}\n"));
    witness.look();
}

#[test]
fn a_client_that_does_not_say_hello_in_time_is_told_so() {
    for workers in [1, 2] {
        a_late_hello_is_told(workers);
    }
}

fn a_late_hello_is_told(workers: usize) {
    let server = Server::with(&with_workers(workers, IMPATIENT));
    let mut silent = Raw::connect(&server.address);
    let mut slow = Raw::connect(&server.address);
    let begin = Instant::now();
    // Bytes that trickle in are no Hello.
    let words = hello(1);
    for byte in &words[..6] {
        slow.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(40));
    }
    for raw in [&mut silent, &mut slow] {
        let refusal = raw.refusal();
        assert_eq!((refusal.code, refusal.closing), (6, true), "{refusal:?}");
        raw.expect_end();
    }
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(10),
        "{took:?}"
    );
}

#[test]
fn more_connections_than_the_limit_are_refused_until_others_go() {
    let server = Server::with(
        "workers: 1\nlimits: {connections: 3, max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}\n",
    );
    let mut witness = Witness::new(&server.address);
    let mut second = Raw::greeted(&server.address);
    let third = Raw::greeted(&server.address);
    for _ in 0..3 {
        let mut fourth = Raw::connect(&server.address);
        let refusal = fourth.refusal();
        assert_eq!((refusal.code, refusal.closing), (8, true), "{refusal:?}");
        assert!(refusal.message.contains('3'), "{refusal:?}");
        fourth.expect_end();
        witness.look();
    }
    drop(third);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let mut again = Raw::connect(&server.address);
        again.send_what_goes(&hello(1));
        if again.answer().is_some_and(|answer| answer.opcode == HELLO) {
            break;
        }
        assert!(Instant::now() < end, "the place stays taken");
    }
    second.send(&frame(PING, 0, 5, b"still here"));
    let pong = second.answer().unwrap();
    assert_eq!(
        (pong.opcode, pong.sequence, pong.body.as_slice()),
        (PONG, 5, &b"still here"[..])
    );
    witness.look();
}
