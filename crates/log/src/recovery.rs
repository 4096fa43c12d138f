//! Recovery: from files as a crash left them to a log that can be served, or to the reason why not.
//!
//! The decision table is in `docs/format/log.md`. Everything is looked at before anything is changed; what is changed can be interrupted anywhere and is
//! then done again.

mod clean;
mod heads;
mod proven;

use std::collections::{BTreeMap, VecDeque};

use trunkline_wire::record::PREFIX_BYTES;

use crate::config::LogConfig;
use crate::directory::{self, Directory, Heads, Listed};
use crate::files::Files;
use crate::index::Index;
use crate::layout::{BLOCK_BYTES, PAGE_BYTES};
use crate::log::{Log, Parts};
use crate::mark::{LogId, Mark, SEQUENCE_FIRST};
use crate::marks::{self, Evidence, Identity, SegmentHead};
use crate::open::{Damage, Defect, OpenError, Recovery};
use crate::room::Purpose;
use crate::scan::{self, Ending, Scan};
use crate::segments::{Base, Segments};
use crate::subjects::Subjects;
use crate::tail::Tail;

/// Creates the stream if there is no file, recovers it otherwise.
pub(crate) fn open<F: Files>(
    id: LogId,
    config: &LogConfig,
    files: &mut F,
) -> Result<(Log, Recovery), OpenError> {
    let mut files = Directory::new(files);
    let listed = files.list()?;
    Recoverer {
        id,
        config,
        files,
        listed,
        report: Recovery::default(),
    }
    .run()
}

struct Recoverer<'a, F> {
    id: LogId,
    config: &'a LogConfig,
    files: Directory<'a, F>,
    listed: Listed,
    report: Recovery,
}

/// Where the log ends, and what was learnt on the way there.
struct End {
    scan: Scan,
    /// Segments that were verified whole, in order.
    bases: VecDeque<Base>,
    /// The segment in which the log ends.
    segment: u64,
    /// That segment has no valid segment record: it starts anew.
    headless: bool,
}

