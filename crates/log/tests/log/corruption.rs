//! Every byte, every length, every exchange: what is wrong with files is found and named, and no reader ever gets a wrong byte.

use std::ops::Range;

use trunkline_log::testing::MemoryFiles;
use trunkline_log::{Damage, Defect, LogConfig, Loss, OpenError};
use trunkline_wire::Kind;
use trunkline_wire::record::RawRecord;

use crate::world::{SECOND, Told, World, small};

/// A stream on the device: one sealed segment, and a second one in use. All of it is synced, and a mark says so.
struct Sound {
    config: LogConfig,
    files: MemoryFiles,
    told: Vec<Told>,
    /// Behind what is known to be durable, in the second segment.
    frontier: usize,
    /// The files as they were after each sync.
    history: Vec<MemoryFiles>,
}

/// What comes of files.
#[derive(Debug)]
enum Verdict {
    Refused(Damage),
    /// As those of another stream, place or version.
    Strange,
    /// Everything but these sequences can be read, as it was appended.
    Served(Vec<Range<u64>>),
}

/// A record as it lies in a segment.
#[derive(Clone, Debug)]
struct Place {
    bytes: Range<usize>,
    kind: Kind,
    sequence: u64,
}

impl Sound {
    fn new() -> Self {
        Self::reaching(10_000)
    }

    /// One whose second segment has records in so many bytes, at least.
    fn reaching(bytes: u64) -> Self {
        let mut world = World::new(small(), 21);
        let mut history = Vec::new();
        // A subject that the second segment does not explain.
        world.append_waiting("once", 50);
        for n in 0..400 {
            world.append_waiting(&format!("s{}", n % 3), 500 + n % 11);
            if n % 12 == 11 {
                world.sync_all();
                history.push(world.files.clone());
            }
            let position = world.log.received().position;
            if world.log.segment_count() == 2 && position > SEGMENT as u64 + bytes {
                break;
            }
        }
        world.sync_all();
        world.advance(SECOND);
        world.settle();
        assert_eq!(world.log.segment_count(), 2);
        Self {
            // The last page is the mark that tells of the others.
            frontier: world.log.received().position as usize - SEGMENT - 4096,
            config: world.config,
            files: world.files,
            told: world.told,
            history,
        }
    }

    fn contents(&self, segment: u64) -> &[u8] {
        self.files.contents(segment).expect("the segment")
    }

    /// Opens files and reads everything; whatever is given is held against what was appended.
    fn judge(&self, files: MemoryFiles) -> Verdict {
        let mut opened = match World::on(self.config.clone(), files, 0) {
            Ok(opened) => opened,
            Err(OpenError::Damaged(damage)) => return Verdict::Refused(damage),
            Err(OpenError::Newer { .. } | OpenError::Foreign { .. }) => return Verdict::Strange,
            Err(error) => panic!("{error}"),
        };
        opened.told.clone_from(&self.told);
        let (first, end) = (opened.log.first().sequence, opened.log.received());
        let mut sequences = opened.read(opened.log.seek_first(), end, 1 << 16);
        let mut lost = Vec::new();
        for (first, last, why) in &opened.lost {
            assert_eq!(*why, Loss::Damaged);
            sequences.extend(*first..=*last);
            lost.push(*first..*last + 1);
        }
        sequences.sort_unstable();
        let all: Vec<u64> = (first..end.sequence).collect();
        assert_eq!(sequences, all, "each is read or lost, once");
        Verdict::Served(lost)
    }
}

/// The records of a segment, in order.
fn places(contents: &[u8]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Ok(Some(raw)) = RawRecord::peek(&contents[at..], u32::MAX) {
        places.push(Place {
            bytes: at..at + raw.len(),
            kind: raw.kind(),
            sequence: raw.sequence(),
        });
        at += raw.len();
        if at == contents.len() {
            break;
        }
    }
    places
}

/// Checks each number of the range, on two threads.
fn each(range: Range<usize>, check: impl Fn(usize) + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        for half in 0..2 {
            let numbers = (range.start + half..range.end).step_by(2);
            scope.spawn(move || numbers.for_each(check));
        }
    });
}

#[test]
fn every_flipped_byte_is_named_or_costs_its_own_record() {
    let sound = Sound::new();
    for segment in 0..2 {
        let places = places(sound.contents(segment));
        let used = places.last().expect("records").bytes.end;
        each(0..used, |offset| {
            let place = places
                .iter()
                .find(|place| place.bytes.contains(&offset))
                .expect("records lie behind each other");
            let mut files = sound.files.clone();
            files.contents_mut(segment).expect("the segment")[offset] ^= 1 << (offset % 8);
            let verdict = sound.judge(files);
            let what = || format!("segment {segment}, offset {offset}, {place:?}: {verdict:?}");
            match &verdict {
                Verdict::Strange => assert_eq!(place.kind, Kind::Segment, "{}", what()),
                Verdict::Refused(damage) => {
                    assert_eq!(damage.segment, segment, "{}", what());
                    let range = damage.start..damage.end;
                    assert!(range.contains(&(offset as u64)), "{}", what());
                    let expected = match place.kind {
                        Kind::Segment => Defect::Head,
                        Kind::Seal => Defect::Seal,
                        // The one name that only this segment knows.
                        Kind::Definition => Defect::Records,
                        _ if segment == 1 => Defect::Records,
                        _ => panic!("{}", what()),
                    };
                    assert_eq!(damage.what, expected, "{}", what());
                }
                Verdict::Served(lost) if segment == 1 => {
                    assert!(offset >= sound.frontier && lost.is_empty(), "{}", what());
                }
                Verdict::Served(lost) => {
                    assert!(lost.len() <= 1, "{}", what());
                    let is_lost = lost.iter().any(|lost| lost.contains(&place.sequence));
                    assert!(is_lost || place.kind != Kind::Data, "{}", what());
                    assert_ne!(place.kind, Kind::Seal, "{}", what());
                    assert_ne!(place.kind, Kind::Segment, "{}", what());
                }
            }
        });
    }
}

