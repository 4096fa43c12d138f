//! Verification of files that nobody has opened.

use std::io;
use std::ops::ControlFlow;

use trunkline_log::testing::MemoryFiles;
use trunkline_log::{
    Beginning, Damage, Defect, Extracted, FileKind, Files, Log, LogId, NotRegular, OpenError,
    SegmentFile, Verified, extract, plan_repair, verify,
};

use crate::damage::{stranger, synced};
use crate::world::{World, small};

fn verified(files: &MemoryFiles) -> Verified {
    let mut read = files.clone();
    let mut told = Vec::new();
    let verified = verify(&mut read, |done, total| told.push((done, total))).expect("verified");
    assert!(told.is_sorted(), "progress only goes forward");
    if let Some((done, total)) = told.last() {
        assert_eq!(done, total);
    }
    for segment in files.segments() {
        assert!(
            files.contents(segment) == read.contents(segment),
            "nothing is changed"
        );
    }
    verified
}

fn records(verified: &Verified) -> u64 {
    verified
        .segments
        .iter()
        .map(|segment| segment.records)
        .sum()
}

#[test]
fn intact_files_are_told_segment_by_segment() {
    let world = synced(small(), 600, 300);
    let verified = verified(&world.files);
    assert_eq!((&verified.damages[..], verified.torn), (&[][..], None));
    assert_eq!(records(&verified), 600);
    assert_eq!(verified.durable_sequence, 601);
    assert_eq!(verified.segments.len() as u64, world.log.segment_count());
    let mut first = 1;
    for (at, segment) in verified.segments.iter().enumerate() {
        assert_eq!((segment.index, segment.first), (at as u64, first));
        assert_eq!(segment.next - segment.first, segment.records);
        assert!(segment.first_ns <= segment.last_ns);
        assert_eq!(segment.sealed, at + 1 < verified.segments.len());
        first = segment.next;
    }
}

#[test]
fn every_flipped_byte_is_found_in_its_range_and_the_rest_is_counted() {
    let world = synced(small(), 600, 300);
    let intact = verified(&world.files);
    let last = intact.segments.len() as u64 - 1;
    for segment in 0..=last {
        let used = intact.segments[segment as usize].bytes;
        // Behind the last page that was synced, a change cannot be told from a write that was under way.
        let synced = if segment == last { used - 4096 } else { used };
        for offset in (0..synced).step_by(97).chain(synced - 40..synced) {
            let mut files = world.files.clone();
            files.contents_mut(segment).expect("the segment")[offset as usize] ^= 0x10;
            let mut read = files.clone();
            let found = match verify(&mut read, |_, _| {}) {
                Ok(found) => found,
                Err(OpenError::Newer { .. }) if offset < 120 => continue,
                Err(error) => panic!("segment {segment}, offset {offset}: {error}"),
            };
            let named = found.damages.iter().any(|damage| {
                damage.segment == segment && (damage.start..damage.end).contains(&offset)
            });
            assert!(
                named,
                "segment {segment}, offset {offset}: {:?}",
                found.damages
            );
            let lost: u64 = found
                .damages
                .iter()
                .map(|damage| (damage.last + 1).saturating_sub(damage.first))
                .sum();
            assert_eq!(
                records(&found) + lost,
                600,
                "segment {segment}, offset {offset}: {:?}",
                found.damages
            );
        }
    }
}

#[test]
fn damage_in_two_places_is_named_twice_and_what_lies_between_is_counted() {
    let world = synced(small(), 600, 300);
    let mut files = world.files.clone();
    for offset in [10_000, 40_000] {
        files.contents_mut(1).expect("the segment")[offset] ^= 1;
    }
    let found = verified(&files);
    assert_eq!(found.damages.len(), 2, "{:?}", found.damages);
    assert!(
        found
            .damages
            .iter()
            .all(|damage| damage.what == Defect::Records)
    );
    assert!(records(&found) >= 590, "{}", records(&found));
}

