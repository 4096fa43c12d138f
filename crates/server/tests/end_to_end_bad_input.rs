//! Input that breaks the protocol, made by hand: each is answered by an Error frame with the code and the offset of `docs/format/wire.md`,
//! ends the connection it came on, and disturbs nobody else.

mod support;

use support::raw::{
    CREDIT, DELIVER, ERROR, EXPECTS_RESPONSE, HELLO, PING, PONG, PUBLISH, RPC_CALL, Raw, SUBSCRIBE,
    UNSUBSCRIBE, Witness, call, data, definition, frame, header, hello, record, seal, subscribe,
};
use support::skipped::skipped;
use support::{ONE_STREAM, Server, uring_is_refused, with_workers};

/// What a client says, what it is told, and where that starts going wrong.
struct Case {
    what: &'static str,
    says: Vec<u8>,
    code: u16,
    offset: u64,
}

#[test]
fn what_is_no_hello_is_refused_before_anything_else_is_heard() {
    for workers in [1, 2] {
        what_is_no_hello_is_refused(workers);
    }
}

fn what_is_no_hello_is_refused(workers: usize) {
    let server = Server::with(&with_workers(workers, ONE_STREAM));
    let mut witness = Witness::new(&server.address);
    let case = |what, says: Vec<u8>, code, offset| Case {
        what,
        says,
        code,
        offset,
    };
    let mut reserved = hello(1);
    reserved[10] = 1;
    let mut trailing = hello(1);
    trailing[4] += 1;
    trailing.push(0);
    let mut not_text = hello(1);
    let last = not_text.len() - 1;
    not_text[last] = 0xff;
    let cases = [
        case(
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            4,
            0,
        ),
        case("zeros", vec![0; 4096], 4, 0),
        case(
            "noise",
            (0..4096_u32)
                .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80)
                .collect(),
            4,
            0,
        ),
        case("a Ping before Hello", frame(PING, 0, 0, &[]), 6, 0),
        case(
            "a Publish before Hello",
            frame(PUBLISH, 0, 1, &definition(1, "a")),
            6,
            0,
        ),
        case("version 0", hello(0), 6, 0),
        case("version 2", hello(2), 6, 0),
        case("a Hello over 4 KiB", header(HELLO, 0, 0, 4097), 3, 0),
        case(
            "a Hello that claims 4 GiB",
            header(HELLO, 0, 0, u32::MAX),
            3,
            0,
        ),
        case("a reserved byte that is not zero", reserved, 5, 10),
        case("a byte behind the last field", trailing, 5, 21),
        case("a name that is not UTF-8", not_text, 5, 16),
        case("an empty Hello", header(HELLO, 0, 0, 0), 5, 8),
        case(
            "a compressed Hello",
            {
                let mut hello = hello(1);
                hello[1] = 2;
                hello
            },
            4,
            0,
        ),
    ];
    for case in cases {
        let mut raw = Raw::connect(&server.address);
        raw.send(&case.says);
        refused_and_ended(&mut raw, &case, 0);
        witness.look();
    }
}

#[test]
fn a_call_about_a_name_of_any_length_is_refused_with_as_much_as_an_error_takes() {
    let server = Server::with(&with_workers(1, ONE_STREAM));
    let mut witness = Witness::new(&server.address);
    let mut raw = Raw::greeted(&server.address);
    for (number, subject) in (1..).zip(["$sys.stream.info", "$sys.stream.remove"]) {
        let long = call(1000, subject, &[b'x'; 5000]);
        raw.send(&frame(RPC_CALL, 0, number, &long));
        let refused = raw.refusal();
        assert_eq!((refused.code, refused.closing), (16, false), "{refused:?}");
        assert!(
            refused.message.starts_with("there is no stream xxx"),
            "{refused:?}"
        );
        witness.look();
    }
}

#[test]
fn what_breaks_the_protocol_ends_that_connection_with_a_code_and_an_offset() {
    for workers in [1, 2] {
        what_breaks_the_protocol_ends_that_connection(workers, "epoll");
        if let Some(why) = uring_is_refused() {
            skipped(why);
        } else {
            what_breaks_the_protocol_ends_that_connection(workers, "io_uring");
        }
    }
}

