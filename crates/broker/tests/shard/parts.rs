//! A shard that is one of several: what its owner needs to put their answers together.

use trunkline_broker::{PublishFault, PublishFrame};
use trunkline_wire::record::{body_record_bytes, encode};
use trunkline_wire::{AckLevel, ErrorCode, Kind, RawRecord, Stamp};

use crate::publish::{ack, refused};
use crate::world::World;

fn frame(sequence: u16, last: bool, apart: bool) -> PublishFrame {
    PublishFrame {
        sequence,
        level: AckLevel::Stream,
        expects_ack: true,
        last,
        apart,
    }
}

#[test]
fn frames_that_something_may_lie_between_have_an_ack_each() {
    let mut world = World::with_main();
    let producer = world.open(1);
    for (sequence, apart) in [(1, false), (2, false), (3, true), (4, false), (5, true)] {
        let run = world.run(producer, &[("a", b"x")]);
        let frame = frame(sequence, true, apart);
        world.publish_run(producer, frame, &run).unwrap();
    }
    // Without records, too.
    world
        .publish_run(producer, frame(6, true, true), &[])
        .unwrap();
    world.settle();
    let stored = AckLevel::Stored;
    assert_eq!(
        world.acks(producer),
        [
            ack(2, stored, 2, 2, 2),
            ack(4, stored, 2, 4, 4),
            ack(5, stored, 1, 5, 5),
            ack(6, AckLevel::Received, 0, 0, 0)
        ]
    );
    assert_eq!(world.out.in_part, []);
}

#[test]
fn a_refused_record_is_known_at_once_and_what_was_taken_before_is_told_to_be_a_part() {
    let mut world = World::new();
    let log = crate::world::small_log(trunkline_log::Storage::Files);
    world.add("main", 0, &["a"], AckLevel::Stored, log);
    let producer = world.open(1);
    let publish = |world: &mut World, sequence, last, subject| {
        let run = world.run(producer, &[(subject, b"x")]);
        let published = world.publish_run(producer, frame(sequence, last, false), &run);
        published.unwrap().refused
    };
    assert!(!publish(&mut world, 1, true, "a"));
    assert!(!publish(&mut world, 2, false, "a"));
    assert!(publish(&mut world, 2, false, "nobody"));
    assert!(publish(&mut world, 2, true, "a"));
    assert!(publish(&mut world, 3, true, "nobody"));
    assert!(!publish(&mut world, 4, true, "a"));
    world.settle();
    let stored = AckLevel::Stored;
    assert_eq!(
        world.acks(producer),
        [
            ack(2, stored, 2, 2, 2),
            refused(2, ErrorCode::NO_STREAM, 2, 3),
            refused(3, ErrorCode::NO_STREAM, 1, 5),
            ack(4, stored, 1, 3, 6)
        ]
    );
    assert_eq!(world.out.in_part, [2], "frame 1 is whole");
}

#[test]
fn a_definition_may_come_outside_of_frames() {
    let mut world = World::with_main();
    let producer = world.open(1);
    let mut define = |subject_id, name: &str| {
        let mut bytes = vec![0; body_record_bytes(name.len())];
        let stamp = Stamp {
            kind: Kind::Definition,
            subject_id,
            ..Stamp::DATA
        };
        encode(&mut bytes, &stamp, name.as_bytes()).unwrap();
        let record = RawRecord::peek(&bytes, 1 << 20).unwrap().unwrap();
        let name = world.shard.define(producer, record)?;
        Ok(name.map(str::to_owned))
    };
    assert_eq!(define(7, "a"), Ok(Some("a".to_owned())));
    assert_eq!(define(7, "a"), Ok(Some("a".to_owned())), "said again");
    let redefined = PublishFault::Redefined { subject_id: 7 };
    assert_eq!(define(7, "b"), Err(redefined));
    assert_eq!(define(8, "no subject"), Ok(None));
    // It opens no frame, so that the next one is as it says.
    let run = world.run(producer, &[("c", b"x")]);
    world
        .publish_run(producer, frame(1, true, false), &run)
        .unwrap();
    world.settle();
    let acked = [ack(1, AckLevel::Stored, 1, 1, 1)];
    assert_eq!(world.acks(producer), acked);
}
