//! Repair: what cannot be opened can be opened again, nothing that is intact is given up, and what is overwritten is kept.

use trunkline_log::testing::{MemoryFiles, Rng};
use trunkline_log::{
    Change, Defect, LOST_SUBJECT, Log, LogId, OpenError, RepairError, State, plan_repair, verify,
};

use crate::damage::synced;
use crate::world::{SECOND, World, small};

/// What a repair came to.
struct Repaired {
    world: World,
    changes: Vec<Change>,
    damages: Vec<trunkline_log::Damage>,
    /// Lost, as far as the plan tells; `None` where it says that more may be.
    told: Option<u64>,
}

/// Repairs damaged files of `source` and holds the result against what was appended.
fn repair(source: &World, files: &MemoryFiles, what: &str) -> Repaired {
    let mut repaired = files.clone();
    let mut steps = Vec::new();
    let plan = plan_repair(&mut repaired, 99, |done, total| steps.push((done, total)))
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let is_within = |(done, total): &(u64, u64)| done <= total;
    assert!(
        steps.iter().all(is_within) && steps.is_sorted(),
        "{what}: {steps:?}"
    );
    same(files, &repaired, what);
    let opens = Log::open(LogId(0), &source.config, &mut files.clone());
    assert_eq!(
        plan.is_needless(),
        opens.is_ok(),
        "{what}: {plan:?} {:?}",
        opens.err()
    );
    let (changes, damages) = (plan.changes.clone(), plan.damages.clone());
    let kept = plan.bytes_kept();
    let told = (!plan.may_have_lost_more()).then(|| plan.records_lost());
    plan.apply(&mut repaired)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        kept <= repaired
            .kept_aside
            .iter()
            .map(|kept| kept.2.len() as u64)
            .sum()
    );
    nothing_is_destroyed(files, &repaired, what);
    let again = plan_repair(&mut repaired, 99, |_, _| {}).expect("it was repaired");
    assert!(again.is_needless(), "{what}: {again:?}");
    let mut world = World::on(source.config.clone(), repaired, 0)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    world.told = source.told.clone();
    Repaired {
        world,
        changes,
        damages,
        told,
    }
}

fn same(a: &MemoryFiles, b: &MemoryFiles, what: &str) {
    assert_eq!(a.segments(), b.segments(), "{what}");
    for segment in a.segments() {
        assert!(
            a.contents(segment) == b.contents(segment),
            "{what}: planning changes nothing"
        );
    }
}

/// Every byte that is not what it was, and was not zero, is in a copy.
fn nothing_is_destroyed(before: &MemoryFiles, after: &MemoryFiles, what: &str) {
    for segment in before.segments() {
        let old = before.contents(segment).expect("listed");
        let new = after.contents(segment).expect("no file is removed");
        let kept = |at: usize| {
            after.kept_aside.iter().any(|(of, start, bytes)| {
                let place = at.checked_sub(*start as usize);
                *of == segment && place.and_then(|place| bytes.get(place)) == Some(&old[at])
            })
        };
        for (at, byte) in old.iter().enumerate() {
            assert!(
                *byte == 0 || new.get(at) == Some(byte) || kept(at),
                "{what}: byte {at} of segment {segment} is nowhere"
            );
        }
    }
}

impl Repaired {
    /// All that is there is what it was, and all that is not is told: how many records are lost.
    fn accounts(&mut self, what: &str) -> u64 {
        let world = &mut self.world;
        let (first, next) = (world.log.first().sequence, world.log.received().sequence);
        assert!(
            next > world.told.len() as u64,
            "{what}: sequences are used again"
        );
        let mut came = world.read(world.log.seek_first(), world.log.received(), 1 << 16);
        let mut lost = 0;
        for (from, to, _) in &world.lost {
            lost += to - from + 1;
            came.extend(*from..=*to);
        }
        came.sort_unstable();
        assert_eq!(
            came,
            (first..next).collect::<Vec<_>>(),
            "{what}: {:?}",
            world.lost
        );
        lost
    }

