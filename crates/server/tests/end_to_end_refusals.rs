//! What is refused without breaking the protocol: an Error frame says why, with the code of `docs/format/wire.md`, and the connection goes on.

mod support;

use support::raw::{
    ACK, CREDIT, DELIVER, ERROR, EXPECTS_RESPONSE, PUBLISH, RPC_CALL, Raw, Refused, SUBSCRIBE,
    SUBSCRIBED, UNSUBSCRIBE, Witness, call, data, definition, frame, subscribe,
};
use support::{ONE_STREAM, Server, with_workers};

const CONFIRM: u8 = 0x17;

#[test]
fn what_is_refused_without_breaking_the_protocol_leaves_the_connection_open() {
    for workers in [1, 2] {
        // Whichever worker has the connection: one of them has the stream.
        for worker in 0..workers as u64 {
            what_is_refused_leaves_the_connection_open(workers, worker);
        }
    }
}

fn what_is_refused_leaves_the_connection_open(workers: usize, worker: u64) {
    let server = Server::with(&with_workers(
        workers,
        "limits: {max_record: 64KiB, session_subjects: 3}\nstreams:\n- {name: main, subjects: ['a.>', 'b', 'witness'], segment: 1MiB, tail: 1MiB}\n",
    ));
    let mut witness = Witness::new(&server.address);
    for subject in [
        "",
        ".",
        "a..b",
        ".a",
        "a.",
        "a b",
        "a.*",
        ">",
        "a\u{7f}",
        "a\nb",
        &"x".repeat(256),
    ] {
        let mut raw = Raw::greeted_by(&server.address, worker);
        let records = [
            definition(1, "b"),
            data(1, 1, b"x"),
            definition(2, subject),
            data(2, 2, b"x"),
            data(1, 3, b"x"),
        ]
        .concat();
        raw.send(&frame(PUBLISH, EXPECTS_RESPONSE, 1, &records));
        assert_eq!(raw.ack().1, 1, "{subject:?}");
        let refusal = raw.refusal();
        assert_eq!(
            (refusal.frame_sequence, refusal.code, refusal.closing),
            (1, 11, false),
            "{subject:?}: {refusal:?}"
        );
        assert_eq!(
            (refusal.producer_sequence, refusal.count),
            (2, 2),
            "{subject:?}: {refusal:?}"
        );
        raw.publish(2, &data(1, 4, b"goes on"));
    }
    let mut raw = Raw::greeted_by(&server.address, worker);
    raw.publish(1, &[definition(1, "b"), data(1, 1, b"x")].concat());
    let mut refused_as = |sequence: u16, says: Vec<u8>, code: u16| {
        raw.send(&says);
        let answer = raw.answer().expect("an answer");
        assert_eq!(answer.opcode, ERROR, "instead of {code}: {answer:?}");
        let refusal = Refused::read(&answer);
        assert_eq!(
            (refusal.frame_sequence, refusal.code, refusal.closing),
            (sequence, code, false),
            "{refusal:?}"
        );
        if code == 8 {
            assert!(
                refusal.message.contains("`limits.session_subjects`: 3"),
                "{refusal:?}"
            );
        }
        raw.publish(10, &data(1, 2, b"goes on"));
    };
    // What is not answered is not named: the number of a channel may be that of a frame that waits for its answer.
    refused_as(0, frame(CREDIT, 0, 9, &1_u64.to_le_bytes()), 16);
    refused_as(0, frame(CONFIRM, 0, 9, &[0; 16]), 16);
    let mut refused = |says: Vec<u8>, code: u16| refused_as(9, says, code);
    // No stream captures it.
    refused(
        frame(
            PUBLISH,
            EXPECTS_RESPONSE,
            9,
            &[definition(2, "c.d"), data(2, 2, b"x")].concat(),
        ),
        12,
    );
    // More subjects than a session may have.
    refused(
        frame(
            PUBLISH,
            EXPECTS_RESPONSE,
            9,
            &[definition(3, "a.b"), definition(4, "a.c"), data(4, 2, b"x")].concat(),
        ),
        8,
    );
    for pattern in ["", "a..b", ">.a", "a.>.b", "a b"] {
        refused(frame(SUBSCRIBE, 0, 9, &subscribe(1, 0, 0, 1, pattern)), 11);
    }
    refused(frame(UNSUBSCRIBE, 0, 9, &[77, 0]), 16);
    refused(frame(RPC_CALL, 0, 9, &call(1000, "a.nobody", b"x")), 20);
    refused(frame(RPC_CALL, 0, 9, &call(1000, "$sys.nothing", b"x")), 20);
    witness.look();
}

#[test]
fn a_subscription_that_is_there_already_is_refused_and_goes_on() {
    for workers in [1, 2] {
        a_subscription_that_is_there_already_is_refused(workers);
    }
}

fn a_subscription_that_is_there_already_is_refused(workers: usize) {
    let server = Server::with(&with_workers(workers, ONE_STREAM));
    let mut raw = Raw::greeted(&server.address);
    raw.send(&frame(SUBSCRIBE, 0, 1, &subscribe(1, 0, 0, 1 << 30, "a")));
    assert_eq!(raw.answer().unwrap().opcode, SUBSCRIBED);
    assert_eq!(raw.answer().unwrap().opcode, ACK);
    raw.send(&frame(SUBSCRIBE, 0, 2, &subscribe(1, 0, 0, 1 << 30, "b")));
    let refusal = raw.refusal();
    assert_eq!(
        (refusal.frame_sequence, refusal.code, refusal.closing),
        (2, 17, false),
        "{refusal:?}"
    );
    raw.send(&frame(
        PUBLISH,
        0,
        3,
        &[definition(1, "a"), data(1, 1, b"x")].concat(),
    ));
    assert_eq!(raw.answer().unwrap().opcode, DELIVER);
}

#[test]
fn subjects_of_the_server_are_not_published_to_and_no_streams() {
    for workers in [1, 2] {
        subjects_of_the_server_are_not_published_to(workers);
    }
}

fn subjects_of_the_server_are_not_published_to(workers: usize) {
    let server = Server::with(&with_workers(workers, ONE_STREAM));
    let refused = server.run(&["pub", "$sys.x", "x"]);
    assert_ne!(refused.code, 0, "{}", refused.out);
    for word in ["below `$sys.`", "(error 11)"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    assert_eq!(server.stream("main")["records"].as_u64(), Some(0));
    for subjects in ["$sys.>", "$sys.*", "$sys.a.b"] {
        let refused = server.run(&["stream", "add", "own", "--subjects", subjects]);
        assert_ne!(refused.code, 0, "{}", refused.out);
        assert!(refused.err.contains("the server's own"), "{}", refused.err);
    }
    // Only what starts so is reserved.
    for subject in ["$sys", "$system.x", "a.$sys.x"] {
        let published = server.run(&["pub", subject, "x"]);
        assert_eq!(published.code, 0, "{subject}: {}", published.err);
    }
}
