//! Damage to files: found, named, never served.

use std::ops::Range;

use trunkline_log::testing::MemoryFiles;
use trunkline_log::{
    AppendError, Damage, Defect, LogConfig, Loss, OpenError, Retention, is_unused, verify,
};
use trunkline_wire::record::{self, Kind, RawRecord, Stamp};

use crate::world::{SECOND, Told, World, small};

/// A stream with everything synced and told.
pub(crate) fn synced(config: LogConfig, records: usize, len: usize) -> World {
    let mut world = World::new(config, 77);
    for n in 0..records {
        world.append_waiting(&format!("s{}", n % 5), len + n % 7);
        if n % 40 == 39 {
            world.sync_all();
        }
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    world
}

/// Another stream.
pub(crate) fn stranger() -> World {
    let config = LogConfig {
        entropy: 5,
        ..small()
    };
    synced(config, 900, 300)
}

/// Opens damaged files; what can be read then is compared with what was appended.
fn open(config: &LogConfig, files: &MemoryFiles, told: &[Told]) -> Result<World, OpenError> {
    let mut world = World::on(config.clone(), files.clone(), 0)?;
    world.told = told.to_vec();
    let read = world.read(world.log.seek_first(), world.log.received(), 1 << 16);
    let mut expected = world.log.first().sequence;
    let mut lost = world.lost.iter();
    for sequence in read {
        while sequence != expected {
            let (first, last, why) = lost.next().expect("what does not come is said to be lost");
            assert_eq!((*first, *why), (expected, Loss::Damaged));
            expected = last + 1;
        }
        expected += 1;
    }
    if let Some((first, last, _)) = lost.next() {
        assert_eq!(
            (*first, *last + 1),
            (expected, world.log.received().sequence)
        );
    }
    Ok(world)
}

fn refusal(config: &LogConfig, files: &MemoryFiles) -> Damage {
    let before = files.clone();
    let mut files = files.clone();
    match trunkline_log::Log::open(trunkline_log::LogId(0), config, &mut files) {
        Err(OpenError::Damaged(damage)) => {
            for segment in before.segments() {
                assert!(
                    before.contents(segment) == files.contents(segment),
                    "a refusal changes nothing"
                );
            }
            damage
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// Changes the first segment's record as one who knows how: its checksum is right.
fn write_in_head(files: &mut MemoryFiles, offset: usize, bytes: &[u8]) {
    let head = &mut files.contents_mut(0).expect("the segment")[..120];
    head[offset..offset + bytes.len()].copy_from_slice(bytes);
    let crc = trunkline_wire::crc::Crc::new()
        .update(&head[40..])
        .update(&head[32..40])
        .update(&head[..28]);
    head[28..32].copy_from_slice(&crc.finish().to_le_bytes());
}

/// The sequence with which a segment begins, by its record.
fn base(files: &MemoryFiles, segment: u64) -> u64 {
    let contents = files.contents(segment).expect("the segment");
    let head = RawRecord::peek(contents, u32::MAX).expect("framed");
    head.expect("whole").sequence()
}

/// Where in the file the first definition of `subject` is.
fn definition(files: &MemoryFiles, segment: u64, subject: &str) -> Range<u64> {
    let contents = files.contents(segment).expect("the segment");
    let mut at = 0;
    loop {
        let raw = RawRecord::peek(&contents[at..], u32::MAX).expect("framed");
        let raw = raw.expect("whole");
        let end = at + raw.len();
        if raw.kind() == Kind::Definition && raw.body() == subject.as_bytes() {
            return at as u64..end as u64;
        }
        at = end;
    }
}

#[test]
fn every_flipped_byte_of_the_segment_in_use_is_found_and_named() {
    let world = synced(small(), 30, 30);
    let last = world.log.received().sequence;
    let frontier = world.log.received().position as usize - 4096;
    for offset in (0..frontier).chain((frontier..frontier + 8192).step_by(13)) {
        let mut files = world.files.clone();
        files.contents_mut(0).expect("the segment")[offset] ^= 1 << (offset % 8);
        if offset < 120 {
            // Without its head, the only segment says nothing at all.
            assert!(
                open(&world.config, &files, &world.told).is_err(),
                "offset {offset}"
            );
        } else if offset < frontier {
            let damage = refusal(&world.config, &files);
            assert_eq!((damage.what, damage.segment), (Defect::Records, 0));
            let range = damage.start..damage.end;
            assert!(
                range.contains(&(offset as u64)),
                "offset {offset} is in {range:?}"
            );
            assert!(
                damage.end - damage.start <= 4096,
                "offset {offset}: only what is damaged, not {range:?}"
            );
            assert!(
                damage.last < last && damage.last + 1 - damage.first <= 1,
                "{damage:?}"
            );
        } else {
            // The last mark, or nothing: no acknowledged record is touched.
            let opened = open(&world.config, &files, &world.told).expect("torn, not damaged");
            assert_eq!(opened.log.received().sequence, last);
            assert!(opened.recovery.torn.is_some(), "offset {offset}");
        }
    }
}

#[test]
fn damage_in_a_sealed_segment_is_refused_at_its_ends_and_lost_to_readers_in_between() {
    let world = synced(small(), 600, 300);
    assert!(world.log.segment_count() > 2);
    let last = world.log.received().sequence - 1;
    let seal = {
        let bytes = world.files.contents(0).expect("the first segment");
        u32::from_le_bytes(bytes[65_528..65_532].try_into().expect("four bytes")) as usize
    };
    for offset in (0..120)
        .chain((120..seal).step_by(61))
        .chain(seal..seal + 300)
        .chain(65_500..65_536)
    {
        let mut files = world.files.clone();
        files.contents_mut(0).expect("the segment")[offset] ^= 0x10;
        match open(&world.config, &files, &world.told) {
            Err(OpenError::Damaged(damage)) => {
                assert!(offset < 120 || offset >= seal, "offset {offset}: {damage}");
                assert_eq!(damage.segment, 0);
                assert!(matches!(damage.what, Defect::Head | Defect::Seal));
            }
            Err(OpenError::Newer { segment: 0, .. }) => assert!(offset < 120),
            Err(error) => panic!("offset {offset}: {error}"),
            Ok(opened) => {
                assert!(
                    (120..seal).contains(&offset),
                    "offset {offset} was not found"
                );
                assert!(opened.lost.len() <= 1, "offset {offset}: {:?}", opened.lost);
                let records: u64 = opened
                    .lost
                    .iter()
                    .map(|(first, last, _)| last - first + 1)
                    .sum();
                assert!(records <= 220, "offset {offset}: {records} records");
                assert_eq!(opened.log.received().sequence - 1, last);
            }
        }
    }
}

#[test]
fn a_flip_in_a_body_loses_one_record_only() {
    let world = synced(small(), 600, 300);
    let mut files = world.files.clone();
    let body = &world.told[20].body;
    let contents = files.contents_mut(0).expect("the segment");
    let at = contents
        .windows(body.len())
        .position(|window| window == body)
        .expect("it is there");
    contents[at + 100] ^= 4;
    let opened = open(&world.config, &files, &world.told).expect("the ends are good");
    assert_eq!(opened.lost, [(21, 21, Loss::Damaged)]);
    assert_eq!(opened.log.stats().records_damaged, 1);
}

#[test]
fn every_other_length_of_a_file_is_refused() {
    let world = synced(small(), 300, 300);
    let count = world.log.segment_count();
    assert!(count > 1);
    for segment in 0..count {
        for bytes in (0..65_536)
            .step_by(509)
            .chain([119, 120, 4096, 65_535, 65_537, 131_072])
        {
            let mut files = world.files.clone();
            files
                .contents_mut(segment)
                .expect("the segment")
                .resize(bytes, 0);
            let damage = refusal(&world.config, &files);
            assert_eq!(damage.segment, segment);
            assert_eq!(
                damage.what,
                Defect::Length {
                    bytes: bytes as u64
                }
            );
            // All sequences of the file, or none; verification reads it, and says which of them are lost.
            let found = trunkline_log::verify(&mut files, |_, _| {}).expect("readable");
            let [said] = found.damages[..] else {
                panic!("{:?}", found.damages);
            };
            assert!(
                damage.records() == 0
                    || said.records() == 0
                    || (damage.first <= said.first && damage.last == said.last),
                "{damage}, and not {said}"
            );
            if bytes >= 120 && segment + 2 < count {
                assert!(damage.records() > 0, "{damage}");
            }
        }
    }
}

#[test]
fn a_missing_segment_is_refused_and_named() {
    let world = synced(small(), 900, 300);
    let count = world.log.segment_count();
    assert!(count > 3);
    for segment in 0..count - 1 {
        let mut files = MemoryFiles::default();
        for other in world
            .files
            .segments()
            .into_iter()
            .filter(|other| *other != segment)
        {
            files.insert(other, world.files.contents(other).expect("listed").to_vec());
        }
        let damage = refusal(&world.config, &files);
        assert_eq!(
            (damage.what, damage.segment),
            (Defect::Missing, segment),
            "{damage}"
        );
    }
    // All but the first few: the stream does not start anew.
    let mut files = MemoryFiles::default();
    files.insert(0, world.files.contents(0).expect("listed").to_vec());
    assert_eq!(refusal(&world.config, &files).segment, 1);
}

#[test]
fn a_segment_of_another_place_or_stream_is_refused() {
    let world = synced(small(), 900, 300);
    let mut files = world.files.clone();
    let second = files.contents(2).expect("a segment").to_vec();
    files.insert(1, second);
    let opened = World::on(world.config.clone(), files, 0);
    assert!(matches!(
        opened.err(),
        Some(OpenError::Foreign {
            segment: 1,
            index: 2,
            other_stream: false
        })
    ));

    let other = stranger();
    let mut files = world.files.clone();
    files.insert(1, other.files.contents(1).expect("a segment").to_vec());
    let opened = World::on(world.config.clone(), files, 0);
    assert!(matches!(
        opened.err(),
        Some(OpenError::Foreign {
            segment: 1,
            other_stream: true,
            ..
        })
    ));
}

#[test]
fn a_stale_copy_of_a_segment_is_refused() {
    // The copy of the first segment is from before it was sealed.
    let mut world = World::new(small(), 3);
    for _ in 0..50 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    let stale = world.files.contents(0).expect("the segment").to_vec();
    for _ in 0..900 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    let mut files = world.files.clone();
    files.insert(0, stale);
    assert_eq!(refusal(&world.config, &files).what, Defect::Seal);
    // Two pages swapped within the segment in use.
    let mut files = world.files.clone();
    let active = world.log.segment_count() - 1;
    let (a, b) = files.contents_mut(active).expect("the segment")[4096..].split_at_mut(4096);
    a.swap_with_slice(&mut b[..4096]);
    assert_eq!(refusal(&world.config, &files).segment, active);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let world = synced(small(), 10, 30);
    for (offset, value) in [(4, 2_u8), (40, 2), (44, 1)] {
        let mut files = world.files.clone();
        write_in_head(&mut files, offset, &[value]);
        let opened = World::on(world.config.clone(), files, 0);
        let error = opened.err().expect("it cannot be read");
        assert!(
            matches!(error, OpenError::Newer { segment: 0, .. }),
            "{error}"
        );
    }
}

#[test]
fn what_a_crash_left_behind_is_copied_aside_and_never_comes_back() {
    let mut world = World::new(small(), 9);
    for _ in 0..100 {
        world.append_waiting("a", 100);
    }
    world.sync_all();
    let synced = world.log.synced();
    for _ in 0..100 {
        world.append_waiting("a", 100);
    }
    world.settle();
    // The first page behind what is synced did not come to the device, all others did.
    let at = synced.position as usize;
    world.files.contents_mut(0).expect("the segment")[at..at + 4096].fill(0);
    world.reopen().expect("torn");
    assert_eq!(world.log.received().sequence, synced.sequence);
    let torn = world.recovery.torn.expect("there was something");
    assert_eq!((torn.segment, torn.offset), (0, synced.position));
    assert_eq!(
        world
            .files
            .kept_aside
            .iter()
            .map(|(_, _, bytes)| bytes.len() as u64)
            .sum::<u64>(),
        torn.bytes
    );
    let rest = world.log.received().position as usize;
    assert!(
        world.files.contents(0).expect("the segment")[rest..]
            .iter()
            .all(|byte| *byte == 0)
    );
    world.read_all();
}

#[test]
fn a_payload_that_looks_like_a_mark_is_only_a_payload() {
    let mut world = World::new(small(), 10);
    world
        .append_body("a", b"defines the subject")
        .expect("room");
    // A mark at exactly the place where the payload is going to be, claiming that a lot more is durable.
    let position = world.log.received().position + 40;
    let mut fields = [0; 40];
    fields[8..16].copy_from_slice(&position.to_le_bytes());
    fields[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    fields[24..32].copy_from_slice(&60_000_u64.to_le_bytes());
    fields[32..40].copy_from_slice(&9_u64.to_le_bytes());
    let mut forged = [0; 80];
    let stamp = trunkline_wire::Stamp {
        kind: trunkline_wire::Kind::Batch,
        sequence: 2,
        ..trunkline_wire::Stamp::DATA
    };
    trunkline_wire::record::encode(&mut forged, &stamp, &fields).expect("room");
    world.append_body("a", &forged).expect("room");
    world.sync_all();
    world.reopen().expect("the forged mark is not believed");
    assert_eq!(world.read_all(), [1, 2]);
}

#[test]
fn intact_records_in_another_order_end_the_log() {
    let mut world = World::new(small(), 11);
    for n in 0..4_u8 {
        world.append_body("a", &[n; 200]).expect("room");
    }
    world.settle();
    let contents = world.files.contents_mut(0).expect("the segment");
    let place = |n: u8| {
        contents
            .windows(200)
            .position(|window| window == [n; 200])
            .expect("it is there")
            - 40
    };
    let (second, third) = (place(1), place(2));
    assert_eq!(third - second, 240);
    contents[second..third + 240].rotate_left(240);
    world.reopen().expect("nothing of it was synced");
    assert_eq!(world.read_all(), [1]);
}

/// A removal is told by the seal and by the segment record behind it, and by nothing before.
#[test]
fn a_seal_that_told_of_a_removal_is_what_is_damaged_and_not_what_was_removed() {
    let config = LogConfig {
        retention: Retention {
            age_ns_max: Some(60 * SECOND),
            ..Retention::default()
        },
        ..small()
    };
    let segment = 64 << 10;
    let mut world = World::new(config, 31);
    while world.log.received().position < 2 * segment - 24_000 {
        world.append_waiting("a", 500);
    }
    // Up to where a removal's mark would take what is kept free.
    while world.log.received().position < 2 * segment - 20_480 {
        world.append_waiting("a", 100);
        world.sync_all();
    }
    // The last sync is under way when the removal comes.
    let last = world.append_waiting("a", 100);
    world.log.want_synced(last);
    world.flush();
    assert_eq!(world.log.received().position, 2 * segment - 16_384);
    assert_eq!(world.log.segment_count(), 2);
    assert_eq!(world.files.segments(), [0, 1, 2]);
    world.advance(62 * SECOND);
    world.flush();
    while world.files.segments()[0] == 0 {
        world.complete(0);
    }
    // No mark in the third segment says yet that the seal was synced.
    assert_eq!(world.log.received().position / segment, 2);
    assert_eq!(world.files.segments(), [1, 2]);
    let next = world.log.received().sequence;
    world.files.contents_mut(1).expect("the segment")[60_000] ^= 1;
    match world.reopen() {
        Err(OpenError::Damaged(damage)) => {
            assert_eq!((damage.what, damage.segment), (Defect::Records, 1));
            assert!(damage.start < 60_000 && damage.end == segment, "{damage}");
            assert_eq!((damage.first, damage.last), (next, next - 1));
            let found = trunkline_log::verify(&mut world.files, |_, _| {}).expect("readable");
            assert_eq!(found.damages, [damage]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn recovery_tells_what_it_made_durable() {
    let mut world = World::new(small(), 3);
    for _ in 0..50 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    let told = |world: &World| {
        let found = verify(&mut world.files.clone(), |_, _| {}).expect("readable");
        assert_eq!((found.torn, &found.damages[..]), (None, &[][..]));
        found.durable_sequence
    };
    assert!(
        told(&world) < world.log.received().sequence,
        "no mark tells yet"
    );
    world.reopen().expect("intact");
    assert!(world.recovery.rewritten_bytes > 0);
    assert_eq!(told(&world), world.log.received().sequence);

    // A segment that a crash left without its record.
    while world.log.segment_count() < 2 {
        world.append_waiting("a", 300);
    }
    world.settle();
    let contents = world.files.contents_mut(1).expect("the segment");
    contents.fill(0);
    world.reopen().expect("nothing in it was synced");
    assert_eq!(world.log.received().position, (64 << 10) + 4096);
    assert_eq!(told(&world), world.log.received().sequence);
}

#[test]
fn a_stream_takes_no_larger_records_than_fit_the_segments_that_it_has() {
    let config = LogConfig {
        segment_bytes: 1 << 20,
        record_bytes_max: 100 << 10,
        tail_bytes: 4 << 20,
        ..small()
    };
    let small = synced(small(), 30, 30);
    let mut world = World::on(config, small.files, 1).expect("intact");
    world.told = small.told;
    let largest = (64 << 10) / 4 - 48;
    world.append("a", largest).expect("a quarter of a segment");
    let refused = world.append("a", largest + 1);
    assert!(
        matches!(refused, Err(AppendError::TooLarge { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_follows_a_record_that_belongs_elsewhere_is_not_taken_for_the_next_one() {
    let mut world = synced(small(), 900, 300);
    let contents = world.files.contents_mut(0).expect("the segment");
    let (mut at, mut due) = (120, 0);
    while due < 20 {
        let raw = RawRecord::peek(&contents[at..], u32::MAX).expect("framed");
        let raw = raw.expect("whole");
        at += raw.len();
        due = raw.sequence() + u64::from(raw.kind() == Kind::Data);
    }
    // As on a page of another stream: a definition, and a record of the sequence behind the one that is due here.
    for kind in [Kind::Definition, Kind::Data] {
        let stamp = Stamp {
            kind,
            sequence: due + 1,
            timestamp_ns: world.told[due as usize].timestamp_ns,
            subject_id: 1,
            ..Stamp::DATA
        };
        let len = record::body_record_bytes(40);
        record::encode(&mut contents[at..at + len], &stamp, &[b'x'; 40]).expect("it fits");
        at += len;
    }
    // Each record that comes is compared with what was appended.
    open(&world.config, &world.files, &world.told).expect("only readers see it");
}

#[test]
fn a_damaged_segment_record_is_told_with_the_sequences_of_its_segment() {
    let world = synced(small(), 900, 300);
    assert!(world.log.segment_count() > 4);
    for segment in 0..3 {
        let mut files = world.files.clone();
        files.contents_mut(segment).expect("the segment")[50] ^= 1;
        let expected = Damage {
            what: Defect::Head,
            segment,
            start: 0,
            end: 120,
            first: base(&world.files, segment),
            last: base(&world.files, segment + 1) - 1,
        };
        assert_eq!(refusal(&world.config, &files), expected);
    }
}

#[test]
fn a_damaged_seal_is_told_from_where_it_is_known_to_start() {
    let world = synced(small(), 900, 300);
    let whole: u64 = 64 << 10;
    for segment in 0..3 {
        let contents = world.files.contents(segment).expect("the segment");
        let trailer = whole as usize - 8;
        let seal = u32::from_le_bytes(contents[trailer..][..4].try_into().expect("four bytes"));
        let first = base(&world.files, segment);
        let check = |at: usize, bytes: &[u8], start: u64| {
            let mut files = world.files.clone();
            let contents = files.contents_mut(segment).expect("the segment");
            contents[at..at + bytes.len()].copy_from_slice(bytes);
            let expected = Damage {
                what: Defect::Seal,
                segment,
                start,
                end: whole,
                first,
                last: first - 1,
            };
            assert_eq!(refusal(&world.config, &files), expected);
        };
        check(seal as usize + 60, &[0xff; 8], seal.into());
        // The last bytes do not say where it starts, or what cannot be.
        check(trailer + 4, b"TLNX", whole - 8);
        for start in [0, 112, whole as u32, u32::MAX] {
            check(trailer, &start.to_le_bytes(), whole - 8);
        }
    }
}

#[test]
fn a_damaged_name_is_told_up_to_the_next_record_in_place() {
    let mut world = World::new(small(), 12);
    for segment in 0..3 {
        while world.log.segment_count() <= segment {
            world.append_waiting("a", 300);
        }
        // A subject that only this segment knows.
        world.append_waiting(&format!("only in {segment}"), 300);
    }
    while world.log.segment_count() < 5 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    for segment in 0..3 {
        let name = definition(&world.files, segment, &format!("only in {segment}"));
        let mut files = world.files.clone();
        files.contents_mut(segment).expect("the segment")[name.start as usize + 41] ^= 1;
        let first = base(&world.files, segment);
        let expected = Damage {
            what: Defect::Records,
            segment,
            start: name.start,
            end: name.end,
            first,
            last: first - 1,
        };
        assert_eq!(refusal(&world.config, &files), expected);
    }
}

#[test]
fn the_longest_name_is_known_from_a_segment_that_is_not_read_whole() {
    let mut world = World::new(small(), 13);
    let longest = "x".repeat(255);
    world.append_waiting(&longest, 300);
    while world.log.segment_count() < 4 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    world.advance(SECOND);
    world.settle();
    world.reopen().expect("in order");
    assert!(world.recovery.scanned_bytes < 64 << 10);
    world.read_all();
}

#[test]
fn segments_of_a_length_that_no_log_gives_them_are_refused() {
    let world = synced(small(), 30, 30);
    assert_eq!(world.files.segments(), [0]);
    for (said, is) in [(0, 65_536), (69_632, 69_632), (65_528, 65_528)] {
        let mut files = world.files.clone();
        write_in_head(&mut files, 88, &u64::to_le_bytes(said));
        let contents = files.contents_mut(0).expect("the segment");
        contents.resize(is as usize, 0);
        let damage = refusal(&world.config, &files);
        let what = Defect::Length { bytes: is };
        assert_eq!((damage.what, damage.segment), (what, 0));
    }
}

/// Everything in front of a segment that recovery starts was found in place, so it says so.
#[test]
fn damage_in_front_of_a_segment_that_recovery_started_is_never_taken_for_the_end() {
    let mut world = World::new(small(), 14);
    while world.log.segment_count() < 3 {
        world.append_waiting("a", 300);
    }
    world.settle();
    // A crash left the third segment without its record.
    world.files.contents_mut(2).expect("the segment").fill(0);
    world.reopen().expect("nothing in it was synced");
    let next = world.log.received();
    assert_eq!(next.position, 2 * (64 << 10) + 4096);
    let body = &world.told[20].body;
    let contents = world.files.contents_mut(0).expect("the segment");
    let mut windows = contents.windows(body.len());
    let at = windows.position(|window| window == body);
    contents[at.expect("it is there") + 100] ^= 4;
    let opened = open(&world.config, &world.files, &world.told).expect("only readers see it");
    assert_eq!(opened.log.received().sequence, next.sequence);
    assert_eq!(opened.lost, [(21, 21, Loss::Damaged)]);
    // Nor is any of it read again.
    assert_eq!(opened.recovery.scanned_bytes, 4096);
}

#[test]
fn only_a_first_segment_that_never_held_anything_counts_as_unused() {
    let whole = 64 << 10;
    let with = |changes: &[(usize, u8)]| {
        let mut contents = vec![0; whole];
        changes.iter().for_each(|(at, byte)| contents[*at] = *byte);
        contents
    };
    let unused = |contents: &[(u64, Vec<u8>)]| {
        let mut files = MemoryFiles::default();
        for (segment, contents) in contents {
            files.insert(*segment, contents.clone());
        }
        is_unused(&mut files)
    };
    assert!(unused(&[(0, with(&[]))]));
    assert!(
        unused(&[(0, with(&[(0, 1), (4095, 1)]))]),
        "a part of its first page"
    );
    assert!(!unused(&[]));
    assert!(!unused(&[(1, with(&[]))]));
    assert!(!unused(&[(0, with(&[])), (1, with(&[]))]));
    assert!(!unused(&[(0, vec![0; 100])]), "it was never so short");
    for at in [4096, whole - 1] {
        assert!(
            !unused(&[(0, with(&[(at, 1)]))]),
            "something is at byte {at}"
        );
    }
    let new = World::new(small(), 15);
    assert!(
        !is_unused(&mut new.files.clone()),
        "a stream without records"
    );
    let mut newer = new.files.clone();
    write_in_head(&mut newer, 40, &[2]);
    assert!(
        !is_unused(&mut newer),
        "a newer version may have put anything there"
    );
    for operations in 0..3 {
        let mut files = MemoryFiles::default();
        files.insert(0, with(&[]));
        files.operations_left = operations;
        assert!(!is_unused(&mut files), "after {operations} it is not known");
    }
}

/// A segment is sealed only when the next one's file is there.
#[test]
fn damage_in_front_of_a_last_segment_that_is_missing_is_never_taken_for_the_end() {
    let mut world = World::new(small(), 16);
    while world.log.segment_count() < 2 {
        world.append_waiting("a", 300);
    }
    let last = base(&world.files, 0) + 100;
    world.settle();
    let mut files = MemoryFiles::default();
    let mut contents = world.files.contents(0).expect("the segment").to_vec();
    let body = &world.told[last as usize - 1].body;
    let mut windows = contents.windows(body.len());
    let at = windows.position(|window| window == body);
    contents[at.expect("it is there") + 100] ^= 4;
    files.insert(0, contents);
    let damage = refusal(&world.config, &files);
    assert_eq!(
        (damage.what, damage.segment, damage.first, damage.last),
        (Defect::Records, 0, last, last)
    );
}
