//! The blocking client: against a server in the same process, which breaks connections when a test wants it to.

mod support;

use std::time::{Duration, Instant};

use support::{LONG, TestServer, client, eventually};
use trunkline_client::{
    AckLevel, Answer, Client, Error, ErrorCode, Idle, Publication, PublishError, Start,
    Subscription, Unacknowledged,
};

#[test]
fn a_client_that_closes_is_done_when_its_server_has_closed_too() {
    let server = TestServer::start();
    let client = client(&server);
    let begin = Instant::now();
    client.close();
    // Half of what it waits at most for a server that does not.
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn every_idle_strategy_publishes_and_subscribes() {
    for idle in [Idle::Spin, Idle::Adaptive, Idle::Park] {
        let server = TestServer::start();
        let client = Client::builder(&server.address())
            .name("test")
            .idle(idle)
            .connect()
            .unwrap();
        let mut subscriber = client.subscribe(&Subscription::new("a.>")).unwrap();
        let publisher = client.publisher_with(AckLevel::Synced);
        for index in 0..100u8 {
            let receipt = publisher.publish_acked("a.b", &[index]).unwrap();
            let acked = receipt.wait(LONG).unwrap();
            assert_eq!(
                (acked.level, acked.last_stream_sequence),
                (AckLevel::Synced, u64::from(index) + 1)
            );
            let message = subscriber.next_timeout(LONG).unwrap().unwrap();
            assert_eq!(
                (message.subject(), message.payload()),
                ("a.b", &[index][..])
            );
            assert_eq!(
                (message.stream(), message.sequence()),
                ("main", u64::from(index) + 1)
            );
        }
        assert!(
            subscriber
                .next_timeout(Duration::from_millis(1))
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn publishers_on_several_threads_lose_nothing_and_keep_their_order() {
    let server = TestServer::start();
    let client = client(&server);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let publisher = client.publisher();
            scope.spawn(move || {
                for index in 0..5000u32 {
                    let payload = [thread.to_le_bytes(), index.to_le_bytes()].concat();
                    publisher.publish(&format!("t.{thread}"), &payload).unwrap();
                }
            });
        }
    });
    let publisher = client.publisher();
    assert_eq!(
        publisher.flush(LONG).unwrap().unwrap().last_stream_sequence,
        20_000
    );
    assert_eq!(publisher.in_flight(), 0);
    let mut next = [0u32; 4];
    for payload in server.payloads() {
        let thread = payload[0] as usize;
        assert_eq!(payload[4..], next[thread].to_le_bytes());
        next[thread] += 1;
    }
    assert_eq!(next, [5000; 4]);
}

#[test]
fn every_start_begins_where_it_says() {
    let server = TestServer::start();
    for index in 1..=10u8 {
        server.put("a", &[index]);
    }
    let client = client(&server);
    let starts = [
        (Start::First, 1),
        (Start::Last, 10),
        (Start::Sequence(4), 4),
        (Start::Time(6500), 7),
    ];
    for (start, first) in starts {
        let mut subscriber = client
            .subscribe(&Subscription::new("a").start(start))
            .unwrap();
        for index in first..=10 {
            let message = subscriber.next_timeout(LONG).unwrap().unwrap();
            assert_eq!(
                (message.sequence(), message.timestamp_ns()),
                (index, 1000 * index)
            );
        }
    }
    let mut subscriber = client.subscribe(&Subscription::new("a")).unwrap();
    server.put("a", b"new");
    let message = subscriber.next().unwrap().unwrap();
    assert_eq!(
        (&*message.subject, message.sequence, &message.payload[..]),
        ("a", 11, &b"new"[..])
    );
    assert!(message.headers.is_empty());
}

#[test]
fn a_slow_subscriber_is_sent_no_more_than_its_credit() {
    let server = TestServer::start();
    for _ in 0..5000 {
        server.put("a", &[7; 60]);
    }
    let client = client(&server);
    let subscription = Subscription::new("a")
        .start(Start::First)
        .credit_bytes(8192);
    let mut subscriber = client.subscribe(&subscription).unwrap();
    for sequence in 1..=5000 {
        assert_eq!(
            subscriber.next_timeout(LONG).unwrap().unwrap().sequence(),
            sequence
        );
    }
    assert_eq!(subscriber.missed(), 0);
}

#[test]
fn subscriptions_go_on_behind_the_last_record_over_broken_connections() {
    let server = TestServer::start();
    let client = client(&server);
    let mut subscriber = client.subscribe(&Subscription::new("a.>")).unwrap();
    let mut sequence = 0;
    for round in 0..5 {
        for _ in 0..200 {
            server.put("a.b", &[round; 30]);
        }
        // Some of it was taken, some lies in the queue, some is under way.
        for _ in 0..50 {
            sequence += 1;
            assert_eq!(
                subscriber.next_timeout(LONG).unwrap().unwrap().sequence(),
                sequence
            );
        }
        server.drop_connections();
        for _ in 0..200 {
            server.put("a.c", &[round; 30]);
        }
        for _ in 0..350 {
            sequence += 1;
            assert_eq!(
                subscriber.next_timeout(LONG).unwrap().unwrap().sequence(),
                sequence
            );
        }
    }
    assert!(server.store().accepted >= 6);
    let last = server.store().subscribed.last().unwrap().clone();
    assert!(
        last.contains(&format!("positions: {{\"main\": {}}}", sequence - 200 + 1)),
        "{last}"
    );
    // What the client does not know by now is newer than the subscription: all of it is wanted.
    assert!(last.contains("start: First"), "{last}");
    assert!(last.contains("stream: \"\""), "{last}");
    assert!(client.is_connected());
}

#[test]
fn a_subscription_that_saw_nothing_yet_still_misses_nothing() {
    let server = TestServer::start();
    let client = client(&server);
    let mut subscriber = client.subscribe(&Subscription::new("a")).unwrap();
    server.store().refuse_connections = true;
    server.drop_connections();
    eventually(|| !client.is_connected());
    server.put("a", b"while nobody was there");
    server.store().refuse_connections = false;
    assert_eq!(
        subscriber.next_timeout(LONG).unwrap().unwrap().payload(),
        b"while nobody was there"
    );
}

#[test]
fn a_connection_that_was_lost_and_made_again_is_counted() {
    let server = TestServer::start();
    let client = client(&server);
    for lost in 0..3 {
        assert_eq!(client.connections_lost(), lost);
        server.drop_connections();
        eventually(|| client.connections_lost() == lost + 1 && client.is_connected());
    }
}

#[test]
fn a_record_that_comes_after_a_later_one_is_an_error() {
    let server = TestServer::start();
    for body in [b"1", b"2", b"3"] {
        server.put("a", body);
    }
    server.store().records.swap(0, 1);
    let client = client(&server);
    let from_first = Subscription::new("a").start(Start::First);
    let mut subscriber = client.subscribe(&from_first).unwrap();
    let mut next = || match subscriber.next_timeout(LONG) {
        Ok(message) => message.unwrap().sequence().to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(next(), "2");
    let error = next();
    assert!(
        error.contains("record 1 of stream \"main\" came after record 2"),
        "{error}"
    );
    assert_eq!(next(), "3");
}

#[test]
fn subscribing_waits_for_a_connection_that_is_being_made_again() {
    let server = TestServer::start();
    let client = client(&server);
    server.store().refuse_connections = true;
    server.drop_connections();
    eventually(|| !client.is_connected());
    std::thread::scope(|scope| {
        let subscribed =
            scope.spawn(|| client.subscribe(&Subscription::new("a").start(Start::First)));
        server.put("a", b"1");
        server.store().refuse_connections = false;
        let mut subscriber = subscribed.join().unwrap().unwrap();
        assert_eq!(
            subscriber.next_timeout(LONG).unwrap().unwrap().payload(),
            b"1"
        );
    });
}

#[test]
fn what_was_not_acknowledged_is_reported_as_indeterminate_and_not_sent_again() {
    let server = TestServer::start();
    let client = client(&server);
    let publisher = client.publisher();
    publisher.publish("a", b"first").unwrap();
    publisher.flush(LONG).unwrap();
    server.store().hold_acks = true;
    let receipt = publisher.publish_acked("a", b"second").unwrap();
    eventually(|| server.store().records.len() == 2);
    server.drop_connections();
    assert!(matches!(receipt.wait(LONG), Err(Error::Indeterminate)));
    server.store().hold_acks = false;
    assert!(matches!(publisher.flush(LONG), Err(Error::Indeterminate)));
    publisher.publish("a", b"third").unwrap();
    publisher.flush(LONG).unwrap();
    assert_eq!(server.payloads(), [&b"first"[..], b"second", b"third"]);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_when_asked_for() {
    let server = TestServer::start();
    let builder = Client::builder(&server.address()).backoff_max(Duration::from_millis(40));
    let client = builder
        .unacknowledged(Unacknowledged::Resend)
        .connect()
        .unwrap();
    let publisher = client.publisher();
    server.store().hold_acks = true;
    for index in 0..1000u32 {
        publisher.publish("a", &index.to_le_bytes()).unwrap();
    }
    server.drop_connections();
    eventually(|| !client.is_connected());
    server.store().hold_acks = false;
    publisher.flush(LONG).unwrap();
    let payloads = server.payloads();
    let expected: Vec<Vec<u8>> = (0..1000u32)
        .map(|index| index.to_le_bytes().to_vec())
        .collect();
    // What was taken before without an acknowledgement is there twice.
    assert!(payloads[payloads.len() - 1000..] == expected);
}

#[test]
fn records_published_while_there_is_no_connection_are_sent_when_there_is_one() {
    let server = TestServer::start();
    let client = client(&server);
    let publisher = client.publisher();
    publisher.publish("a", b"0").unwrap();
    publisher.flush(LONG).unwrap();
    server.store().refuse_connections = true;
    server.drop_connections();
    eventually(|| !client.is_connected());
    for index in 1..=3u8 {
        publisher.publish("a", &[b'0' + index]).unwrap();
    }
    assert!(matches!(
        client.request("svc", b"", LONG),
        Err(Error::Disconnected)
    ));
    server.store().refuse_connections = false;
    publisher.flush(LONG).unwrap();
    assert_eq!(server.payloads(), [b"0", b"1", b"2", b"3"]);
}

#[test]
fn flushing_to_a_level_asks_for_it_after_everything_is_acknowledged() {
    let server = TestServer::start();
    let client = client(&server);
    let publisher = client.publisher();
    for index in 0..100u8 {
        publisher.publish("a", &[index]).unwrap();
    }
    let acked = publisher.flush_to(AckLevel::Synced, LONG).unwrap().unwrap();
    assert_eq!(acked.last_stream_sequence, 100);
    assert_eq!(server.store().barriers, [AckLevel::Synced]);
    server.store().hold_acks = true;
    publisher.publish("a", b"").unwrap();
    let short = Duration::from_millis(20);
    let late = publisher.flush_to(AckLevel::Stored, short);
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    assert_eq!(server.store().barriers.len(), 1, "it is asked afterwards");
}

#[test]
fn flushing_to_a_level_outlives_a_connection() {
    let server = TestServer::start();
    let client = client(&server);
    let publisher = client.publisher();
    publisher.publish("a", b"").unwrap();
    publisher.flush(LONG).unwrap();
    server.store().hold_acks = true;
    std::thread::scope(|scope| {
        let flushed = scope.spawn(|| publisher.flush_to(AckLevel::Synced, LONG));
        eventually(|| server.store().barriers.len() == 1);
        server.store().hold_acks = false;
        server.drop_connections();
        assert!(flushed.join().unwrap().is_ok());
    });
    assert_eq!(server.store().barriers, [AckLevel::Synced; 2]);
}

#[test]
fn refused_records_are_told_to_who_waits_and_to_who_flushes() {
    let server = TestServer::start();
    let client = client(&server);
    let publisher = client.publisher();
    let receipt = publisher.publish_acked("refused", b"").unwrap();
    assert_eq!(
        receipt.wait(LONG).unwrap_err().code(),
        Some(ErrorCode::NO_STREAM)
    );
    assert_eq!(
        publisher.flush(LONG).unwrap_err().code(),
        Some(ErrorCode::NO_STREAM)
    );
    publisher.publish("good", b"").unwrap();
    assert!(publisher.flush(LONG).is_ok());
    let headers: [(&str, &[u8]); 1] = [("k", b"v")];
    publisher
        .publish_with(&Publication {
            headers: &headers,
            ..Publication::new("good", b"")
        })
        .unwrap();
    let refused = client
        .subscribe(&Subscription::new("forbidden"))
        .unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::SUBJECT));
    assert!(matches!(
        client.subscribe(&Subscription::new("a..b")),
        Err(Error::Publish(PublishError::Subject(_)))
    ));
}

#[test]
fn a_full_window_makes_publishing_wait_and_then_time_out() {
    let server = TestServer::start();
    server.store().hold_acks = true;
    let builder = Client::builder(&server.address())
        .in_flight_records(5)
        .publish_timeout(Duration::from_millis(50));
    let client = builder.connect().unwrap();
    let publisher = client.publisher();
    for _ in 0..5 {
        publisher.publish("a", b"").unwrap();
    }
    assert_eq!(publisher.publish("a", b""), Err(PublishError::TimedOut));
    assert!(matches!(
        publisher.flush(Duration::from_millis(10)),
        Err(Error::TimedOut)
    ));
}

#[test]
fn requests_are_replied_to_and_a_handler_ends_with_its_replier() {
    let server = TestServer::start();
    let (caller, responder) = (client(&server), client(&server));
    let none = caller.request("svc.upper", b"hi", LONG).unwrap_err();
    assert_eq!(none.code(), Some(ErrorCode::NOBODY_LISTENS));
    let replier = responder
        .reply("svc.upper", |call| call.payload().to_ascii_uppercase())
        .unwrap();
    for _ in 0..20 {
        assert_eq!(caller.request("svc.upper", b"hi", LONG).unwrap(), b"HI");
    }
    drop(replier);
    // A call that comes before the server knows is lost.
    let short = Duration::from_millis(10);
    eventually(|| {
        caller
            .request("svc.upper", b"hi", short)
            .is_err_and(|error| error.code().is_some())
    });
    assert_eq!(
        caller.admin().call("stream.list", b"").unwrap(),
        b"{\"asked\":\"$sys.stream.list\"}"
    );
    assert!(matches!(
        caller.request("not a subject", b"", LONG),
        Err(Error::Publish(PublishError::Subject(_)))
    ));
    let long = vec![0; 1 << 20];
    assert!(matches!(
        caller.request("svc", &long, LONG),
        Err(Error::Publish(PublishError::TooLong { .. }))
    ));
}

#[test]
fn a_responder_that_fails_is_told_to_the_caller_with_its_code_and_its_words() {
    let server = TestServer::start();
    let (caller, responder) = (client(&server), client(&server));
    let _replier = responder
        .reply("svc", |call| match call.payload() {
            b"good" => Answer::Payload(b"fine".to_vec()),
            _ => Answer::Failure {
                code: 3,
                message: "no such picture".into(),
            },
        })
        .unwrap();
    for _ in 0..10 {
        let failed = caller.request("svc", b"bad", LONG).unwrap_err();
        let text = failed.to_string();
        assert_eq!(text, "the responder failed: no such picture (code 3)");
        assert!(matches!(failed, Error::Responder { code: 3, .. }));
        assert_eq!(caller.request("svc", b"good", LONG).unwrap(), b"fine");
    }
}

#[test]
fn a_responder_pulls_calls_and_those_without_an_answer_time_out() {
    let server = TestServer::start();
    let client = client(&server);
    let mut responder = client.respond("svc").unwrap();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.request("svc", b"1", LONG));
        let call = responder.next_call(Some(LONG)).unwrap();
        assert_eq!((call.subject(), call.payload()), ("svc", &b"1"[..]));
        call.respond(b"one").unwrap();
        assert_eq!(answer.join().unwrap().unwrap(), b"one");
        let silence = scope.spawn(|| client.request("svc", b"2", Duration::from_millis(10)));
        drop(responder.next_call(Some(LONG)).unwrap());
        assert!(matches!(silence.join().unwrap(), Err(Error::TimedOut)));
    });
    assert!(
        responder
            .next_call(Some(Duration::from_millis(1)))
            .is_none()
    );
}

