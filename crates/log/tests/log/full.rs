//! A full disk: what retention may remove is removed, and the stream goes on by itself.

use trunkline_log::{
    AppendError, DiskError, Durability, LogConfig, OpenError, Request, Retention, State,
};

use crate::world::{SECOND, World, small};

const SEGMENT: u64 = 64 << 10;
const AGE: u64 = 60 * SECOND;

fn keeping(durability: Durability, retention: Retention) -> LogConfig {
    LogConfig {
        durability,
        retention,
        ..small()
    }
}

fn by_age() -> Retention {
    Retention {
        age_ns_max: Some(AGE),
        ..Retention::default()
    }
}

/// Appends until there is no space, with `pause_ns` behind each record. The records of the stream are of different ages then.
fn fill(world: &mut World, len: usize, pause_ns: u64) {
    for _ in 0..100_000 {
        match world.append("a", len) {
            Ok(_) => {
                world.advance(pause_ns);
                if world.rng.below(8) == 0 {
                    world.settle();
                }
            }
            Err(AppendError::Full) => {
                world.advance(SECOND / 100);
                world.settle();
            }
            Err(AppendError::NoSpace) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk does not fill up");
}

/// Between two records, so that each segment is some seconds older than the next, and the first one not too old when the last one is full.
fn pause(segments: u64, len: usize) -> u64 {
    56 * SECOND / (segments * SEGMENT / (len as u64 + 40))
}

/// Time passes, second by second.
fn wait(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.advance(SECOND);
        world.settle();
    }
}

/// Has what retention removes taken by somebody else, before the log can prepare a segment there.
fn wait_beside_a_thief(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.advance(SECOND);
        world.flush();
        while !world.queue.requests.is_empty() {
            if matches!(world.queue.requests[0].2, Request::Remove { .. }) {
                world.files.space -= SEGMENT;
            }
            world.complete(0);
        }
    }
}

#[test]
fn a_full_stream_goes_on_once_its_records_are_too_old_whatever_their_size() {
    for durability in [Durability::Stored, Durability::Synced] {
        for segments in 2..=5 {
            for len in (100..=7000).step_by(311) {
                let mut world = World::new(keeping(durability, by_age()), len as u64);
                world.files.space = segments * SEGMENT;
                fill(&mut world, len, SECOND / 1000);
                assert!(matches!(world.log.state(), State::NoSpace(_)));
                wait(&mut world, 300);
                let at = format!("{durability:?}, {segments} segments, {len} bytes");
                assert!(world.log.stats().segments_removed > 0, "{at}");
                world.append_waiting("a", len);
                world.sync_all();
                world.read_all();
                world.reopen().expect("in order");
                world.read_all();
            }
        }
    }
}

#[test]
fn everything_that_is_too_old_goes_although_somebody_else_takes_its_space() {
    for durability in [Durability::Stored, Durability::Synced] {
        for segments in 3..=9 {
            for len in [100, 333, 1000, 3001, 7000] {
                let mut world = World::new(keeping(durability, by_age()), len as u64);
                world.files.space = segments * SEGMENT;
                fill(&mut world, len, pause(segments, len));
                let received = world.log.received().sequence;
                wait_beside_a_thief(&mut world, 400);
                let at = format!("{durability:?}, {segments} segments, {len} bytes");
                assert_eq!(world.log.segment_count(), 1, "{at}");
                assert_eq!(world.files.segments().len(), 1, "{at}");
                assert!(matches!(world.log.state(), State::NoSpace(_)), "{at}");
                // What is left is told to be synced, and a start changes nothing.
                assert!(world.log.is_settled(), "{at}");
                let left = world
                    .files
                    .contents(world.files.segments()[0])
                    .map(<[u8]>::to_vec);
                for _ in 0..20 {
                    world.files.lose_power(&mut world.rng);
                    world.reopen().expect("in order");
                    assert_eq!(world.log.received().sequence, received, "{at}");
                    wait(&mut world, 1);
                }
                let now = world.files.contents(world.files.segments()[0]);
                assert_eq!(now.map(<[u8]>::to_vec), left, "{at}: starts take no room");
                // The operator frees space for two.
                world.files.space = 2 * SEGMENT;
                wait(&mut world, 10);
                world.append_waiting("a", len);
                world.sync_all();
                world.read_all();
            }
        }
    }
}

