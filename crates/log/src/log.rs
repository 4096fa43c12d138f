//! The log itself: what it knows, and the path of a record into it.

use trunkline_ring::Pinned;
use trunkline_wire::record::{self, Kind, RawRecord, RecordError};

use crate::breaks::Breaks;
use crate::config::{Durability, LogConfig, Storage};
use crate::disk::DiskError;
use crate::errors::{AppendError, DefineError};
use crate::flush::Preparation;
use crate::index::{Entry, Index};
use crate::layout::{BATCH_BYTES, BLOCK_BYTES, PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::{LogId, Mark};
use crate::marks::{self, Evidence, Identity, SegmentHead, Stand};
use crate::reader::Reads;
use crate::retention::Keeper;
use crate::room::{MARK_ROOM, Purpose, Room};
use crate::segments::Segments;
use crate::stats::Stats;
use crate::subjects::Subjects;
use crate::tail::{Hold, Tail};
use crate::writer::{WRITE_BYTES_MAX, WRITES_MAX, Writer};

/// One stream's log.
///
/// A state machine without I/O, clock or threads. Its methods are of four kinds:
///
/// * getters: [`received`](Self::received), [`stored`](Self::stored), [`synced`](Self::synced), [`first`](Self::first), [`state`](Self::state), …
/// * commands (user → log): [`define`](Self::define), [`append`](Self::append), [`want_synced`](Self::want_synced),
///   [`seek`](Self::seek), [`read`](Self::read), [`hold`](Self::hold), [`release`](Self::release);
/// * the turn: [`flush`](Self::flush), which hands requests to a [`Disk`](crate::Disk), once after a batch of commands and when
///   [`next_deadline_ns`](Self::next_deadline_ns) has come;
/// * answers (disk → log): [`on_completion`](Self::on_completion), [`on_read`](Self::on_read).
#[derive(Debug)]
pub struct Log {
    pub(crate) id: LogId,
    pub(crate) config: LogConfig,
    pub(crate) identity: Identity,
    pub(crate) tail: Tail,
    pub(crate) subjects: Subjects,
    pub(crate) index: Index,
    pub(crate) breaks: Breaks,
    pub(crate) segments: Segments,
    pub(crate) writer: Writer,
    pub(crate) reads: Reads,
    pub(crate) keeper: Keeper,
    pub(crate) preparation: Preparation,
    pub(crate) state: State,
    pub(crate) stats: Stats,
    /// What was appended: the next record's sequence and position.
    pub(crate) next: Mark,
    /// The oldest record that is kept.
    pub(crate) first: Mark,
    /// Where it was when it was opened: what lies before is in files only.
    pub(crate) opened_at: Mark,
    /// Time of the last record; none is older.
    pub(crate) last_ns: u64,
    /// A record that ends at or below this needs no further look: room in the tail and in the segment, no stride due.
    room_until: u64,
    /// From here on a mark and an index entry are due.
    stride_end: u64,
}

/// Whether a log takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Ok,
    /// The next segment could not be prepared. Records are taken until the segment in use is full; it is tried again with back-off, and goes on by itself.
    NoSpace(DiskError),
    /// A write or a sync failed. Nothing is taken any more; what was synced can be read. Only opening the log anew ends it.
    Poisoned(DiskError),
}

impl Log {
    /// Requests that are in flight at most: writes, one sync, one preparation, one removal, reads.
    pub const IN_FLIGHT_MAX: usize = WRITES_MAX + 3 + Self::READS_MAX;
    /// Reads in flight at most.
    pub const READS_MAX: usize = crate::reader::READS_MAX;
    /// Bytes of one write at most.
    pub const WRITE_BYTES_MAX: u32 = WRITE_BYTES_MAX as u32;