#[test]
fn every_other_length_of_every_file_is_refused() {
    let sound = Sound::new();
    for segment in sound.files.segments() {
        let whole = sound.contents(segment).len();
        assert_eq!(whole, SEGMENT);
        let longer = (1..SEGMENT).step_by(997).map(|more| whole + more);
        let lengths: Vec<usize> = (0..whole).chain(longer).collect();
        each(0..2, |half| {
            let mut files = sound.files.clone();
            for len in lengths.iter().skip(half).step_by(2) {
                let contents = files.contents_mut(segment).expect("the segment");
                contents.resize(*len, 0);
                let verdict =
                    trunkline_log::Log::open(trunkline_log::LogId(0), &sound.config, &mut files);
                let Err(OpenError::Damaged(damage)) = verdict else {
                    panic!("segment {segment} with {len} bytes was not refused");
                };
                let bytes = *len as u64;
                assert_eq!(
                    (damage.segment, damage.what),
                    (segment, Defect::Length { bytes })
                );
                let contents = files.contents(segment).expect("the segment");
                assert_eq!(contents.len(), *len, "a refusal changes nothing");
            }
        });
    }
}

#[test]
fn pages_that_were_exchanged_are_found_wherever_they_lie() {
    let sound = Sound::new();
    let pages: Vec<(u64, usize)> = (0..SEGMENT / PAGE)
        .map(|page| (0, page))
        .chain((0..sound.frontier / PAGE).map(|page| (1, page)))
        .collect();
    each(0..pages.len() * pages.len(), |nth| {
        let (one, other) = (pages[nth / pages.len()], pages[nth % pages.len()]);
        let page = |(segment, page): (u64, usize)| &sound.contents(segment)[page * PAGE..][..PAGE];
        // A seal is mostly zeros: there, nothing is exchanged.
        if one >= other || page(one) == page(other) {
            return;
        }
        let mut files = sound.files.clone();
        for (to, from) in [(one, other), (other, one)] {
            let contents = files.contents_mut(to.0).expect("the segment");
            contents[to.1 * PAGE..][..PAGE].copy_from_slice(page(from));
        }
        match sound.judge(files) {
            Verdict::Refused(damage) => {
                assert!([one.0, other.0].contains(&damage.segment), "{damage}");
            }
            // A head in the place of another one.
            Verdict::Strange => assert_eq!((one.1, other.1), (0, 0)),
            Verdict::Served(lost) => {
                assert!(!lost.is_empty(), "{one:?} and {other:?} go unnoticed");
                assert_eq!((one.0, other.0), (0, 0));
            }
        }
    });
}

#[test]
fn batches_that_were_exchanged_are_found() {
    // Several batches in the second segment, too.
    let sound = Sound::reaching(30_000);
    for segment in 0..2 {
        let contents = sound.contents(segment);
        let places = places(contents);
        let marks = places.iter().filter(|place| place.kind == Kind::Batch);
        let ends: Vec<usize> = marks.map(|place| place.bytes.end).collect();
        // What lies between two marks, with the second of them.
        let batches: Vec<Range<usize>> = ends
            .windows(2)
            .map(|ends| ends[0]..ends[1])
            .filter(|batch| segment == 0 || batch.end <= sound.frontier)
            .collect();
        let pairs = batches.windows(2);
        assert!(pairs.len() > 1, "segment {segment}: {batches:?}");
        for pair in pairs {
            let mut files = sound.files.clone();
            let stretch = pair[0].start..pair[1].end;
            let contents = files.contents_mut(segment).expect("the segment");
            contents[stretch].rotate_left(pair[0].len());
            match sound.judge(files) {
                Verdict::Refused(damage) => assert_eq!(damage.segment, segment),
                Verdict::Strange => panic!("heads are where they were"),
                Verdict::Served(lost) => {
                    assert!(segment == 0 && !lost.is_empty(), "{pair:?} go unnoticed");
                }
            }
        }
    }
}

#[test]
fn an_older_copy_of_a_sealed_segment_is_refused_and_one_of_the_last_is_the_log_as_it_was() {
    let sound = Sound::new();
    let mut refused = 0;
    for then in &sound.history {
        for segment in then.segments() {
            let stale = then.contents(segment).expect("listed");
            if stale == sound.contents(segment) {
                continue;
            }
            let mut files = sound.files.clone();
            files.insert(segment, stale.to_vec());
            match sound.judge(files) {
                Verdict::Refused(damage) => {
                    assert_eq!(damage.segment, segment, "{damage}");
                    refused += 1;
                }
                // Nothing else knows how far it went; what is there is right.
                Verdict::Served(lost) => assert!(segment == 1 && lost.is_empty()),
                Verdict::Strange => panic!("it is of this stream and place"),
            }
        }
    }
    assert!(refused > 4, "{refused}");
}

const SEGMENT: usize = 64 << 10;
const PAGE: usize = 4096;
