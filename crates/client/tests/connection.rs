//! The connection that its caller drives.

mod support;

use std::time::{Duration, Instant};

use support::TestServer;
use trunkline_client::{
    AckLevel, Connection, ConnectionOptions, Error, ErrorCode, Event, Publication, PublishError,
    Start, Subscription,
};

fn connect(server: &TestServer) -> Connection {
    Connection::connect(&server.address(), &ConnectionOptions::default()).unwrap()
}

/// Polls and flushes until `done`, for at most ten seconds.
fn drive(connection: &mut Connection, mut on: impl FnMut(Event<'_>) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    let mut done = false;
    while !done {
        connection.flush().unwrap();
        let received = connection.poll(|event| done |= on(event)).unwrap();
        if received == 0 {
            assert!(Instant::now() < end, "it did not happen in time");
            std::thread::yield_now();
        }
    }
}

#[test]
fn records_are_published_acknowledged_and_delivered_with_everything_that_was_said_of_them() {
    let server = TestServer::start();
    let mut connection = connect(&server);
    let (number, _) = connection
        .subscribe(&Subscription::new("orders.>").start(Start::First))
        .unwrap();
    let headers: [(&str, &[u8]); 1] = [("trace", b"abc")];
    connection.publish("orders.eu", b"one").unwrap();
    connection.publish("other", b"not for us").unwrap();
    let publication = Publication {
        headers: &headers,
        level: AckLevel::Synced,
        route_flags: 9,
        ..Publication::new("orders.us", b"two")
    };
    assert_eq!(connection.publish_with(&publication), Ok(3));
    assert_eq!(connection.in_flight(), 3);
    let (mut acked, mut got) = (0, Vec::new());
    drive(&mut connection, |event| {
        match event {
            Event::Acked { last, ack, .. } => {
                acked = last;
                assert_eq!(
                    ack.level,
                    if last == 3 {
                        AckLevel::Synced
                    } else {
                        AckLevel::Stored
                    }
                );
            }
            Event::Record {
                subscription,
                message,
            } => {
                assert_eq!((subscription, message.stream()), (number, "main"));
                let headers = message
                    .headers()
                    .iter()
                    .map(|(key, _)| key.to_owned())
                    .collect::<Vec<_>>();
                let route = message.record().route_flags();
                got.push((
                    message.subject().to_owned(),
                    message.sequence(),
                    message.payload().to_vec(),
                    headers,
                    route,
                ));
            }
            _ => {}
        }
        acked == 3 && got.len() == 2
    });
    assert_eq!(connection.in_flight(), 0);
    assert_eq!(got[0], ("orders.eu".into(), 1, b"one".to_vec(), vec![], 0));
    assert_eq!(
        got[1],
        (
            "orders.us".into(),
            3,
            b"two".to_vec(),
            vec!["trace".to_owned()],
            9
        )
    );
}

#[test]
fn many_records_share_frames_and_credit_is_given_as_they_come() {
    let server = TestServer::start();
    let mut connection = connect(&server);
    let subscription = Subscription::new("load")
        .start(Start::First)
        .credit_bytes(10_000);
    connection.subscribe(&subscription).unwrap();
    let total = 20_000u64;
    let (mut sent, mut expected) = (0u64, 1);
    while expected <= total {
        while sent < total {
            match connection.publish("load", &(sent + 1).to_le_bytes()) {
                Ok(sequence) => sent = sequence,
                Err(PublishError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        drive(&mut connection, |event| {
            if let Event::Record { message, .. } = event {
                assert_eq!(message.sequence(), expected);
                assert_eq!(message.payload(), expected.to_le_bytes());
                expected += 1;
            }
            true
        });
    }
    assert!(
        server.store().frames < total / 100,
        "each frame carries many records"
    );
}

#[test]
fn the_window_bounds_what_is_unacknowledged() {
    let server = TestServer::start();
    server.store().hold_acks = true;
    let options = ConnectionOptions {
        in_flight_records: 10,
        ..ConnectionOptions::default()
    };
    let mut connection = Connection::connect(&server.address(), &options).unwrap();
    for sequence in 1..=10 {
        assert_eq!(connection.publish("a", b""), Ok(sequence));
    }
    assert_eq!(connection.publish("a", b""), Err(PublishError::Full));
    let options = ConnectionOptions {
        buffer_bytes: 20_000,
        ..ConnectionOptions::default()
    };
    let mut connection = Connection::connect(&server.address(), &options).unwrap();
    let mut published = 0;
    while connection.publish("a", &[7; 1000]).is_ok() {
        published += 1;
    }
    assert!((15..=20).contains(&published), "{published}");
}

#[test]
fn refusals_name_the_records_and_the_rest_goes_through() {
    let server = TestServer::start();
    let mut connection = connect(&server);
    connection.publish("good", b"1").unwrap();
    connection.flush().unwrap();
    connection.publish("refused", b"2").unwrap();
    connection.publish("good", b"3").unwrap();
    connection.flush().unwrap();
    connection.publish("good", b"4").unwrap();
    let (mut refused, mut acked) = (Vec::new(), Vec::new());
    drive(&mut connection, |event| {
        match event {
            Event::Acked { first, last, .. } => acked.extend(first..=last),
            Event::Refused { first, last, error } => {
                assert_eq!(error.code, ErrorCode::NO_STREAM);
                refused.extend(first..=last);
            }
            _ => {}
        }
        acked.len() + refused.len() == 4
    });
    // "good" was told to the server before: what is published with the refused record in one frame is refused, too.
    assert_eq!((acked, refused), (vec![1, 4], vec![2, 3]));
    assert_eq!(server.payloads(), [b"1", b"4"]);
}

#[test]
fn what_cannot_be_published_is_said_before_it_is_sent() {
    let server = TestServer::start();
    let mut connection = connect(&server);
    drive(&mut connection, |event| matches!(event, Event::Hello(_)));
    assert!(matches!(
        connection.publish("a..b", b""),
        Err(PublishError::Subject(_))
    ));
    let long = vec![0; 100_000];
    let too_long = PublishError::TooLong {
        payload_bytes: 100_000,
        payload_bytes_max: 99_992,
    };
    assert_eq!(connection.publish("a", &long), Err(too_long));
    assert_eq!(connection.publish("a", &long[..99_992]), Ok(1));
    let key = "k".repeat(256);
    let publication = Publication {
        headers: &[(&key, b"")],
        ..Publication::new("a", b"")
    };
    assert_eq!(
        connection.publish_with(&publication),
        Err(PublishError::Headers)
    );
    drive(&mut connection, |event| {
        matches!(event, Event::Acked { last: 1, .. })
    });
}

#[test]
fn calls_are_answered_and_failures_have_their_code() {
    let server = TestServer::start();
    let mut responder = connect(&server);
    let (_, request) = responder.respond_to("svc.echo").unwrap();
    drive(
        &mut responder,
        |event| matches!(event, Event::Done { request: done, .. } if done == request),
    );
    let mut caller = connect(&server);
    let unheard = caller
        .call("svc.none", b"?", Duration::from_secs(1))
        .unwrap();
    drive(&mut caller, |event| match event {
        Event::Failed { request, error } => {
            assert_eq!((request, error.code), (unheard, ErrorCode::NOBODY_LISTENS));
            true
        }
        _ => false,
    });
    let call = caller
        .call("svc.echo", b"hi", Duration::from_secs(1))
        .unwrap();
    caller.flush().unwrap();
    let mut correlation = 0;
    drive(&mut responder, |event| match event {
        Event::Call {
            correlation: number,
            call,
        } => {
            assert_eq!((call.subject, call.payload), ("svc.echo", &b"hi"[..]));
            correlation = number;
            true
        }
        _ => false,
    });
    responder.respond(correlation, b"hi yourself").unwrap();
    responder.flush().unwrap();
    drive(&mut caller, |event| match event {
        Event::Answer { request, payload } => {
            assert_eq!((request, payload), (call, &b"hi yourself"[..]));
            true
        }
        _ => false,
    });
}

#[test]
fn a_barrier_is_done_after_what_came_before_and_failures_of_responders_are_told() {
    let server = TestServer::start();
    let (mut caller, mut responder) = (connect(&server), connect(&server));
    caller.publish("a", b"1").unwrap();
    let barrier = caller.barrier(AckLevel::Synced).unwrap();
    let mut told = Vec::new();
    drive(&mut caller, |event| match event {
        Event::Acked { last, .. } => {
            told.push(format!("acked {last}"));
            false
        }
        Event::Done { request, ack } => {
            told.push(format!("done {request} {}", ack.level));
            true
        }
        _ => false,
    });
    let done = format!("done {barrier} synced");
    assert_eq!(told, ["acked 1", &done]);

    let (_, request) = responder.respond_to("svc").unwrap();
    drive(
        &mut responder,
        |event| matches!(event, Event::Done { request: done, .. } if done == request),
    );
    let call = caller.call("svc", b"", Duration::from_secs(5)).unwrap();
    caller.flush().unwrap();
    let mut correlation = 0;
    drive(&mut responder, |event| match event {
        Event::Call {
            correlation: named, ..
        } => {
            correlation = named;
            true
        }
        _ => false,
    });
    responder.respond_failed(correlation, 7, "no").unwrap();
    responder.flush().unwrap();
    drive(&mut caller, |event| match event {
        Event::ResponderFailed { request, failure } => {
            assert_eq!((request, failure.code, failure.message), (call, 7, "no"));
            true
        }
        _ => false,
    });
}

#[test]
fn an_answer_that_is_too_long_is_not_sent() {
    let server = TestServer::start();
    let mut responder = connect(&server);
    drive(&mut responder, |event| matches!(event, Event::Hello(_)));
    let long = vec![0; 100_001];
    let message = "x".repeat(99_995);
    for refused in [
        responder.respond(1, &long),
        responder.respond_failed(1, 1, &message),
    ] {
        let refused = refused.unwrap_err();
        let words = "the limit is ";
        assert!(
            matches!(&refused, Error::Publish(PublishError::TooLong { .. }))
                && refused.to_string().contains(words),
            "{refused:?}"
        );
    }
    responder.respond(1, &long[1..]).unwrap();
    responder.ping().unwrap();
    drive(&mut responder, |event| matches!(event, Event::Pong));
}

#[test]
fn a_cursor_that_another_subscription_has_taken_over_is_an_event_of_its_own() {
    let server = TestServer::start();
    let mut connection = connect(&server);
    let (number, request) = connection
        .subscribe(&Subscription::new("a").cursor("c"))
        .unwrap();
    drive(
        &mut connection,
        |event| matches!(event, Event::Done { request: done, .. } if done == request),
    );
    server.take_cursor(number);
    drive(&mut connection, |event| match event {
        Event::TakenOver {
            subscription,
            error,
        } => {
            assert_eq!((subscription, error.code), (number, ErrorCode::EXISTS));
            true
        }
        _ => false,
    });
}

#[test]
fn a_connection_that_breaks_says_so() {
    let server = TestServer::start();
    let mut connection = connect(&server);
    drive(&mut connection, |event| matches!(event, Event::Hello(_)));
    server.drop_connections();
    let end = Instant::now() + Duration::from_secs(5);
    while connection.poll(|_| ()).is_ok() {
        assert!(Instant::now() < end);
    }
}