    pub(crate) fn assemble(parts: Parts) -> Self {
        let Parts {
            id,
            config,
            identity,
            tail,
            subjects,
            index,
            segments,
            next,
            first,
            last_ns,
            told,
        } = parts;
        let mut writer = Writer::new(next, config.tail_bytes);
        writer.told = told;
        let mut log = Self {
            id,
            identity,
            breaks: Breaks::new(config.tail_bytes),
            keeper: Keeper::new(segments.first_index(), last_ns),
            writer,
            tail,
            subjects,
            index,
            segments,
            reads: Reads::default(),
            preparation: Preparation::default(),
            state: State::Ok,
            stats: Stats::default(),
            next,
            first,
            last_ns,
            opened_at: next,
            room_until: 0,
            stride_end: next.position,
            config,
        };
        log.refresh_room();
        log
    }

    /// After opening: everything so far is on the device.
    pub(crate) fn resume(&mut self) {
        let told = self.writer.told;
        self.writer = Writer::new(self.next, self.config.tail_bytes);
        self.writer.told = told;
        self.opened_at = self.next;
        self.stride_end = self.next.position;
        self.stats = Stats::default();
        self.refresh_room();
    }

    /// The name that requests to the disk carry.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// What was appended.
    #[inline]
    pub fn received(&self) -> Mark {
        self.next
    }

    /// What is written: it survives the end of this process. Without files, what was appended.
    #[inline]
    pub fn stored(&self) -> Mark {
        if self.is_volatile() {
            self.next
        } else {
            self.writer.stored
        }
    }

    /// What is on the device: it survives a power loss. Without files, what was appended.
    #[inline]
    pub fn synced(&self) -> Mark {
        if self.is_volatile() {
            self.next
        } else {
            self.writer.synced
        }
    }

    /// The oldest record that is kept; the sequence of `received` when there is none.
    #[inline]
    pub fn first(&self) -> Mark {
        self.first
    }

    /// Whether the log takes records.
    #[inline]
    pub fn state(&self) -> State {
        self.state
    }

    /// Time of the last record, in nanoseconds since 1970; 0 if there was none.
    pub fn last_timestamp_ns(&self) -> u64 {
        self.last_ns
    }

    /// Bytes that the stream takes, in its files or in the tail.
    pub fn bytes_kept(&self) -> u64 {
        self.next.position - self.first.position
    }

    /// Files that the stream has, the one in preparation not counted.
    pub fn segment_count(&self) -> u64 {
        self.segments.count()
    }

    /// The segment that holds a record.
    pub fn segment_of(&self, sequence: u64) -> u64 {
        let start = self.segments.at_sequence(sequence);
        start.map_or(self.segments.first_index(), |(mark, _)| {
            self.segments.locate(mark.position).0
        })
    }

    /// The stream's id, the same in all its segments.
    pub fn uuid(&self) -> [u8; 16] {
        self.identity.uuid
    }

