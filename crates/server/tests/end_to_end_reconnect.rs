//! What a subscription misses when its connection breaks: nothing, also of streams that are newer than it.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::Server;
use trunkline_client::{Client, Start, Subscriber, Subscription};

const STREAM_A: &str = "- {name: a, subjects: ['a.>'], segment: 1MiB, tail: 1MiB}\n";
const STREAM_B: &str = "- {name: b, subjects: ['b.>'], segment: 1MiB, tail: 1MiB}\n";
const LONG: Duration = Duration::from_secs(20);

fn client(server: &Server) -> Client {
    Client::builder(&server.address)
        .backoff_max(Duration::from_millis(100))
        .connect()
        .unwrap()
}

fn publish(server: &Server, subject: &str, first: u64, last: u64) {
    for number in first..=last {
        let published = server.run(&["pub", subject, &number.to_string()]);
        assert_eq!(published.code, 0, "{}", published.err);
    }
}

/// The sequences that come next, by stream.
fn take(subscriber: &mut Subscriber, count: usize) -> BTreeMap<String, Vec<u64>> {
    let mut came: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for nth in 0..count {
        let message = subscriber.next_timeout(LONG).unwrap();
        let message = message.unwrap_or_else(|| panic!("only {nth} came: {came:?}"));
        assert_eq!(message.payload(), message.sequence().to_string().as_bytes());
        let stream = message.stream().to_owned();
        came.entry(stream).or_default().push(message.sequence());
    }
    came
}

#[test]
fn a_group_that_lost_its_only_member_goes_on_where_that_was() {
    for workers in [1, 2] {
        let config =
            format!("workers: {workers}\nlimits: {{max_record: 64KiB}}\nstreams:\n{STREAM_A}");
        let mut server = Server::with(&config);
        let client = client(&server);
        let mut member = client
            .subscribe(&Subscription::new("a.>").group("workers"))
            .unwrap();
        publish(&server, "a.x", 1, 3);
        assert_eq!(take(&mut member, 3)["a"], [1, 2, 3]);
        // Records are there before the client comes back: it looks for the server at its old address.
        server.kill();
        let old = server.address.clone();
        server.restart();
        publish(&server, "a.x", 4, 5);
        assert_eq!(server.end("TERM"), 0);
        server.address = old;
        server.restart_in_place();
        publish(&server, "a.x", 6, 6);
        assert_eq!(take(&mut member, 3)["a"], [4, 5, 6]);
    }
}

#[test]
fn streams_that_are_made_before_during_and_after_a_broken_connection_are_all_seen() {
    for workers in [1, 2] {
        let head = format!("workers: {workers}\nlimits: {{max_record: 64KiB}}\nstreams:\n");
        let mut server = Server::with(&format!("{head}{STREAM_A}"));
        let (new, first) = (client(&server), client(&server));
        let mut subscribers = [
            new.subscribe(&Subscription::new(">")).unwrap(),
            first
                .subscribe(&Subscription::new(">").start(Start::First))
                .unwrap(),
        ];
        publish(&server, "a.x", 1, 3);
        for subscriber in &mut subscribers {
            assert_eq!(take(subscriber, 3)["a"], [1, 2, 3]);
        }
        // The stream is there, and has records, before the clients come back: they look for the server at its old address.
        server.kill();
        server.reconfigure(&format!("{head}{STREAM_A}{STREAM_B}"));
        let old = server.address.clone();
        server.restart();
        publish(&server, "b.x", 1, 2);
        assert_eq!(server.end("TERM"), 0);
        server.address = old;
        server.restart_in_place();
        publish(&server, "b.x", 3, 3);
        publish(&server, "a.x", 4, 5);
        for subscriber in &mut subscribers {
            let came = take(subscriber, 5);
            assert_eq!(
                (&came["a"][..], &came["b"][..]),
                (&[4, 5][..], &[1, 2, 3][..])
            );
        }
        let added = server.run(&["stream", "add", "c", "--subjects", "c.>"]);
        assert_eq!(added.code, 0, "{}", added.err);
        publish(&server, "c.x", 1, 2);
        for subscriber in &mut subscribers {
            assert_eq!(take(subscriber, 2)["c"], [1, 2]);
            let none = subscriber.next_timeout(Duration::from_millis(50));
            assert!(none.unwrap().is_none(), "and nothing twice");
        }
    }
}