    /// The stream takes records again, and holds them over a restart.
    fn goes_on(&mut self, what: &str) {
        let world = &mut self.world;
        let next = world.log.received().sequence;
        world.told.truncate(next as usize - 1);
        while (world.told.len() as u64) + 1 < next {
            let last = world.told.last().expect("there were records").clone();
            world.told.push(last);
        }
        world.lost.clear();
        for _ in 0..300 {
            world.append_waiting("s1", 300);
        }
        world.sync_all();
        world.advance(SECOND);
        world.settle();
        assert_eq!(world.log.state(), State::Ok, "{what}");
        let last = world.log.received().sequence;
        world
            .reopen()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            (last, next + 300),
            (world.log.received().sequence, last),
            "{what}"
        );
        let log = &world.log;
        let trunkline_log::Seek::At(cursor) = log.seek(next) else {
            panic!("{what}: {next} is there")
        };
        let upto = log.received();
        assert_eq!(
            world.read(cursor, upto, 1 << 16),
            (next..last).collect::<Vec<_>>(),
            "{what}"
        );
    }
}

/// As many records as are lost when one stretch is damaged: those in it.
fn few(lost: u64, most: u64, what: &str) {
    assert!(lost <= most, "{what}: {lost} records are lost");
}

#[test]
fn a_flipped_byte_anywhere_in_the_segment_in_use_loses_one_record_at_most() {
    let world = synced(small(), 30, 30);
    let used = world.log.received().position as usize;
    for offset in (0..used).step_by(7) {
        let what = format!("byte {offset}");
        let mut files = world.files.clone();
        files.contents_mut(0).expect("the segment")[offset] ^= 1 << (offset % 8);
        let mut repaired = repair(&world, &files, &what);
        if repaired
            .changes
            .iter()
            .any(|change| matches!(change, Change::Name { .. }))
        {
            continue; // Looked at below.
        }
        few(repaired.accounts(&what), 1, &what);
        if offset % 70 == 0 {
            repaired.goes_on(&what);
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_in_several_segments_loses_little() {
    let world = synced(small(), 600, 300);
    let last = world.log.segment_count() - 1;
    let mut needed = 0;
    for segment in 0..=last {
        let used = world
            .log
            .received()
            .position
            .saturating_sub(segment << 16)
            .min(1 << 16);
        for offset in (0..used).step_by(211).chain(used - 16..used) {
            let what = format!("segment {segment}, byte {offset}");
            let mut files = world.files.clone();
            files.contents_mut(segment).expect("the segment")[offset as usize] ^= 0x10;
            let mut repaired = repair(&world, &files, &what);
            needed += u32::from(!repaired.changes.is_empty());
            // In a segment that is not looked at when a stream is opened, the index tells where to go on: nowhere, in one so small.
            let most = if repaired.changes.is_empty() { 220 } else { 2 };
            few(repaired.accounts(&what), most, &what);
        }
    }
    assert!(needed > 100, "{needed} had to be repaired");
}

#[test]
fn a_stretch_at_the_end_that_was_synced_is_told_exactly_and_its_bytes_stay() {
    let world = synced(small(), 680, 300);
    let intact = verify(&mut world.files.clone(), |_, _| {}).expect("verified");
    let end = intact.segments.last().expect("there are").bytes as usize - 4096;
    let segment = world.log.segment_count() - 1;
    let mut files = world.files.clone();
    let damaged = end - 9000..end;
    let contents = files.contents_mut(segment).expect("the segment");
    contents[damaged.clone()].fill(0xa5);
    let mut repaired = repair(&world, &files, "the end");
    let lost = repaired.accounts("the end");
    assert!((10..30).contains(&lost), "{lost}");
    assert_eq!(repaired.damages.len(), 1, "{:?}", repaired.damages);
    let damage = repaired.damages[0];
    assert_eq!(
        (damage.what, damage.last - damage.first + 1),
        (Defect::Records, lost)
    );
    // Verification names the same range afterwards, and nothing else.
    let mut after = repaired.world.files.clone();
    let found = verify(&mut after, |_, _| {}).expect("verified").damages;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].first, found[0].last), (damage.first, damage.last));
    assert_eq!((found[0].start, found[0].end), (damage.start, damage.end));
    let contents = repaired.world.files.contents(segment).expect("the segment");
    assert!(contents[damaged].iter().all(|byte| *byte == 0xa5));
    repaired.goes_on("the end");
}

#[test]
fn a_missing_file_in_the_middle_loses_what_it_held_and_nothing_else() {
    let world = synced(small(), 900, 300);
    let intact = verify(&mut world.files.clone(), |_, _| {}).expect("verified");
    for nth in 1..intact.segments.len() - 1 {
        let report = intact.segments[nth];
        let what = format!("segment {nth}");
        let mut repaired = repair(&world, &without(&world.files, &[report.index]), &what);
        let lost = repaired.accounts(&what);
        assert_eq!(
            lost,
            report.next - report.first,
            "{what}: {:?}",
            repaired.damages
        );
        assert!(
            repaired
                .damages
                .iter()
                .any(|damage| damage.what == Defect::Missing),
            "{:?}",
            repaired.damages
        );
        repaired.goes_on(&what);
    }
}