fn what_breaks_the_protocol_ends_that_connection(workers: usize, io: &str) {
    let server = Server::with_flags(&with_workers(workers, ONE_STREAM), &["--io", io]);
    let mut witness = Witness::new(&server.address);
    // Whichever worker has the connection: one of them has the stream.
    for worker in 0..workers as u64 {
        for case in broken_frames() {
            // Through io_uring one and the same worker may take all connections.
            let mut raw = match io {
                "epoll" => Raw::greeted_by(&server.address, worker),
                _ => Raw::greeted(&server.address),
            };
            let begin = raw.sent();
            raw.send(&case.says);
            refused_and_ended(&mut raw, &case, begin);
            witness.look();
        }
    }
}

/// Offsets count from behind the Hello.
fn broken_frames() -> Vec<Case> {
    let publish = |records: &[u8]| frame(PUBLISH, EXPECTS_RESPONSE, 1, records);
    let define = definition(7, "a.b");
    let good = [define.clone(), data(7, 1, b"good")].concat();
    // Behind a good record, in one frame with it.
    let behind = |bad: Vec<u8>| publish(&[good.clone(), bad].concat());
    let at = 8 + good.len() as u64;
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut record = data(7, 2, b"payload.");
        change(&mut record);
        record
    };
    let long = 64 << 10;
    let case = |what, says: Vec<u8>, code, offset| Case {
        what,
        says,
        code,
        offset,
    };
    vec![
        case("a second Hello", hello(1), 6, 0),
        case("an unknown opcode", header(0x7f, 0, 1, 0), 4, 0),
        case(
            "an unknown opcode behind a good frame",
            [frame(PONG, 0, 0, &[]), header(0xff, 0, 1, 0)].concat(),
            4,
            8,
        ),
        case("an opcode of applications", header(0x20, 0, 1, 0), 4, 0),
        case(
            "a frame that only servers send",
            frame(DELIVER, 0, 1, &good),
            4,
            0,
        ),
        case("an Error from a client", header(ERROR, 0, 1, 26), 4, 0),
        case("a compressed frame", header(PUBLISH, 2, 1, 0), 4, 0),
        case("an encrypted frame", header(PUBLISH, 4, 1, 0), 4, 0),
        case("an unknown flag", header(PUBLISH, 8, 1, 0), 4, 0),
        case("an ack level of a Ping", header(PING, 0x40, 1, 0), 4, 0),
        case(
            "a Publish that claims 4 GiB",
            header(PUBLISH, 1, 1, u32::MAX),
            3,
            0,
        ),
        case(
            "a Publish over the limit by one byte",
            header(PUBLISH, 1, 1, (4 << 20) + 1),
            3,
            0,
        ),
        case("a Ping of 65 bytes", header(PING, 0, 1, 65), 3, 0),
        case(
            "a Subscribe over 64 KiB",
            header(SUBSCRIBE, 0, 1, long + 1),
            3,
            0,
        ),
        case(
            "a call over the limits",
            header(RPC_CALL, 0, 1, long + 1),
            3,
            0,
        ),
        case(
            "a Subscribe without a pattern",
            frame(SUBSCRIBE, 0, 1, &[0; 24]),
            5,
            8 + 24,
        ),
        case(
            "a byte behind a Credit",
            frame(CREDIT, 0, 1, &[0; 9]),
            5,
            8 + 8,
        ),
        case("half an Unsubscribe", frame(UNSUBSCRIBE, 0, 1, &[0]), 5, 8),
        case(
            "a start that is none",
            frame(SUBSCRIBE, 0, 1, &subscribe(1, 9, 0, 1, "a")),
            5,
            8 + 2,
        ),
        case(
            "a value that the start does not have",
            frame(SUBSCRIBE, 0, 1, &{
                let mut body = subscribe(1, 1, 0, 1, "a");
                body[8] = 1;
                body
            }),
            5,
            8 + 8,
        ),
        case(
            "a policy that is none",
            frame(SUBSCRIBE, 0, 1, &subscribe(1, 0, 9, 1, "a")),
            5,
            8 + 3,
        ),
        case(
            "a subject that is not UTF-8",
            frame(RPC_CALL, 0, 1, &[0, 0, 0, 0, 1, 0, 0xff]),
            5,
            8 + 4,
        ),
        case(
            "wrong magic",
            behind(changed(&|record| record[0] = b'X')),
            1,
            at,
        ),
        case(
            "another version",
            behind(changed(&|record| {
                record[4] = 2;
                seal(record, 8);
            })),
            1,
            at,
        ),
        case(
            "an unknown kind",
            behind(record(77, 0, 7, 2, b"payload.")),
            1,
            at,
        ),
        case(
            "a kind that belongs to the log",
            behind(record(3, 0, 7, 2, b"payload.")),
            1,
            at,
        ),
        case(
            "unknown record flags",
            behind(record(1, 0x8000, 7, 2, b"payload.")),
            4,
            at,
        ),
        case(
            "one bit of the payload",
            behind(changed(&|record| record[41] ^= 1)),
            2,
            at,
        ),
        case(
            "one bit of the sequence",
            behind(changed(&|record| record[9] ^= 1)),
            2,
            at,
        ),
        case(
            "one bit of the checksum",
            behind(changed(&|record| record[30] ^= 1)),
            2,
            at,
        ),
        case(
            "one bit of a definition",
            publish(&{
                let mut define = define.clone();
                define[41] ^= 1;
                define
            }),
            2,
            8,
        ),
        case(
            "a payload_len below 8",
            behind(changed(&|record| record[24] = 7)),
            5,
            at,
        ),
        case(
            "a record longer than its frame",
            behind(changed(&|record| record[24] = 17)),
            5,
            at,
        ),
        case(
            "a record that claims 4 GiB",
            behind(changed(&|record| record[24..28].fill(0xff))),
            5,
            at,
        ),
        case(
            "padding that is not zero",
            behind({
                let mut record = data(7, 2, b"seven b");
                record[47] = 1;
                record
            }),
            5,
            at,
        ),
        case(
            "headers that do not add up",
            behind(record(1, 1, 7, 2, &[1, 0, 200, 0, 1, 2, 3, 4])),
            5,
            at,
        ),
        case(
            "a stray word behind the last record",
            behind(vec![0; 8]),
            5,
            at,
        ),
        case(
            "an undefined subject id",
            behind(data(8, 2, b"payload.")),
            15,
            at,
        ),
        case(
            "a subject id that changes its meaning",
            behind(definition(7, "a.c")),
            5,
            at,
        ),
    ]
}