    /// What it was opened with; `segment_bytes` is what the stream was created with.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// What was done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The id of a subject, a new one if need be. The definition is written before the id's first record of each segment.
    ///
    /// # Errors
    /// When there are too many, or the name cannot be stored.
    pub fn define(&mut self, name: &str) -> Result<u32, DefineError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(DefineError::Name);
        }
        self.subjects.intern(name).ok_or(DefineError::TooMany {
            subjects_max: self.subjects.names_max(),
        })
    }

    /// The id of a subject that is known.
    pub fn subject_id(&self, name: &str) -> Option<u32> {
        self.subjects.id(name)
    }

    /// The subject of an id.
    #[inline]
    pub fn subject(&self, id: u32) -> Option<&str> {
        self.subjects.name(id)
    }

    /// How many subjects are known.
    pub fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// Everything up to and including `sequence` is to be synced soon: the next [`flush`](Self::flush) begins with it.
    #[inline]
    pub fn want_synced(&mut self, sequence: u64) {
        self.writer.wanted = self.writer.wanted.max(sequence + 1);
    }

    /// Whether everything is synced and a mark says so: nothing is left to be done, and damage to what there is would be known as such. The
    /// mark is written when nothing has come for 50 ms. True for a stream without files, and after a device error.
    pub fn is_settled(&self) -> bool {
        let writer = &self.writer;
        let told = writer.frontier_due_ns.is_none() && writer.stored_position >= self.next.position;
        self.is_volatile() || matches!(self.state, State::Poisoned(_)) || !writer.is_dirty() && told
    }

    /// The bytes of the tail at `position`: of a hot run, or for a write. At most the tail's capacity.
    #[inline]
    pub fn bytes(&self, position: u64, len: u32) -> &[u8] {
        self.tail.slice(position, len as usize)
    }

    /// Keeps a stretch of a hot run from being reused while it is being sent.
    #[inline]
    pub fn hold(&mut self, position: u64, len: u32) -> Hold {
        self.tail.hold(position, len)
    }

    /// Gives back what [`hold`](Self::hold) gave.
    #[inline]
    pub fn release(&mut self, hold: Hold) {
        self.tail.release(hold);
    }

    /// Keeps the tail's memory mapped for a kernel that sends and writes from it. A position is at
    /// offset `position % tail_bytes`, and up to `tail_bytes` bytes follow without a break.
    pub fn pin(&self) -> Pinned {
        self.tail.pin()
    }

    /// Copies a record into the tail under the stream's next sequence, verifying and sealing its checksum in the same pass. Its time is
    /// `wall_ns`, or the last record's if that is later.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was taken then.
    #[inline]
    pub fn append(
        &mut self,
        record: &RawRecord<'_>,
        subject_id: u32,
        wall_ns: u64,
    ) -> Result<u64, AppendError> {
        let len = record.len() as u64;
        let fits = self.next.position + len <= self.room_until
            && record.payload_len() <= self.config.record_bytes_max;
        if !fits || !self.subjects.is_defined(subject_id) {
            return self.append_slow(record, subject_id, wall_ns);
        }
        self.put(record, subject_id, wall_ns)
    }

    /// There is room and the subject is defined.
    #[inline]
    fn put(
        &mut self,
        record: &RawRecord<'_>,
        subject_id: u32,
        wall_ns: u64,
    ) -> Result<u64, AppendError> {
        if record.kind() != Kind::Data {
            return Err(AppendError::Record(RecordError::Kind {
                kind: record.kind() as u8,
            }));
        }
        let Mark { sequence, position } = self.next;
        let timestamp_ns = wall_ns.max(self.last_ns);
        let out = self.tail.slice_mut(position, record.len());
        let len = record::restamp(record, out, sequence, timestamp_ns, subject_id)
            .map_err(AppendError::Record)?;
        self.last_ns = timestamp_ns;
        self.next = Mark {
            sequence: sequence + 1,
            position: position + len as u64,
        };
        self.writer.significant = self.next.position;
        Ok(sequence)
    }

    #[cold]
    #[inline(never)]
    fn append_slow(
        &mut self,
        record: &RawRecord<'_>,
        subject_id: u32,
        wall_ns: u64,
    ) -> Result<u64, AppendError> {
        if let State::Poisoned(_) = self.state {
            return Err(AppendError::Poisoned);
        }
        let (payload_len, payload_max) = (record.payload_len(), self.config.record_bytes_max);
        if payload_len > payload_max {
            return Err(AppendError::TooLarge {
                payload_len,
                payload_max,
            });
        }
        if self.subjects.name(subject_id).is_none() {
            return Err(AppendError::Subject(subject_id));
        }
        self.make_room(record.len() as u64, subject_id)?;
        if self.next.position >= self.stride_end {
            self.start_stride();
        }
        if !self.subjects.is_defined(subject_id) {
            self.write_definition(subject_id);
        }
        let result = self.put(record, subject_id, wall_ns);
        self.refresh_room();
        result
    }

    /// Room for a record of `len` bytes and everything that may have to come before it. Rotates when the segment is full.
    fn make_room(&mut self, len: u64, subject_id: u32) -> Result<(), AppendError> {
        let definition = |log: &Self| match log.subjects.name(subject_id) {
            Some(name) if !log.subjects.is_defined(subject_id) => {
                record::body_record_bytes(name.len()) as u64
            }
            _ => 0,
        };
        let mut needed = BATCH_BYTES + definition(self) + len;
        if !self.is_volatile() {
            let new_definitions = u64::from(definition(self) > 0);
            if self.next.position + needed > self.room(new_definitions).data_end {
                self.rotate(len)?;
                needed = BATCH_BYTES + definition(self) + len;
            }
        }
        if self.extend(self.next.position + needed + MARK_ROOM) {
            Ok(())
        } else {
            Err(self.full())
        }
    }

    fn full(&mut self) -> AppendError {
        self.stats.appends_full += 1;
        AppendError::Full
    }

    /// Gives up the oldest bytes of the tail that nothing needs any more.
    pub(crate) fn extend(&mut self, end: u64) -> bool {
        if end <= self.tail.limit() {
            return true;
        }
        let reusable = match (self.config.storage, self.config.durability) {
            (Storage::Memory, _) => u64::MAX,
            (Storage::Files, Durability::Stored) => self.writer.stored_position,
            // A synced write may begin with a mark that was written, but not synced.
            (Storage::Files, Durability::Synced) => self.writer.synced_position,
        };
        let done = self.tail.extend(end, reusable);
        self.breaks.remove_before(self.tail.oldest());
        if self.is_volatile() {
            self.forget_overwritten();
        }
        self.refresh_room();
        done
    }

    fn refresh_room(&mut self) {
        let segment = if self.is_volatile() {
            u64::MAX
        } else {
            self.room(0).data_end
        };
        self.room_until = (self.tail.limit() - MARK_ROOM)
            .min(segment)
            .min(self.stride_end);
        if let State::Poisoned(_) = self.state {
            self.room_until = 0;
        }
    }

    pub(crate) fn poison(&mut self, error: DiskError) {
        self.state = State::Poisoned(error);
        self.refresh_room();
    }

    #[inline]
    pub(crate) fn is_volatile(&self) -> bool {
        self.config.storage == Storage::Memory
    }

    /// The room at the end of the segment in use, once it defines so many more subjects.
    fn room(&self, new_definitions: u64) -> Room {
        let subjects = self.subjects.places().len() as u64 + new_definitions;
        let (end, bytes) = (self.segments.active_end(), self.identity.segment_bytes);
        Room::new(end, bytes, subjects)
    }

    /// Whether there is room for a mark that starts here and reaches to `end`. Why nothing gets stuck is said in `room.rs`.
    fn has_room(&self, purpose: Purpose, end: u64) -> bool {
        let (room, position) = (self.room(0), self.next.position);
        let known = self.writer.synced.sequence;
        match purpose {
            Purpose::Stride => position <= room.data_end,
            _ if end <= room.commit_end => true,
            // Also in a segment that left less room.
            Purpose::Commit => !position.is_multiple_of(PAGE_BYTES) && end <= room.seal_start,
            Purpose::Frontier => self.writer.told.sequence < known && end <= room.seal_start,
            // The next segment's record tells as well.
            Purpose::Removal if self.segments.is_next_prepared() => false,
            Purpose::Removal => {
                let is_all = self.segments.count() == 1;
                // Only age makes more removable while no record comes.
                let is_worth_it =
                    is_all || !room.is_last(end) || self.config.retention.age_ns_max.is_none();
                let is_synced = known == self.next.sequence && !self.keeper.due;
                is_synced && is_worth_it && end <= room.seal_start
            }
        }
    }

    /// A mark between records; all but a stride's reach to the end of a page. False when there is no room for it.
    pub(crate) fn write_mark(&mut self, purpose: Purpose) -> bool {
        let at = self.next;
        let end = match purpose {
            Purpose::Stride => at.position + BATCH_BYTES,
            _ => (at.position + BATCH_BYTES).next_multiple_of(PAGE_BYTES),
        };
        if !self.has_room(purpose, end) || !self.extend(end) {
            return false;
        }
        let evidence = self.evidence();
        let len = (end - at.position) as usize;
        let stand = Stand {
            salt: self.identity.salt,
            at,
            timestamp_ns: self.last_ns,
        };
        marks::write_batch(self.tail.slice_mut(at.position, len), stand, evidence);
        self.after_own_record(end, evidence);
        self.stats.marks += 1;
        true
    }

    /// What a mark made now says.
    fn evidence(&self) -> Evidence {
        Evidence {
            durable: self.writer.synced,
            first_segment: self.keeper.first_segment,
        }
    }

    fn after_own_record(&mut self, end: u64, evidence: Evidence) {
        self.breaks.push(self.next, end);
        self.next.position = end;
        self.writer.told = evidence.durable;
        self.keeper.on_mark(evidence.first_segment, end);
    }

    /// An index entry, and a mark where there are files. Room for it is there.
    fn start_stride(&mut self) {
        if !self.is_volatile() && self.breaks.last_end() != Some(self.next.position) {
            self.write_mark(Purpose::Stride);
        }
        let Mark { sequence, position } = self.next;
        self.index.push(Entry {
            sequence,
            timestamp_ns: self.last_ns,
            position,
        });
        self.writer.checkpoint(self.next);
        self.stride_end = position + BLOCK_BYTES;
    }

    /// Room for it is there.
    fn write_definition(&mut self, subject_id: u32) {
        let Some(name) = self.subjects.name(subject_id) else {
            return;
        };
        let Mark { sequence, position } = self.next;
        let stamp = record::Stamp {
            kind: Kind::Definition,
            sequence,
            timestamp_ns: self.last_ns,
            subject_id,
            ..record::Stamp::DATA
        };
        let out = self
            .tail
            .slice_mut(position, record::body_record_bytes(name.len()));
        // A definition that does not fit its own size is our bug; the segment then stays without it and recovery would say so.
        let len =
            record::encode(out, &stamp, name.as_bytes()).expect("the slice has the record's size");
        let offset = position.saturating_sub(self.segments.active_start()) as u32;
        self.next.position += len as u64;
        self.subjects.define(subject_id, offset);
    }

    /// Seals the segment in use and opens the next one, which must have been prepared.
    pub(crate) fn rotate(&mut self, len: u64) -> Result<(), AppendError> {
        if !self.segments.is_next_prepared() {
            return Err(match self.state {
                State::NoSpace(_) => AppendError::NoSpace,
                _ => self.full(),
            });
        }
        let start = self.segments.active_start();
        let end = self.segments.active_end();
        let most = SEGMENT_RECORD_BYTES + BATCH_BYTES + NAME_BYTES_MAX as u64 + 64 + len;
        if !self.extend(end + most + MARK_ROOM) {
            return Err(self.full());
        }
        let at = self.next;
        let evidence = self.evidence();
        let stand = Stand {
            salt: self.identity.salt,
            at,
            timestamp_ns: self.last_ns,
        };
        let out = self
            .tail
            .slice_mut(at.position, (end - at.position) as usize);
        let offset = (at.position - start) as u32;
        marks::write_seal(
            out,
            stand,
            evidence,
            offset,
            self.index.since(start),
            self.subjects.places(),
        );
        let sealed = Mark {
            sequence: at.sequence,
            position: end,
        };
        self.writer.checkpoint(sealed);
        self.segments.rotate(at.sequence, self.last_ns);
        let head = SegmentHead {
            identity: self.identity,
            index: self.segments.active_index(),
            base_sequence: at.sequence,
            base_ns: self.last_ns,
            evidence,
        };
        marks::write_segment(
            self.tail.slice_mut(end, SEGMENT_RECORD_BYTES as usize),
            &head,
        );
        self.after_own_record(end + SEGMENT_RECORD_BYTES, evidence);
        self.writer.significant = self.next.position;
        // A sealed segment is synced without being asked: recovery then needs to look at its ends only.
        if self.writer.commit.is_none() {
            self.writer.commit = Some(sealed);
        }
        self.subjects.forget_places();
        self.stride_end = self.next.position;
        self.keeper.due = true;
        self.stats.segments_sealed += 1;
        Ok(())
    }
}

/// What a log is put together from once its files are in order.
pub(crate) struct Parts {
    pub(crate) id: LogId,
    pub(crate) config: LogConfig,
    pub(crate) identity: Identity,
    pub(crate) tail: Tail,
    pub(crate) subjects: Subjects,
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    pub(crate) next: Mark,
    pub(crate) first: Mark,
    pub(crate) last_ns: u64,
    /// The highest durable frontier that a mark in the files tells.
    pub(crate) told: Mark,
}

/// Longest name of a subject.
pub(crate) const NAME_BYTES_MAX: usize = 255;
