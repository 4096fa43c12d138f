//! Where a subscription starts, and how it goes over into what is new.

use trunkline_log::Storage;
use trunkline_wire::{AckLevel, Positions, Start, Subscribe};

use crate::world::{Got, World, request, small_log, storages};

#[test]
fn a_subscription_starts_where_it_asks() {
    for (storage, level) in storages() {
        let starts = |times: &[u64]| {
            [
                (Start::New, 11),
                (Start::First, 1),
                (Start::Last, 10),
                (Start::Sequence(4), 4),
                (Start::Sequence(0), 1),
                (Start::Sequence(11), 11),
                (Start::Sequence(100), 11),
                (Start::Time(times[6]), 7),
                (Start::Time(times[6] - 1), 7),
                (Start::Time(times[6] + 1), 8),
                (Start::Time(times[9] + 1), 11),
                (Start::Time(0), 1),
            ]
        };
        for nth in 0..12 {
            let mut world = World::new();
            world.add("main", 0, &[">"], level, small_log(storage));
            let producer = world.open(1);
            let mut times = Vec::new();
            for number in 1..=10_u64 {
                world.advance(10);
                times.push(world.now.wall_ns);
                world.publish(producer, &[("a", number.to_string().as_bytes())]);
                world.settle();
            }
            let (start, first) = starts(&times)[nth];
            let subscriber = world.open(2);
            world.subscribe(subscriber, 1, ">", start);
            world.advance(10);
            world.publish(producer, &[("a", b"11")]);
            world.settle();
            assert!(
                world.sequences(subscriber).into_iter().eq(first..=11),
                "{start:?} on {storage:?}"
            );
        }
    }
}

#[test]
fn a_replay_from_files_is_complete_and_goes_over_into_live_records() {
    let mut world = World::with_main();
    let producer = world.open(1);
    world.fill(producer, "a", 1000, 1000);
    let subscriber = world.open(2);
    world.subscribe(subscriber, 1, ">", Start::First);
    world.fill(producer, "a", 100, 1000);
    assert!(world.sequences(subscriber).into_iter().eq(1..=1100));
    assert_eq!(world.buffers_out(), 0, "every buffer was given back");
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_stood_and_gets_the_rest_from_where_it_says() {
    let mut world = World::new();
    let names = ["left", "right", "fresh"];
    for (id, name) in names.into_iter().enumerate() {
        let (pattern, log) = (format!("{name}.>"), small_log(Storage::Memory));
        world.add(name, id as u32, &[&pattern], AckLevel::Received, log);
    }
    let producer = world.open(1);
    for nth in 1..=3 {
        let body = format!("{nth}");
        for subject in ["left.x", "right.x", "fresh.x"] {
            world.publish(producer, &[(subject, body.as_bytes())]);
        }
    }
    world.settle();
    let mut positions = Vec::new();
    for (stream, next) in [("left", 3), ("gone", 9), ("right", 4)] {
        Positions::push(&mut positions, stream, next).unwrap();
    }
    let subscriber = world.open(2);
    let back = Subscribe {
        start: Start::First,
        positions: Positions::new(&positions).unwrap(),
        ..request(1, ">")
    };
    assert_eq!(world.subscribe_with(subscriber, &back), Ok(3));
    world.settle();
    let mut nexts: Vec<(String, u64)> = Vec::new();
    let mut records = Vec::new();
    for got in world.got(subscriber) {
        match got {
            Got::Subscribed { stream, next, .. } => nexts.push((stream, next)),
            Got::Record {
                subject, sequence, ..
            } => records.push((subject, sequence)),
            other => panic!("{other:?}"),
        }
    }
    nexts.sort();
    records.sort();
    let expected = [("fresh", 1), ("left", 3), ("right", 4)];
    assert_eq!(nexts, expected.map(|(name, next)| (name.to_owned(), next)));
    let expected = [
        ("fresh.x", 1),
        ("fresh.x", 2),
        ("fresh.x", 3),
        ("left.x", 3),
    ];
    assert_eq!(records, expected.map(|(name, at)| (name.to_owned(), at)));

    // A stream of a name that was known, but is new, has nothing in common with the old one.
    let log = small_log(Storage::Memory);
    world.add("gone", 9, &["gone.>"], AckLevel::Received, log);
    for _ in 0..3 {
        world.publish(producer, &[("gone.x", b"again")]);
    }
    world.settle();
    assert_eq!(world.sequences(subscriber), [1, 2, 3]);
}
