//! What becomes of subscriptions when the server ends or refuses them, or has another stream under the same name.

mod support;

use support::{LONG, TestServer, client, eventually};
use trunkline_client::{Client, ErrorCode, Start, Subscriber, Subscription};

#[test]
fn a_subscription_that_has_lost_its_cursor_ends_and_does_not_take_it_back() {
    let server = TestServer::start();
    let client = client(&server);
    let mut loser = client
        .subscribe(&Subscription::new("a").cursor("c"))
        .unwrap();
    let mut other = client.subscribe(&Subscription::new("a")).unwrap();
    server.put("a", b"1");
    assert_eq!(other.next_timeout(LONG).unwrap().unwrap().payload(), b"1");
    server.take_cursor(1);
    // What came before is given out, then why nothing more comes, once.
    assert_eq!(loser.next_timeout(LONG).unwrap().unwrap().payload(), b"1");
    let taken = loser.next_timeout(LONG).unwrap_err();
    assert_eq!(taken.code(), Some(ErrorCode::EXISTS), "{taken}");
    assert!(loser.next().is_none());
    loser.confirm("main", 1);
    let before = server.store().subscribed.len();
    server.drop_connections();
    server.put("a", b"2");
    assert_eq!(other.next_timeout(LONG).unwrap().unwrap().payload(), b"2");
    let store = server.store();
    let again = &store.subscribed[before..];
    assert!(
        !again.is_empty() && again.iter().all(|asked| !asked.contains("cursor: \"c\"")),
        "{again:?}"
    );
    assert_eq!(store.confirms, []);
}

/// A subscription on a connection that was lost, and on the next one refused.
fn refused_again(server: &TestServer, client: &Client, code: ErrorCode) -> Subscriber {
    let subscriber = client.subscribe(&Subscription::new("a")).unwrap();
    let before = server.store().subscribed.len();
    server.store().refuse_subscribes = Some(code);
    server.drop_connections();
    eventually(|| server.store().subscribed.len() > before);
    subscriber
}

#[test]
fn a_subscription_that_is_refused_for_the_time_being_is_asked_for_until_it_is_not() {
    for code in [ErrorCode::READ_ONLY, ErrorCode::NO_SPACE] {
        let server = TestServer::start();
        let client = client(&server);
        let mut subscriber = refused_again(&server, &client, code);
        let before = server.store().subscribed.len();
        eventually(|| server.store().subscribed.len() >= before + 2);
        server.put("a", b"meanwhile");
        server.store().refuse_subscribes = None;
        let message = subscriber.next_timeout(LONG).unwrap();
        assert_eq!(message.unwrap().payload(), b"meanwhile", "{code}");
        assert_eq!(client.connections_lost(), 1);
    }
}

#[test]
fn a_subscription_that_is_refused_for_good_ends_and_says_why() {
    for code in [
        ErrorCode::SUBJECT,
        ErrorCode::NOT_FOUND,
        // For good after a while.
        ErrorCode::TOO_MANY,
    ] {
        let server = TestServer::start();
        let client = client(&server);
        let mut subscriber = refused_again(&server, &client, code);
        let refused = subscriber.next_timeout(LONG).unwrap_err();
        assert_eq!(refused.code(), Some(code), "{refused}");
        assert!(subscriber.next().is_none());
        let before = server.store().subscribed.len();
        server.drop_connections();
        eventually(|| client.connections_lost() == 2 && client.is_connected());
        assert_eq!(server.store().subscribed.len(), before);
    }
}

#[test]
fn a_responder_that_is_refused_for_good_ends_and_says_why() {
    let server = TestServer::start();
    let client = client(&server);
    let mut responder = client.respond("svc").unwrap();
    server.store().refuse_subscribes = Some(ErrorCode::SUBJECT);
    server.drop_connections();
    assert!(responder.next_call(Some(LONG)).is_none());
    let refused = responder.failure().expect("why");
    assert_eq!(refused.code(), Some(ErrorCode::SUBJECT), "{refused}");
    assert!(responder.failure().is_none());
}

#[test]
fn a_cursor_on_a_stream_that_is_made_again_begins_with_its_first_record() {
    let server = TestServer::start();
    let client = client(&server);
    let mut subscriber = client
        .subscribe(&Subscription::new("a").cursor("c"))
        .unwrap();
    let mut take = |bodies: [&[u8]; 3]| {
        for (index, body) in bodies.into_iter().enumerate() {
            server.put("a", body);
            let message = subscriber.next_timeout(LONG).unwrap().unwrap();
            assert_eq!(
                (message.sequence(), message.payload()),
                (index as u64 + 1, body)
            );
        }
    };
    take([b"1", b"2", b"3"]);
    server.remake_stream();
    take([b"new 1", b"new 2", b"new 3"]);
}

#[test]
fn what_a_cursor_sends_again_after_a_reconnect_is_left_out() {
    let server = TestServer::start();
    let client = client(&server);
    let mut subscriber = client
        .subscribe(&Subscription::new("a").cursor("c"))
        .unwrap();
    for body in [b"1", b"2", b"3"] {
        server.put("a", body);
        assert_eq!(
            subscriber.next_timeout(LONG).unwrap().unwrap().payload(),
            body
        );
    }
    server.store().cursor = Some(2);
    server.drop_connections();
    eventually(|| server.store().subscribed.len() == 2);
    server.put("a", b"4");
    assert_eq!(
        subscriber.next_timeout(LONG).unwrap().unwrap().payload(),
        b"4"
    );
}

#[test]
fn a_group_goes_on_where_its_member_was() {
    let server = TestServer::start();
    let client = client(&server);
    let mut subscriber = client
        .subscribe(&Subscription::new("a").group("workers"))
        .unwrap();
    server.put("a", b"1");
    assert_eq!(
        subscriber.next_timeout(LONG).unwrap().unwrap().payload(),
        b"1"
    );
    server.store().refuse_connections = true;
    server.drop_connections();
    eventually(|| !client.is_connected());
    server.put("a", b"while nobody was there");
    server.store().refuse_connections = false;
    let message = subscriber.next_timeout(LONG).unwrap().unwrap();
    assert_eq!(message.payload(), b"while nobody was there");
}

#[test]
fn streams_that_were_not_served_are_read_from_when_they_were_subscribed_to() {
    for (start, again) in [
        (Start::New, "start: Time(5000"),
        (Start::Last, "start: Time(5000"),
        (Start::First, "start: First"),
        (Start::Sequence(7), "start: Sequence(7)"),
    ] {
        let server = TestServer::start();
        server.store().wall_ns = 5_000_000_000_000_000_000;
        server.store().unserved = true;
        server.put("a", b"");
        let client = client(&server);
        let _subscriber = client
            .subscribe(&Subscription::new(">").start(start))
            .unwrap();
        // The notice comes behind the answer.
        client.request("$sys.x", b"", LONG).unwrap();
        server.store().wall_ns += 1_000_000_000_000_000_000;
        for connections in 1..3 {
            server.drop_connections();
            eventually(|| server.store().subscribed.len() == connections + 1);
            let asked = server.store().subscribed.last().unwrap().clone();
            assert!(asked.contains(again), "{asked}");
            assert!(asked.contains("positions: {\"main\": "), "{asked}");
        }
    }
}