#[test]
fn a_missing_a_shortened_and_a_foreign_file_are_named() {
    let world = synced(small(), 600, 300);
    let intact = verified(&world.files);
    let second = intact.segments[1];

    let mut files = world.files.clone();
    files.contents_mut(1).expect("the segment").truncate(30_000);
    let found = verified(&files);
    assert_eq!(found.damages.len(), 1, "{:?}", found.damages);
    assert_eq!(found.damages[0].what, Defect::Length { bytes: 30_000 });
    // What lies in front of the end of the file is intact.
    let lost = found.damages[0];
    assert!((second.first + 1..second.next).contains(&lost.first));
    assert_eq!(lost.last + 1, second.next);
    assert_eq!(records(&found) + lost.records(), 600);
    assert_eq!(found.segments[1].next, lost.first);

    let mut files = MemoryFiles::default();
    for segment in world
        .files
        .segments()
        .into_iter()
        .filter(|segment| *segment != 1)
    {
        files.insert(
            segment,
            world.files.contents(segment).expect("it is there").to_vec(),
        );
    }
    let found = verified(&files);
    assert_eq!(found.damages.len(), 1, "{:?}", found.damages);
    assert_eq!(found.damages[0].what, Defect::Missing);

    let mut files = world.files.clone();
    let stale = files.contents(0).expect("the segment").to_vec();
    files.insert(1, stale);
    let found = verified(&files);
    let [damage] = found.damages[..] else {
        panic!("{:?}", found.damages);
    };
    let foreign = Defect::Foreign {
        index: 0,
        other_stream: false,
    };
    assert_eq!((damage.what, damage.segment), (foreign, 1));
    assert_eq!((damage.first, damage.last + 1), (second.first, second.next));
    assert_eq!(
        records(&found) + second.records,
        600,
        "the rest is looked at"
    );
    assert!(
        damage.to_string().starts_with(
            "0000000000000001.seg holds segment 0 of this stream: call it 0000000000000000.seg if"
        ),
        "{damage}"
    );
}

#[test]
fn a_stray_file_does_not_make_strangers_of_the_others() {
    let world = synced(small(), 600, 300);
    let other = stranger();
    let count = verified(&world.files).segments.len() as u64;
    // In the place of the oldest, and behind the end.
    for (segment, lost) in [(0, true), (count + 3, false)] {
        let mut files = world.files.clone();
        let stray = other.files.contents(0).expect("the segment").to_vec();
        files.insert(segment, stray);
        let found = verified(&files);
        let [damage] = found.damages[..] else {
            panic!("{:?}", found.damages);
        };
        assert!(
            matches!(
                damage.what,
                Defect::Foreign {
                    other_stream: true,
                    ..
                }
            ),
            "{damage}"
        );
        assert_eq!((damage.segment, damage.records() > 0), (segment, lost));
        let refused = Log::open(LogId(0), &world.config, &mut files);
        assert!(
            matches!(refused.err(), Some(OpenError::Foreign { segment: named, .. }) if named == segment)
        );
    }
}

#[test]
fn a_file_with_a_number_far_behind_the_end_costs_nobody_time() {
    let world = synced(small(), 600, 300);
    let zeros = vec![0; world.config.segment_bytes as usize];
    let mut files = world.files.clone();
    files.insert(1 << 40, zeros.clone());
    let found = verified(&files);
    assert_eq!(found, verified(&world.files));
    plan_repair(&mut files, 1, |_, _| {}).expect("nothing is to be done");
    World::on(world.config.clone(), files, 0).expect("nothing was in it");

    // What is missing in front of it is named once.
    let mut files = world.files.clone();
    let last = *found.segments.last().expect("several");
    files.remove(last.index).expect("it is there");
    files.insert(1 << 40, zeros.clone());
    assert!(verified(&files).damages.len() < 3, "{found:?}");

    // A number that no stream can come to.
    let mut files = world.files.clone();
    files.insert(u64::MAX, zeros);
    let said =
        "ffffffffffffffff.seg belongs to another stream: move it out of this stream's directory";
    let named = verified(&files);
    assert_eq!(named.segments, found.segments, "the rest is looked at");
    let [damage] = named.damages[..] else {
        panic!("{:?}", named.damages);
    };
    assert_eq!(damage.to_string(), said);
    let planned = plan_repair(&mut files, 1, |_, _| {}).expect_err("it is refused");
    assert_eq!(planned.to_string(), said);
    let opened = World::on(world.config.clone(), files, 0).err();
    assert_eq!(opened.expect("it is refused").to_string(), said);
    // Without any segment record, too.
    let mut files = world.files.clone();
    for segment in files.segments() {
        files.contents_mut(segment).expect("listed")[..120].fill(1);
    }
    files.insert(u64::MAX, vec![7; 100]);
    assert!(!verified(&files).damages.is_empty());
    let planned = plan_repair(&mut files, 1, |_, _| {}).expect_err("it is refused");
    assert_eq!(planned.to_string(), said);
}

