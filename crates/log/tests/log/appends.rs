//! What goes in comes out: hot, cold, after a clean reopening.

use trunkline_log::{AppendError, Durability, Log, LogConfig, LogId, Request, Run, State};
use trunkline_wire::record::{RawRecord, RecordError};

use crate::world::{World, published, small};

#[test]
fn records_come_back_from_the_tail_and_from_files() {
    let mut world = World::new(small(), 1);
    for n in 0..3000 {
        world.append_waiting(["a", "b.c", "d"][n % 3], n % 300);
    }
    assert!(world.log.segment_count() > 5);
    assert_eq!(world.read_all().len(), 3000);
    assert!(world.cold > 10, "{} reads", world.cold);
    world.settle();
    assert_eq!(world.log.stored(), world.log.received());
}

#[test]
fn everything_is_there_after_reopening() {
    for durability in [Durability::Stored, Durability::Synced] {
        let mut world = World::new(
            LogConfig {
                durability,
                ..small()
            },
            2,
        );
        for n in 0..2000 {
            world.append_waiting(&format!("subject.{}", n % 50), n % 500);
            if n % 37 == 0 {
                world.settle();
            }
        }
        world.sync_all();
        let (received, first) = (world.log.received(), world.log.first());
        world.reopen().expect("it was closed in order");
        assert_eq!(world.log.received().sequence, received.sequence);
        assert_eq!(world.log.first(), first);
        assert_eq!(world.recovery.torn, None);
        world.read_all();
        // It goes on where it was.
        for n in 0..500 {
            world.append_waiting(&format!("subject.{}", n % 60), n);
        }
        world.sync_all();
        world.reopen().expect("and again");
        assert_eq!(world.read_all().len(), 2500);
    }
}

#[test]
fn opening_twice_changes_nothing() {
    let mut world = World::new(small(), 3);
    for n in 0..100 {
        world.append_waiting("a", n);
    }
    world.settle();
    world.reopen().expect("stored records are there");
    let once = world.files.clone();
    world.reopen().expect("again");
    for segment in once.segments() {
        assert!(
            once.contents(segment) == world.files.contents(segment),
            "segment {segment} is as it was"
        );
    }
    // The last mark, which nothing behind it proves to be on the device.
    assert_eq!(world.recovery.rewritten_bytes, 4096);
}

#[test]
fn an_empty_stream_is_empty_after_reopening() {
    let mut world = World::new(small(), 4);
    assert!(world.recovery.created);
    world.reopen().expect("it exists");
    assert!(!world.recovery.created);
    assert_eq!(
        (world.log.first().sequence, world.log.received().sequence),
        (1, 1)
    );
    assert_eq!(world.read_all(), []);
}

#[test]
fn a_full_tail_pushes_back_until_the_disk_has_taken_it() {
    let mut world = World::new(small(), 5);
    let refused = (0..10_000).find_map(|_| world.append("a", 1000).err());
    assert_eq!(refused, Some(AppendError::Full));
    assert!(world.log.stats().appends_full > 0);
    world.settle();
    world.append("a", 1000).expect("there is room now");
    world.read_all();
}

#[test]
fn a_held_stretch_is_not_reused() {
    let mut world = World::new(small(), 6);
    world.append_body("a", b"to be sent").expect("room");
    world.settle();
    let upto = world.log.stored();
    let cursor = world.log.seek_first();
    let Run::Hot { position, len, .. } = world.log.read(&cursor, upto, 1 << 16, &mut world.queue)
    else {
        panic!("it is in the tail")
    };
    let sent = world.log.bytes(position, len).to_vec();
    let hold = world.log.hold(position, len);
    let mut refusals = 0;
    for _ in 0..2000 {
        if world.append("a", 500) == Err(AppendError::Full) {
            refusals += 1;
            world.settle();
        }
    }
    assert!(refusals > 100, "the hold stops the stream after one lap");
    assert_eq!(world.log.bytes(position, len), sent);
    world.log.release(hold);
    world.append("a", 500).expect("room again");
}