#[test]
fn no_sequence_of_a_last_segment_that_is_missing_is_given_out_again() {
    let world = synced(small(), 900, 300);
    let intact = verify(&mut world.files.clone(), |_, _| {}).expect("verified");
    let last = *intact.segments.last().expect("several");
    // Alone, and with the file that is prepared for the next one.
    for gone in [&[last.index][..], &[last.index, last.index + 1]] {
        let what = format!("{gone:?}");
        let files = without(&world.files, gone);
        let plan = plan_repair(&mut files.clone(), 1, |_, _| {}).expect("planned");
        assert!(plan.may_have_lost_more(), "{what}");
        let mut repaired = repair(&world, &files, &what);
        let held = (64 << 10) / 40;
        let begins = Change::Begin {
            segment: last.index + 1,
            sequence: last.first + held,
        };
        assert!(
            repaired.changes.contains(&begins),
            "{what}: {:?}",
            repaired.changes
        );
        assert_eq!(repaired.accounts(&what), held, "{what}");
        repaired.goes_on(&what);
        interrupted(&what, &world, &files);
    }
}

#[test]
fn missing_files_at_the_beginning_count_as_removed() {
    let world = synced(small(), 900, 300);
    let intact = verify(&mut world.files.clone(), |_, _| {}).expect("verified");
    let mut repaired = repair(&world, &without(&world.files, &[0, 1]), "the beginning");
    assert_eq!(
        repaired.world.log.first().sequence,
        intact.segments[2].first
    );
    assert_eq!(repaired.accounts("the beginning"), 0);
    assert!(repaired.changes.contains(&Change::Given { first: 2 }));
    assert_eq!(repaired.damages[0].last + 1, intact.segments[2].first);
    repaired.goes_on("the beginning");
}

#[test]
fn files_of_another_length_get_the_right_one() {
    let world = synced(small(), 600, 300);
    let last = world.log.segment_count() - 1;
    for segment in 0..=last {
        for bytes in [0, 119, 4096, 30_000, 65_535, 65_537, 100_000] {
            let what = format!("segment {segment} of {bytes} bytes");
            let mut files = world.files.clone();
            files
                .contents_mut(segment)
                .expect("the segment")
                .resize(bytes, 7);
            let mut repaired = repair(&world, &files, &what);
            let lost = repaired.accounts(&what);
            if bytes >= 65_536 {
                assert_eq!(lost, 0, "{what}");
            }
            if segment == last && bytes < 65_536 {
                assert_eq!(
                    repaired.told, None,
                    "{what}: nothing tells what was cut off"
                );
            }
            repaired.goes_on(&what);
        }
    }
}

#[test]
fn a_segment_record_is_made_again_from_what_the_others_say() {
    let world = synced(small(), 600, 300);
    for segment in 0..world.log.segment_count() {
        let what = format!("segment {segment}");
        let mut files = world.files.clone();
        files.contents_mut(segment).expect("the segment")[0..120].fill(0xff);
        let mut repaired = repair(&world, &files, &what);
        assert_eq!(repaired.accounts(&what), 0, "{what}");
        assert_eq!(repaired.damages[0].what, Defect::Head);
        assert_eq!(
            repaired.world.files.contents(segment).expect("it is there")[..28],
            world.files.contents(segment).expect("it is there")[..28],
            "{what}: sequence, time and lengths are what they were"
        );
        repaired.goes_on(&what);
    }
}

#[test]
fn a_stream_without_any_segment_record_gets_a_new_name_and_keeps_its_records() {
    for records in [30, 600] {
        let world = synced(small(), records, 300);
        let mut files = world.files.clone();
        for segment in files.segments() {
            files.contents_mut(segment).expect("the segment")[16..24].fill(0x11);
        }
        let mut repaired = repair(&world, &files, "no segment record");
        assert_eq!(repaired.accounts("no segment record"), 0);
        assert_ne!(repaired.world.log.uuid(), world.log.uuid());
        repaired.goes_on("no segment record");
    }
    // Where no mark is left either, nothing can be said.
    let world = synced(small(), 30, 30);
    let mut files = world.files.clone();
    files.contents_mut(0).expect("the segment")[..20_000].fill(0x11);
    let error = plan_repair(&mut files, 1, |_, _| {}).expect_err("there is nothing to go by");
    assert!(matches!(error, RepairError::Nameless), "{error}");
}

