//! `trunkline request` and `trunkline reply`.

mod support;

use std::process::Stdio;

use serde_json::Value;

use support::{Ran, Server, ran};

#[test]
fn calls_are_answered_by_a_command() {
    let server = Server::start();
    let reply = server.command(&[
        "reply",
        "svc.*",
        "--exec",
        "tr a-z A-Z; echo \" $TRUNKLINE_SUBJECT\"",
        "--count",
        "2",
        "--json",
    ]);
    let reply = { reply }
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let answer = answered(&server, &["request", "svc.upper", "abc"]);
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (0, "ABC svc.upper\n"),
        "{}",
        answer.err
    );
    let answer = server.feed(&["request", "svc.other", "--json"], b"from stdin");
    let answer = answer.json();
    assert_eq!(answer["payload"], "FROM STDIN svc.other\n");
    let ended = ran(reply.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out.lines().count(), 2);
    assert!(
        ended
            .out
            .starts_with("{\"subject\":\"svc.upper\",\"request_bytes\":3,\"answer_bytes\":14,"),
        "{}",
        ended.out
    );
}

#[test]
fn a_call_that_nobody_answers_ends_with_1() {
    let server = Server::start();
    let absent = server.run(&["request", "svc.absent", "x"]);
    assert_eq!(absent.code, 1);
    assert!(absent.err.contains("nobody listens"), "{}", absent.err);
}

#[test]
fn a_command_that_fails_is_told_to_the_caller_with_its_exit_code_and_its_first_words() {
    let server = Server::start();
    let exec = "cat > /dev/null; echo 'no such picture' >&2; echo more >&2; exit 3";
    let reply = server
        .command(&[
            "reply",
            "svc.fails",
            "--exec",
            exec,
            "--count",
            "2",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let failed = answered(&server, &["request", "svc.fails", "x"]);
    assert_eq!((failed.code, &*failed.out), (1, ""));
    let said = "the responder failed: no such picture (code 3)";
    assert!(failed.err.contains(said), "{}", failed.err);
    let again = server.run(&["request", "svc.fails", "x", "--json"]);
    assert_eq!(again.code, 1, "{}", again.err);
    let ended = ran(reply.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{}", ended.err);
    // Whoever runs the service reads all of it.
    assert!(
        ended.err.contains("no such picture\nmore\n"),
        "{}",
        ended.err
    );
    let line: Value = serde_json::from_str(ended.out.lines().next().unwrap()).unwrap();
    assert_eq!(line["error"], "no such picture");
    assert!(line["answer_bytes"].is_null());
}

#[test]
fn a_command_that_dies_without_a_word_is_told_by_its_signal() {
    let server = Server::start();
    let reply = server
        .command(&["reply", "svc.dies", "--exec", "kill -9 $$", "--count", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let failed = answered(&server, &["request", "svc.dies", "x"]);
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("signal: 9"), "{}", failed.err);
    assert!(failed.err.contains("(code 137)"), "{}", failed.err);
    assert_eq!(ran(reply.wait_with_output().unwrap()).code, 0);
}

#[test]
fn an_answer_that_is_too_long_is_told_to_both_sides_and_the_next_one_comes() {
    for workers in ["1", "2"] {
        let server = Server::with_flags(
            "limits: {max_record: 64KiB}\nstreams:\n- {name: main, subjects: ['>'], segment: 1MiB, tail: 1MiB}\n",
            &["--workers", workers],
        );
        let exec = "head -c $(cat) /dev/zero";
        let reply = server
            .command(&["reply", "svc.big", "--exec", exec, "--count", "2", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let failed = answered(&server, &["request", "svc.big", "65537"]);
        let said = "the answer has 65537 bytes, the server takes 65536";
        assert_eq!(failed.code, 1, "{}", failed.err);
        let told = format!("the responder failed: {said} (code 10)");
        assert!(failed.err.contains(&told), "{}", failed.err);
        let largest = server.run(&["request", "svc.big", "65536"]);
        assert_eq!(largest.code, 0, "{}", largest.err);
        assert_eq!(largest.out.len(), 65_536);
        let ended = ran(reply.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{}", ended.err);
        let told = format!("no answer to svc.big: {said}\n");
        assert_eq!(ended.err, told);
        let line: Value = serde_json::from_str(ended.out.lines().next().unwrap()).unwrap();
        assert_eq!(line["error"], said);
    }
}

#[test]
fn a_call_that_may_take_longer_than_its_server_waits_is_refused() {
    let server = Server::start();
    let long = server.run(&["request", "svc.slow", "x", "--timeout", "10m"]);
    assert_eq!(long.code, 2, "{}", long.err);
    assert!(
        long.err.contains("gives up on a call after 1m"),
        "{}",
        long.err
    );
}

/// Asks until somebody listens.
fn answered(server: &Server, arguments: &[&str]) -> Ran {
    for _ in 0..2000 {
        let answer = server.run(arguments);
        if !answer.err.contains("nobody listens") {
            return answer;
        }
    }
    panic!("nobody answered");
}