#[test]
fn refuses_what_is_not_a_good_record_and_goes_on() {
    let mut world = World::new(small(), 7);
    let id = world.log.define("a").expect("room");
    let append = |log: &mut Log, bytes: &[u8], id| {
        log.append(
            &RawRecord::peek(bytes, u32::MAX)
                .expect("framed")
                .expect("whole"),
            id,
            5,
        )
    };
    let mut broken = published(b"hello");
    broken[42] ^= 1;
    assert_eq!(
        append(&mut world.log, &broken, id),
        Err(AppendError::Record(RecordError::Checksum))
    );
    assert_eq!(
        append(&mut world.log, &published(b"hello"), 9),
        Err(AppendError::Subject(9))
    );
    let large = published(&[0; 9000]);
    assert!(matches!(
        append(&mut world.log, &large, id),
        Err(AppendError::TooLarge {
            payload_len: 9008,
            ..
        })
    ));
    let mut pad = [0; 64];
    let stamp = trunkline_wire::Stamp {
        kind: trunkline_wire::Kind::Pad,
        ..trunkline_wire::Stamp::DATA
    };
    trunkline_wire::record::encode(&mut pad, &stamp, &[0; 24]).expect("room");
    assert_eq!(
        append(&mut world.log, &pad, id),
        Err(AppendError::Record(RecordError::Kind { kind: 5 }))
    );
    assert_eq!(append(&mut world.log, &published(b"hello"), id), Ok(1));
}

#[test]
fn time_never_goes_back() {
    let mut world = World::new(small(), 8);
    world.append("a", 10).expect("room");
    world.now.wall_ns -= 5_000_000_000;
    world.append("a", 10).expect("room");
    assert_eq!(world.told[0].timestamp_ns, world.told[1].timestamp_ns);
    world.sync_all();
    world.reopen().expect("in order");
    world.append("a", 10).expect("room");
    assert_eq!(world.told[2].timestamp_ns, world.told[0].timestamp_ns);
    world.read_all();
}

#[test]
fn writes_are_few_bounded_and_within_one_segment() {
    let config = LogConfig {
        tail_bytes: 4 << 20,
        segment_bytes: 1 << 20,
        ..small()
    };
    let mut world = World::new(config, 9);
    for n in 0..2000 {
        if world.append("a", n).is_err() {
            break;
        }
    }
    world.flush();
    let writes = world.queue.requests.clone();
    assert!(writes.len() <= Log::IN_FLIGHT_MAX);
    for (id, _, request) in writes {
        assert_eq!(id, LogId(7));
        if let Request::Write {
            segment,
            offset,
            position,
            len,
            sync,
        } = request
        {
            assert_eq!(segment * (1 << 20) + offset, position);
            assert!(len <= Log::WRITE_BYTES_MAX && offset + u64::from(len) <= 1 << 20 && !sync);
        }
    }
}

#[test]
fn one_synced_write_is_in_flight_and_what_came_meanwhile_goes_next() {
    let mut world = World::new(
        LogConfig {
            durability: Durability::Synced,
            ..small()
        },
        10,
    );
    world.append("a", 100).expect("room");
    world.flush();
    world.append("a", 100).expect("room");
    world.append("a", 100).expect("room");
    world.flush();
    assert_eq!(world.queue.requests.len(), 1);
    assert!(matches!(
        world.queue.requests[0].2,
        Request::Write {
            sync: true,
            offset: 4096,
            len: 4096,
            ..
        }
    ));
    world.complete(0);
    assert_eq!(world.log.synced().sequence, 2);
    assert_eq!(world.log.stored().sequence, 2);
    assert_eq!(
        world.queue.requests.len(),
        1,
        "the next commit goes out at once"
    );
    world.complete(0);
    assert_eq!(world.log.synced().sequence, 4);
}

#[test]
fn a_stored_stream_is_synced_in_the_background_and_when_wanted() {
    let mut world = World::new(small(), 11);
    world.append("a", 100).expect("room");
    world.settle();
    assert_eq!(
        (world.log.stored().sequence, world.log.synced().sequence),
        (2, 1)
    );
    let due = world.log.next_deadline_ns().expect("a sync is due");
    assert_eq!(due, world.now.mono_ns + world.config.sync_interval_ns);
    world.advance(world.config.sync_interval_ns);
    world.settle();
    assert_eq!(world.log.synced().sequence, 2);
    world.append("a", 100).expect("room");
    world.log.want_synced(2);
    world.settle();
    assert_eq!(world.log.synced().sequence, 3);
    assert_eq!(world.log.state(), State::Ok);
    // A mark tells the frontier, once; then there is nothing left to do.
    world.advance(60_000_000);
    world.settle();
    assert_eq!(world.log.next_deadline_ns(), None);
    let received = world.log.received();
    world.advance(10_000_000_000);
    world.settle();
    assert_eq!(world.log.received(), received);
}
