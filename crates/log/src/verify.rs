//! Verification of a stream's files without opening it: every record, nothing changed.
//!
//! The rules are those of recovery, in `docs/format/log.md`; where recovery stops at the first damage and refuses, this goes on behind it.

use std::io;
use std::ops::{ControlFlow, Range};

use crate::directory::{self, Directory, Heads, Listed, is_zero};
use crate::files::Files;
use crate::index::Index;
use crate::layout::{BLOCK_BYTES, PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::{Mark, SEQUENCE_FIRST};
use crate::marks::{Evidence, Identity, SegmentHead};
use crate::open::{Damage, Defect, OpenError, Torn};
use crate::scan::{self, Ending, Scan};
use crate::subjects::Subjects;
use crate::walk;

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
/// As [`Log::open`](crate::Log::open), but for damage, which is part of what is returned.
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
        let last = self.listed.last_key_value().map_or(0, |(index, _)| *index);
        let total = (last + 1 - oldest.min(last)) * bytes;

        let mut subjects = Subjects::new(u32::MAX);
        let mut scan = Scan {
            salt: identity.salt,
            next: Mark::default(),
            last_ns: 0,
            significant: 0,
            evidence: Evidence {
                durable: Mark::default(),
                first_segment: oldest,
            },
        };
        let mut ended = false;
        for segment in oldest..=last {
            if self.stopped {
                return Ok(());
            }
            (self.progress)((segment - oldest) * bytes, total);
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
                Err(error) => return Err(error),
            }
        }
        (self.progress)(total, total);
        Ok(())
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
        let length = self.length(segment)?;
        if ended && !synced {
            if length == Some(bytes) {
                self.leftover(segment, 0, bytes)?;
            }
            return Ok(true);
        }
        let Some(length) = length else {
            let told = self.find_evidence(identity)?.first_segment;
            if told.max(self.gone) > segment {
                // Retention has overtaken us.
                scan.next = Mark::default();
                return Ok(ended);
            }
            self.damage(Defect::Missing, segment, 0..bytes, scan, subjects);
            return Ok(true);
        };
        if length != bytes {
            let what = Defect::Length { bytes: length };
            self.damage(what, segment, length..bytes, scan, subjects);
            return Ok(true);
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

    /// The bytes of a file. While one is made or removed, a listing may pass over others, so what is not there is looked for once more.
    fn length(&mut self, segment: u64) -> Result<Option<u64>, OpenError> {
        if !self.listed.contains_key(&segment) {
            self.listed = self.files.list()?;
        }
        Ok(self.listed.get(&segment).copied())
    }

    /// The segment's record. One that was not there may be by now: the frontier was read after the records.
    fn begun(
        &mut self,
        segment: u64,
        identity: Identity,
        synced: bool,
    ) -> Result<Option<SegmentHead>, OpenError> {
        if let (None, true) = (self.heads.get(&segment), synced) {
            let head = self.files.head(segment, Some(identity))?;
            self.heads.extend(head.map(|head| (segment, head)));
        }
        Ok(self.heads.get(&segment).copied())
    }

    /// Nothing in it is asked for, as the next segment says.
    fn is_skipped(&self, segment: u64) -> bool {
        let Some(next) = self.heads.get(&(segment + 1)) else {
            return false;
        };
        next.base_sequence <= self.skip.sequence || next.base_ns < self.skip.timestamp_ns
    }

    /// Reads the segment records. `None`: not one of them is valid.
    fn read_heads(&mut self) -> Result<Option<Identity>, OpenError> {
        let gone = &mut self.gone;
        self.heads = self.files.heads(&self.listed, |segment, error| {
            if !is_gone(&error) {
                return Err(error);
            }
            *gone = segment + 1;
            Ok(())
        })?;
        Ok(directory::identity(&self.heads).filter(|identity| identity.segment_bytes > 0))
    }

    /// A stream that was never used has one segment, and nothing behind its first page.
    fn no_heads(&mut self) -> Result<(), OpenError> {
        let unknown = Scan {
            salt: 0,
            next: Mark::default(),
            last_ns: 0,
            significant: 0,
            evidence: Evidence {
                durable: Mark::default(),
                first_segment: 0,
            },
        };
        for (segment, bytes) in self.listed.clone() {
            let image = self.files.load(segment, bytes)?;
            let used = image
                .get(PAGE_BYTES as usize..)
                .is_none_or(|rest| !is_zero(rest));
            if used || segment > 0 {
                let range = 0..SEGMENT_RECORD_BYTES;
                self.damage(Defect::Head, segment, range, &unknown, &Subjects::default());
            }
        }
        Ok(())
    }

    /// The durable frontier and the oldest segment that must exist.
    fn find_evidence(&mut self, identity: Identity) -> Result<Evidence, OpenError> {
        let bytes = identity.segment_bytes;
        let whole = |(&segment, &length): (&u64, &u64)| (length == bytes).then_some(segment);
        let segments = self.listed.iter().filter_map(whole);
        directory::find_evidence(segments, &self.heads, bytes, |segment| {
            match self.files.load(segment, bytes) {
                Ok(image) => Ok(Some(scan::evidence_in(
                    image,
                    segment * bytes,
                    identity.salt,
                ))),
                // Retention removes the oldest first.
                Err(error) if is_gone(&error) => {
                    self.gone = self.gone.max(segment + 1);
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
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

    fn damage(
        &mut self,
        what: Defect,
        segment: u64,
        range: Range<u64>,
        scan: &Scan,
        subjects: &Subjects,
    ) {
        let next = self
            .heads
            .range(segment + 1..)
            .next()
            .map_or(self.found.durable_sequence, |(_, head)| head.base_sequence);
        let first = match (scan.next.sequence, segment) {
            (0, 0) => SEQUENCE_FIRST,
            // Nothing tells where the oldest segment of a stream begins but its own record.
            (0, _) => next,
            (due, _) => due,
        };
        let damage = Damage {
            what,
            segment,
            start: range.start,
            end: range.end,
            first,
            last: next.saturating_sub(1),
        };
        self.found.damages.push(damage);
        self.stopped |= (self.visit)(Seen::Damage(damage), subjects).is_break();
    }
}

/// The file was there when the directory was listed.
fn is_gone(error: &OpenError) -> bool {
    matches!(error, OpenError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
}
