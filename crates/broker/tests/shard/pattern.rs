//! Patterns that take a part of a stream.

use trunkline_wire::Start;

use crate::world::{Got, World, small_log, storages};

#[test]
fn a_narrow_pattern_gets_its_records_and_the_definitions_they_need() {
    for (storage, level) in storages() {
        let mut world = World::new();
        world.add("main", 0, &[">"], level, small_log(storage));
        let (producer, subscriber) = (world.open(1), world.open(2));
        world.publish(
            producer,
            &[
                ("orders.eu", b"1"),
                ("orders.us", b"2"),
                ("other", b"3"),
                ("orders.eu", b"4"),
            ],
        );
        world.settle();
        world.subscribe(subscriber, 1, "orders.*", Start::First);
        world.publish(
            producer,
            &[
                ("other", b"5"),
                ("orders.jp", b"6"),
                ("orders.us", b"7"),
                ("orders.jp.x", b"8"),
            ],
        );
        world.settle();
        let got: Vec<_> = world.got(subscriber).split_off(1);
        let expected: Vec<Got> = [(1, "eu"), (2, "us"), (4, "eu"), (6, "jp"), (7, "us")]
            .map(|(sequence, region)| Got::Record {
                channel: 0,
                sequence,
                subject: format!("orders.{region}"),
                body: sequence.to_string().into(),
            })
            .into();
        assert_eq!(got, expected);
    }
}

#[test]
fn a_narrow_pattern_over_many_records_hot_and_cold_misses_none() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let live = world.open(2);
    world.subscribe(live, 1, "s.3", Start::New);
    for nth in 0..3000_u64 {
        let body = vec![b'x'; (nth % 700) as usize];
        world.publish(producer, &[(&format!("s.{}", nth % 7), &body)]);
        if nth % 50 == 0 {
            world.settle();
        }
    }
    world.settle();
    let expected: Vec<u64> = (0..3000).filter(|n| n % 7 == 3).map(|n| n + 1).collect();
    assert_eq!(world.sequences(live), expected);
    let late = world.open(3);
    world.subscribe(late, 1, "s.3", Start::First);
    world.settle();
    assert_eq!(world.sequences(late), expected);
    assert_eq!(world.buffers_out(), 0);
}

#[test]
fn long_stretches_of_a_narrow_pattern_are_not_copied_together() {
    let mut world = World::with_volatile_main();
    let (producer, subscriber) = (world.open(1), world.open(2));
    world.subscribe(subscriber, 1, "a", Start::New);
    let body = [1; 3000];
    world.publish(
        producer,
        &[
            ("a", &body),
            ("a", &body),
            ("b", &body),
            ("a", b"short"),
            ("b", b""),
            ("a", b"short"),
        ],
    );
    world.turn();
    // The definition, a span of two, a copy of two.
    assert_eq!(world.out.frames, 3);
    world.settle();
    assert_eq!(world.sequences(subscriber), [1, 2, 4, 6]);
}
