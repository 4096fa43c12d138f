//! What is to be done about a stream: everything is looked at, nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use trunkline_wire::record::{Kind, PREFIX_BYTES, RawRecord};

use super::close::Closing;
use super::proven::Ends;
use super::{Change, Kept, Repair, RepairError, Step};
use crate::directory::{self, Directory, Heads, Listed};
use crate::files::Files;
use crate::index::Index;
use crate::layout::{BLOCK_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::{Mark, SEQUENCE_FIRST};
use crate::marks::{self, Evidence, Identity, SegmentHead};
use crate::open::{Damage, Defect, OpenError};
use crate::scan::{self, Ending, Scan};
use crate::subjects::{Excused, Subjects};
use crate::walk::{self, Walked};

/// Looks at the stream in `files` and plans what makes it one that can be opened; of the files, only [`Files::list`] and [`Files::read_at`] are
/// called. `entropy` is what a new id is made of where none is left, `progress` is told how many of how many bytes are done.
///
/// # Errors
/// When the files cannot be read, or nothing can be done.
pub fn plan_repair(
    files: &mut impl Files,
    entropy: u128,
    progress: impl FnMut(u64, u64),
) -> Result<Repair, RepairError> {
    let mut files = Directory::new(files);
    let listed = files.list()?;
    let heads = files.heads(&listed, |_, error| Err(error))?;
    let mut planner = Planner {
        files,
        listed,
        heads,
        ends: BTreeMap::new(),
        identity: Identity::new(entropy, 0),
        durable: Mark::default(),
        oldest: 0,
        names: BTreeMap::new(),
        closings: Vec::new(),
        repair: Repair::default(),
        progress,
    };
    planner.run()?;
    let mut repair = planner.repair;
    repair.changes.sort_by_key(Change::segment);
    repair
        .damages
        .sort_by_key(|damage| (damage.segment, damage.start));
    Ok(repair)
}

pub(super) struct Planner<'a, F, P> {
    pub(super) files: Directory<'a, F>,
    pub(super) listed: Listed,
    /// The segment records that are valid, and those that will be.
    pub(super) heads: Heads,
    /// Of the segments below the durable frontier that can be told by their ends.
    pub(super) ends: BTreeMap<u64, Ends>,
    pub(super) identity: Identity,
    pub(super) durable: Mark,
    /// The oldest segment that must exist.
    pub(super) oldest: u64,
    /// The subjects that the stream knows.
    pub(super) names: BTreeMap<u32, Box<str>>,
    pub(super) closings: Vec<Closing>,
    pub(super) repair: Repair,
    pub(super) progress: P,
}