#[test]
fn an_answer_that_is_too_long_fails_on_both_sides_and_costs_nobody_a_connection() {
    let server = TestServer::start();
    let (caller, client) = (client(&server), client(&server));
    let mut responder = client.respond("svc").unwrap();
    let long = vec![0; 100_001];
    let too_long = |refused: Error| {
        assert!(
            matches!(
                refused,
                Error::Publish(PublishError::TooLong {
                    payload_bytes_max: 100_000,
                    ..
                })
            ),
            "{refused:?}"
        );
    };
    std::thread::scope(|scope| {
        let asked = || scope.spawn(|| caller.request("svc", b"", LONG));
        let answer = asked();
        let call = responder.next_call(Some(LONG)).unwrap();
        too_long(call.respond(&long).unwrap_err());
        let failed = answer.join().unwrap().unwrap_err();
        assert_eq!(
            failed.to_string(),
            "the responder failed: the answer has 100001 bytes, the server takes 100000 (code 10)"
        );
        // The longest that it takes.
        let answer = asked();
        let call = responder.next_call(Some(LONG)).unwrap();
        call.respond(&long[1..]).unwrap();
        assert_eq!(answer.join().unwrap().unwrap().len(), 100_000);
    });
    assert_eq!(client.connections_lost(), 0);
    let _replier = client.reply("svc.replier", move |_| long.clone()).unwrap();
    let failed = caller.request("svc.replier", b"", LONG).unwrap_err();
    assert!(
        matches!(failed, Error::Responder { code: 10, .. }),
        "{failed}"
    );
    assert_eq!(client.connections_lost(), 0);
}

