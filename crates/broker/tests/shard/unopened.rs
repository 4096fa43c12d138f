//! Streams that could not be opened.

use trunkline_broker::StreamPlan;
use trunkline_log::Storage;
use trunkline_route::Pattern;
use trunkline_wire::{AckLevel, ErrorCode};

use crate::publish::{ack, refused};
use crate::world::{World, small_log};

fn unopened(name: &str, pattern: &str) -> StreamPlan {
    StreamPlan {
        name: name.into(),
        patterns: vec![Pattern::new(pattern).unwrap()],
        level: AckLevel::Stored,
        visible: AckLevel::Stored,
    }
}

#[test]
fn records_of_a_stream_that_could_not_be_opened_are_refused_with_its_reason() {
    let mut world = World::new();
    let log = small_log(Storage::Files);
    world.add("main", 0, &["a"], AckLevel::Stored, log);
    let producer = world.open(1);
    // What a session has looked up before is looked up again.
    let before = world.publish(producer, &[("b.x", b"1")]);
    world
        .shard
        .add_unopened(unopened("other", "b.>"), "it is broken");
    let frame = world.publish(producer, &[("a", b"2"), ("b.x", b"3"), ("b.y", b"4")]);
    world.settle();
    assert_eq!(
        world.acks(producer),
        [
            refused(before, ErrorCode::NO_STREAM, 1, 1),
            ack(frame, AckLevel::Stored, 1, 1, 2),
            refused(frame, ErrorCode::READ_ONLY, 2, 3),
        ]
    );
    assert_eq!(
        world.out.refusals.last().unwrap(),
        "stream other is not served: it is broken"
    );
}

#[test]
fn one_that_is_given_up_captures_nothing_any_more() {
    let mut world = World::new();
    for (name, pattern) in [("one", "a"), ("two", "b")] {
        world.shard.add_unopened(unopened(name, pattern), name);
    }
    let producer = world.open(1);
    let before = world.publish(producer, &[("b", b"1")]);
    assert!(world.shard.remove_unopened("one", world.now));
    assert!(!world.shard.remove_unopened("one", world.now));
    let gone = world.publish(producer, &[("a", b"2")]);
    let stays = world.publish(producer, &[("b", b"3")]);
    world.settle();
    assert_eq!(
        world.acks(producer),
        [
            refused(before, ErrorCode::READ_ONLY, 1, 1),
            refused(gone, ErrorCode::NO_STREAM, 1, 2),
            refused(stays, ErrorCode::READ_ONLY, 1, 3),
        ]
    );
    let told = world.out.refusals.clone();
    assert_eq!(
        (&*told[0], &*told[2]),
        (
            "stream two is not served: two",
            "stream two is not served: two"
        )
    );
}
