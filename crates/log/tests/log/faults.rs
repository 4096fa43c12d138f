//! Disks that fail: no space, errors, short writes.

use trunkline_log::{
    AppendError, DiskError, DiskErrorKind, Durability, LogConfig, Loss, Request, State,
};

use crate::world::{SECOND, World, small};

const EIO: DiskError = DiskError::from_errno(5);

/// Takes the first request of a kind out of the queue.
fn take(world: &mut World, is: impl Fn(&Request) -> bool) -> (trunkline_log::Token, Request) {
    let at = world
        .queue
        .requests
        .iter()
        .position(|(_, _, request)| is(request))
        .expect("it was submitted");
    let (_, token, request) = world.queue.requests.remove(at);
    (token, request)
}

#[test]
fn a_full_device_refuses_records_before_they_are_taken_and_goes_on_by_itself() {
    let mut world = World::new(small(), 1);
    world.files.space = 64 << 10;
    let refused = loop {
        match world.append("a", 1000) {
            Ok(_) => world.settle(),
            Err(AppendError::Full) => world.settle(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::NoSpace);
    assert!(matches!(
        world.log.state(),
        State::NoSpace(DiskError {
            kind: DiskErrorKind::NoSpace,
            errno: 28
        })
    ));
    // What was taken is stored, synced and readable.
    world.sync_all();
    world.read_all();
    // It is tried again with back-off, not at every turn.
    let failed = world.log.stats().prepares_failed;
    world.settle();
    assert_eq!(world.log.stats().prepares_failed, failed);
    for _ in 0..20 {
        let due = world.log.next_deadline_ns().expect("the next try");
        assert!(due <= world.now.mono_ns + 5 * SECOND);
        world.now.mono_ns = world.now.mono_ns.max(due);
        world.settle();
    }
    assert!((failed + 1..=failed + 20).contains(&world.log.stats().prepares_failed));
    assert_eq!(world.append("a", 1000), Err(AppendError::NoSpace));
    world.files.space = u64::MAX;
    world.advance(5 * SECOND);
    world.settle();
    assert_eq!(world.log.state(), State::Ok);
    for _ in 0..100 {
        world.append_waiting("a", 1000);
    }
    world.sync_all();
    world.reopen().expect("in order");
    world.read_all();
}

#[test]
fn a_failed_sync_poisons_for_good_and_what_was_synced_can_be_read() {
    for durability in [Durability::Stored, Durability::Synced] {
        let mut world = World::new(
            LogConfig {
                durability,
                ..small()
            },
            2,
        );
        for _ in 0..10 {
            world.append_waiting("a", 100);
        }
        world.sync_all();
        let synced = world.log.synced();
        world.append("a", 100).expect("room");
        world.log.want_synced(11);
        world.flush();
        let is_sync = |request: &Request| {
            matches!(
                request,
                Request::Sync { .. } | Request::Write { sync: true, .. }
            )
        };
        while !world
            .queue
            .requests
            .iter()
            .any(|(_, _, request)| is_sync(request))
        {
            world.complete(0);
        }
        let (token, _) = take(&mut world, is_sync);
        world.answer(token, Err(EIO));
        assert_eq!(world.log.state(), State::Poisoned(EIO));
        assert_eq!(world.append("a", 100), Err(AppendError::Poisoned));
        world.advance(100 * SECOND);
        world.flush();
        assert!(world.queue.requests.is_empty(), "nothing is tried again");
        assert_eq!(world.log.synced(), synced);
        assert_eq!(world.log.next_deadline_ns(), None);
        let read = world.read(world.log.seek_first(), world.log.received(), 1 << 16);
        assert_eq!(read, (1..synced.sequence).collect::<Vec<_>>());
        // Only opening it anew ends it; what was written and acknowledged as stored is made durable then.
        world.reopen().expect("the files are in order");
        assert!(world.log.received().sequence >= synced.sequence);
        assert_eq!(world.log.state(), State::Ok);
        world.read_all();
    }
}

#[test]
fn a_failed_write_poisons() {
    let mut world = World::new(small(), 3);
    world.append("a", 100).expect("room");
    world.flush();
    let (token, _) = take(&mut world, |request| {
        matches!(request, Request::Write { .. })
    });
    world.answer(token, Err(DiskError::from_errno(28)));
    assert!(world.is_poisoned());
    assert_eq!(world.log.stored().sequence, 1);
}

#[test]
fn a_sync_that_was_interrupted_is_not_tried_again() {
    let mut world = World::new(small(), 4);
    world.append("a", 100).expect("room");
    world.log.want_synced(1);
    world.flush();
    world.complete(0);
    let (token, _) = take(&mut world, |request| {
        matches!(request, Request::Sync { .. })
    });
    world.answer(token, Err(DiskError::from_errno(4)));
    assert!(
        world.is_poisoned(),
        "it may succeed the second time without having synced"
    );
}

#[test]
fn the_rest_of_a_short_write_is_written_and_a_short_synced_write_poisons() {
    let mut world = World::new(small(), 5);
    world.append("a", 5000).expect("room");
    world.flush();
    let (token, request) = take(&mut world, |request| {
        matches!(request, Request::Write { .. })
    });
    let Request::Write {
        segment,
        offset,
        position,
        len,
        sync,
    } = request
    else {
        unreachable!()
    };
    let part = Request::Write {
        segment,
        offset,
        position,
        len: 1000,
        sync,
    };
    let written =
        trunkline_log::testing::execute(&world.log, &mut world.files, part, &mut Vec::new());
    world.answer(token, written);
    assert_eq!(world.log.stored().sequence, 1);
    assert!(matches!(
        world.queue.requests[..],
        [(_, _, Request::Write { offset: at, len: rest, .. })] if at == offset + 1000 && rest == len - 1000
    ));
    world.complete(0);
    assert_eq!(world.log.stored().sequence, 2);
    assert_eq!(world.log.stats().writes_again, 1);
    world.reopen().expect("in order");
    world.read_all();

    let mut world = World::new(
        LogConfig {
            durability: Durability::Synced,
            ..small()
        },
        5,
    );
    world.append("a", 5000).expect("room");
    world.flush();
    let (token, _) = take(&mut world, |request| {
        matches!(request, Request::Write { .. })
    });
    world.answer(token, Ok(4096));
    assert!(world.is_poisoned());
}

#[test]
fn an_interrupted_write_or_preparation_is_tried_again() {
    let mut world = World::new(small(), 6);
    for _ in 0..20 {
        world.append("a", 1000).expect("room");
    }
    world.flush();
    let (token, _) = take(&mut world, |request| {
        matches!(request, Request::Write { .. })
    });
    world.answer(token, Err(DiskError::from_errno(4)));
    let (token, _) = take(&mut world, |request| {
        matches!(request, Request::Prepare { .. })
    });
    world.answer(token, Err(DiskError::from_errno(4)));
    assert_eq!(world.log.state(), State::Ok);
    world.advance(SECOND);
    world.settle();
    assert_eq!(world.log.stored(), world.log.received());
    for _ in 0..100 {
        world.append_waiting("a", 1000);
    }
}

#[test]
fn a_failed_read_loses_what_it_was_for_and_nothing_else() {
    let mut world = World::new(
        LogConfig {
            read_bytes: 4096,
            ..small()
        },
        7,
    );
    for _ in 0..2000 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    let upto = world.log.received();
    let cursor = world.log.seek_first();
    let trunkline_log::Run::Cold { token } =
        world.log.read(&cursor, upto, 1 << 16, &mut world.queue)
    else {
        panic!("it is not in the tail any more")
    };
    world.queue.requests.clear();
    let trunkline_log::ReadDone::Lost {
        first,
        last,
        why,
        next,
    } = world.log.on_read(token, Err(EIO))
    else {
        panic!("it failed")
    };
    assert_eq!((first, why), (1, Loss::Damaged));
    assert!(last < 200, "up to the next place that is known: {last}");
    let read = world.read(next, upto, 1 << 16);
    assert_eq!(read, (last + 1..=2000).collect::<Vec<_>>());
    assert_eq!(
        world.log.on_read(token, Ok(5)),
        trunkline_log::ReadDone::Unknown
    );
}

#[test]
fn reads_in_flight_are_bounded() {
    let mut world = World::new(small(), 8);
    for _ in 0..2000 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    let (cursor, upto) = (world.log.seek_first(), world.log.received());
    for _ in 0..trunkline_log::Log::READS_MAX {
        let run = world.log.read(&cursor, upto, 1 << 16, &mut world.queue);
        assert!(matches!(run, trunkline_log::Run::Cold { .. }));
    }
    assert_eq!(
        world.log.read(&cursor, upto, 1 << 16, &mut world.queue),
        trunkline_log::Run::Busy
    );
}

#[test]
fn what_only_the_page_cache_holds_after_a_failed_sync_is_written_again_before_it_is_served() {
    let mut world = World::new(small(), 9);
    for _ in 0..200 {
        world.append_waiting("a", 1000);
    }
    world.sync_all();
    for _ in 0..5 {
        world.append("a", 100).expect("room");
    }
    world.log.want_synced(205);
    world.flush();
    world.complete(0);
    let (token, request) = take(&mut world, |request| {
        matches!(request, Request::Sync { .. })
    });
    let Request::Sync { segment } = request else {
        unreachable!()
    };
    world.files.fail_sync(segment);
    world.answer(token, Err(EIO));
    world.reopen().expect("the page cache has it all");
    assert_eq!(world.log.received().sequence, 206);
    assert!(world.recovery.rewritten_bytes > 0);
    world.files.lose_power(&mut trunkline_log::testing::Rng(1));
    world.reopen().expect("in order");
    assert_eq!(
        world.log.received().sequence,
        206,
        "a reader saw what the power loss took back"
    );
    world.read_all();
}
