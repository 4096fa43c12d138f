//! What subscribers get, and when.

use trunkline_broker::Limits;
use trunkline_log::{LogId, Storage};
use trunkline_wire::{AckLevel, ErrorCode, Start, Subscribe};

use crate::world::{Got, World, as_record, request, session, small_log, storages};

/// Numbers of records as text.
fn numbers(records: Vec<(u64, String)>) -> Vec<u64> {
    records
        .into_iter()
        .map(|(_, body)| body.trim_end_matches('.').parse().unwrap())
        .collect()
}

#[test]
fn a_subscriber_gets_what_is_published_in_order() {
    for (storage, level) in storages() {
        let mut world = World::new();
        world.add("main", 0, &[">"], level, small_log(storage));
        let (producer, subscriber) = (world.open(1), world.open(2));
        assert_eq!(world.subscribe(subscriber, 7, ">", Start::New), 1);
        world.fill(producer, "a", 500, 64);
        let got = world.got(subscriber);
        let expected = Got::Subscribed {
            channel: 0,
            subscription: 7,
            stream: "main".into(),
            next: 1,
            first: 1,
            last: 0,
        };
        assert_eq!(got[0], expected);
        let records: Vec<_> = got.into_iter().filter_map(as_record).collect();
        assert!(records.iter().map(|(sequence, _)| *sequence).eq(1..=500));
        assert!(numbers(records).into_iter().eq(0..500));
    }
}

#[test]
fn nobody_sees_a_record_before_it_is_at_its_streams_level() {
    for level in [AckLevel::Stored, AckLevel::Synced] {
        let mut world = World::new();
        world.add("main", 0, &[">"], level, small_log(Storage::Files));
        let (producer, subscriber) = (world.open(1), world.open(2));
        world.subscribe(subscriber, 1, ">", Start::First);
        // Also when the publisher asks for less.
        world.publish_at(producer, AckLevel::Received, &[("a", b"1")]);
        for _ in 0..10 {
            world.turn();
            world.send();
        }
        assert!(world.records(subscriber).is_empty());
        let mut steps = 0;
        while world.records(subscriber).is_empty() {
            let log = world.shard.log(LogId(0)).unwrap();
            let reached = if level == AckLevel::Stored {
                log.stored()
            } else {
                log.synced()
            };
            assert_eq!(reached.sequence, 1, "it is at its level and not seen");
            assert!(world.answer_disk(1) == 1);
            world.turn();
            world.send();
            steps += 1;
        }
        assert!(steps >= 1);
    }
}

#[test]
fn a_stream_that_says_so_shows_records_as_soon_as_they_are_received() {
    let mut world = World::new();
    world
        .try_add(
            "main",
            0,
            &[">"],
            AckLevel::Synced,
            AckLevel::Received,
            small_log(Storage::Files),
        )
        .unwrap();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.publish(producer, &[("a", b"1")]);
    world.turn();
    world.send();
    assert_eq!(world.records(subscriber), [(1, "1".into())]);
    assert_eq!(world.acks(producer), [], "the ack waits for its level");
    world.settle();
    assert_eq!(world.acks(producer).len(), 1);
}

#[test]
fn every_subscriber_gets_every_record_once() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let subscribers: Vec<_> = (10..40).map(|slot| world.open(slot)).collect();
    for subscriber in &subscribers {
        world.subscribe(*subscriber, 1, ">", Start::New);
    }
    world.fill(producer, "a", 300, 200);
    for subscriber in subscribers {
        assert!(world.sequences(subscriber).into_iter().eq(1..=300));
    }
}

#[test]
fn after_unsubscribe_nothing_comes_and_the_number_is_free_again() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    let twice = world.subscribe_with(subscriber, &request(1, "a"));
    assert_eq!(twice.unwrap_err().code, ErrorCode::EXISTS);
    world
        .shard
        .unsubscribe(subscriber, 1, world.now, &mut world.out)
        .unwrap();
    world.publish(producer, &[("a", b"1")]);
    world.settle();
    assert!(world.records(subscriber).is_empty());
    let gone = world
        .shard
        .unsubscribe(subscriber, 1, world.now, &mut world.out);
    assert_eq!(gone.unwrap_err().code, ErrorCode::NOT_FOUND);
    assert_eq!(
        world.shard.credit(subscriber, 0, 1).unwrap_err().code,
        ErrorCode::NOT_FOUND
    );
    world.subscribe(subscriber, 1, ">", Start::First);
    world.settle();
    assert_eq!(world.sequences(subscriber), [1]);
}

#[test]
fn what_a_subscribe_asks_wrongly_is_refused_and_opens_nothing() {
    let mut world = World::with_limits(Limits {
        session_subscriptions: 2,
        session_channels: 1,
        ..Limits::default()
    });
    world.add(
        "main",
        0,
        &[">"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let subscriber = world.open(1);
    let mut code = |subscribe: &Subscribe<'_>| {
        world
            .subscribe_with(subscriber, subscribe)
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(code(&request(1, "a..b")), Err(ErrorCode::SUBJECT));
    assert_eq!(
        code(&Subscribe {
            start: Start::Cursor,
            ..request(1, "a")
        }),
        Err(ErrorCode::NOT_FOUND)
    );
    assert_eq!(
        code(&Subscribe {
            group: "a\nb",
            ..request(1, "a")
        }),
        Err(ErrorCode::MALFORMED)
    );
    assert_eq!(code(&request(1, "a")), Ok(1));
    assert_eq!(
        code(&request(2, "a")),
        Err(ErrorCode::TOO_MANY),
        "one channel is open"
    );
    assert_eq!(world.shard.stream_info("main").unwrap().subscribers, 1);
    let unknown = world
        .shard
        .subscribe(session(99), &request(1, "a"), world.now, &mut world.out);
    assert_eq!(unknown.unwrap_err().code, ErrorCode::NOT_FOUND);
}

#[test]
fn a_stream_says_what_it_holds() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, "a", Start::New);
    world.publish(producer, &[("a", b"1"), ("b", b"2")]);
    world.settle();
    let info = world.shard.stream_info("main").unwrap();
    assert_eq!(
        (
            info.records,
            info.first_sequence,
            info.last_sequence,
            info.subjects
        ),
        (2, 1, 2, 2)
    );
    assert_eq!(
        (
            info.subscribers,
            info.cursors,
            info.stored.map(|mark| mark.sequence)
        ),
        (1, 0, Some(3))
    );
    assert_eq!(world.shard.streams(), [info]);
}