#[test]
fn crashes_of_a_full_stream_take_no_room() {
    for seed in 0..60 {
        let durability = [Durability::Stored, Durability::Synced][seed as usize % 2];
        let mut world = World::new(keeping(durability, by_age()), seed);
        world.files.space = (3 + seed % 4) * SEGMENT;
        let len = 100 + world.rng.below(6000) as usize;
        fill(
            &mut world,
            len,
            pause(3 + seed % 4, len) * (100 + seed % 7) / 100,
        );
        for _ in 0..400 {
            world.advance(SECOND);
            world.flush();
            // Killed anywhere, with power or without.
            let crashes = world.rng.below(20) == 0;
            while !world.queue.requests.is_empty() {
                if crashes && world.rng.below(3) == 0 {
                    break;
                }
                if matches!(world.queue.requests[0].2, Request::Remove { .. }) {
                    world.files.space -= SEGMENT;
                }
                world.complete(0);
            }
            if crashes {
                let (power, before) = (world.rng.below(2) == 0, world.files.segments().len());
                if power {
                    world.files.lose_power(&mut world.rng);
                }
                world.reopen().expect("in order");
                // What recovery removes is taken, too.
                let removed = before - world.files.segments().len();
                world.files.space -= removed as u64 * SEGMENT;
            }
        }
        assert_eq!(world.files.segments().len(), 1, "seed {seed}");
        world.files.space += 2 * SEGMENT;
        wait(&mut world, 10);
        world.append_waiting("a", len);
        world.sync_all();
        world.read_all();
    }
}

#[test]
fn lower_limits_give_a_full_stream_its_room_back() {
    let limits = [
        Retention {
            bytes_max: Some(4 * SEGMENT),
            ..Retention::default()
        },
        Retention {
            records_max: Some(1),
            ..Retention::default()
        },
    ];
    for durability in [Durability::Stored, Durability::Synced] {
        for retention in limits {
            for len in (100..=7000).step_by(311) {
                let all = Retention::default();
                let mut world = World::new(keeping(durability, all), len as u64);
                world.files.space = 6 * SEGMENT;
                fill(&mut world, len, SECOND / 1000);
                wait(&mut world, 10);
                world.config.retention = retention;
                world.reopen().expect("in order");
                wait(&mut world, 10);
                let at = format!("{durability:?}, {retention:?}, {len} bytes");
                assert!(world.log.stats().segments_removed > 0, "{at}");
                for _ in 0..1000 {
                    world.append_waiting("a", len);
                }
                world.sync_all();
                world.read_all();
            }
        }
    }
}

#[test]
fn an_idle_stream_is_emptied_of_old_records_however_many_segments_they_fill() {
    let mut world = World::new(keeping(Durability::Stored, by_age()), 9);
    // A page is written for each removal; the segment in use has far fewer.
    for _ in 0..60 {
        let index = world.log.segment_count();
        while world.log.segment_count() == index {
            world.append_waiting("a", 5000);
        }
        world.sync_all();
        world.advance(SECOND / 2);
    }
    let received = world.log.received().sequence;
    assert_eq!(world.log.segment_count(), 61);
    wait(&mut world, 300);
    assert_eq!(world.log.segment_count(), 1);
    assert_eq!(
        world.files.segments().len(),
        2,
        "and the one that is prepared"
    );
    world.reopen().expect("in order");
    assert_eq!(world.log.received().sequence, received);
    world.append_waiting("a", 5000);
    world.sync_all();
    world.read_all();
}

#[test]
fn a_preparation_that_was_interrupted_is_tried_again_without_being_asked() {
    let mut world = World::new(small(), 10);
    while world.log.received().position < SEGMENT / 2 {
        world.append("a", 1000).expect("room");
    }
    let mut tried = 0;
    for _ in 0..60 {
        world.flush();
        while !world.queue.requests.is_empty() {
            let (_, token, request) = world.queue.requests[0];
            if matches!(request, Request::Prepare { .. }) && tried < 20 {
                tried += 1;
                world.queue.requests.remove(0);
                world.answer(token, Err(DiskError::from_errno(4)));
            } else {
                world.complete(0);
            }
        }
        if world.files.segments() == [0, 1] {
            break;
        }
        let due = world.log.next_deadline_ns().expect("it is tried again");
        world.advance(due.saturating_sub(world.now.mono_ns));
    }
    assert_eq!((tried, world.files.segments()), (20, vec![0, 1]));
}

#[test]
fn a_full_stream_knows_what_it_has_synced() {
    for durability in [Durability::Stored, Durability::Synced] {
        for len in (100..=7000).step_by(97) {
            let mut world = World::new(keeping(durability, Retention::default()), len as u64);
            world.files.space = 2 * SEGMENT;
            fill(&mut world, len, SECOND / 1000);
            wait(&mut world, 10);
            // The last record loses a byte.
            let contents = world.files.contents_mut(1).expect("the segment");
            let body = &world.told.last().expect("there are records").body;
            let windows = contents.windows(body.len());
            let at = windows.enumerate().find(|(_, bytes)| bytes == body);
            let (at, _) = at.expect("it is stored");
            contents[at] ^= 1;
            let error = world.reopen().expect_err("it was synced, and a mark tells");
            assert!(
                matches!(error, OpenError::Damaged(_)),
                "{len} bytes: {error}"
            );
        }
    }
}