#[test]
fn a_seal_is_made_again_and_loses_nothing() {
    let world = synced(small(), 600, 300);
    let mut files = world.files.clone();
    files.contents_mut(1).expect("the segment")[65_400..].fill(0x77);
    let mut repaired = repair(&world, &files, "a seal");
    assert_eq!(repaired.accounts("a seal"), 0);
    assert_eq!(repaired.damages.len(), 1, "{:?}", repaired.damages);
    assert_eq!(repaired.damages[0].what, Defect::Seal);
    let found = verify(&mut repaired.world.files.clone(), |_, _| {}).expect("verified");
    assert_eq!(found.damages, []);
    repaired.goes_on("a seal");
    // With the records in front of it: those are told, in the range in which they were.
    let mut files = world.files.clone();
    files.contents_mut(1).expect("the segment")[43_000..].fill(0x77);
    let mut repaired = repair(&world, &files, "a segment's end");
    let lost = repaired.accounts("a segment's end");
    assert!((8..40).contains(&lost), "{lost}");
    let found = verify(&mut repaired.world.files.clone(), |_, _| {}).expect("verified");
    let damage = found.damages[0];
    assert_eq!(
        (found.damages.len(), damage.last + 1 - damage.first),
        (1, lost)
    );
    assert_eq!(
        (damage.first, damage.last),
        (repaired.damages[0].first, repaired.damages[0].last)
    );
    repaired.goes_on("a segment's end");
}

/// Where the first definition of `subject` stands.
fn definition_of(files: &MemoryFiles, segment: u64, subject: &str) -> usize {
    let contents = files.contents(segment).expect("the segment");
    let at = contents
        .windows(subject.len())
        .position(|bytes| bytes == subject.as_bytes());
    at.expect("it is defined")
}

#[test]
fn a_subject_whose_name_is_damaged_is_known_from_another_segment() {
    let world = synced(small(), 600, 300);
    let last = world.log.segment_count() - 1;
    // What recovery knows from elsewhere it does not mind.
    for damaged in [vec![last], vec![0, last], vec![1]] {
        let what = format!("segments {damaged:?}");
        let mut files = world.files.clone();
        for &segment in &damaged {
            let at = definition_of(&files, segment, "s3");
            files.contents_mut(segment).expect("the segment")[at] ^= 1;
        }
        let mut repaired = repair(&world, &files, &what);
        let named = Change::Name {
            segment: last,
            id: 3,
            name: "s3".into(),
        };
        assert_eq!(
            repaired.changes.contains(&named),
            damaged.contains(&last),
            "{what}: {:?}",
            repaired.changes
        );
        assert_eq!(repaired.accounts(&what), 0, "{what}");
        repaired.goes_on(&what);
    }
}

#[test]
fn a_subject_that_nobody_knows_any_more_is_never_taken_for_another() {
    let world = synced(small(), 30, 30);
    let mut files = world.files.clone();
    let at = definition_of(&files, 0, "s3");
    files.contents_mut(0).expect("the segment")[at] ^= 1;
    let mut repaired = repair(&world, &files, "a name").world;
    let lost = format!("{LOST_SUBJECT}3");
    assert_eq!(repaired.log.subject(3), Some(&*lost));
    for told in repaired.told.iter_mut().filter(|told| told.subject == "s3") {
        told.subject.clone_from(&lost);
    }
    repaired.read_all();
    assert_ne!(
        repaired.log.define("s3"),
        Ok(3),
        "the id stays with the records that have it"
    );
}

#[test]
fn an_interrupted_repair_is_repaired() {
    let world = synced(small(), 600, 300);
    let segment = world.log.segment_count() - 1;
    let mut files = without(&world.files, &[1]);
    files.contents_mut(2).expect("the segment")[..64].fill(3);
    files.contents_mut(segment).expect("the segment")[9000] ^= 1;
    interrupted("several", &world, &files);
    // The next segment is not prepared, as while a disk is full.
    interrupted("no next one", &world, &without(&files, &[segment + 1]));
    // Nothing tells what was in the end of the last one.
    for bytes in [0, 100, 5000, 30_000] {
        let mut cut = files.clone();
        let contents = cut.contents_mut(segment).expect("the segment");
        contents.truncate(bytes);
        interrupted(&format!("cut to {bytes}"), &world, &cut);
        let cut = without(&cut, &[segment + 1]);
        interrupted(&format!("cut to {bytes}, no next one"), &world, &cut);
    }
}

