//! What opening a log says that it found and did.

use std::io;

use trunkline_log::testing::MemoryFiles;
use trunkline_log::{Files, Log, LogId, Recovery, Request, SegmentFile, Token, Torn, verify};

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

#[test]
fn a_torn_rest_is_told_by_its_place_in_the_file_that_it_is_in() {
    let mut world = World::new(small(), 5);
    while world.log.segment_count() < 3 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    let end = world.log.received().position;
    let offset = end - 2 * SEGMENT;
    world.files.contents_mut(2).expect("the segment")[(offset + PAGE) as usize] = 7;
    world.reopen().expect("torn, not damaged");
    let torn = Torn {
        segment: 2,
        offset,
        bytes: PAGE,
    };
    assert_eq!(world.recovery.torn, Some(torn));
}

/// Files that note what is changed.
struct Noted {
    files: MemoryFiles,
    changes: Vec<(&'static str, u64)>,
}

impl Files for Noted {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        self.files.list()
    }

    fn create(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.changes.push(("create", segment));
        self.files.create(segment, bytes)
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.files.read_at(segment, offset, out)
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.changes.push(("write", segment));
        self.files.write_at(segment, offset, bytes)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.changes.push(("sync", segment));
        self.files.sync(segment)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.changes.push(("remove", segment));
        self.files.remove(segment)
    }
}

#[test]
fn a_file_that_is_prepared_and_empty_costs_a_start_no_write_and_no_sync() {
    let mut world = World::new(small(), 6);
    while world.log.received().position < SEGMENT + SEGMENT / 2 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    assert_eq!(world.log.segment_count(), 2);
    assert_eq!(world.files.segments(), [0, 1, 2]);
    let mut files = Noted {
        files: world.files.clone(),
        changes: Vec::new(),
    };
    Log::open(LogId(0), &world.config, &mut files).expect("in order");
    // The last mark is written again; it is all that nothing proves to be on the device.
    assert_eq!(files.changes, [("write", 1), ("sync", 1)]);
}

#[test]
fn of_what_lies_behind_a_torn_end_only_the_file_for_the_next_segment_stays() {
    let mut world = World::new(small(), 7);
    for _ in 0..20 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    let synced = world.log.synced();
    world.append_waiting("a", 500);
    world.settle();
    // What was written behind it did not come to the device, and of three more segments something did.
    for segment in 1..4 {
        let mut zeros = vec![0; SEGMENT as usize];
        zeros[77] = 1;
        world.files.insert(segment, zeros);
    }
    let contents = world.files.contents_mut(0).expect("the segment");
    contents[synced.position as usize..].fill(0);
    world.reopen().expect("torn, not damaged");
    assert_eq!(world.log.received().sequence, synced.sequence);
    assert_eq!(world.files.segments(), [0, 1]);
    let prepared = world.files.contents(1).expect("it stays");
    assert!(prepared.iter().all(|byte| *byte == 0));
    assert_eq!(
        world.recovery.removed_segments, 0,
        "retention had nothing to do with them"
    );
    assert_eq!(world.recovery.torn.map(|torn| torn.bytes), Some(3 * PAGE));
    // It is used, and not made anew.
    world.files.space = 2 * SEGMENT;
    while world.log.segment_count() < 2 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    world.reopen().expect("in order");
    world.read_all();
}

fn is_write((_, _, request): &(LogId, Token, Request)) -> bool {
    matches!(request, Request::Write { .. })
}

#[test]
fn what_is_known_to_be_synced_is_still_known_once_the_mark_that_told_it_is_cut_off() {
    let mut world = World::new(small(), 8);
    for _ in 0..20 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    let synced = world.log.synced();
    let told = |world: &World| {
        let found = verify(&mut world.files.clone(), |_, _| {}).expect("readable");
        found.durable_sequence
    };
    assert!(told(&world) < synced.sequence);
    // Of what is written next the device has the mark at the end, and not the page in front.
    for _ in 0..20 {
        world.append_waiting("a", 500);
    }
    world.log.want_synced(world.log.received().sequence - 1);
    world.flush();
    while let Some(write) = world.queue.requests.iter().position(is_write) {
        world.complete(write);
    }
    let contents = world.files.contents_mut(0).expect("the segment");
    let at = synced.position as usize;
    contents[at..at + PAGE as usize].fill(0);
    assert_eq!(told(&world), synced.sequence);
    world.reopen().expect("torn, not damaged");
    assert_eq!(world.log.received().sequence, synced.sequence);
    assert!(world.recovery.torn.is_some());
    assert_eq!(told(&world), synced.sequence);
}
