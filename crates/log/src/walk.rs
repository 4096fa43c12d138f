//! One segment from end to end, going on behind damage as far as something is provably in place there.

use trunkline_wire::record::{Kind, RawRecord};

use crate::index::{Entry, Index};
use crate::layout::SealSubject;
use crate::mark::Mark;
use crate::marks::{self, Seal, SegmentHead};
use crate::open::{Damage, Defect};
use crate::scan::{self, Ending, Scan};
use crate::subjects::{Excused, Subjects};

/// What a segment holds.
#[derive(Debug)]
pub(crate) struct Walked {
    /// Whether the stream goes on in the next segment.
    pub(crate) ending: Ending,
    /// It has a valid seal.
    pub(crate) sealed: bool,
    /// Where in the file the last record ends that is in place, the seal not counted.
    pub(crate) end: u64,
    /// Where what was known to be on the device ends behind that; `end` unless the segment's last records are damaged.
    pub(crate) lost_end: u64,
    /// Data records that are intact.
    pub(crate) records: u64,
    /// What is not.
    pub(crate) damages: Vec<Damage>,
}

/// Walks the segment of `head`. `next_base` is the first sequence of the next one, where that is known.
pub(crate) fn walk(
    head: &SegmentHead,
    image: &[u8],
    durable: Mark,
    next_base: Option<u64>,
    scan: &mut Scan,
    subjects: &mut Subjects,
    index: &mut Index,
) -> Walked {
    let (segment, bytes) = (head.index, head.identity.segment_bytes);
    let base = segment * bytes;
    let mut ending = scan.segment(head, image, subjects, index);
    let mut sealed = ending == Ending::Sealed;
    let mut records = scan.next.sequence - head.base_sequence;
    let mut damages: Vec<Damage> = Vec::new();
    let mut end = None;
    while ending == Ending::Open && scan.next.position < durable.position.min(base + bytes) {
        let at = scan.next;
        let offset = (at.position - base) as usize;
        let found = scan::next_in_place(image, offset, base, scan.salt, at.sequence);
        let (stop, sequence) = match found {
            Some((stop, sequence)) => (stop as u64, sequence),
            // As far as anything was synced. Where that is the whole segment, the next one tells which sequence it begins with.
            None => {
                let stop = bytes.min(durable.position - base);
                let after = next_base.filter(|_| stop == bytes);
                (stop, after.unwrap_or(durable.sequence).max(at.sequence))
            }
        };
        note(
            &mut damages,
            Damage {
                what: Defect::Records,
                segment,
                start: offset as u64,
                end: stop,
                first: at.sequence,
                last: sequence.saturating_sub(1),
            },
        );
        scan.next = Mark {
            sequence,
            position: base + stop,
        };
        if found.is_none() {
            end = Some(offset as u64);
            if stop >= bytes {
                ending = Ending::Sealed;
            }
            break;
        }
        // However near the last entry is: a reader that comes to the damage goes on here.
        index.insert(Entry {
            sequence,
            timestamp_ns: scan.last_ns,
            position: base + stop,
        });
        ending = scan.records(head, image, subjects, index);
        sealed = ending == Ending::Sealed;
        records += scan.next.sequence - sequence;
    }
    let lost_end = scan.next.position - base;
    let end = match end {
        Some(end) => end,
        None if sealed => seal(image, head).map_or(lost_end, |(offset, _)| offset),
        None => lost_end,
    };
    Walked {
        ending,
        sealed,
        end,
        lost_end: lost_end.max(end),
        records,
        damages,
    }
}

/// Places that touch are one.
fn note(damages: &mut Vec<Damage>, damage: Damage) {
    match damages.last_mut() {
        Some(last) if last.end == damage.start && last.last + 1 == damage.first => {
            last.end = damage.end;
            last.last = damage.last;
        }
        _ => damages.push(damage),
    }
}

/// The segment's seal and where it starts, if it has a valid one.
pub(crate) fn seal<'a>(image: &'a [u8], head: &SegmentHead) -> Option<(u64, Seal<'a>)> {
    let trailer = image.get(image.len().checked_sub(8)?..)?;
    let offset = u64::from(marks::seal_offset(trailer)?);
    let record = image.get(offset as usize..)?;
    let seal = marks::read_seal(record, head, offset)?;
    Some((offset, seal))
}

/// The ids whose definitions the segment's seal lists, wherever they stand: in a segment that was repaired, behind their data.
pub(crate) fn listed(image: &[u8], head: &SegmentHead) -> Excused {
    let subjects = seal(image, head).map_or(&[][..], |(_, seal)| seal.subjects);
    let there = subjects.iter().filter(|subject| is_there(image, subject));
    Excused::Listed(there.map(|subject| subject.subject_id.get()).collect())
}

/// Whether the segment has a valid seal and each definition that it lists is where it says.
pub(crate) fn lists_only_what_is_there(image: &[u8], head: &SegmentHead) -> bool {
    seal(image, head).is_some_and(|(_, seal)| {
        let mut subjects = seal.subjects.iter();
        subjects.all(|subject| is_there(image, subject))
    })
}

fn is_there(image: &[u8], subject: &SealSubject) -> bool {
    definition(image, subject.offset.get().into(), subject.subject_id.get()).is_some()
}

/// The name in a definition record.
pub(crate) fn definition(image: &[u8], offset: u64, id: u32) -> Option<&str> {
    let raw = RawRecord::peek(image.get(offset as usize..)?, u32::MAX).ok()??;
    let record = raw.verify().ok()?;
    let name = std::str::from_utf8(raw.body()).ok()?;
    let is_it = record.kind() == Kind::Definition && record.subject_id() == id && !name.is_empty();
    is_it.then_some(name)
}