#[test]
fn confirms_go_to_the_channel_of_their_stream() {
    let server = TestServer::start();
    server.put("a", b"1");
    let client = client(&server);
    let subscription = Subscription::new("a")
        .start(Start::First)
        .explicit_confirms();
    let mut subscriber = client.subscribe(&subscription).unwrap();
    let sequence = subscriber.next_timeout(LONG).unwrap().unwrap().sequence();
    subscriber.confirm("main", sequence);
    subscriber.confirm_range("main", 1, 1);
    eventually(|| server.store().confirms == [(0, 1), (1, 1)]);
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let server = TestServer::start();
    let builder = Client::builder(&server.address()).keep_alive(Duration::from_millis(30));
    let client = builder.connect().unwrap();
    server.store().deaf = true;
    eventually(|| !client.is_connected());
}

#[test]
fn a_server_that_is_not_there_or_says_nothing_or_refuses_is_an_error_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let builder = || Client::builder(&address).connect_timeout(Duration::from_millis(50));
    assert!(matches!(builder().connect(), Err(Error::TimedOut)));
    drop(listener.accept().unwrap());
    let refusing = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&support::closing_error()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    let refused = Client::builder(&address)
        .connect_timeout(LONG)
        .connect()
        .unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::TOO_MANY), "{refused}");
    refusing.join().unwrap();
    assert!(matches!(builder().connect(), Err(Error::Io(_))));
}

#[test]
fn closing_sends_what_is_left_and_ends_every_handle() {
    let server = TestServer::start();
    let client = client(&server);
    let mut subscriber = client.subscribe(&Subscription::new("a")).unwrap();
    let publisher = client.publisher();
    for index in 0..1000u32 {
        publisher.publish("a", &index.to_le_bytes()).unwrap();
    }
    client.close();
    eventually(|| server.store().records.len() == 1000);
    assert_eq!(publisher.publish("a", b""), Err(PublishError::Closed));
    assert!(matches!(client.request("a", b"", LONG), Err(Error::Closed)));
    while subscriber.next_message(None).unwrap().is_some() {}
    drop(client);
}
