//! What is large, or much at a time: calls, answers, records. Whose it is may be refused; nobody is disconnected for what another one sent.

mod support;

use std::thread;

use support::Server;
use support::raw::{
    ACK, CREDIT, DELIVER, ERROR, Frame, HELLO, RPC_CALL, RPC_RESPONSE, Raw, Refused, SUBSCRIBE,
    Witness, call, frame, hello_taking, payloads, subscribe, to_respond,
};

/// Records and calls as large as by default, in little memory.
const ROOM: &str = "streams:\n- {name: main, subjects: ['>'], segment: 4MiB, tail: 4MiB}\n";
const TOO_MANY: u16 = 8;
const FRAME_TOO_LONG: u16 = 3;
/// What the server takes by default in the payload of a call to `svc.echo`.
const CALL_BYTES_MAX: usize = (1 << 20) - 32 - 4 - 2 - "svc.echo".len();

/// A connection that answers calls to `svc.echo`.
fn responder(address: &str) -> Raw {
    let mut raw = Raw::greeted(address);
    raw.send(&frame(SUBSCRIBE, 0, 1, &to_respond(1, "svc.echo")));
    assert_eq!(raw.answer().expect("the subscription").opcode, ACK);
    raw
}

/// The payload of a call to `svc.echo`.
fn called(frame: &Frame) -> &[u8] {
    assert_eq!(frame.opcode, RPC_CALL, "{frame:?}");
    &frame.body[4 + 2 + "svc.echo".len()..]
}

#[test]
fn calls_and_answers_of_every_length_come_through() {
    for workers in ["1", "2"] {
        let server = Server::with_flags(ROOM, &["--workers", workers]);
        let mut witness = Witness::new(&server.address);
        let mut echo = responder(&server.address);
        let mut caller = Raw::greeted(&server.address);
        let lengths = [0, 250_000, 262_144, 300_000, 700_000, CALL_BYTES_MAX];
        for (number, length) in (2..).zip(lengths) {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            caller.send(&frame(
                RPC_CALL,
                0,
                number,
                &call(9000, "svc.echo", &payload),
            ));
            let asked = echo.answer().expect("the call");
            assert!(called(&asked) == payload, "{length} bytes");
            echo.send(&frame(RPC_RESPONSE, 0, asked.sequence, called(&asked)));
            let answer = caller.answer().expect("the answer");
            assert_eq!((answer.opcode, answer.sequence), (RPC_RESPONSE, number));
            assert!(answer.body == payload, "{length} bytes");
        }
        witness.look();
    }
}

#[test]
fn many_calls_at_a_time_disconnect_nobody() {
    for workers in ["1", "2"] {
        let server = Server::with_flags(ROOM, &["--workers", workers]);
        let mut witness = Witness::new(&server.address);
        let mut echo = responder(&server.address);
        let mut caller = Raw::greeted(&server.address);
        let payload = vec![7; 8000];
        let calls: Vec<u8> = (2..258)
            .flat_map(|number| frame(RPC_CALL, 0, number, &call(20_000, "svc.echo", &payload)))
            .collect();
        caller.send(&calls);
        // Nobody reads before all of them are there.
        witness.look();
        let mut asked = Vec::new();
        for _ in 2..258 {
            let frame = echo.answer().expect("a call");
            assert!(called(&frame) == payload);
            asked.push(frame.sequence);
        }
        let answers: Vec<u8> = asked
            .iter()
            .flat_map(|&correlation| frame(RPC_RESPONSE, 0, correlation, &payload))
            .collect();
        echo.send(&answers);
        witness.look();
        let mut answered = Vec::new();
        for _ in 2..258 {
            let answer = caller.answer().expect("an answer");
            assert_eq!(answer.opcode, RPC_RESPONSE);
            assert!(answer.body == payload);
            answered.push(answer.sequence);
        }
        answered.sort_unstable();
        assert!(answered.iter().copied().eq(2..258));
    }
}