impl<F: Files> Recoverer<'_, F> {
    fn run(mut self) -> Result<(Log, Recovery), OpenError> {
        if self.listed.is_empty() {
            return self.create();
        }
        let Some((identity, heads)) = self.read_heads()? else {
            self.files.doing("remove", 0, |files| files.remove(0))?;
            return self.create();
        };
        let told = self.find_evidence(identity, &heads)?;
        let durable = told.durable;
        let mut subjects = Subjects::new(self.config.subjects_limit(identity.segment_bytes));
        let mut index = Index::new(BLOCK_BYTES);
        let start = directory::first_unproven(durable, &heads, identity.segment_bytes);

        // The newest segments first: they tell which is the oldest that must exist. Their index entries come after those of the
        // older ones, so they go to an index of their own.
        let mut newest = Index::new(BLOCK_BYTES);
        let mut end = self.verify(identity, &heads, durable, start, &mut subjects, &mut newest)?;
        if end.scan.next.position < durable.position {
            return Err(self.damage_at(&end, identity, durable)?);
        }
        let oldest = end.scan.evidence.first_segment;
        // A file goes once the mark that says so is synced. Where only marks behind the end of the log say so, everything before them was synced.
        if (oldest..told.first_segment).any(|segment| !self.listed.contains_key(&segment)) {
            let behind = end.segment + 1;
            let next = heads.get(&behind).map(|head| head.base_sequence);
            let synced = Mark {
                sequence: next.unwrap_or(end.scan.next.sequence),
                position: behind * identity.segment_bytes,
            };
            return Err(self.damage_at(&end, identity, synced)?);
        }
        let (proven, proven_ns) = self.read_proven(
            identity,
            &heads,
            oldest..start,
            &end,
            &mut subjects,
            &mut index,
        )?;
        end.scan.last_ns = end.scan.last_ns.max(proven_ns);
        for entry in newest.since(0) {
            index.push(*entry);
        }
        subjects.collect_free();

        let mut bases = proven;
        bases.append(&mut end.bases);
        self.clean(identity, &end, durable)?;
        self.remove_leftovers(oldest, end.segment)?;
        if end.headless {
            let base = Base {
                index: end.segment,
                sequence: end.scan.next.sequence,
                before_ns: end.scan.last_ns,
            };
            self.write_head(identity, &base, oldest)?;
            bases.push_back(base);
            subjects.forget_places();
            end.scan.next.position += PAGE_BYTES;
        }
        let first = bases.front().map_or(end.scan.next, |base| Mark {
            sequence: base.sequence,
            position: base.index * identity.segment_bytes,
        });
        self.assemble(
            identity,
            Segments::new(bases, identity.segment_bytes),
            subjects,
            index,
            &end,
            durable,
            first,
        )
    }

    /// A stream of no records: one segment.
    fn create(mut self) -> Result<(Log, Recovery), OpenError> {
        let identity = Identity::new(self.config.entropy, self.config.segment_bytes);
        self.files
            .doing("create", 0, |files| files.create(0, identity.segment_bytes))?;
        self.listed = BTreeMap::from([(0, identity.segment_bytes)]);
        let base = Base {
            index: 0,
            sequence: SEQUENCE_FIRST,
            before_ns: 0,
        };
        self.write_head(identity, &base, 0)?;
        self.report.created = true;
        let first = Mark {
            sequence: SEQUENCE_FIRST,
            position: 0,
        };
        let next = Mark {
            sequence: SEQUENCE_FIRST,
            position: PAGE_BYTES,
        };
        let evidence = Evidence {
            durable: first,
            first_segment: 0,
        };
        let scan = Scan {
            salt: identity.salt,
            next,
            last_ns: 0,
            significant: 0,
            evidence,
        };
        let end = End {
            scan,
            bases: VecDeque::new(),
            segment: 0,
            headless: true,
        };
        let segments = Segments::new(VecDeque::from([base]), identity.segment_bytes);
        let (subjects, index) = (
            Subjects::new(self.config.subjects_limit(identity.segment_bytes)),
            Index::new(BLOCK_BYTES),
        );
        self.assemble(identity, segments, subjects, index, &end, next, first)
    }

    /// Verifies every record from `start` to the end of the log.
    fn verify(
        &mut self,
        identity: Identity,
        heads: &Heads,
        durable: Mark,
        start: u64,
        subjects: &mut Subjects,
        index: &mut Index,
    ) -> Result<End, OpenError> {
        let first_segment = heads
            .range(..=start)
            .map(|(_, head)| head.evidence.first_segment)
            .max()
            .unwrap_or(0);
        let next = Mark {
            sequence: durable.sequence,
            position: start * identity.segment_bytes,
        };
        let evidence = Evidence {
            durable: Mark::default(),
            first_segment,
        };
        let scan = Scan {
            salt: identity.salt,
            next,
            last_ns: 0,
            significant: next.position,
            evidence,
        };
        let mut end = End {
            scan,
            bases: VecDeque::new(),
            segment: start,
            headless: false,
        };
        loop {
            let segment = end.segment;
            if !self.listed.contains_key(&segment) {
                // A segment is sealed only when the next one's file exists.
                let before = (!end.bases.is_empty()).then_some(end.scan.next.sequence);
                return Err(missing(identity, heads, segment, before));
            }
            let continues = |head: &&SegmentHead| {
                segment == start || head.base_sequence == end.scan.next.sequence
            };
            let Some(head) = heads.get(&segment).filter(continues) else {
                end.headless = true;
                return Ok(end);
            };
            end.bases.push_back(Base {
                index: segment,
                sequence: head.base_sequence,
                before_ns: head.base_ns,
            });
            let image = self.files.load(segment, identity.segment_bytes)?;
            let ending = end.scan.segment(head, image, subjects, index);
            self.report.scanned_bytes += end.scan.next.position - segment * identity.segment_bytes;
            match ending {
                Ending::Sealed => end.segment += 1,
                Ending::Open => return Ok(end),
            }
        }
    }

    /// The exact range of damage that lies below the durable frontier.
    fn damage_at(
        &mut self,
        end: &End,
        identity: Identity,
        durable: Mark,
    ) -> Result<OpenError, OpenError> {
        let (segment, next) = (end.segment, end.scan.next);
        let base = segment * identity.segment_bytes;
        let image = self.files.load(segment, identity.segment_bytes)?;
        let offset = (next.position - base) as usize;
        let found = scan::next_in_place(image, offset, base, identity.salt, next.sequence);
        // What was synced ends in this segment, or with it.
        let (stop, sequence) = match found {
            Some((stop, sequence)) => (stop as u64, sequence),
            None => (durable.position - base, durable.sequence),
        };
        let what = if end.headless {
            Defect::Head
        } else {
            Defect::Records
        };
        Ok(damaged(
            what,
            segment,
            offset as u64..stop,
            next.sequence,
            Some(sequence),
        ))
    }

    /// The first page of a segment that starts anew.
    fn write_head(
        &mut self,
        identity: Identity,
        base: &Base,
        first_segment: u64,
    ) -> Result<(), OpenError> {
        let segment = base.index;
        let mark = Mark {
            sequence: base.sequence,
            position: segment * identity.segment_bytes,
        };
        let evidence = Evidence {
            durable: mark,
            first_segment,
        };
        let head = SegmentHead {
            identity,
            index: segment,
            base_sequence: base.sequence,
            base_ns: base.before_ns,
            evidence,
        };
        let page = marks::first_page(&head);
        self.files
            .doing("write", segment, |files| files.write_at(segment, 0, &page))?;
        self.files
            .doing("sync", segment, |files| files.sync(segment))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of a log, each found by another step"
    )]
    fn assemble(
        mut self,
        identity: Identity,
        mut segments: Segments,
        subjects: Subjects,
        index: Index,
        end: &End,
        durable: Mark,
        first: Mark,
    ) -> Result<(Log, Recovery), OpenError> {
        if self.listed.contains_key(&(end.segment + 1)) {
            segments.on_prepared();
        }
        let next = end.scan.next;
        // A stream with smaller segments than are configured now cannot take the largest records.
        let record_bytes_max = (identity.segment_bytes / 4 - PREFIX_BYTES as u64)
            .min(self.config.record_bytes_max.into()) as u32;
        let parts = Parts {
            id: self.id,
            config: LogConfig {
                record_bytes_max,
                segment_bytes: identity.segment_bytes,
                ..self.config.clone()
            },
            identity,
            tail: Tail::new(self.config.tail_bytes, next.position).map_err(OpenError::Memory)?,
            subjects,
            index,
            segments,
            next,
            first,
            last_ns: end.scan.last_ns,
            told: durable,
        };
        let mut log = Log::assemble(parts);
        let is_told = end.headless || end.scan.significant <= durable.position;
        let needs_mark =
            !is_told || self.report.torn.is_some() || !next.position.is_multiple_of(PAGE_BYTES);
        let purpose = if next.position.is_multiple_of(PAGE_BYTES) {
            Purpose::Frontier
        } else {
            Purpose::Commit
        };
        if needs_mark && log.write_mark(purpose) {
            let (segment, offset) = log.segments.locate(next.position);
            let bytes = log.bytes(next.position, (log.next.position - next.position) as u32);
            self.files.doing("write", segment, |files| {
                files.write_at(segment, offset, bytes)
            })?;
            self.files
                .doing("sync", segment, |files| files.sync(segment))?;
        }
        log.resume();
        self.report.segments = log.segment_count();
        self.report.first = log.first.sequence;
        self.report.last = log.next.sequence - 1;
        Ok((log, self.report))
    }
}

