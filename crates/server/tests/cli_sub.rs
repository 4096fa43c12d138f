//! `sub`: what it says when the connection ends, or nothing can come, and what its flags do.

mod support;

use std::io::{self, BufRead, BufReader, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use support::{Ran, Server, finish, send_signal};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A subscription that runs, and ends with its test.
struct Running(Option<Child>);

impl Running {
    /// Starts one and waits until the server knows of all of `subscribers`.
    fn start(server: &Server, arguments: &[&str], subscribers: u64) -> Self {
        let mut command = server.command(&[&["sub"], arguments].concat());
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = Self(Some(piped.spawn().unwrap()));
        server.wait_for("main", "the subscriber", |info| {
            info["subscribers"].as_u64() == Some(subscribers)
        });
        running
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Waits for its end.
    fn ended(mut self) -> Ran {
        finish(self.0.take().unwrap(), PATIENCE)
    }

    /// Ctrl-C.
    fn interrupt(mut self) -> Ran {
        send_signal(self.child().id(), "INT");
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends what is printed, line by line.
fn read(pipe: Option<impl Read + Send + 'static>, to: Sender<String>) {
    let lines = BufReader::new(pipe.unwrap()).lines();
    // Nobody wants what comes when the test is over.
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .try_for_each(|line| to.send(line))
    });
}

fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (to, from) = mpsc::channel();
    read(pipe, to);
    from
}

fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line")
}

#[test]
fn why_the_server_went_is_said() {
    let mut server = Server::start();
    let leaving = Running::start(&server, &["a", "--no-reconnect"], 1);
    let mut staying = Running::start(&server, &["a"], 2);
    let said = lines(staying.child().stderr.take());
    server.end("TERM");
    let gone = format!(
        "{} closed the connection: the server is shutting down",
        server.address
    );
    let ended = leaving.ended();
    assert_eq!((ended.code, ended.err), (4, format!("error: {gone}\n")));
    assert_eq!(next(&said), format!("{gone}; trying again"));
    server.restart_in_place();
    let back = format!("connected to {} again", server.address);
    assert_eq!(next(&said), back);
    assert_eq!(staying.interrupt().code, 0);
}

/// Stands before a server: where, and what breaks the connection that it carries. It takes the next one at once.
fn breakable(server: &str) -> (String, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = server.to_owned();
    let (breaks, broken) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect(&server).unwrap();
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || io::copy(&mut from, &mut to));
            }
            let over = broken.recv().is_err();
            for end in [client, server] {
                let _ = end.shutdown(Shutdown::Both);
            }
            if over {
                break;
            }
        }
    });
    (address, breaks)
}

