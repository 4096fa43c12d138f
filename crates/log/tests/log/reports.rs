//! What opening a log says that it found and did.

use trunkline_log::{Recovery, Torn};

use crate::world::{SECOND, World, small};

const SEGMENT: u64 = 64 << 10;
const PAGE: u64 = 4096;

#[test]
fn a_recovery_says_what_it_found_and_did() {
    let mut world = World::new(small(), 3);
    let new = Recovery {
        created: true,
        segments: 1,
        first: 1,
        ..Recovery::default()
    };
    assert_eq!(world.recovery, new);
    for _ in 0..300 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    let (end, segments) = (world.log.received().position, world.log.segment_count());
    assert!(segments > 2);
    world.reopen().expect("in order");
    // The mark that tells of the last sync is not proven itself: it is written again. Of what was synced whole nothing is read.
    let clean = Recovery {
        segments,
        first: 1,
        last: 300,
        scanned_bytes: end - (segments - 1) * SEGMENT,
        rewritten_bytes: PAGE,
        ..Recovery::default()
    };
    assert_eq!(world.recovery, clean);
}

#[test]
fn a_torn_rest_is_counted_in_pages_over_all_files() {
    let mut world = World::new(small(), 4);
    for _ in 0..60 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    let end = world.log.received().position;
    assert!(end > SEGMENT / 4, "the next segment is prepared");
    for (segment, offset) in [
        (0, end + PAGE + 7),
        (0, end + 3 * PAGE),
        (1, 0),
        (1, 5 * PAGE),
    ] {
        world.files.contents_mut(segment).expect("the segment")[offset as usize] = 7;
    }
    world.reopen().expect("torn, not damaged");
    let torn = Torn {
        segment: 0,
        offset: end,
        bytes: 4 * PAGE,
    };
    assert_eq!(world.recovery.torn, Some(torn));
    assert_eq!(world.recovery.last, 60);
    let kept: Vec<(u64, u64)> = world
        .files
        .kept_aside
        .iter()
        .map(|(segment, offset, _)| (*segment, *offset / PAGE * PAGE))
        .collect();
    let page = |offset: u64| offset / PAGE * PAGE;
    let expected = [
        (0, page(end + PAGE)),
        (0, page(end + 3 * PAGE)),
        (1, 0),
        (1, 5 * PAGE),
    ];
    assert_eq!(kept, expected);
    world.append_waiting("a", 10);
    world.sync_all();
    world.reopen().expect("in order");
    assert_eq!(world.read_all().len(), 61);
}