#[test]
fn answers_that_the_caller_does_not_read_are_refused_and_nobody_else_sees_anything() {
    let server = Server::with(ROOM);
    let mut witness = Witness::new(&server.address);
    let mut echo = responder(&server.address);
    let mut caller = Raw::greeted(&server.address);
    for number in 2..102 {
        caller.send(&frame(
            RPC_CALL,
            0,
            number,
            &call(20_000, "svc.echo", b"much"),
        ));
    }
    let much = vec![1; 500_000];
    for _ in 2..102 {
        let asked = echo.answer().expect("a call");
        echo.send(&frame(RPC_RESPONSE, 0, asked.sequence, &much));
    }
    witness.look();
    let (mut answered, mut refused) = (0, 0);
    for _ in 2..102 {
        let next = caller.answer().expect("an answer, or why there is none");
        if next.opcode == RPC_RESPONSE {
            assert!(next.body == much);
            answered += 1;
            continue;
        }
        assert_eq!(next.opcode, ERROR);
        let error = Refused::read(&next);
        assert_eq!((error.code, error.closing), (TOO_MANY, false));
        assert!(
            error
                .message
                .contains("no room for this answer of 500000 bytes"),
            "{error:?}"
        );
        refused += 1;
    }
    assert!(
        answered >= 8 && refused > 0,
        "{answered} answered, {refused} refused"
    );
    caller.send(&frame(
        RPC_CALL,
        0,
        200,
        &call(9000, "svc.echo", b"once more"),
    ));
    let asked = echo.answer().expect("the responder is still there");
    assert_eq!(called(&asked), b"once more");
}

#[test]
fn calls_that_the_responder_does_not_read_are_refused_and_nobody_else_sees_anything() {
    for workers in ["1", "2"] {
        let server = Server::with_flags(ROOM, &["--workers", workers]);
        let mut witness = Witness::new(&server.address);
        let mut echo = responder(&server.address);
        let mut caller = Raw::greeted(&server.address);
        let payload = vec![3; 900_000];
        // They time out at once, so that the next may come; what was passed on still waits.
        let (mut timed_out, mut refused) = (0, 0);
        for number in 2..42 {
            caller.send(&frame(RPC_CALL, 0, number, &call(1, "svc.echo", &payload)));
            let next = caller.answer().expect("why there is no answer");
            assert_eq!((next.opcode, next.sequence), (ERROR, number));
            let error = Refused::read(&next);
            match error.code {
                22 => timed_out += 1,
                TOO_MANY => {
                    assert!(
                        error.message.contains("has not read earlier calls"),
                        "{error:?}"
                    );
                    refused += 1;
                }
                _ => panic!("{error:?}"),
            }
        }
        assert!(
            timed_out >= 4 && refused > 0,
            "{timed_out} timed out, {refused} refused"
        );
        witness.look();
        for _ in 0..timed_out {
            let asked = echo.answer().expect("a call that is over");
            assert!(called(&asked) == payload);
        }
        caller.send(&frame(RPC_CALL, 0, 60, &call(9000, "svc.echo", b"now")));
        let asked = echo.answer().expect("the responder is still there");
        echo.send(&frame(RPC_RESPONSE, 0, asked.sequence, b"here"));
        assert_eq!(caller.answer().expect("the answer").body, b"here");
    }
}

#[test]
fn records_of_the_largest_length_that_may_be_set_come_through() {
    let server = Server::with(
        "limits: {max_record: 16MiB}\nstreams:\n- {name: a, subjects: ['a.>']}\n- {name: b, subjects: ['b.>']}\n",
    );
    let record: Vec<u8> = (0..(16 << 20) - 48)
        .map(|at| b'a' + (at % 23) as u8)
        .collect();
    for subject in ["a.1", "b.1"] {
        for _ in 0..2 {
            let published = server.feed(&["pub", subject], &record);
            assert_eq!(published.code, 0, "{}", published.err);
        }
    }
    let over = server.feed(&["pub", "a.1"], &[&record[..], b"x"].concat());
    assert_eq!(over.code, 5, "{}", over.err);
    let sub = [
        "sub",
        ">",
        "--from",
        "first",
        "--raw",
        "--count",
        "4",
        "--timeout",
        "60s",
    ];
    let came = server.run(&sub);
    assert_eq!((came.code, came.err.as_str()), (0, ""));
    let whole = [&record[..], b"\n"].concat().repeat(4);
    assert!(
        came.out.as_bytes() == whole,
        "{} bytes came",
        came.out.len()
    );
}

