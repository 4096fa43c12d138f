//! What is on its way to a session: credit and limits bound it, and its bytes stay until it has left.

use trunkline_broker::{Limits, PublishFrame};
use trunkline_log::Storage;
use trunkline_wire::{AckLevel, Start, Subscribe};

use crate::world::{World, request, small_log};

#[test]
fn credit_bounds_what_is_delivered() {
    for pattern in [">", "a"] {
        let mut world = World::with_main();
        let (producer, subscriber) = (world.open(1), world.open(2));
        world
            .subscribe_with(
                subscriber,
                &Subscribe {
                    credit_bytes: 0,
                    ..request(1, pattern)
                },
            )
            .unwrap();
        world.fill(producer, "a", 50, 64);
        assert!(world.records(subscriber).is_empty());
        let record = 40 + 64;
        let mut given = 0;
        let mut seen = 0;
        for _ in 0..200 {
            world.credit(subscriber, 0, 300);
            given += 300;
            world.settle();
            let bytes = world
                .out
                .delivered_bytes
                .get(&(subscriber, 0))
                .copied()
                .unwrap_or(0);
            assert!(
                bytes <= given + record,
                "{bytes} bytes for a credit of {given}"
            );
            seen += world.records(subscriber).len();
        }
        assert_eq!(seen, 50);
    }
}

#[test]
fn a_record_larger_than_the_credit_passes_alone() {
    let mut world = World::with_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world
        .subscribe_with(
            subscriber,
            &Subscribe {
                credit_bytes: 1 << 20,
                ..request(1, ">")
            },
        )
        .unwrap();
    world.publish(
        producer,
        &[("a", b"so that the definition is out of the way")],
    );
    world.settle();
    world.close(subscriber);
    let subscriber = world.open(3);
    world
        .subscribe_with(
            subscriber,
            &Subscribe {
                credit_bytes: 100,
                ..request(1, ">")
            },
        )
        .unwrap();
    world.publish(producer, &[("a", &[1; 5000]), ("a", &[2; 5000])]);
    world.settle();
    assert_eq!(world.sequences(subscriber).len(), 1);
    world.credit(subscriber, 0, 4900);
    world.settle();
    assert_eq!(
        world.records(subscriber).len(),
        0,
        "the debt is not paid back"
    );
    world.credit(subscriber, 0, 200);
    world.settle();
    assert_eq!(world.records(subscriber).len(), 1);
}

#[test]
fn what_is_on_its_way_to_a_session_is_bounded_and_goes_on_when_it_has_left() {
    let mut world = World::with_limits(Limits {
        session_in_flight_bytes: 4000,
        run_bytes: 4000,
        ..Limits::default()
    });
    world.add(
        "main",
        0,
        &[">"],
        AckLevel::Received,
        small_log(Storage::Memory),
    );
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.subscribe(subscriber, 2, "a", Start::New);
    world.stuck.insert(subscriber);
    for _ in 0..50 {
        world.publish(producer, &[("a", &[1; 1000])]);
        world.turn();
    }
    assert!(
        world.in_flight(subscriber) <= 8,
        "{}",
        world.in_flight(subscriber)
    );
    world.stuck.clear();
    world.settle();
    let mut sequences = world.sequences(subscriber);
    assert_eq!(sequences.len(), 100);
    sequences.sort_unstable();
    sequences.dedup();
    assert!(sequences.into_iter().eq(1..=50));
}

#[test]
fn a_session_that_closes_with_sends_in_flight_gives_the_tail_back_when_they_are_over() {
    let mut world = World::with_volatile_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, ">", Start::New);
    world.stuck.insert(subscriber);
    world.publish(producer, &[("a", &[1; 1000])]);
    world.turn();
    assert!(world.in_flight(subscriber) > 0);
    // The tail cannot go round: the first block is held.
    let run = world.run(
        producer,
        &(0..400).map(|_| ("a", &[2; 1000][..])).collect::<Vec<_>>(),
    );
    let frame = PublishFrame {
        sequence: 1,
        level: AckLevel::Stream,
        expects_ack: true,
        last: true,
        apart: false,
    };
    let published = world.publish_run(producer, frame, &run).unwrap();
    assert!(published.full);
    world
        .shard
        .close_session(subscriber, world.now, &mut world.out);
    world.turn();
    let rest = &run[published.bytes..];
    assert!(
        world.publish_run(producer, frame, rest).unwrap().full,
        "the kernel may still read there"
    );
    world.close(subscriber);
    assert_eq!(
        world.publish_run(producer, frame, rest).unwrap().bytes,
        rest.len()
    );
    assert_eq!(world.shard.deliveries_in_flight(), 0);
}

#[test]
fn a_delivery_keeps_its_bytes_until_it_is_sent() {
    // `World::send` looks at the bytes only when they leave, and verifies their checksums.
    let mut world = World::with_main();
    let (producer, slow) = (world.open(1), world.open(2));
    world.subscribe(slow, 1, ">", Start::New);
    world.stuck.insert(slow);
    let mut published = 0;
    for nth in 0..2000_u64 {
        let run = world.run(producer, &[("a", &[nth as u8; 500])]);
        let frame = PublishFrame {
            sequence: 1,
            level: AckLevel::Stream,
            expects_ack: false,
            last: true,
            apart: false,
        };
        if world.publish_run(producer, frame, &run).unwrap().full {
            break;
        }
        published += 1;
        world.turn();
        world.answer_disk(usize::MAX);
    }
    assert!(published < 2000, "the tail has 256 KiB");
    world.stuck.clear();
    world.settle();
    assert!(world.sequences(slow).into_iter().eq(1..=published));
}
