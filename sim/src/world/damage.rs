//! Damage to what the device holds, tried on a copy of one stream's files: it is found, named exactly, and no reader gets a wrong byte.

use std::cell::Cell;
use std::ops::Range;

use trunkline_log::testing::MemoryFiles;
use trunkline_log::{Damage, Defect, Log, LogId, Loss, OpenError, verify};
use trunkline_wire::Kind;
use trunkline_wire::record::RawRecord;

use super::World;
use crate::faults::Fault;
use crate::invariant::{Invariant, Violation};
use crate::model::StreamModel;
use crate::server::{Found, Lost, replay};

/// A stream's files before and after, and what was in them.
struct Trial<'m> {
    model: &'m StreamModel,
    before: MemoryFiles,
    after: MemoryFiles,
}

/// A record of a file, the log's own too.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    is_mark: bool,
    is_definition: bool,
    subject: u32,
    /// It is not what it was, or its subject's definition is not.
    is_bad: bool,
}

impl World {
    /// A bit rots, or a write goes to a wrong place, in a copy of the files as they are.
    pub(super) fn try_damage(&mut self) -> Result<(), Violation> {
        let fault = if self.faults.would_strike(Fault::BitRot) {
            Fault::BitRot
        } else if self.faults.would_strike(Fault::Misdirected) {
            Fault::Misdirected
        } else {
            return Ok(());
        };
        let files = |number: usize| {
            let mut files = MemoryFiles::default();
            for (segment, bytes) in self.drive.segments(number as u32) {
                files.insert(segment, bytes);
            }
            files
        };
        let numbers = 0..self.models.len();
        let number = self.faults.below(fault, self.models.len() as u64) as usize;
        let (model, before) = (&self.models[number], files(number));
        // What a failed sync or an interrupted creation has left is for others to look at.
        if model.is_volatile() || !is_sound(model, &before) {
            return Ok(());
        }
        let mut after = before.clone();
        let pick = |files: &MemoryFiles, draw: u64| {
            let segments = files.segments();
            let segment = *segments.get((draw % segments.len().max(1) as u64) as usize)?;
            let used = files
                .contents(segment)?
                .iter()
                .rposition(|byte| *byte != 0)?;
            Some((segment, used as u64 + 1))
        };
        let Some((segment, used)) = pick(&before, self.faults.below(fault, u64::MAX)) else {
            return Ok(());
        };
        let at = self.faults.below(fault, used) as usize;
        if fault == Fault::BitRot {
            let bit = self.faults.below(fault, 8);
            if let Some(bytes) = after.contents_mut(segment) {
                bytes[at] ^= 1 << bit;
            }
        } else {
            // A page of this stream or another; where it belongs it is, or it never got there.
            let other = numbers.start + self.faults.below(fault, self.models.len() as u64) as usize;
            let source = files(other);
            let Some((from, used)) = pick(&source, self.faults.below(fault, u64::MAX)) else {
                return Ok(());
            };
            let from_page = self.faults.below(fault, used) as usize / PAGE_BYTES * PAGE_BYTES;
            let page = source
                .contents(from)
                .and_then(|bytes| bytes.get(from_page..from_page + PAGE_BYTES));
            let Some(page) = page.map(<[u8]>::to_vec) else {
                return Ok(());
            };
            if other == number
                && self.faults.below(fault, 2) == 0
                && let Some(bytes) = after.contents_mut(from)
            {
                bytes[from_page..from_page + PAGE_BYTES].fill(0);
            }
            let at = at / PAGE_BYTES * PAGE_BYTES;
            if let Some(bytes) = after.contents_mut(segment) {
                bytes[at..at + PAGE_BYTES].copy_from_slice(&page);
            }
        }
        let mut trial = Trial {
            model,
            before,
            after,
        };
        let mut places = (at / PAGE_BYTES * PAGE_BYTES..)
            .step_by(8)
            .take(PAGE_BYTES / 8);
        if trial.passes_for_its_own(segment) || places.any(|place| trial.joins(segment, place)) {
            return Ok(());
        }
        // A page over one that is the same does no damage.
        if !trial.is_damaged() {
            return Ok(());
        }
        self.faults.count(fault);
        let judged = trial.judge();
        self.checks.result(
            Invariant::Damage,
            judged.map_err(|reason| {
                format!(
                    "{} after {} in segment {segment}, offset {at}: {reason}",
                    model.name,
                    fault.name()
                )
            }),
        )
    }
}