/// However far a repair came, the next one comes to the same.
fn interrupted(what: &str, world: &World, files: &MemoryFiles) {
    // On the device, too.
    let files = without(files, &[]);
    let mut whole = repair(world, &files, what);
    let lost = whole.accounts(what);
    let mut interrupted = 0;
    for operations in 0.. {
        let what = format!("{what} after {operations} operations");
        let mut cut = files.clone();
        let plan = plan_repair(&mut cut, 99, |_, _| {}).expect("planned");
        cut.operations_left = operations;
        if plan.apply(&mut cut).is_ok() {
            break;
        }
        interrupted += 1;
        cut.lose_power(&mut Rng(operations));
        let kept = std::mem::take(&mut cut.kept_aside);
        let mut again = repair(world, &cut, &what);
        assert_eq!(again.accounts(&what), lost, "{what}");
        again.world.files.kept_aside.extend(kept);
        nothing_is_destroyed(&files, &again.world.files, &what);
    }
    assert!(interrupted > 5);
}

#[test]
fn first_pages_of_neighbours_are_made_again_from_the_seals_before_them() {
    let world = synced(small(), 600, 300);
    let count = world.log.segment_count();
    let all: Vec<u64> = (0..count).collect();
    let pairs = all.windows(2).map(<[u64]>::to_vec);
    for damaged in pairs.chain([all.clone()]) {
        let what = format!("first bytes of {damaged:?}");
        let mut files = world.files.clone();
        for segment in &damaged {
            files.contents_mut(*segment).expect("the segment")[..512].fill(0);
        }
        let mut repaired = repair(&world, &files, &what);
        // The one or two records that begin there, and what the way to the next entry of an index costs.
        few(repaired.accounts(&what), damaged.len() as u64 * 2, &what);
        repaired.goes_on(&what);
    }
}

#[test]
fn damage_that_keeps_nothing_from_being_opened_is_told_with_the_rest() {
    let world = synced(small(), 900, 300);
    let mut files = world.files.clone();
    files.contents_mut(2).expect("the segment")[20_000..28_000].fill(0);
    // It can be opened, and yet records are lost.
    let repaired = repair(&world, &files, "in the middle");
    assert!(repaired.changes.is_empty());
    let lost = repaired.told.expect("all is known");
    assert!((20..30).contains(&lost), "{lost}");
    // Something else has to be repaired.
    files.contents_mut(1).expect("the segment")[65_530] ^= 1;
    let repaired = repair(&world, &files, "in the middle, and a seal");
    assert!(!repaired.changes.is_empty());
    assert_eq!(repaired.told, Some(lost));
}

#[test]
fn what_lies_behind_a_missing_segment_is_kept_however_far_behind_the_frontier_is() {
    let mut world = World::new(small(), 9);
    for _ in 0..20 {
        world.append_waiting("a", 300);
    }
    world.sync_all();
    // Nothing is synced any more, so that no mark tells of it.
    while world.log.segment_count() < 6 {
        world.append_waiting("a", 300);
    }
    world.settle();
    let intact = verify(&mut world.files.clone(), |_, _| {}).expect("verified");
    let damaged = |segment: u64, cut: bool| match cut {
        false => without(&world.files, &[segment]),
        true => {
            let mut files = world.files.clone();
            files
                .contents_mut(segment)
                .expect("the segment")
                .truncate(3000);
            files
        }
    };
    for segment in 1..4 {
        for cut in [false, true] {
            let what = format!("segment {segment}, cut: {cut}");
            let mut repaired = repair(&world, &damaged(segment, cut), &what);
            let held = intact.segments[segment as usize];
            let lost = repaired.accounts(&what);
            assert!(lost <= held.next - held.first, "{what}: {lost}");
            // The last one is missing, too.
            let mut files = damaged(segment, cut);
            files = without(&files, &[5]);
            let mut repaired = repair(&world, &files, &what);
            repaired.accounts(&what);
            assert_eq!(repaired.told, None, "{what}");
            let found = verify(&mut files, |_, _| {}).expect("verified");
            let named: Vec<u64> = found.damages.iter().map(|damage| damage.segment).collect();
            assert!(
                named.contains(&segment) && named.contains(&5),
                "{what}: {named:?}"
            );
            assert_eq!(found.torn, None, "{what}");
        }
    }
}

