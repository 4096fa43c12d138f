//! A Publish frame without records that asks for a level.

use trunkline_log::{DiskError, Request, Storage};
use trunkline_wire::{Ack, AckLevel, ErrorCode};

use crate::world::{Got, World, small_log};

fn barrier(frame: u16, level: AckLevel) -> Got {
    Got::Acked {
        frame,
        ack: Ack {
            level,
            count: 0,
            stream_sequence: 0,
            producer_sequence: 0,
        },
    }
}

/// Two streams that acknowledge what is stored.
fn two_streams() -> World {
    let mut world = World::new();
    for (id, name, pattern) in [(0, "left", "l.>"), (1, "right", "r.>")] {
        let log = small_log(Storage::Files);
        world.add(name, id, &[pattern], AckLevel::Stored, log);
    }
    world
}

#[test]
fn everything_that_was_published_before_is_synced_when_a_barrier_is_answered() {
    let mut world = two_streams();
    let producer = world.open(1);
    world.publish(producer, &[("l.x", b"1"), ("r.x", b"2")]);
    world.settle();
    assert_eq!(world.acks(producer).len(), 1, "both are stored");
    assert!(!world.shard.is_synced(), "and neither is synced");
    let frame = world.publish_at(producer, AckLevel::Synced, &[]);
    world.turn();
    world.send();
    assert_eq!(world.acks(producer), [], "the syncs are in flight");
    let (left, right): (Vec<_>, Vec<_>) = world
        .disk
        .requests
        .drain(..)
        .partition(|(log, ..)| log.0 == 0);
    assert!(!left.is_empty() && !right.is_empty(), "one for each stream");
    for (log, token, request) in left {
        world.answer(log, token, request);
    }
    world.settle();
    assert_eq!(world.acks(producer), [], "one of them is not");
    world.disk.requests.extend(right);
    world.settle();
    assert_eq!(world.acks(producer), [barrier(frame, AckLevel::Synced)]);
    assert!(world.shard.is_synced());
}

#[test]
fn a_barrier_is_answered_after_what_came_before_it_and_for_itself() {
    let mut world = two_streams();
    let producer = world.open(1);
    let records = world.publish(producer, &[("l.x", b"1")]);
    let frame = world.publish_at(producer, AckLevel::Stored, &[]);
    let more = world.publish(producer, &[("l.x", b"2")]);
    world.settle();
    let acks = world.acks(producer);
    let frames: Vec<u16> = acks
        .iter()
        .map(|got| match got {
            Got::Acked { frame, .. } => *frame,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(frames, [records, frame, more]);
    assert_eq!(acks[1], barrier(frame, AckLevel::Stored));
}

#[test]
fn a_barrier_of_a_session_that_published_nothing_is_answered_at_once() {
    let mut world = two_streams();
    let other = world.open(1);
    world.publish(other, &[("l.x", b"1")]);
    world.settle();
    let session = world.open(2);
    let frame = world.publish_at(session, AckLevel::Synced, &[]);
    world.turn();
    world.send();
    assert_eq!(world.acks(session), [barrier(frame, AckLevel::Synced)]);
    assert!(
        !world.shard.is_synced(),
        "others' records are not its business"
    );
}

#[test]
fn a_barrier_over_a_stream_that_cannot_sync_is_refused() {
    let mut world = two_streams();
    let producer = world.open(1);
    world.publish(producer, &[("l.x", b"1")]);
    world.settle();
    world.got(producer);
    world.fail = Some(|request| {
        matches!(request, Request::Sync { .. } | Request::Write { .. })
            .then(|| DiskError::from_errno(5))
    });
    let frame = world.publish_at(producer, AckLevel::Synced, &[]);
    world.settle();
    let refused = Got::Refused {
        frame,
        code: ErrorCode::READ_ONLY,
        count: 0,
        producer_sequence: 0,
    };
    assert_eq!(world.acks(producer), [refused]);
}
