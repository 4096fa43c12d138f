//! Queue groups without confirms: what has left for a member is its own, everything else is the others'.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::Server;
use trunkline_client::{Connection, ConnectionOptions, Event, Subscription};

const RECORDS: u64 = 2000;

struct Member {
    connection: Connection,
    got: Vec<u64>,
}

impl Member {
    fn join(server: &Server) -> Self {
        let mut connection =
            Connection::connect(&server.address, &ConnectionOptions::default()).unwrap();
        let subscription = Subscription::new("t.>")
            .group("workers")
            .credit_bytes(64 << 20);
        connection.subscribe(&subscription).unwrap();
        let mut opened = false;
        while !opened {
            connection.flush().unwrap();
            let opens = |event: Event<'_>| opened |= matches!(event, Event::Subscribed(_));
            connection.poll(opens).unwrap();
        }
        Self {
            connection,
            got: Vec::new(),
        }
    }

    /// Takes what has come. False at the end of the connection.
    fn read(&mut self) -> bool {
        let got = &mut self.got;
        let polled = self.connection.poll(|event| {
            if let Event::Record { message, .. } = event {
                got.push(message.sequence());
            }
        });
        if matches!(polled, Ok(0)) {
            thread::sleep(Duration::from_millis(1));
        }
        polled.is_ok()
    }
}

#[test]
fn what_a_member_that_leaves_is_not_sent_any_more_goes_to_the_others() {
    for workers in [1, 2] {
        // Everything fits into the tail, so that nobody has to be disconnected for what it has not read.
        let config = format!(
            "workers: {workers}\nstreams:\n- {{name: s, subjects: ['t.>'], tail: 64MiB}}\n"
        );
        let server = Server::with(&config);
        let mut leaving = Member::join(&server);
        let mut staying = Member::join(&server);
        let line = "x".repeat(16 << 10) + "\n";
        let published = server.feed(
            &["pub", "t.x", "--lines"],
            line.repeat(RECORDS as usize).as_bytes(),
        );
        assert_eq!(published.code, 0, "{}", published.err);
        // Both have as much on its way as there may be: the one that leaves still has something to read, and for that long the server keeps it.
        leaving.connection.close().unwrap();
        leaving.connection.flush().unwrap();
        thread::sleep(Duration::from_millis(100));
        while leaving.got.len() < 256 && leaving.read() {}
        thread::sleep(Duration::from_millis(100));
        while leaving.read() {}
        let begin = Instant::now();
        while staying.got.len() + leaving.got.len() < RECORDS as usize {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{} and {} of {RECORDS} came",
                leaving.got.len(),
                staying.got.len()
            );
            assert!(staying.read(), "{}", server.log());
        }
        let mut all = [leaving.got, staying.got].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(1..=RECORDS));
    }
}