#[test]
fn a_connection_that_is_back_at_once_was_lost_all_the_same() {
    let server = Server::start();
    let (address, breaks) = breakable(&server.address);
    let mut sub = Running::start(&server, &["a", "--server", &address], 1);
    let said = lines(sub.child().stderr.take());
    for _ in 0..3 {
        breaks.send(()).unwrap();
        assert_eq!(
            next(&said),
            format!("{address} closed the connection; trying again")
        );
        assert_eq!(next(&said), format!("connected to {address} again"));
    }
    assert_eq!(sub.interrupt().code, 0);
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
    let mut members = [1, 2].map(|count| Running::start(&server, &group, count));
    let (came, coming) = mpsc::channel();
    for member in &mut members {
        read(member.child().stdout.take(), came.clone());
    }
    drop(came);
    let jobs: Vec<String> = (0..100).map(|job| job.to_string()).collect();
    let published = server.feed(&["pub", "jobs", "--lines"], jobs.join("\n").as_bytes());
    assert_eq!(published.code, 0, "{}", published.err);
    let mut done: Vec<String> = jobs.iter().map(|_| next(&coming)).collect();
    for member in members {
        let ended = member.interrupt();
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    // What else they print would be twice.
    done.extend(coming);
    done.sort_by_key(|job| job.parse::<u32>().unwrap());
    assert_eq!(done, jobs);
}

#[test]
fn a_subscription_whose_cursor_another_one_takes_over_says_so_and_ends() {
    for workers in ["1", "2"] {
        let config = "streams:\n- {name: main, subjects: ['>'], segment: 4MiB, tail: 4MiB}\n";
        let mut server = Server::with_flags(config, &["--workers", workers]);
        let reads = ["a", "--cursor", "audit", "--raw"];
        let mut first = Running::start(&server, &reads, 1);
        let coming = lines(first.child().stdout.take());
        assert_eq!(server.run(&["pub", "a", "1"]).code, 0);
        assert_eq!(next(&coming), "1");
        let mut second = Running::start(&server, &reads, 1);
        let ended = first.ended();
        let said = "error: another subscription has taken cursor audit over\n";
        assert_eq!((ended.code, ended.err.as_str()), (5, said));
        let coming = lines(second.child().stdout.take());
        // Nobody takes it back, and it can come back itself.
        server.end("TERM");
        server.restart_in_place();
        server.wait_for("main", "the subscriber", |info| {
            info["subscribers"].as_u64() == Some(1)
        });
        assert_eq!(server.run(&["pub", "a", "2"]).code, 0);
        while next(&coming) != "2" {}
        assert_eq!(second.interrupt().code, 0);
    }
}

/// 24 MiB: more than fits between a server and one who does not read.
const FLOOD: usize = 3000;

/// A subscription that nobody reads, with more published to it than it can hold: it, and what became of the publisher.
fn flooded(server: &Server, policy: &str) -> (Running, Ran) {
    let sub = Running::start(server, &["a", "--raw", "--policy", policy], 1);
    let padding = "x".repeat(8 << 10);
    let flood: String = (1..=FLOOD)
        .map(|number| format!("{number} {padding}\n"))
        .collect();
    let published = server.feed(
        &["pub", "a", "--lines", "--timeout", "2s"],
        flood.as_bytes(),
    );
    (sub, published)
}

fn number(line: &str) -> usize {
    line.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_slow_subscription_that_spills_gets_everything() {
    let server = Server::start();
    let (mut sub, published) = flooded(&server, "spill");
    assert_eq!(published.code, 0, "{}", published.err);
    let coming = lines(sub.child().stdout.take());
    for expected in 1..=FLOOD {
        assert_eq!(number(&next(&coming)), expected);
    }
    let ended = sub.interrupt();
    assert_eq!((ended.code, &*ended.err), (0, ""));
}

#[test]
fn a_slow_subscription_that_blocks_makes_the_publisher_wait() {
    let server = Server::start();
    let (_sub, published) = flooded(&server, "block");
    assert_eq!(published.code, 4, "{}", published.err);
    let said = "has acknowledged nothing for 2s";
    assert!(published.err.contains(said), "{}", published.err);
}

#[test]
fn a_slow_subscription_that_drops_is_told_what_does_not_come() {
    for (policy, keeps_the_last) in [("drop-newest", false), ("drop-oldest", true)] {
        let server = Server::start();
        let (mut sub, published) = flooded(&server, policy);
        assert_eq!(published.code, 0, "{policy}: {}", published.err);
        let coming = lines(sub.child().stdout.take());
        let said = next(&lines(sub.child().stderr.take()));
        let gap = said
            .strip_suffix(" of main will not come: this subscription was too slow")
            .and_then(|range| range.strip_prefix("records "))
            .unwrap_or_else(|| panic!("{policy}: {said}"));
        let (_, last) = gap.split_once(" to ").unwrap();
        let last: usize = last.parse().unwrap();
        assert_eq!(last < FLOOD, keeps_the_last, "{policy}: {said}");
        if keeps_the_last {
            while number(&next(&coming)) != FLOOD {}
        }
        let (first, _) = gap.split_once(" to ").unwrap();
        let skipped = last - first.parse::<usize>().unwrap() + 1;
        let counted = server.run(&["stream", "info", "main", "--json"]).json();
        assert!(
            counted["skipped"].as_u64().unwrap() >= skipped as u64,
            "{counted}"
        );
        let info = server.run(&["stream", "info", "main"]);
        assert!(info.out.contains("records passed over"), "{}", info.out);
        assert_eq!(sub.interrupt().code, 0, "{policy}");
    }
}

#[test]
fn a_slow_subscription_that_asks_for_it_is_ended() {
    let server = Server::start();
    let (sub, published) = flooded(&server, "disconnect");
    assert_eq!(published.code, 0, "{}", published.err);
    let ended = sub.ended();
    assert_eq!(ended.code, 4, "{}", ended.err);
    assert!(ended.out.lines().count() < FLOOD);
    let said = format!("error: {} closed the connection: ", server.address);
    assert!(ended.err.starts_with(&said), "{}", ended.err);
    let info = server.run(&["stream", "info", "main"]);
    let said = "too slow        1 subscriber disconnected\n";
    assert!(info.out.contains(said), "{}", info.out);
}
