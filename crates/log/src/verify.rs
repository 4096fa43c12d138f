//! Verification of a stream's files without opening it: every record, nothing changed.
//!
//! The rules are those of recovery, in `docs/format/log.md`; where recovery stops at the first damage and refuses, this goes on behind it.

mod misfits;
mod present;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::{ControlFlow, Range};

use crate::directory::{Directory, Heads, Listed, is_zero};
use crate::files::Files;
use crate::index::Index;
use crate::layout::{BLOCK_BYTES, PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::{Mark, SEQUENCE_FIRST};
use crate::marks::{Evidence, Identity, SegmentHead};
use crate::open::{Damage, Defect, OpenError, Torn};
use crate::scan::{self, Ending, Scan};
use crate::subjects::Subjects;
use crate::walk;

use present::is_gone;

/// What the files of a stream hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The segments, oldest first. One that holds nothing yet is not among them.
    pub segments: Vec<SegmentReport>,
    /// Everything before this sequence was known to be on the device, as far as the files tell.
    pub durable_sequence: u64,
    /// What a crash, or a server that is writing now, left behind the last whole record.
    pub torn: Option<Torn>,
    /// Damage to data that was known to be on the device, in the order of the stream.
    pub damages: Vec<Damage>,
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its index, from the name.
    pub index: u64,
    /// Sequence of its first data record.
    pub first: u64,
    /// Sequence behind its last data record.
    pub next: u64,
    /// Data records that are intact.
    pub records: u64,
    /// Not younger than its first record, in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of its last record.
    pub last_ns: u64,
    /// Bytes up to the end of the last valid record.
    pub bytes: u64,
    /// It is full and closed.
    pub sealed: bool,
}

/// Verifies every record of the stream in `files`, of which only [`Files::list`] and [`Files::read_at`] are called. `progress` is told how many of how many bytes are done.
/// A file that somebody removes meanwhile, as retention does, is passed over.
///
/// # Errors
/// As [`Log::open`](crate::Log::open), but for damage, which is part of what is returned; so are files that cannot be read, unless none can.
pub fn verify(
    files: &mut impl Files,
    progress: impl FnMut(u64, u64),
) -> Result<Verified, OpenError> {
    Verifier::new(files, Skip::default(), progress, |_, _| {
        ControlFlow::Continue(())
    })?
    .run()
}

/// What need not be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Skip {
    /// Segments that hold lower sequences only.
    pub(crate) sequence: u64,
    /// Segments that hold older records only.
    pub(crate) timestamp_ns: u64,
}

/// What is found on the way, in the order of the stream.
pub(crate) enum Seen<'a> {
    /// A segment: its bytes, up to where records are in place or damaged, and where they are damaged.
    Segment {
        image: &'a [u8],
        end: u64,
        damages: &'a [Damage],
    },
    /// Damage to a file as a whole.
    Damage(Damage),
}

pub(crate) struct Verifier<'a, F, P, V> {
    files: Directory<'a, F>,
    listed: Listed,
    heads: Heads,
    durable: Mark,
    found: Verified,
    /// Files that belong elsewhere or cannot be read; they are not among those listed.
    misfits: BTreeMap<u64, Defect>,
    /// Those of them whose numbers no stream comes to.
    beyond: BTreeMap<u64, Defect>,
    skip: Skip,
    progress: P,
    visit: V,
    /// The visitor has seen enough.
    stopped: bool,
    /// Segments below it were removed while we looked.
    gone: u64,
}

