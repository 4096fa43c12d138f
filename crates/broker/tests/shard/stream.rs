//! Several streams: the channels of a subscription, and streams that come and go.

use trunkline_broker::ShardConfig;
use trunkline_log::Storage;
use trunkline_wire::{AckLevel, ErrorCode, Start, Subscribe};

use crate::world::{Got, World, request, small_log};

#[test]
fn a_subscription_over_several_streams_has_a_channel_for_each_also_for_those_that_come_later() {
    let mut world = World::new();
    world.add(
        "left",
        0,
        &["l.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.add(
        "right",
        1,
        &["r.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.add(
        "no",
        2,
        &["n.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let (producer, subscriber) = (world.open(1), world.open(2));
    assert_eq!(world.subscribe(subscriber, 1, "*.x", Start::New), 3);
    assert_eq!(world.subscribe(subscriber, 2, "l.>", Start::New), 1);
    assert_eq!(world.subscribe(subscriber, 3, "later.x", Start::New), 0);
    world.add(
        "later",
        3,
        &["later.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.publish(
        producer,
        &[
            ("l.x", b"1"),
            ("r.x", b"2"),
            ("n.y", b"3"),
            ("later.x", b"4"),
        ],
    );
    world.settle();
    let mut got: Vec<(u16, String)> = world
        .got(subscriber)
        .into_iter()
        .filter_map(|got| match got {
            Got::Record {
                channel, subject, ..
            } => Some((channel, subject)),
            _ => None,
        })
        .collect();
    got.sort();
    let expected = [
        (0, "l.x"),
        (1, "r.x"),
        (3, "l.x"),
        (4, "later.x"),
        (5, "later.x"),
    ];
    assert_eq!(
        got,
        expected.map(|(channel, subject)| (channel, subject.to_owned()))
    );
}

#[test]
fn a_subscription_to_one_stream_gets_nothing_of_others() {
    let mut world = World::new();
    world.add(
        "left",
        0,
        &["l.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.add(
        "right",
        1,
        &["r.>"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let subscriber = world.open(2);
    let only = Subscribe {
        stream: "right",
        ..request(1, ">")
    };
    assert_eq!(world.subscribe_with(subscriber, &only), Ok(1));
    let producer = world.open(1);
    world.publish(producer, &[("l.x", b"1"), ("r.x", b"2")]);
    world.settle();
    assert_eq!(world.records(subscriber), [(1, "2".into())]);
}

#[test]
fn channels_of_several_workers_on_one_connection_have_different_numbers() {
    let mut channels = Vec::new();
    for worker in 0..3 {
        let mut world = World::with_config(ShardConfig {
            worker,
            workers: 3,
            ..ShardConfig::default()
        });
        for id in 0..3 {
            world.add(
                &format!("s{id}"),
                id,
                &[&format!("{id}.>")],
                AckLevel::Received,
                small_log(Storage::Memory),
            );
        }
        let subscriber = world.open(1);
        world.subscribe(subscriber, 1, ">", Start::New);
        world.settle();
        for got in world.got(subscriber) {
            let Got::Subscribed { channel, .. } = got else {
                panic!("{got:?}")
            };
            assert_eq!(channel % 3, u16::from(worker));
            world.credit(subscriber, channel, 1);
            channels.push(channel);
        }
    }
    channels.sort_unstable();
    assert!(channels.into_iter().eq(0..9));
}

#[test]
fn removing_a_stream_ends_its_channels_and_says_so() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.fill(producer, "a", 10, 10);
    world.got(subscriber);
    let log = world
        .shard
        .remove_stream("main", world.now, &mut world.out)
        .unwrap();
    assert_eq!(log.received().sequence, 11);
    world.settle();
    assert!(matches!(
        world.got(subscriber)[..],
        [Got::Refused {
            frame: 0,
            code: ErrorCode::NOT_FOUND,
            ..
        }]
    ));
    assert_eq!(world.shard.stream_info("main"), None);
    // The subscription lives on, for a stream of this name or another.
    world.add(
        "other",
        5,
        &["a"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    world.publish(producer, &[("a", b"x")]);
    world.settle();
    assert_eq!(world.records(subscriber), [(1, "x".into())]);
}
