//! `sub`: what it says when the connection ends, or nothing can come, and what its flags do.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;

use support::{Ran, Server, ran, send_signal};

/// Starts a subscription and waits until the server knows of all of `subscribers`.
fn subscribe(server: &Server, arguments: &[&str], subscribers: u64) -> Child {
    let mut command = server.command(&[&["sub"], arguments].concat());
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().unwrap();
    server.wait_for("main", "the subscriber", |info| {
        info["subscribers"].as_u64() == Some(subscribers)
    });
    child
}

/// Ctrl-C.
fn interrupt(child: Child) -> Ran {
    send_signal(child.id(), "INT");
    ran(child.wait_with_output().unwrap())
}

#[test]
fn why_the_server_went_is_said() {
    let mut server = Server::start();
    let leaving = subscribe(&server, &["a", "--no-reconnect"], 1);
    let mut staying = subscribe(&server, &["a"], 2);
    let mut said = BufReader::new(staying.stderr.take().unwrap()).lines();
    server.end("TERM");
    let gone = format!(
        "{} closed the connection: the server is shutting down",
        server.address
    );
    let ended = ran(leaving.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err), (4, format!("error: {gone}\n")));
    assert_eq!(
        said.next().unwrap().unwrap(),
        format!("{gone}; trying again")
    );
    server.restart_in_place();
    let back = format!("connected to {} again", server.address);
    assert_eq!(said.next().unwrap().unwrap(), back);
    assert_eq!(interrupt(staying).code, 0);
}

#[test]
fn what_cannot_come_as_things_are_is_said() {
    let server =
        Server::with("streams:\n- {name: main, subjects: ['a.>'], segment: 4MiB, tail: 4MiB}\n");
    for (arguments, said) in [
        (
            &["a.>", "--stream", "mian"][..],
            "there is no stream mian; waiting for it. There is: main\n",
        ),
        (
            &["b"],
            "no stream captures anything of `b`; waiting for one. There is: main\n",
        ),
        (
            &["b.>", "--stream", "main"],
            "stream main captures nothing of `b.>`, only a.>\n",
        ),
        (&[">"], ""),
    ] {
        let waits = ["--timeout", "1s"];
        let sub = server.run(&[&["sub"], arguments, &waits].concat());
        assert_eq!(sub.code, 1, "{arguments:?}: {}", sub.err);
        let end = "error: the time ran out after 0 records\n";
        assert_eq!(sub.err, format!("{said}{end}"), "{arguments:?}");
    }
}

#[test]
fn a_subject_that_no_stream_captures_is_named() {
    let server =
        Server::with("streams:\n- {name: main, subjects: ['a.>'], segment: 4MiB, tail: 4MiB}\n");
    let refused = server.run(&["pub", "b.c", "x"]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    let said = "error: refused: no stream captures `b.c`: ";
    assert!(refused.err.starts_with(said), "{}", refused.err);
    assert!(refused.err.ends_with(" (error 12)\n"), "{}", refused.err);
}

#[test]
fn only_the_stream_that_is_named_is_read() {
    let server = Server::with(
        "streams:\n- {name: main, subjects: ['a.>'], segment: 4MiB, tail: 4MiB}\n\
         - {name: other, subjects: ['b.>'], segment: 4MiB, tail: 4MiB}\n",
    );
    for subject in ["a.x", "b.x", "a.y"] {
        assert_eq!(server.run(&["pub", subject, subject]).code, 0);
    }
    let all = [
        "sub",
        ">",
        "--from",
        "first",
        "--raw",
        "--count",
        "2",
        "--timeout",
        "2s",
    ];
    let other = server.run(&[&all[..], &["--stream", "other"]].concat());
    assert_eq!((other.code, &*other.out), (1, "b.x\n"), "{}", other.err);
    let main = server.run(&[&all[..], &["--stream", "main"]].concat());
    assert_eq!((main.code, &*main.out), (0, "a.x\na.y\n"), "{}", main.err);
}

#[test]
fn each_record_goes_to_one_of_the_group() {
    let server = Server::start();
    let group = ["jobs", "--group", "workers", "--raw"];
    let mut members = [subscribe(&server, &group, 1), subscribe(&server, &group, 2)];
    let (came, coming) = mpsc::channel();
    for member in &mut members {
        let lines = BufReader::new(member.stdout.take().unwrap()).lines();
        let came = came.clone();
        std::thread::spawn(move || lines.for_each(|line| came.send(line.unwrap()).unwrap()));
    }
    drop(came);
    let jobs: Vec<String> = (0..100).map(|job| job.to_string()).collect();
    let published = server.feed(&["pub", "jobs", "--lines"], jobs.join("\n").as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    let mut done: Vec<String> = coming.iter().take(jobs.len()).collect();
    for member in members {
        let ended = interrupt(member);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    // What else they print would be twice.
    done.extend(coming);
    done.sort_by_key(|job| job.parse::<u32>().unwrap());
    assert_eq!(done, jobs);
}

/// 24 MiB: more than fits between a server and a reader who does not read.
const FLOOD: usize = 3000;

#[test]
fn a_slow_subscription_gets_what_its_policy_says() {
    for policy in ["spill", "block", "drop-newest", "drop-oldest", "disconnect"] {
        let server = Server::start();
        let mut sub = subscribe(&server, &["a", "--raw", "--policy", policy], 1);
        let payload = "x".repeat(8 << 10);
        let flood = FLOOD.to_string();
        let mut publisher = server
            .command(&["pub", "a", &payload, "--repeat", &flood])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(sub.stdout.take().unwrap());
        let mut err = BufReader::new(sub.stderr.take().unwrap()).lines();
        // Nobody waits for it unless they are told to.
        if policy != "block" {
            assert!(publisher.wait().unwrap().success(), "{policy}");
        }
        let (came, coming) = mpsc::channel();
        let reading = std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .for_each(|line| came.send(line.len()).unwrap_or(()));
        });
        match policy {
            "spill" | "block" => {
                assert_eq!(coming.iter().take(FLOOD).count(), FLOOD, "{policy}");
            }
            "disconnect" => {
                let said = err.next().unwrap().unwrap();
                assert!(said.starts_with("error: "), "{said}");
                assert!(coming.iter().count() < FLOOD);
            }
            _ => {
                let said = err.next().unwrap().unwrap();
                let why = "will not come: this subscription was too slow";
                assert!(said.ends_with(why), "{policy}: {said}");
            }
        }
        assert!(publisher.wait().unwrap().success(), "{policy}");
        if policy == "disconnect" {
            assert_eq!(sub.wait().unwrap().code(), Some(4));
        } else {
            send_signal(sub.id(), "INT");
            assert_eq!(sub.wait().unwrap().code(), Some(0), "{policy}");
        }
        reading.join().unwrap();
    }
}