#[test]
fn a_last_segment_that_is_missing_is_named_although_nothing_tells_what_it_held() {
    let world = synced(small(), 600, 300);
    let intact = verified(&world.files);
    let last = *intact.segments.last().expect("several");
    let mut files = MemoryFiles::default();
    for segment in 0..last.index {
        let contents = world.files.contents(segment).expect("it is there");
        files.insert(segment, contents.to_vec());
    }
    let found = verified(&files);
    let [damage] = found.damages[..] else {
        panic!("{:?}", found.damages);
    };
    assert_eq!((damage.what, damage.segment), (Defect::Gone, last.index));
    assert_eq!((damage.first, damage.records()), (last.first, 0));
    assert!(damage.to_string().contains("nothing tells"), "{damage}");
    let mut told = Vec::new();
    extract(
        &mut files.clone(),
        Beginning::default(),
        |_, _| {},
        |one| {
            if let Extracted::Lost(damage) = one {
                told.push(damage);
            }
            ControlFlow::Continue(())
        },
    )
    .expect("extracted");
    assert_eq!(told, [damage], "an export says so, too");
    match Log::open(LogId(0), &world.config, &mut files) {
        Err(OpenError::Damaged(refused)) => assert_eq!(refused, damage),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_of_another_length_are_named_wherever_they_are_and_their_marks_count() {
    let world = synced(small(), 600, 300);
    let last = *verified(&world.files).segments.last().expect("several");
    for bytes in [0, 100, 5000, 65_535, 65_537] {
        let mut files = world.files.clone();
        files.insert(last.index + 2, vec![0; bytes]);
        let found = verified(&files);
        let [damage] = found.damages[..] else {
            panic!("{bytes} bytes: {:?}", found.damages);
        };
        let length = Defect::Length {
            bytes: bytes as u64,
        };
        assert_eq!((damage.what, damage.records()), (length, 0));
    }
    // The end of the segment before is zero: only marks in the shortened one tell that it was not.
    let mut files = world.files.clone();
    let used = last.bytes as usize;
    files
        .contents_mut(last.index)
        .expect("it is there")
        .truncate(used);
    files.contents_mut(last.index - 1).expect("it is there")[40_000..].fill(0);
    let found = verified(&files);
    let whats: Vec<_> = found.damages.iter().map(|damage| damage.what).collect();
    let length = Defect::Length { bytes: used as u64 };
    assert_eq!(whats, [Defect::Records, length]);
    let lost: u64 = found.damages.iter().map(Damage::records).sum();
    assert_eq!(records(&found) + lost, 600, "{:?}", found.damages);
}

#[test]
fn what_a_crash_left_behind_the_end_is_torn_and_not_damage() {
    let world = synced(small(), 30, 30);
    let end = verified(&world.files).segments[0].bytes as usize;
    let mut files = world.files.clone();
    files.contents_mut(0).expect("the segment")[end + 5000] = 7;
    let found = verified(&files);
    assert_eq!(found.damages, []);
    let torn = found.torn.expect("torn");
    assert_eq!(
        (torn.segment, torn.offset, torn.bytes),
        (0, end as u64, 4096)
    );
}

#[test]
fn an_empty_directory_and_a_new_stream_are_in_order() {
    assert_eq!(verified(&MemoryFiles::default()), Verified::default());
    let found = verified(&synced(small(), 0, 0).files);
    assert_eq!((records(&found), found.damages), (0, vec![]));
}

#[test]
fn segments_that_retention_removed_are_not_missed() {
    let config = trunkline_log::LogConfig {
        retention: trunkline_log::Retention {
            bytes_max: Some(4 * (64 << 10)),
            ..Default::default()
        },
        ..small()
    };
    let mut world = World::new(config, 1);
    for n in 0..2500 {
        world.append_waiting("a", 500);
        if n % 50 == 0 {
            world.sync_all();
            let found = verified(&world.files);
            assert_eq!(found.damages, [], "after {n} records");
            let mut files = world.files.clone();
            let plan = plan_repair(&mut files, 1, |_, _| {}).expect("planned");
            assert!(plan.is_needless(), "after {n} records: {plan:?}");
        }
    }
    assert!(world.log.first().sequence > 1000);
}

#[test]
fn damage_ends_where_anything_was_synced_although_the_next_segment_has_begun() {
    let mut world = World::new(small(), 6);
    for _ in 0..8 {
        world.append_waiting("a", 500);
    }
    world.sync_all();
    let synced = world.log.received();
    while world.log.segment_count() < 2 {
        world.append_waiting("a", 500);
    }
    world.settle();
    // The device has the next segment's record, which tells what was synced, and nothing of what was written in between; the last synced mark rots.
    let contents = world.files.contents_mut(0).expect("the segment");
    contents[synced.position as usize..].fill(0);
    contents[synced.position as usize - 9] ^= 1;
    let verified = verify(&mut world.files, |_, _| {}).expect("readable");
    let [damage] = verified.damages[..] else {
        panic!("{:?}", verified.damages);
    };
    assert_eq!(
        (damage.what, damage.end),
        (Defect::Records, synced.position)
    );
    assert_eq!((damage.first, damage.records()), (9, 0));
    let Err(OpenError::Damaged(refused)) = world.reopen() else {
        panic!("it was synced");
    };
    assert_eq!(refused, damage);
}

/// Files of which some cannot be read, from a byte on.
struct Unread {
    files: MemoryFiles,
    segments: Vec<u64>,
    from: u64,
    error: fn() -> io::Error,
}

impl Files for Unread {
    fn list(&mut self) -> io::Result<Vec<SegmentFile>> {
        self.files.list()
    }

    fn read_at(&mut self, segment: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.segments.contains(&segment) && offset + out.len() as u64 >= self.from {
            true => Err((self.error)()),
            false => self.files.read_at(segment, offset, out),
        }
    }

    fn create(&mut self, _: u64, _: u64) -> io::Result<()> {
        unreachable!("nothing is changed")
    }

    fn write_at(&mut self, _: u64, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("nothing is changed")
    }

    fn sync(&mut self, _: u64) -> io::Result<()> {
        unreachable!("nothing is changed")
    }

    fn remove(&mut self, _: u64) -> io::Result<()> {
        unreachable!("nothing is changed")
    }
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn a_link() -> io::Error {
    let path = "orders/0000000000000001.seg".into();
    let is = FileKind::Link;
    NotRegular { path, is }.into()
}

#[test]
fn a_segment_that_cannot_be_read_is_named_and_the_others_are_checked() {
    let world = synced(small(), 600, 300);
    let intact = verified(&world.files);
    let last = intact.segments.len() - 1;
    assert!(last >= 2);
    // The whole file, and all but the page of its head, of which the sequence is known then.
    for (at, segment) in intact.segments.iter().enumerate() {
        for (from, link) in [(0, false), (4096, false), (0, true)] {
            let mut unread = Unread {
                files: world.files.clone(),
                segments: vec![segment.index],
                from,
                error: if link { a_link } else { input_output_error },
            };
            let found = verify(&mut unread, |_, _| {}).expect("the others can be read");
            let [damage] = found.damages[..] else {
                panic!("segment {at} from {from}: {:?}", found.damages);
            };
            let bytes = world.config.segment_bytes;
            assert_eq!(
                (damage.segment, damage.start, damage.end),
                (segment.index, 0, bytes)
            );
            assert!(damage.what.is_unread(), "{damage}");
            let is_link = damage.what == Defect::NotRegular(FileKind::Link);
            assert_eq!(is_link, link, "{damage}");
            assert_eq!(damage.first, segment.first, "segment {at} from {from}");
            // How far the last one went, only its own marks say.
            if at < last {
                assert_eq!(damage.last + 1, segment.next);
            }
            let others = intact.segments.iter().filter(|other| *other != segment);
            assert!(found.segments.iter().eq(others), "{:?}", found.segments);

            let (mut came, mut lost) = (0, Vec::new());
            extract(
                &mut unread,
                Beginning::default(),
                |_, _| {},
                |one| {
                    match one {
                        Extracted::Record { .. } => came += 1,
                        Extracted::Lost(damage) => lost.push(damage),
                    }
                    ControlFlow::Continue(())
                },
            )
            .expect("the others can be read");
            assert_eq!((came, &lost[..]), (600 - segment.records, &[damage][..]));
        }
    }
    let mut unread = Unread {
        files: world.files,
        segments: vec![1],
        from: 0,
        error: input_output_error,
    };
    let found = verify(&mut unread, |_, _| {}).expect("the others can be read");
    let said = found.damages[0].to_string();
    let second = intact.segments[1];
    let (first, end) = (second.first, second.next - 1);
    assert_eq!(
        said,
        format!(
            "segment 1 cannot be read: Input/output error (os error 5); in its place were sequences {first} to {end}"
        )
    );
}

#[test]
fn two_segments_that_cannot_be_read_are_told_apart_from_damage_between_them() {
    let world = synced(small(), 2000, 300);
    let intact = verified(&world.files);
    assert!(intact.segments.len() >= 5);
    let mut files = world.files.clone();
    files.contents_mut(2).expect("the segment")[10_000] ^= 1;
    let mut unread = Unread {
        files,
        segments: vec![1, 3],
        from: 0,
        error: input_output_error,
    };
    let found = verify(&mut unread, |_, _| {}).expect("the others can be read");
    let told: Vec<_> = found
        .damages
        .iter()
        .map(|damage| (damage.segment, damage.what.is_unread()))
        .collect();
    assert_eq!(told, [(1, true), (2, false), (3, true)]);
    let lost: u64 = found.damages.iter().map(Damage::records).sum();
    assert_eq!(records(&found) + lost, 2000, "{:?}", found.damages);
}
