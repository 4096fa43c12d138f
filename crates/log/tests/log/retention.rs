//! What is removed, when, and that it is never removed before that is durable.

use trunkline_log::{LogConfig, Loss, Request, Retention, Storage};

use crate::world::{SECOND, World, small};

fn keeping(retention: Retention) -> LogConfig {
    LogConfig {
        retention,
        ..small()
    }
}

#[test]
fn bytes_are_a_cap() {
    let max = 4 * (64 << 10);
    let mut world = World::new(
        keeping(Retention {
            bytes_max: Some(max),
            ..Retention::default()
        }),
        1,
    );
    for _ in 0..3000 {
        world.append_waiting("a", 500);
        world.settle();
        assert!(world.log.bytes_kept() <= max + (64 << 10));
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    assert!(world.log.bytes_kept() <= max && world.log.bytes_kept() > max / 2);
    assert!(world.log.first().sequence > 1);
    assert!(
        world.files.segments().len() <= 6,
        "{:?}",
        world.files.segments()
    );
    let first = world.log.first();
    world.read_all();
    world.reopen().expect("a missing beginning is in order");
    assert_eq!(world.log.first(), first);
    world.read_all();
    assert_eq!(world.log.subject_id("a"), Some(0));
}

#[test]
fn a_reader_that_is_too_slow_is_told_what_it_lost() {
    let max = 4 * (64 << 10);
    let mut world = World::new(
        keeping(Retention {
            bytes_max: Some(max),
            ..Retention::default()
        }),
        2,
    );
    let cursor = world.log.seek_first();
    for _ in 0..3000 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    let first = world.log.first().sequence;
    let read = world.read(cursor, world.log.received(), 1 << 16);
    assert_eq!(world.lost, [(1, first - 1, Loss::Removed)]);
    assert_eq!(read, (first..=3000).collect::<Vec<_>>());
}

#[test]
fn records_are_a_floor() {
    let mut world = World::new(
        keeping(Retention {
            records_max: Some(200),
            ..Retention::default()
        }),
        3,
    );
    for _ in 0..3000 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world.advance(2 * SECOND);
    world.settle();
    let kept = world.log.received().sequence - world.log.first().sequence;
    assert!(
        (200..400).contains(&kept),
        "{kept} records: the newest 200 and the rest of their oldest segment"
    );
    world.read_all();
}

/// Several segments, all synced, of a stream that keeps records for a minute.
fn of_a_minute() -> World {
    let config = keeping(Retention {
        age_ns_max: Some(60 * SECOND),
        ..Retention::default()
    });
    let mut world = World::new(config, 4);
    for _ in 0..1000 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world
}

#[test]
fn old_segments_go_when_their_youngest_record_is_too_old() {
    let mut world = of_a_minute();
    world.advance(50 * SECOND);
    world.settle();
    assert_eq!(world.log.first().sequence, 1);
    world.append_waiting("a", 500);
    world.sync_all();
    for _ in 0..30 {
        world.advance(SECOND);
        world.settle();
    }
    assert_eq!(world.log.segment_count(), 1, "only the one in use is left");
    world.read_all();
}

#[test]
fn a_clock_that_jumps_forward_removes_nothing() {
    let config = keeping(Retention {
        age_ns_max: Some(60 * SECOND),
        ..Retention::default()
    });
    let mut world = World::new(config, 5);
    for _ in 0..1000 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world.now.wall_ns += 10 * 365 * 86_400 * SECOND;
    for _ in 0..10 {
        world.advance(SECOND);
        world.settle();
    }
    assert_eq!(world.log.first().sequence, 1);
    assert!(world.log.stats().clock_held);
    // The clock is set right again, and age counts again.
    world.now.wall_ns -= 10 * 365 * 86_400 * SECOND;
    world.advance(SECOND);
    world.settle();
    assert!(!world.log.stats().clock_held);
    for _ in 0..70 {
        world.advance(SECOND);
        world.settle();
    }
    assert_eq!(world.log.segment_count(), 1);
}

#[test]
fn a_record_that_was_stamped_years_ahead_does_not_stop_age() {
    for storage in [Storage::Files, Storage::Memory] {
        let config = LogConfig {
            storage,
            ..keeping(Retention {
                age_ns_max: Some(60 * SECOND),
                ..Retention::default()
            })
        };
        let mut world = World::new(config, 6);
        world.append_waiting("a", 500);
        world.settle();
        world.now.wall_ns += 10 * YEAR;
        world.append_waiting("a", 500);
        world.settle();
        world.now.wall_ns -= 10 * YEAR;
        for _ in 0..1000 {
            world.append_waiting("a", 500);
        }
        world.settle();
        let appended = world.log.received().sequence;
        let kept = |world: &mut World, seconds| {
            for _ in 0..seconds {
                world.advance(SECOND);
                world.settle();
            }
            appended - world.log.first().sequence
        };
        let all = kept(&mut world, 0);
        assert_eq!(kept(&mut world, 55), all, "{storage:?}: before their time");
        let after = kept(&mut world, 15);
        assert!(after < all / 2, "{storage:?}: {after} of {all}");
        world.append_waiting("a", 500);
        world.settle();
        world.read_all();
    }
}

const HOUR: u64 = 3600 * SECOND;
const YEAR: u64 = 8766 * HOUR;

/// Records of three days, one every two minutes; those of two days are kept.
fn of_three_days(seed: u64) -> World {
    let config = keeping(Retention {
        age_ns_max: Some(48 * HOUR),
        ..Retention::default()
    });
    let mut world = World::new(config, seed);
    for _ in 0..72 * 30 {
        world.append_waiting("a", 700);
        world.advance(120 * SECOND);
        world.settle();
    }
    world.sync_all();
    assert!(world.log.segment_count() > 10 && world.log.first().sequence > 1);
    world
}

/// Time passes, minute by minute. Which record is the oldest then.
fn first_after(world: &mut World, hours: u64) -> u64 {
    for _ in 0..hours * 60 {
        world.advance(60 * SECOND);
        world.settle();
    }
    world.log.first().sequence
}

#[test]
fn a_clock_that_stays_ahead_is_believed_in_the_end() {
    let mut world = of_three_days(11);
    let first = world.log.first().sequence;
    world.now.wall_ns += 10 * YEAR;
    world.settle();
    assert!(world.log.stats().clock_held);
    // What would have gone anyhow goes.
    let held = first_after(&mut world, 5);
    assert!(
        (first + 100..first + 300).contains(&held),
        "{first}, {held}"
    );
    assert!(world.log.stats().clock_held);
    first_after(&mut world, 1);
    assert!(!world.log.stats().clock_held);
    first_after(&mut world, 1);
    assert_eq!(world.log.segment_count(), 1);
}

#[test]
fn a_clock_that_is_years_ahead_after_a_start_removes_nothing_for_six_hours() {
    for years in [1, 40] {
        let mut world = of_three_days(12);
        let first = world.log.first().sequence;
        world.now.wall_ns += years * YEAR;
        // A reboot: the steady clock begins anew.
        world.now.mono_ns = SECOND;
        world.reopen().expect("in order");
        world.settle();
        assert!(world.log.stats().clock_held);
        let held = first_after(&mut world, 5);
        assert!((first..first + 300).contains(&held), "{first}, {held}");
        assert!(world.log.stats().clock_held);
        world.read_all();
        // The machine was off for years: in the end, that is what is true.
        first_after(&mut world, 2);
        assert!(!world.log.stats().clock_held);
        assert_eq!(world.log.segment_count(), 1);
    }
}

#[test]
fn a_clock_that_is_set_right_after_a_start_removes_nothing_that_is_not_too_old() {
    let mut world = of_three_days(13);
    world.now.wall_ns += 10 * YEAR;
    world.now.mono_ns = SECOND;
    world.reopen().expect("in order");
    let first = first_after(&mut world, 1);
    world.now.wall_ns -= 10 * YEAR;
    world.settle();
    assert!(!world.log.stats().clock_held);
    let later = first_after(&mut world, 8);
    assert!(
        (first + 100..first + 400).contains(&later),
        "{first}, {later}"
    );
}

#[test]
fn a_start_within_the_hour_is_nothing_special() {
    let mut world = of_three_days(14);
    world.advance(HOUR / 2);
    world.now.mono_ns = SECOND;
    world.reopen().expect("in order");
    world.settle();
    assert!(!world.log.stats().clock_held);
}

#[test]
fn a_hold_that_is_over_is_told_although_nothing_else_is_to_be_done() {
    let mut world = of_three_days(15);
    first_after(&mut world, 50);
    assert_eq!(world.log.segment_count(), 1);
    world.now.wall_ns += 10 * YEAR;
    world.settle();
    assert!(world.log.stats().clock_held);
    while world.log.stats().clock_held {
        let due = world
            .log
            .next_deadline_ns()
            .expect("the clock is looked at again");
        world.advance(due.saturating_sub(world.now.mono_ns));
        world.settle();
    }
}

#[test]
fn a_segment_is_removed_only_when_it_is_durable_that_it_is_gone() {
    let max = 4 * (64 << 10);
    let mut world = World::new(
        keeping(Retention {
            bytes_max: Some(max),
            ..Retention::default()
        }),
        6,
    );
    for _ in 0..4000 {
        world.append_waiting("a", 500);
        world.flush();
        while !world.queue.requests.is_empty() {
            if matches!(world.queue.requests[0].2, Request::Remove { .. }) {
                // At this moment, after a power loss, nothing may be missed, with the file and without it.
                for removed in [false, true] {
                    let mut files = world.files.clone();
                    let Request::Remove { segment } = world.queue.requests[0].2 else {
                        unreachable!()
                    };
                    files.lose_power(&mut world.rng);
                    if removed {
                        trunkline_log::Files::remove(&mut files, segment).expect("it is there");
                    }
                    let again = World::on(world.config.clone(), files, 0).expect("in order");
                    assert!(again.log.first().sequence > 1);
                    assert_eq!(again.recovery.removed_segments, u64::from(!removed));
                }
            }
            world.complete(0);
        }
    }
    assert!(world.log.stats().segments_removed > 10);
}

#[test]
fn what_was_removed_is_known_although_the_newest_segment_never_began() {
    let segment = 64 << 10;
    let config = keeping(Retention {
        bytes_max: Some(4 * segment),
        ..Retention::default()
    });
    let mut world = World::new(config, 8);
    // A mark in the fifth segment tells that the first one is gone; the fifth's own record is older than that.
    while world.log.received().position < 5 * segment - 24_000 {
        world.append_waiting("a", 500);
        world.settle();
    }
    world.sync_all();
    assert_eq!(world.files.segments()[0], 1);
    // The sixth begins, and the device has everything before it but nothing of it.
    world.append_waiting("a", 500);
    world.flush();
    while world.log.received().position < 5 * segment {
        world.append("a", 500).expect("room");
    }
    let last = world.log.received().sequence - 1;
    world.log.want_synced(last);
    while world.log.synced().position < 5 * segment {
        let of_the_fifth = |(_, _, request): &(_, _, Request)| {
            matches!(
                request,
                Request::Write { segment: 4, .. } | Request::Sync { segment: 4 }
            )
        };
        let next = world.queue.requests.iter().position(of_the_fifth);
        world.complete(next.expect("on its way"));
    }
    assert_eq!(world.log.synced().position, 5 * segment);
    // A mark in the sixth tells that, and comes to the device before the segment's own record does.
    world.flush();
    let newest = world.queue.requests.len() - 1;
    assert!(matches!(
        world.queue.requests[newest].2,
        Request::Write { segment: 5, offset, .. } if offset > 0
    ));
    let (first, synced) = (world.log.first(), world.log.synced());
    world.complete(newest);
    let verified = trunkline_log::verify(&mut world.files, |_, _| {}).expect("readable");
    assert_eq!(verified.damages, []);
    let repair = trunkline_log::plan_repair(&mut world.files, 1, |_, _| {}).expect("readable");
    assert!(repair.is_needless(), "{repair:?}");
    world
        .reopen()
        .expect("nothing is missing that was not removed");
    assert_eq!(world.log.received().sequence, synced.sequence);
    assert!(world.log.first().sequence > 1 && world.log.first() <= first);
    world.read_all();
}

#[test]
fn a_failed_removal_is_tried_again_later() {
    let max = 4 * (64 << 10);
    let mut world = World::new(
        keeping(Retention {
            bytes_max: Some(max),
            ..Retention::default()
        }),
        7,
    );
    let mut failed = false;
    for _ in 0..2000 {
        world.append_waiting("a", 500);
        world.flush();
        while !world.queue.requests.is_empty() {
            let (_, token, request) = world.queue.requests[0];
            if matches!(request, Request::Remove { .. }) && !failed {
                world.queue.requests.remove(0);
                world.answer(token, Err(trunkline_log::DiskError::from_errno(5)));
                failed = true;
            } else {
                world.complete(0);
            }
        }
        world.advance(SECOND / 100);
    }
    assert!(failed);
    assert_eq!(world.log.stats().removes_failed, 1);
    assert!(world.log.stats().segments_removed > 5);
}

#[test]
fn the_last_removal_is_tried_again_although_nothing_else_is_to_be_done() {
    let mut world = of_a_minute();
    let mut failed = 0;
    for _ in 0..80 {
        world.advance(SECOND);
        world.flush();
        while !world.queue.requests.is_empty() {
            let (_, token, request) = world.queue.requests[0];
            let is_removal = matches!(request, Request::Remove { .. });
            if is_removal && world.files.segments().len() == 3 {
                world.queue.requests.remove(0);
                world.answer(token, Err(trunkline_log::DiskError::from_errno(5)));
                failed += 1;
            } else {
                world.complete(0);
            }
        }
        if failed == 1 {
            break;
        }
    }
    assert_eq!((failed, world.log.segment_count()), (1, 1));
    // Who only comes back when there is something to do, does so for this, and in the end for nothing any more.
    let mut turns = 0;
    while let Some(due_ns) = world.log.next_deadline_ns() {
        world.advance(due_ns - world.now.mono_ns);
        world.settle();
        turns += 1;
    }
    assert!((1..5).contains(&turns), "{turns}");
    assert_eq!(
        world.files.segments().len(),
        2,
        "the one in use and the next"
    );
}