impl<'a, F, P, V> Verifier<'a, F, P, V>
where
    F: Files,
    P: FnMut(u64, u64),
    V: FnMut(Seen<'_>, &Subjects) -> ControlFlow<()>,
{
    pub(crate) fn new(
        files: &'a mut F,
        skip: Skip,
        progress: P,
        visit: V,
    ) -> Result<Self, OpenError> {
        let mut files = Directory::new(files);
        Ok(Self {
            listed: files.list()?,
            files,
            heads: Heads::new(),
            durable: Mark::default(),
            found: Verified::default(),
            misfits: BTreeMap::new(),
            beyond: BTreeMap::new(),
            skip,
            progress,
            visit,
            stopped: false,
            gone: 0,
        })
    }

    pub(crate) fn run(mut self) -> Result<Verified, OpenError> {
        match self.read_heads()? {
            Some(identity) => self.look(identity)?,
            None => self.no_heads()?,
        }
        for (segment, what) in std::mem::take(&mut self.beyond) {
            if !self.stopped {
                let none = SEQUENCE_FIRST..SEQUENCE_FIRST;
                self.note(what, segment, 0..0, none, &Subjects::default());
            }
        }
        Ok(self.found)
    }

    fn look(&mut self, identity: Identity) -> Result<(), OpenError> {
        let Evidence {
            durable,
            first_segment,
        } = self.find_evidence(identity)?;
        self.found.durable_sequence = durable.sequence;
        self.durable = durable;
        // Whoever writes these files may have written what lies below the frontier after we read its pages, and before we read the mark that tells.
        self.files.unload();
        let bytes = identity.segment_bytes;
        let oldest = first_segment.max(self.gone);
        let last = self.there().next_back().unwrap_or(0);
        let total = self.there().filter(|at| *at >= oldest).count() as u64 * bytes;
        let mut done = 0;
        self.look_below(oldest, bytes);

        let mut subjects = Subjects::new(u32::MAX);
        let mut scan = unknown(identity.salt);
        let mut ended = false;
        let mut behind = oldest;
        while behind <= last {
            if self.stopped {
                return Ok(());
            }
            let segment = behind;
            behind = self.behind(segment, bytes);
            (self.progress)(done, total);
            done = total.min(done + bytes);
            if self.is_skipped(segment) {
                continue;
            }
            match self.look_at(segment, identity, ended, &mut scan, &mut subjects) {
                Ok(ends) => ended = ends,
                // Retention has overtaken us.
                Err(error) if is_gone(&error) => {
                    self.gone = self.gone.max(segment + 1);
                    scan.next = Mark::default();
                }
                Err(error) => {
                    let what = self.set_aside(segment, error)?;
                    self.damage(what, segment, 0..bytes, &mut scan, &subjects);
                    ended = true;
                }
            }
        }
        if !self.stopped && !ended {
            // A segment is sealed only when the next one's file exists.
            self.is_there(oldest.max(last + 1), identity, &mut scan, &subjects)?;
        } else if !self.stopped && self.found.damages.is_empty() {
            self.look_for_removals(first_segment, identity, &mut scan, &subjects)?;
        }
        (self.progress)(total, total);
        Ok(())
    }

    /// The segment to look at after one: the next, but where several are missing that nothing says were synced, the first of them tells enough.
    fn behind(&self, segment: u64, bytes: u64) -> u64 {
        let next = segment + 1;
        let is_there = self.listed.contains_key(&segment) || self.misfits.contains_key(&segment);
        if is_there || next * bytes < self.durable.position {
            return next;
        }
        let listed = self.listed.range(next..).map(|(at, _)| *at);
        let misfits = self.misfits.range(next..).map(|(at, _)| *at);
        listed.take(1).chain(misfits.take(1)).min().unwrap_or(next)
    }

    /// One segment, the log having `ended` before it or not. Whether it has ended behind it.
    fn look_at(
        &mut self,
        segment: u64,
        identity: Identity,
        ended: bool,
        scan: &mut Scan,
        subjects: &mut Subjects,
    ) -> Result<bool, OpenError> {
        let bytes = identity.segment_bytes;
        let synced = segment * bytes < self.durable.position;
        if let Some((what, range)) = self.misfit(segment, bytes) {
            if !(synced && self.misshapen(segment, identity, ended, scan, subjects)?) {
                self.damage(what, segment, range, scan, subjects);
            }
            return Ok(true);
        }
        if ended && !synced {
            if self.listed.contains_key(&segment) {
                self.leftover(segment, 0, bytes)?;
            }
            return Ok(true);
        }
        if !self.is_there(segment, identity, scan, subjects)? {
            return Ok(ended || self.gone <= segment);
        }
        let expected = (scan.next.sequence > 0).then_some(scan.next.sequence);
        let fits = |head: &SegmentHead| {
            // Behind damage nobody knows which sequence is due.
            ended || expected.is_none_or(|due| due == head.base_sequence)
        };
        match self.begun(segment, identity, synced)?.filter(fits) {
            Some(head) => {
                let ending = self.segment(&head, scan, subjects)?;
                return Ok(ending == Ending::Open);
            }
            None if synced => {
                let range = 0..SEGMENT_RECORD_BYTES;
                self.damage(Defect::Head, segment, range, scan, subjects);
            }
            None => self.leftover(segment, 0, bytes)?,
        }
        Ok(true)
    }

    /// Whether a segment that must exist is there: if not, that is damage, unless retention has overtaken us.
    fn is_there(
        &mut self,
        segment: u64,
        identity: Identity,
        scan: &mut Scan,
        subjects: &Subjects,
    ) -> Result<bool, OpenError> {
        if self.is_listed(segment)? {
            return Ok(true);
        }
        let told = self.find_evidence(identity)?.first_segment;
        self.gone = self.gone.max(told);
        if self.gone > segment {
            scan.next = Mark::default();
        } else {
            let range = 0..identity.segment_bytes;
            self.damage(Defect::Missing, segment, range, scan, subjects);
        }
        Ok(false)
    }

    /// What recovery would mind in files that count as removed.
    fn look_below(&mut self, oldest: u64, bytes: u64) {
        let below: Vec<u64> = self.there().take_while(|at| *at < oldest).collect();
        for segment in below {
            if let Some((what, range)) = self.misfit(segment, bytes) {
                self.note(
                    what,
                    segment,
                    range,
                    SEQUENCE_FIRST..SEQUENCE_FIRST,
                    &Subjects::default(),
                );
            }
        }
    }

    /// A file goes once the mark that says so is synced: where only marks behind the end of the log say so, everything before them was.
    fn look_for_removals(
        &mut self,
        told: u64,
        identity: Identity,
        scan: &mut Scan,
        subjects: &Subjects,
    ) -> Result<(), OpenError> {
        let heard = scan.evidence.first_segment;
        let is_there = |segment| self.listed.contains_key(&segment);
        if scan.next.sequence == 0 || (heard..told).all(is_there) {
            return Ok(());
        }
        let bytes = identity.segment_bytes;
        let Mark { sequence, position } = scan.next;
        let (segment, offset) = (position / bytes, position % bytes);
        let image = self.files.load(segment, bytes)?;
        let base = position - offset;
        let found = scan::next_in_place(image, offset as usize, base, scan.salt, sequence);
        let (stop, next) = found.map_or((bytes, self.base_behind(segment)), |(stop, next)| {
            (stop as u64, Some(next))
        });
        let what = match offset {
            0 => Defect::Head,
            _ => Defect::Records,
        };
        let held = sequence..next.unwrap_or(sequence);
        self.note(what, segment, offset..stop, held, subjects);
        Ok(())
    }

    /// Nothing in it is asked for, as the next segment says.
    fn is_skipped(&self, segment: u64) -> bool {
        let Some(next) = self.heads.get(&(segment + 1)) else {
            return false;
        };
        next.base_sequence <= self.skip.sequence || next.base_ns < self.skip.timestamp_ns
    }

    /// Verifies one segment, going on behind damage as far as something is provably in place there.
    fn segment(
        &mut self,
        head: &SegmentHead,
        scan: &mut Scan,
        subjects: &mut Subjects,
    ) -> Result<Ending, OpenError> {
        let (segment, bytes) = (head.index, head.identity.segment_bytes);
        let mut index = Index::new(BLOCK_BYTES);
        let next = self.heads.get(&(segment + 1));
        let next_base = next.map(|next| next.base_sequence);
        let image = self.files.load(segment, bytes)?;
        subjects.excuse(walk::listed(image, head));
        let walked = walk::walk(
            head,
            image,
            self.durable,
            next_base,
            scan,
            subjects,
            &mut index,
        );
        let used = scan.next.position - segment * bytes;
        let seen = Seen::Segment {
            image,
            end: walked.end,
            damages: &walked.damages,
        };
        self.stopped |= (self.visit)(seen, &*subjects).is_break();
        self.found.segments.push(SegmentReport {
            index: segment,
            first: head.base_sequence,
            next: scan.next.sequence,
            records: walked.records,
            first_ns: head.base_ns,
            last_ns: scan.last_ns,
            bytes: used,
            sealed: walked.ending == Ending::Sealed,
        });
        self.found.damages.extend(walked.damages);
        if walked.ending == Ending::Open {
            self.leftover(segment, used, bytes)?;
        }
        Ok(walked.ending)
    }

    /// What is not zero behind the log's end.
    fn leftover(&mut self, segment: u64, from: u64, bytes: u64) -> Result<(), OpenError> {
        let image = self.files.load(segment, bytes)?;
        let pages = image[from as usize..]
            .chunks(PAGE_BYTES as usize)
            .filter(|page| !is_zero(page))
            .count() as u64;
        if pages > 0 {
            let torn = self.found.torn.get_or_insert(Torn {
                segment,
                offset: from,
                bytes: 0,
            });
            torn.bytes += pages * PAGE_BYTES;
        }
        Ok(())
    }

    /// Damage to a file, or to its ends, with the sequences that it held as far as others tell.
    fn damage(
        &mut self,
        what: Defect,
        segment: u64,
        range: Range<u64>,
        scan: &mut Scan,
        subjects: &Subjects,
    ) {
        let behind = self.base_behind(segment);
        let next = behind
            .unwrap_or(self.found.durable_sequence)
            .max(SEQUENCE_FIRST);
        let due = match (scan.next.sequence, segment) {
            (0, 0) => Some(SEQUENCE_FIRST),
            // Nothing tells where the oldest segment of a stream begins but its own record.
            (0, _) => self.heads.get(&segment).map(|head| head.base_sequence),
            (due, _) => Some(due),
        };
        let what = match what {
            Defect::Missing if due.is_none() || behind.is_none() => Defect::Gone,
            what => what,
        };
        let first = due.unwrap_or(next);
        let held = first..next.max(first);
        if due.is_some() {
            // What is told here is not told again of the next file.
            scan.next.sequence = held.end;
        }
        self.note(what, segment, range, held, subjects);
    }

    fn note(
        &mut self,
        what: Defect,
        segment: u64,
        range: Range<u64>,
        held: Range<u64>,
        subjects: &Subjects,
    ) {
        let damage = Damage {
            what,
            segment,
            start: range.start,
            end: range.end,
            first: held.start,
            last: held.end - 1,
        };
        self.found.damages.push(damage);
        self.stopped |= (self.visit)(Seen::Damage(damage), subjects).is_break();
    }

    /// The sequence with which the next segment begins that tells.
    fn base_behind(&self, segment: u64) -> Option<u64> {
        let mut behind = self.heads.range((Excluded(segment), Unbounded));
        behind.next().map(|(_, head)| head.base_sequence)
    }
}

/// Before anything was seen.
fn unknown(salt: u64) -> Scan {
    Scan {
        salt,
        next: Mark::default(),
        last_ns: 0,
        significant: 0,
        evidence: Evidence::default(),
    }
}