/// Whether the files hold what the model says, up to an end.
fn is_sound(model: &StreamModel, files: &MemoryFiles) -> bool {
    let verified = verify(&mut files.clone(), |_, _| {});
    let opened = Log::open(LOG, &model.config, &mut files.clone());
    let is_whole = verified.is_ok_and(|verified| verified.damages.is_empty());
    // After a sync that failed the page cache may hold records that recovery, which read past it, has not found.
    let is_known = |sequence| {
        let entry = model.get(sequence)?;
        let (segment, offset) = (
            entry.position / model.config.segment_bytes,
            entry.position % model.config.segment_bytes,
        );
        let bytes = files.contents(segment)?.get(offset as usize..)?;
        let raw = RawRecord::peek(bytes, u32::MAX).ok()??;
        Some(raw.sequence() == sequence && raw.timestamp_ns() == entry.timestamp_ns)
    };
    let known = |log: Log| {
        let mut sequences = log.first().sequence..log.received().sequence;
        sequences.all(|sequence| is_known(sequence) == Some(true))
    };
    is_whole && opened.is_ok_and(|(log, _)| known(log))
}

impl Trial<'_> {
    /// Whether a file is not what it was.
    fn is_damaged(&self) -> bool {
        let mut segments = self.after.segments().into_iter();
        segments.any(|segment| self.before.contents(segment) != self.after.contents(segment))
    }

    /// Records of another stream, whole, valid, and of exactly the sequence that is due in their place: nothing in a data record says which stream it is of.
    fn passes_for_its_own(&self, segment: u64) -> bool {
        self.chain(segment, 0).any(|(place, kind)| {
            matches!(kind, Kind::Data | Kind::Definition) && self.changed(segment, place)
        })
    }

    /// Valid records, each of the sequence that is due, from a place on.
    fn chain(
        &self,
        segment: u64,
        from: usize,
    ) -> impl Iterator<Item = (std::ops::Range<usize>, Kind)> {
        let bytes = self.after.contents(segment).unwrap_or_default();
        let (mut start, mut due) = (from, None);
        std::iter::from_fn(move || {
            let raw = RawRecord::peek(bytes.get(start..)?, u32::MAX).ok()??;
            if due.is_some_and(|due| due != raw.sequence()) || raw.verify().is_err() {
                return None;
            }
            due = Some(raw.sequence() + u64::from(raw.kind() == Kind::Data));
            let place = start..start + raw.len();
            start = place.end;
            Some((place, raw.kind()))
        })
    }

    fn judge(&mut self) -> Result<(), String> {
        let verified = match verify(&mut self.after, |_, _| {}) {
            Ok(verified) => verified,
            Err(error) => return self.is_strange(&error),
        };
        for (nth, damage) in verified.damages.iter().enumerate() {
            self.is_exact(damage, &verified.damages[..nth])?;
        }
        let durable = verified.durable_sequence;
        for sequence in self.hurt().filter(|sequence| *sequence < durable) {
            let named = |damage: &Damage| {
                // Nothing tells where the oldest segment begins but its own record.
                let oldest = matches!(damage.what, Defect::Head | Defect::Foreign { .. })
                    && damage.last < damage.first
                    && self.segment_of(sequence) == Some(damage.segment);
                oldest || (damage.first..=damage.last).contains(&sequence)
            };
            if !verified.damages.iter().any(named) {
                return Err(format!(
                    "{sequence} is damaged, everything before {durable} was synced, and verify names {:?}",
                    verified.damages
                ));
            }
        }
        let mut files = self.after.clone();
        match Log::open(LOG, &self.model.config, &mut files) {
            Ok((log, _)) => self.is_served(log, &files, durable),
            Err(OpenError::Damaged(damage)) => {
                self.is_exact(&damage, &[])?;
                let same = self.after.segments() == files.segments()
                    && files
                        .segments()
                        .iter()
                        .all(|segment| files.contents(*segment) == self.after.contents(*segment));
                if same {
                    Ok(())
                } else {
                    Err(format!("what was refused ({damage:?}) was changed"))
                }
            }
            Err(error) => self.is_strange(&error),
        }
    }

    /// Everything is read as it was, or told as lost where it is damaged.
    fn is_served(&self, mut log: Log, files: &MemoryFiles, durable: u64) -> Result<(), String> {
        let (mut next, end) = (log.first().sequence, log.received());
        if end.sequence < durable {
            return Err(format!(
                "the log ends before {}, everything before {durable} was synced",
                end.sequence
            ));
        }
        // What the reader had in hand when it told of a loss: from where it goes on, it knows by that and by its memory.
        let buffer = Cell::new((0, 0..0));
        let read = |segment, offset: u64, len: u32| {
            let bytes = files.contents(segment).unwrap_or_default();
            let range = offset as usize..bytes.len().min(offset as usize + len as usize);
            buffer.set((segment, range.clone()));
            bytes.get(range).unwrap_or_default().to_vec()
        };
        let cursor = log.seek_first();
        replay(&mut log, read, cursor, end, |found| {
            match found {
                Found::Record(record, subject) => {
                    let bytes = self.bytes(&self.before, next);
                    let same = record.sequence() == next
                        && bytes
                            .and_then(|bytes| RawRecord::peek(bytes, u32::MAX).ok()?)
                            .is_some_and(|raw| {
                                raw.body() == record.body()
                                    && raw.timestamp_ns() == record.timestamp_ns()
                            })
                        && self.model.get(next).map(|entry| entry.subject) == subject;
                    if !same {
                        return Err(format!(
                            "sequence {} of {subject:?} is read where {next} is due",
                            record.sequence()
                        ));
                    }
                    next += 1;
                }
                Found::Lost(Lost {
                    first,
                    last,
                    why: Loss::Damaged,
                }) => {
                    if first != next {
                        return Err(format!("{first} to {last} are lost where {next} is due"));
                    }
                    self.begins_at_damage(first)?;
                    let (segment, range) = buffer.take();
                    buffer.set((segment, range.clone()));
                    self.ends_behind_damage(files, first, last, segment, range)?;
                    next = last + 1;
                }
                Found::Lost(lost) => return Err(format!("{lost:?} from {next} on")),
            }
            Ok(())
        })?;
        if next == end.sequence {
            Ok(())
        } else {
            Err(format!(
                "reading ends before {next}, the log before {}",
                end.sequence
            ))
        }
    }

    /// What is told lost from `first` on has its damage there: in the record, or right in front of it.
    fn begins_at_damage(&self, first: u64) -> Result<(), String> {
        let Some(entry) = self.model.get(first) else {
            return Err(format!("{first} is told lost, and never was"));
        };
        let segment_bytes = self.segment_bytes();
        let (segment, end) = (
            entry.position / segment_bytes,
            entry.position % segment_bytes + u64::from(entry.len),
        );
        let start = self.end_before(first, segment);
        if self.changed(segment, start..end as usize) {
            Ok(())
        } else {
            Err(format!("{first} is told lost, and is not damaged"))
        }
    }

    /// Where the record before this one ends in the segment: between them are the log's own records.
    fn end_before(&self, sequence: u64, segment: u64) -> usize {
        let segment_bytes = self.segment_bytes();
        let before = self.model.get(sequence - 1);
        let before = before.filter(|before| before.position / segment_bytes == segment);
        before.map_or(0, |before| {
            (before.position % segment_bytes + u64::from(before.len)) as usize
        })
    }

    /// What is told lost ends with the damaged record where its length and the next record, which the reader had in hand, tell where that is. Elsewhere it ends
    /// at the next place that the log knows by heart: one of its index, or the beginning of a segment.
    fn ends_behind_damage(
        &self,
        files: &MemoryFiles,
        first: u64,
        last: u64,
        segment: u64,
        in_hand: Range<usize>,
    ) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("{first} to {last} are told lost: {why}"));
        let (Some(begins), Some(ends)) = (self.model.get(first), self.model.get(last)) else {
            return wrong("not all of them ever were");
        };
        let segment_bytes = self.segment_bytes();
        if begins.position / segment_bytes != ends.position / segment_bytes {
            return wrong("a segment begins between them");
        }
        if ends.position - begins.position > INDEX_BYTES + u64::from(ends.len) + PAGE_BYTES as u64 {
            return wrong("the index knows a place between them");
        }
        let bytes = files.contents(segment).unwrap_or_default();
        let at = (begins.position % segment_bytes) as usize;
        let whole = |at: usize| {
            let rest = bytes.get(at..in_hand.end.min(bytes.len()))?;
            RawRecord::peek(rest, u32::MAX).ok()?
        };
        let is_next = |raw: &RawRecord<'_>| {
            let sound = match raw.kind() {
                Kind::Data => raw.sequence() == first + 1,
                Kind::Batch => true,
                _ => false,
            };
            sound && raw.verify().is_ok()
        };
        // Where the damage begins in front of it, the reader did not get as far as its length. Behind a whole record that is not due it trusts nothing.
        let follows = begins.position / segment_bytes == segment
            && in_hand.contains(&at)
            && !self.changed(segment, self.end_before(first, segment)..at)
            && whole(at).is_some_and(|raw| {
                raw.len() == begins.len as usize
                    && raw.verify().is_err()
                    && whole(at + raw.len()).as_ref().is_some_and(is_next)
            });
        if follows && first != last {
            return wrong("the next record follows the first of them");
        }
        Ok(())
    }

    /// The range is what is damaged, up to the next record from which others lead to a mark; and the sequences are those that lie in it.
    /// `earlier` is what was named before it.
    fn is_exact(&self, damage: &Damage, earlier: &[Damage]) -> Result<(), String> {
        let Damage {
            what,
            segment,
            start,
            end,
            first,
            last,
        } = *damage;
        let wrong = |why: &str| Err(format!("{damage:?}: {why}"));
        let (start, end) = (start as usize, end as usize);
        if what != Defect::Records {
            let is_damaged = self.changed(segment, start..end) || self.heads_changed();
            return if is_damaged || self.is_untold(segment) {
                Ok(())
            } else {
                wrong("nothing is damaged there")
            };
        }
        let places = self.places(segment);
        let Some(at) = places.iter().position(|place| place.start == start) else {
            return wrong("no record begins there");
        };
        // A definition that nobody could read explains nothing, be it as it was.
        let is_nameless = |nth: usize| {
            places[..nth].iter().enumerate().any(|(of, place)| {
                let mut earlier = earlier.iter().filter(|earlier| earlier.segment == segment);
                let unread = earlier.any(|it| (it.start..it.end).contains(&(place.start as u64)));
                place.is_definition && place.subject == places[nth].subject && (unread || of >= at)
            })
        };
        if !places[at].is_bad && !is_nameless(at) {
            return wrong("its first record is not damaged");
        }
        // The first place behind it from which everything up to a mark is as it was.
        let sound = (at + 1..places.len()).find(|from| {
            let chain = &places[*from..];
            let mark = chain.iter().position(|place| place.is_mark);
            let leads = |mark: usize| !self.changed(segment, chain[0].start..chain[mark].end);
            !chain[0].is_bad && !is_nameless(*from) && mark.is_some_and(leads)
        });
        if sound.is_some_and(|sound| end > places[sound].start) {
            return wrong("it reaches over records that are in place");
        }
        let base = segment * self.segment_bytes();
        let mut named = (0..self.model.next()).filter(|sequence| {
            self.model.get(*sequence).is_some_and(|entry| {
                let (from, to) = (entry.position, entry.position + u64::from(entry.len));
                from < base + end as u64 && to > base + start as u64
            })
        });
        let lies_there = (named.next(), named.next_back());
        let next_begins = self.changed(segment + 1, 0..HEAD_BYTES);
        let says = match lies_there {
            // Recovery only needs to know where a definition is that it misses.
            _ if places[at].is_definition && last < first => true,
            (Some(one), other) => {
                let other = other.unwrap_or(one);
                // Where the next segment begins is what it says itself.
                first == one && (last == other || last > other && next_begins)
            }
            (None, _) => last < first || next_begins,
        };
        if says {
            Ok(())
        } else {
            wrong(&format!("{lies_there:?} lie there"))
        }
    }

    /// Whether records that were not there come before a mark that was, each of the sequence that is due: nothing tells that they are another stream's.
    fn joins(&self, segment: u64, from: usize) -> bool {
        let is_mark = |kind| matches!(kind, Kind::Batch | Kind::Seal);
        let mark = self.chain(segment, from).find(|(_, kind)| is_mark(*kind));
        mark.is_some_and(|(mark, _)| {
            self.changed(segment, from..mark.start) && !self.changed(segment, mark)
        })
    }

    /// Whether retention has removed a segment, and everything that told so is damaged: it cannot be told from one that is lost then.
    fn is_untold(&self, removed: u64) -> bool {
        let tells = |segment: u64| {
            let bytes = self.before.contents(segment).unwrap_or_default();
            self.places(segment).iter().any(|place| {
                let raw = RawRecord::peek(&bytes[place.start..], u32::MAX);
                let Ok(Some(raw)) = raw else { return false };
                let at = match raw.kind() {
                    Kind::Batch | Kind::Seal => BATCH_FIRST_SEGMENT,
                    Kind::Segment => SEGMENT_FIRST_SEGMENT,
                    _ => return false,
                };
                let says = raw.body().get(at..).and_then(|rest| rest.first_chunk());
                says.is_some_and(|says| u64::from_le_bytes(*says) > removed)
                    && !self.changed(segment, place.start..place.end)
            })
        };
        self.before.contents(removed).is_none() && !self.after.segments().into_iter().any(tells)
    }

    /// A file that is refused as another's, or a newer version's, has a damaged segment record.
    fn is_strange(&self, error: &OpenError) -> Result<(), String> {
        match error {
            OpenError::Foreign { .. } | OpenError::Newer { .. } if self.heads_changed() => Ok(()),
            error => Err(format!("{error}")),
        }
    }

    /// Whether a segment record is not what it was. What all segments have in common is what the first valid one says.
    fn heads_changed(&self) -> bool {
        let mut segments = self.after.segments().into_iter();
        segments.any(|segment| self.changed(segment, 0..HEAD_BYTES))
    }

    /// The sequences whose bytes are not what they were.
    fn hurt(&self) -> impl Iterator<Item = u64> + '_ {
        (self.model.first..self.model.next()).filter(|sequence| {
            self.bytes(&self.before, *sequence) != self.bytes(&self.after, *sequence)
        })
    }

    fn segment_of(&self, sequence: u64) -> Option<u64> {
        let entry = self.model.get(sequence)?;
        Some(entry.position / self.segment_bytes())
    }

    fn bytes<'f>(&self, files: &'f MemoryFiles, sequence: u64) -> Option<&'f [u8]> {
        let entry = self.model.get(sequence)?;
        let (segment, offset) = (
            entry.position / self.segment_bytes(),
            entry.position % self.segment_bytes(),
        );
        files
            .contents(segment)?
            .get(offset as usize..offset as usize + entry.len as usize)
    }

    fn changed(&self, segment: u64, range: std::ops::Range<usize>) -> bool {
        let part = |files: &MemoryFiles| {
            files
                .contents(segment)
                .and_then(|bytes| bytes.get(range.clone()))
                .map(<[u8]>::to_vec)
        };
        part(&self.before) != part(&self.after)
    }

    /// The records of a file as they were.
    fn places(&self, segment: u64) -> Vec<Place> {
        let bytes = self.before.contents(segment).unwrap_or_default();
        let (mut places, mut start) = (Vec::new(), 0);
        let mut nameless = Vec::new();
        while let Some(Ok(Some(raw))) = bytes
            .get(start..)
            .map(|rest| RawRecord::peek(rest, u32::MAX))
        {
            let end = start + raw.len();
            let changed = self.changed(segment, start..end);
            if raw.kind() == Kind::Definition && changed {
                nameless.push(raw.subject_id());
            }
            places.push(Place {
                start,
                end,
                is_mark: matches!(raw.kind(), Kind::Batch | Kind::Seal),
                is_definition: raw.kind() == Kind::Definition,
                subject: raw.subject_id(),
                is_bad: changed || raw.kind() == Kind::Data && nameless.contains(&raw.subject_id()),
            });
            start = end;
        }
        places
    }

    fn segment_bytes(&self) -> u64 {
        self.model.config.segment_bytes
    }
}

const LOG: LogId = LogId(0);
const PAGE_BYTES: usize = 4096;
/// How far apart the places are that the log's index knows, at most, but for a record and a mark: after a start they are counted anew, so twice the stride.
const INDEX_BYTES: u64 = 128 << 10;
/// Bytes of a segment record.
const HEAD_BYTES: usize = 120;

/// Where `first_segment` is in the body of a batch or seal record.
const BATCH_FIRST_SEGMENT: usize = 32;
/// And in that of a segment record.
const SEGMENT_FIRST_SEGMENT: usize = 72;