#[test]
fn a_client_that_takes_too_little_is_told_at_once() {
    let server = Server::start();
    let mut witness = Witness::new(&server.address);
    let mut raw = Raw::connect(&server.address);
    raw.send(&hello_taking(8192));
    let refused = raw.refusal();
    assert_eq!((refused.code, refused.closing), (FRAME_TOO_LONG, true));
    assert!(
        refused.message.contains("takes frames of 8192 bytes")
            && refused.message.contains("up to 10485"),
        "{refused:?}"
    );
    raw.expect_end();
    let mut enough = Raw::connect(&server.address);
    enough.send(&hello_taking(1 << 20));
    assert_eq!(enough.answer().expect("a Hello").opcode, HELLO);
    witness.look();
}

/// Records of every second subject have to be picked out and copied: for all subscribers of a turn that is more than anybody
/// has set aside.
#[test]
fn many_subscribers_that_want_a_part_of_a_stream_all_get_it() {
    const RECORDS: usize = 40_000;
    let server = Server::with(ROOM);
    let mut publisher = Raw::greeted(&server.address);
    publisher.publish(1, &support::raw::definition(1, "a.1"));
    publisher.publish(2, &support::raw::definition(2, "a.2"));
    for part in 0..40 {
        let records: Vec<u8> = (0..1000)
            .flat_map(|at| {
                let number = part * 1000 + at;
                let wanted =
                    support::raw::data(1, number * 2 + 1, format!("{number:08}").as_bytes());
                [wanted, support::raw::data(2, number * 2 + 2, b"other")].concat()
            })
            .collect();
        publisher.send(&frame(support::raw::PUBLISH, 1, 3 + part as u16, &records));
        publisher.ack();
    }
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut raw = Raw::greeted(&server.address);
                raw.send(&frame(SUBSCRIBE, 0, 1, &subscribe(1, 1, 4, 1 << 20, "a.1")));
                let mut number = 0;
                while number < RECORDS {
                    let next = raw.answer().expect("the connection stays");
                    if next.opcode != DELIVER {
                        assert_ne!(next.opcode, ERROR, "{:?}", Refused::read(&next));
                        continue;
                    }
                    for payload in payloads(&next.body) {
                        assert_eq!(payload, format!("{number:08}").as_bytes());
                        number += 1;
                    }
                    let used = next.body.len() as u64;
                    raw.send(&frame(CREDIT, 0, next.sequence, &used.to_le_bytes()));
                }
            });
        }
    });
}

#[test]
fn a_list_of_many_streams_comes_through() {
    let subject = "s".repeat(200);
    let mut config = "limits: {stream_subjects: 1, max_record: 16KiB}\nstreams:\n".to_owned();
    for number in 0..200 {
        config += &format!(
            "- {{name: stream-{number}, subjects: ['{subject}.{number}.a', '{subject}.{number}.b', '{subject}.{number}.c', \
             '{subject}.{number}.d', '{subject}.{number}.e'], storage: memory, tail: 256KiB}}\n"
        );
    }
    for workers in ["1", "2"] {
        let server = Server::with_flags(&config, &["--workers", workers]);
        let list = server.run(&["stream", "ls", "--json"]);
        assert!(list.out.len() > 256 << 10, "{} bytes", list.out.len());
        assert_eq!(list.json()["streams"].as_array().unwrap().len(), 200);
        let fits = server.feed(&["pub", &format!("{subject}.0.a")], b"x");
        assert_eq!(fits.code, 0, "{}", fits.err);
        let over = server.feed(&["pub", &format!("{subject}.0.b")], b"x");
        let said = "stream stream-0 has as many subjects as it may (`limits.stream_subjects`: 1)";
        assert!(over.code == 5 && over.err.contains(said), "{}", over.err);
    }
}