impl<F: Files, P: FnMut(u64, u64)> Planner<'_, F, P> {
    fn run(&mut self) -> Result<(), RepairError> {
        if self.listed.is_empty() {
            return Ok(());
        }
        self.identity = match directory::identity(&self.heads) {
            Some(identity) => identity,
            None => {
                // A crash while the stream was created: opening it creates it anew.
                if self.files.is_unused(&self.listed)? {
                    return Ok(());
                }
                self.find_identity()?
            }
        };
        let bytes = self.identity.segment_bytes;
        if bytes == 0 || !bytes.is_multiple_of(BLOCK_BYTES) || bytes > SEGMENT_BYTES_MAX {
            return Err(RepairError::Nameless);
        }
        self.repair.segment_bytes = bytes;
        self.correct_lengths()?;
        self.find_durable()?;
        let start = directory::first_unproven(self.durable, &self.heads, bytes);
        for segment in self
            .listed
            .keys()
            .copied()
            .filter(|at| *at < start)
            .collect::<Vec<_>>()
        {
            self.read_ends(segment)?;
        }
        let mut tail = self.walk_tail(start)?;
        self.give_up_beginning(&mut tail)?;
        self.look_at_proven(start)?;
        if tail.broken {
            self.end_tail(tail)?;
        }
        for closing in std::mem::take(&mut self.closings) {
            let image = self.image(closing.head.index)?;
            let evidence = self.evidence();
            closing.plan(&image, evidence, &self.names, &mut self.repair)?;
        }
        Ok(())
    }

    fn evidence(&self) -> Evidence {
        Evidence {
            durable: self.durable,
            first_segment: self.oldest,
        }
    }

    /// A segment as long as it should be: zero where there is no file.
    pub(super) fn image(&mut self, segment: u64) -> Result<Vec<u8>, OpenError> {
        self.image_of(segment, self.identity.segment_bytes)
    }

    fn image_of(&mut self, segment: u64, bytes: u64) -> Result<Vec<u8>, OpenError> {
        self.files.padded(&self.listed, segment, bytes)
    }

    /// No segment record is left: the salt is found in a mark that follows one, the length is that of most files, the id is a new one.
    fn find_identity(&mut self) -> Result<Identity, RepairError> {
        let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
        for bytes in self.listed.values() {
            *lengths.entry(*bytes).or_default() += 1;
        }
        let most = lengths.into_iter().max_by_key(|(_, count)| *count);
        let bytes = most.map_or(0, |(bytes, _)| bytes);
        if let Some(segment) = directory::beyond(&self.listed, bytes).next() {
            return Err(directory::stray(segment).into());
        }
        for segment in self.listed.keys().copied().collect::<Vec<_>>() {
            let image = self.image_of(segment, bytes)?;
            if let Some(salt) = salt_in(&image, segment * bytes) {
                return Ok(Identity {
                    salt,
                    segment_bytes: bytes,
                    ..self.identity
                });
            }
        }
        Err(RepairError::Nameless)
    }

    fn correct_lengths(&mut self) -> Result<(), RepairError> {
        let bytes = self.identity.segment_bytes;
        for (&segment, &from) in self.listed.iter().filter(|(_, length)| **length != bytes) {
            self.repair.damages.push(Damage {
                what: Defect::Length { bytes: from },
                segment,
                start: from,
                end: bytes,
                first: SEQUENCE_FIRST,
                last: SEQUENCE_FIRST - 1,
            });
            if from > bytes + SEGMENT_BYTES_MAX {
                return Err(RepairError::TooLong {
                    segment,
                    from,
                    bytes,
                });
            }
            if from > bytes {
                let kept = Kept {
                    segment,
                    start: bytes,
                    end: from,
                };
                self.repair.kept.push(kept);
                self.repair.steps.push(Step::Keep(kept));
            }
            self.repair.changes.push(Change::Length { segment, from });
            self.repair.steps.push(Step::Resize { segment });
        }
        Ok(())
    }

    /// Whether the segment's file has lost its end.
    pub(super) fn is_cut(&self, segment: u64) -> bool {
        let bytes = self.identity.segment_bytes;
        self.listed.get(&segment).is_some_and(|from| *from < bytes)
    }

    /// As recovery finds it.
    fn find_durable(&mut self) -> Result<(), OpenError> {
        let (files, listed, heads) = (&mut self.files, &self.listed, &self.heads);
        let (ours, bytes) = (self.identity, self.identity.segment_bytes);
        let evidence = directory::find_evidence(listed, heads, bytes, |segment| {
            let image = files.padded(listed, segment, bytes)?;
            Ok(Some(directory::told_in(
                &image, segment, listed, heads, ours,
            )))
        })?;
        self.durable = evidence.durable;
        Ok(())
    }

    pub(super) fn scan(&self, last_ns: u64) -> Scan {
        Scan {
            salt: self.identity.salt,
            next: Mark::default(),
            last_ns,
            significant: 0,
            evidence: Evidence {
                durable: Mark::default(),
                first_segment: self.oldest,
            },
        }
    }

    /// The segment's record, if it is valid and begins where it is due.
    pub(super) fn fitting(
        &self,
        segment: u64,
        due: Option<u64>,
    ) -> Result<Option<SegmentHead>, RepairError> {
        let Some(head) = self.heads.get(&segment) else {
            return Ok(None);
        };
        match due {
            Some(due) if due != head.base_sequence => Err(RepairError::Contradiction {
                segment,
                says: head.base_sequence,
                due,
            }),
            _ => Ok(Some(*head)),
        }
    }

    pub(super) fn walk(
        &mut self,
        head: SegmentHead,
        scan: &mut Scan,
        subjects: &mut Subjects,
    ) -> Result<Closing, OpenError> {
        let image = self.image(head.index)?;
        let next_base = self.base_behind(head.index)?;
        let mut index = Index::new(BLOCK_BYTES);
        subjects.excuse(Excused::Noted(BTreeSet::new()));
        let walked = walk::walk(
            &head,
            &image,
            self.durable,
            next_base,
            scan,
            subjects,
            &mut index,
        );
        let nameless = match subjects.excuse(Excused::None) {
            Excused::Noted(ids) => ids,
            _ => BTreeSet::new(),
        };
        let places = subjects.places().to_vec();
        for place in &places {
            if let Some(name) = subjects.name(place.id) {
                self.names.insert(place.id, name.into());
            }
        }
        let next_sequence = match walked.ending {
            Ending::Sealed => scan.next.sequence,
            // What is cut off behind the end may have been handed out.
            Ending::Open => {
                let cut = scan::beyond(&image, walked.lost_end as usize, scan.next.sequence);
                cut.max(self.durable.sequence) + self.room_cut_off(head.index)
            }
        };
        Ok(Closing {
            index: index.since(0).copied().collect(),
            head,
            due: scan.next.sequence,
            walked,
            places,
            nameless,
            next_sequence,
            last_ns: scan.last_ns,
        })
    }

    /// As many records as can have been in the end that the file of the stream's last segment has lost: their sequences may have been handed out, and nothing tells.
    fn room_cut_off(&mut self, segment: u64) -> u64 {
        if !self.is_cut(segment) {
            return 0;
        }
        self.repair.uncounted = true;
        self.repair.late.insert(segment);
        (self.identity.segment_bytes - self.listed[&segment]) / PREFIX_BYTES as u64
    }

    /// Whether the seal is not valid although the stream goes on behind it, or does not list what there is.
    pub(super) fn needs_seal(&mut self, closing: &Closing) -> Result<bool, OpenError> {
        let Walked { ending, sealed, .. } = closing.walked;
        if ending == Ending::Open {
            return Ok(!closing.nameless.is_empty());
        }
        if !sealed || !closing.nameless.is_empty() {
            return Ok(true);
        }
        let image = self.image(closing.head.index)?;
        Ok(!walk::lists_only_what_is_there(&image, &closing.head))
    }

    /// Notes what is damaged in a segment that was walked.
    pub(super) fn report(&mut self, closing: &Closing) {
        let (segment, bytes) = (closing.head.index, self.identity.segment_bytes);
        if !self.listed.contains_key(&segment) {
            let held = closing.head.base_sequence..closing.next_sequence;
            return self.missing(Defect::Missing, segment, held);
        }
        for damage in &closing.walked.damages {
            let only_the_seal = damage.end == bytes && damage.records() == 0;
            self.repair.damages.push(Damage {
                what: if only_the_seal {
                    Defect::Seal
                } else {
                    damage.what
                },
                ..*damage
            });
        }
    }

    pub(super) fn missing(&mut self, what: Defect, segment: u64, held: Range<u64>) {
        self.repair.damages.push(Damage {
            what,
            segment,
            start: 0,
            end: self.identity.segment_bytes,
            first: held.start,
            last: held.end.saturating_sub(1),
        });
    }

    /// A segment record for a segment that has none. Where there is no file, it gets one.
    pub(super) fn make_head(
        &mut self,
        segment: u64,
        due: Option<u64>,
        last_ns: u64,
    ) -> Result<SegmentHead, OpenError> {
        let position = segment * self.identity.segment_bytes;
        let image = self.image(segment)?;
        let first = first_record(&image, position, self.identity.salt);
        let behind = self.base_behind(segment)?;
        let base_sequence = match segment {
            0 => SEQUENCE_FIRST,
            _ => due
                .or(first.map(|first| first.0))
                .or(behind)
                .unwrap_or(self.durable.sequence),
        };
        let head = SegmentHead {
            identity: self.identity,
            index: segment,
            base_sequence,
            // Nothing in it is older than that.
            base_ns: match (last_ns, first) {
                (0, Some((_, timestamp_ns))) => timestamp_ns,
                (last_ns, _) => last_ns,
            },
            evidence: Evidence {
                durable: Mark {
                    sequence: base_sequence,
                    position,
                },
                first_segment: self.oldest,
            },
        };
        let mut bytes = vec![0; SEGMENT_RECORD_BYTES as usize];
        marks::write_segment(&mut bytes, &head);
        if self.listed.contains_key(&segment) {
            self.repair.keep(segment, &image, 0..SEGMENT_RECORD_BYTES);
            self.repair.changes.push(Change::Head { segment });
            self.repair.damages.push(Damage {
                what: Defect::Head,
                segment,
                start: 0,
                end: SEGMENT_RECORD_BYTES,
                first: base_sequence,
                last: base_sequence.saturating_sub(1),
            });
        } else {
            self.repair.changes.push(Change::Missing { segment });
            self.repair.late.insert(segment);
            self.repair.steps.push(Step::Create { segment });
        }
        self.repair.steps.push(Step::Write {
            segment,
            offset: 0,
            bytes,
        });
        self.heads.insert(segment, head);
        Ok(head)
    }

    /// The first sequence behind a segment: of the next one that tells.
    pub(super) fn base_behind(&mut self, segment: u64) -> Result<Option<u64>, OpenError> {
        let bytes = self.identity.segment_bytes;
        let synced = self.durable.position.div_ceil(bytes);
        for next in segment + 1..synced.max(segment + 2) {
            if let Some(head) = self.heads.get(&next) {
                return Ok(Some(head.base_sequence));
            }
            if !self.listed.contains_key(&next) || next >= synced {
                continue;
            }
            let image = self.image(next)?;
            if let Some((sequence, _)) = first_record(&image, next * bytes, self.identity.salt) {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }
}

impl Change {
    fn segment(&self) -> u64 {
        match self {
            Self::Given { .. } => 0,
            Self::Missing { segment }
            | Self::Length { segment, .. }
            | Self::Head { segment }
            | Self::Close { segment, .. }
            | Self::Name { segment, .. }
            | Self::Begin { segment, .. } => *segment,
        }
    }
}

/// The sequence of the first record behind a segment record, and its time: of what stands there, or of what is provably in place behind it.
fn first_record(image: &[u8], base: u64, salt: u64) -> Option<(u64, u64)> {
    let record = |offset: usize| RawRecord::peek(image.get(offset..)?, u32::MAX).ok()?;
    let offset = SEGMENT_RECORD_BYTES as usize;
    let raw = match record(offset).filter(|raw| raw.verify().is_ok()) {
        Some(raw) => raw,
        None => record(scan::next_in_place(image, offset, base, salt, 0)?.0)?,
    };
    Some((raw.sequence(), raw.timestamp_ns()))
}

/// The salt that a segment's first mark has, or its seal. The way to it goes from record to record, so that no payload is taken for a mark.
fn salt_in(image: &[u8], base: u64) -> Option<u64> {
    let mut offset = SEGMENT_RECORD_BYTES as usize;
    while let Some(rest) = image.get(offset..)
        && let Ok(Some(raw)) = RawRecord::peek(rest, u32::MAX)
        && raw.verify().is_ok()
    {
        if matches!(raw.kind(), Kind::Batch | Kind::Seal) {
            return marks::read_salt(&raw, base + offset as u64);
        }
        offset += raw.len();
    }
    let offset = marks::seal_offset(image.get(image.len().checked_sub(8)?..)?)? as usize;
    let raw = RawRecord::peek(image.get(offset..)?, u32::MAX).ok()??;
    let is_seal = raw.kind() == Kind::Seal && offset + raw.len() == image.len();
    is_seal
        .then(|| marks::read_salt(&raw, base + offset as u64))
        .flatten()
}

/// No segment is larger, whatever a file says.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