/// A segment that is not there. `before` is the sequence behind the one in front of it, where that is known.
fn missing(identity: Identity, heads: &Heads, segment: u64, before: Option<u64>) -> OpenError {
    let behind = heads.range(segment..).next();
    let behind = behind.map(|(_, head)| head.base_sequence);
    let due = due(segment, before);
    let what = match (due, behind) {
        (Some(_), Some(_)) => Defect::Missing,
        _ => Defect::Gone,
    };
    let first = due.or(behind).unwrap_or(SEQUENCE_FIRST);
    let range = 0..identity.segment_bytes;
    damaged(what, segment, range, first, due.and(behind))
}

/// The sequence with which a segment begins. `before` is the one behind the segment in front of it.
fn due(segment: u64, before: Option<u64>) -> Option<u64> {
    before.or((segment == 0).then_some(SEQUENCE_FIRST))
}

fn damaged(
    what: Defect,
    segment: u64,
    range: std::ops::Range<u64>,
    first: u64,
    next: Option<u64>,
) -> OpenError {
    // Unknown sequences: an empty range.
    let last = next.map_or(first.saturating_sub(1), |next| next.saturating_sub(1));
    OpenError::Damaged(Damage {
        what,
        segment,
        start: range.start,
        end: range.end,
        first,
        last,
    })
}
