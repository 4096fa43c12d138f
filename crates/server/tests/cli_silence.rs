//! Servers that are there and say nothing: every client command ends by itself, in time, with exit code 4.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Ran, Server, finish, send_signal, trunkline};

/// What a busy machine may add to a time that is kept.
const SLACK: Duration = Duration::from_secs(15);

/// Runs a command against a listener that takes connections and says nothing, and returns how long that took.
fn in_silence(arguments: &[&str]) -> (Ran, Duration) {
    // The system completes connections by itself; nobody needs to accept them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = trunkline(arguments);
    command.args(["--server", &address]);
    let begin = Instant::now();
    let ran = finish(spawned(command), Duration::from_secs(60));
    (ran, begin.elapsed())
}

fn spawned(mut command: Command) -> std::process::Child {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().unwrap()
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_is_given_up_after_five_seconds() {
    let commands: [&[&str]; 6] = [
        &["pub", "a", "x"],
        &["stream", "ls"],
        &["sub", "a"],
        &["request", "a", "x", "--timeout", "30s"],
        &["reply", "a", "--exec", "cat"],
        &["bench", "--only", "acks"],
    ];
    std::thread::scope(|scope| {
        for command in commands {
            scope.spawn(move || {
                let (ran, took) = in_silence(command);
                assert_eq!((ran.code, &*ran.out), (4, ""), "{command:?}: {}", ran.err);
                let said = "it takes connections, but said nothing within 5s";
                assert!(ran.err.contains(said), "{command:?}: {}", ran.err);
                assert!(
                    took < Duration::from_secs(5) + SLACK,
                    "{command:?}: {took:?}"
                );
            });
        }
    });
}

#[test]
fn a_timeout_counts_from_before_the_connection() {
    for command in [
        &["sub", "a", "--timeout", "300ms"][..],
        &["request", "a", "x", "--timeout", "300ms"],
        &["pub", "a", "x", "--timeout", "300ms"],
    ] {
        let (ran, took) = in_silence(command);
        assert_eq!(ran.code, 4, "{command:?}: {}", ran.err);
        assert!(ran.err.contains("within 300ms"), "{command:?}: {}", ran.err);
        // What is waited for without it is 5 s.
        assert!(took < Duration::from_secs(4), "{command:?}: {took:?}");
    }
}

#[test]
fn a_publish_that_is_not_acknowledged_in_time_is_given_up() {
    let server = Server::start();
    let mut publish = server.command(&["pub", "a", "--lines", "--timeout", "1s"]);
    publish.stdin(Stdio::piped());
    let mut child = spawned(publish);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(server.everything("a", 1).out, "one\n");
    // An input that says nothing for longer than that is no reason to give up.
    std::thread::sleep(Duration::from_millis(1500));
    send_signal(server.pid(), "STOP");
    stdin.write_all(b"two\nthree\n").unwrap();
    let begin = Instant::now();
    let ended = finish(child, Duration::from_secs(60));
    assert_eq!(ended.code, 4, "{}", ended.err);
    let said = "has acknowledged nothing for 1s; 2 records on the way may be stored or not";
    assert!(ended.err.contains(said), "{}", ended.err);
    assert!(ended.out.starts_with("1 record stored, "), "{}", ended.out);
    assert!(begin.elapsed() < SLACK, "{:?}", begin.elapsed());
    drop(stdin);
    send_signal(server.pid(), "CONT");
}

#[test]
fn time_in_which_a_publisher_was_stopped_is_not_held_against_the_server() {
    let server = Server::start();
    let mut publish = server.command(&["pub", "a", "--lines", "--timeout", "2s"]);
    publish.stdin(Stdio::piped());
    let mut child = spawned(publish);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(server.everything("a", 1).out, "one\n");
    send_signal(child.id(), "STOP");
    stdin.write_all(b"two\n").unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    send_signal(child.id(), "CONT");
    assert_eq!(server.everything("a", 2).out, "one\ntwo\n");
    drop(stdin);
    let ended = finish(child, Duration::from_secs(60));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.starts_with("2 records stored, "), "{}", ended.out);
}

#[test]
fn who_waits_for_a_server_that_hangs_gives_up_and_who_waits_for_one_that_has_nothing_to_say_does_not()
 {
    let (hanging, quiet) = (Server::start(), Server::start());
    let reply = |server: &Server| {
        let words = ["reply", "svc", "--exec", "cat", "--count", "2"];
        let child = spawned(server.command(&words));
        // It listens when it answers.
        while server.run(&["request", "svc", "hi"]).out != "hi" {}
        child
    };
    let with = reply(&quiet);
    let without = reply(&hanging);
    send_signal(hanging.pid(), "STOP");
    let given_up = finish(without, Duration::from_secs(30) + SLACK);
    assert_eq!(given_up.code, 4, "{}", given_up.err);
    let said = format!("{} has said nothing for ", hanging.address);
    assert!(given_up.err.contains(&said), "{}", given_up.err);
    let answer = quiet.run(&["request", "svc", "there"]);
    assert_eq!(&*answer.out, "there", "{}", answer.err);
    assert_eq!(finish(with, SLACK).code, 0);
}