#[test]
fn whatever_is_damaged_a_repaired_stream_opens_and_accounts_for_every_record() {
    let world = synced(small(), 700, 300);
    let mut rng = Rng(20_261_121);
    let (mut needed, mut nameless) = (0, 0);
    for round in 0..400 {
        let mut files = world.files.clone();
        let mut what = format!("round {round}:");
        let mut is_hidden = false;
        for _ in 0..=rng.below(4) {
            let segments = files.segments();
            let segment = segments[rng.below(segments.len() as u64) as usize];
            let bytes = files.contents(segment).expect("listed").len() as u64;
            let kind = rng.below(8);
            let start = rng.below(bytes);
            let len = (1 << rng.below(15)).min(bytes - start);
            what.push_str(&format!(" {kind} in {segment} at {start}+{len};"));
            // Where the marks of the newest segments are overwritten, or a seal, nothing tells that there was more.
            is_hidden |= (matches!(kind, 2..=4) || start + len > 48_000)
                && segment + 2 >= world.log.segment_count();
            let contents = files.contents_mut(segment).expect("listed");
            let stretch = &mut contents[start as usize..(start + len) as usize];
            match kind {
                0 if segments.len() > 2 && segment > 0 => files = without(&files, &[segment]),
                1 => contents.truncate(start as usize),
                2 | 3 => stretch.fill(0),
                4 => stretch.iter_mut().for_each(|byte| *byte = rng.bits() as u8),
                _ => stretch[0] ^= 1 << rng.below(8),
            }
        }
        match plan_repair(&mut files.clone(), 99, |_, _| {}) {
            // All marks of a stream that has no segment record left.
            Err(RepairError::Nameless) => nameless += 1,
            Err(error) => panic!("{what} {error}"),
            Ok(plan) if plan.changes.iter().any(|change| matches!(change, Change::Name { name, .. } if name.starts_with(LOST_SUBJECT))) => {}
            Ok(plan) => {
                needed += u32::from(!plan.is_needless());
                let mut repaired = repair(&world, &files, &what);
                if !is_hidden || repaired.world.log.received().sequence > world.told.len() as u64 {
                    repaired.accounts(&what);
                }
                repaired.goes_on(&what);
            }
        }
    }
    assert!(needed > 200 && nameless < 40, "{needed} {nameless}");
}

#[test]
fn a_file_of_another_stream_or_a_newer_version_is_not_touched() {
    let world = synced(small(), 600, 300);
    let mut files = world.files.clone();
    let stale = files.contents(0).expect("the segment").to_vec();
    files.insert(1, stale);
    let error = plan_repair(&mut files, 1, |_, _| {}).expect_err("it is foreign");
    assert!(
        matches!(
            error,
            RepairError::Open(OpenError::Foreign { segment: 1, .. })
        ),
        "{error}"
    );
    let mut files = world.files.clone();
    // A record of version 2 whose checksum nobody here can know.
    let head = &mut files.contents_mut(0).expect("the segment")[..120];
    head[4] = 2;
    head[28] ^= 1;
    let error = plan_repair(&mut files, 1, |_, _| {}).expect_err("it is newer");
    assert!(
        matches!(
            error,
            RepairError::Open(OpenError::Newer {
                segment: 0,
                version: 2,
                ..
            })
        ),
        "{error}"
    );
}

#[test]
fn what_is_in_order_is_left_alone() {
    for (records, len) in [(0, 0), (30, 30), (600, 300)] {
        let world = synced(small(), records, len);
        let plan = plan_repair(&mut world.files.clone(), 1, |_, _| {}).expect("planned");
        assert!(plan.is_needless() && plan.damages.is_empty(), "{plan:?}");
    }
    let plan = plan_repair(&mut MemoryFiles::default(), 1, |_, _| {}).expect("planned");
    assert!(plan.is_needless());
    // A torn end is what every start deals with by itself.
    let world = synced(small(), 30, 30);
    let mut files = world.files.clone();
    let end = world.log.received().position as usize;
    files.contents_mut(0).expect("the segment")[end + 40..end + 5000].fill(9);
    assert!(
        plan_repair(&mut files, 1, |_, _| {})
            .expect("planned")
            .is_needless()
    );
}

fn without(files: &MemoryFiles, gone: &[u64]) -> MemoryFiles {
    let mut rest = MemoryFiles::default();
    for segment in files
        .segments()
        .into_iter()
        .filter(|segment| !gone.contains(segment))
    {
        rest.insert(segment, files.contents(segment).expect("listed").to_vec());
    }
    rest
}