fn refused_and_ended(raw: &mut Raw, case: &Case, begin: u64) {
    let what = case.what;
    // What was good before is acknowledged or not, as it comes; then the Error is the last word.
    let refusal = raw.refusal_after_acks();
    assert_eq!(
        (refusal.code, refusal.offset),
        (case.code, begin + case.offset),
        "{what}: {refusal:?}"
    );
    assert!(refusal.closing, "{what}: {refusal:?}");
    assert!(!refusal.message.is_empty(), "{what}: {refusal:?}");
    raw.expect_end();
}

#[test]
fn an_error_reaches_a_client_that_goes_on_sending() {
    for workers in [1, 2] {
        an_error_reaches_a_client(workers);
    }
}

fn an_error_reaches_a_client(workers: usize) {
    let server = Server::with(&with_workers(workers, ONE_STREAM));
    let mut witness = Witness::new(&server.address);
    for round in 0..8 {
        let mut raw = Raw::greeted(&server.address);
        let offset = raw.sent();
        let mut says = header(0x7f, 0, 1, 0);
        says.resize(1 << 20, round);
        raw.send_what_goes(&says);
        let refusal = raw.refusal();
        assert_eq!((refusal.code, refusal.offset), (4, offset), "{refusal:?}");
        raw.expect_end();
        witness.look();
    }
}

#[test]
fn a_truncated_frame_is_told_as_such() {
    for workers in [1, 2] {
        a_truncated_frame_is_told(workers);
    }
}

fn a_truncated_frame_is_told(workers: usize) {
    let server = Server::with(&with_workers(workers, ONE_STREAM));
    let mut witness = Witness::new(&server.address);
    let whole = frame(
        PUBLISH,
        EXPECTS_RESPONSE,
        1,
        &[definition(1, "a"), data(1, 1, b"cut off")].concat(),
    );
    for len in [3, 8, 20, 8 + 48 + 5, whole.len() - 1] {
        // The rest never comes.
        let mut raw = Raw::greeted(&server.address);
        raw.send(&whole[..len]);
        raw.half_close();
        let refusal = raw.refusal();
        assert_eq!(
            (refusal.code, refusal.closing),
            (5, true),
            "cut at {len}: {refusal:?}"
        );
        assert_eq!(refusal.offset, raw.sent(), "cut at {len}: {refusal:?}");
        raw.expect_end();
        witness.look();
    }
    // An end between frames is nobody's fault.
    let mut raw = Raw::greeted(&server.address);
    raw.send(&whole);
    assert_eq!(raw.ack().1, 1);
    raw.half_close();
    raw.expect_end();
    witness.look();
}
