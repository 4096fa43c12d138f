//! One stream's numbers.

use serde::Serialize;
use serde_saphyr::Spanned;
use trunkline_broker::SYSTEM_PREFIX;
use trunkline_log::{Durability, LogConfig, Retention};

use super::{Ack, Limits, RECORDS_PER_TAIL, Storage, SyncedWrites, Visible, worker_of};
use crate::config::{Bytes, File, Problem, Problems, Span, Stream};
use crate::storage::Space;

/// Every number of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamPlan {
    /// Its name: 1 to 64 letters, digits, `-` and `_`; also the name of its directory.
    pub name: String,
    /// The patterns that it captures.
    pub subjects: Vec<String>,
    /// Files or memory. Default files.
    pub storage: Storage,
    /// What an acknowledgement says when the publisher asks for nothing else. Default `stored`, in memory `received`.
    pub ack: Ack,
    /// When subscribers see a record. Default: at the ack level.
    pub visible: Visible,
    /// What is kept. Default 1 GiB.
    pub retention: RetentionPlan,
    /// Size of a segment file. Default 64 MiB, less where a quarter of the retention is less; 0 in memory.
    pub segment_bytes: u64,
    /// Memory for the newest records; a power of two. Default 8 MiB, for storage `memory` 64 MiB.
    pub tail_bytes: u64,
    /// Longest time that a stored record waits for a sync nobody asked for. Default 1 s.
    pub sync_interval_ns: u64,
    /// Largest number of subjects.
    pub subjects_max: u32,
    /// The worker that owns it.
    pub worker: usize,
}

/// What a stream keeps; the oldest segments go when any bound is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetentionPlan {
    /// Bytes of segment files.
    pub bytes: Option<u64>,
    /// Age of a segment's newest record.
    pub age_ns: Option<u64>,
    /// Records.
    pub records: Option<u64>,
}

impl StreamPlan {
    /// The stream of a server that was told nothing: `main`, which captures everything.
    #[must_use]
    pub fn main(limits: &Limits, workers: usize) -> Self {
        Self {
            name: "main".to_owned(),
            subjects: vec![">".to_owned()],
            storage: Storage::File,
            ack: Ack::Stored,
            visible: Visible::Ack,
            retention: RetentionPlan {
                bytes: Some(DEFAULT_RETENTION_BYTES),
                age_ns: None,
                records: None,
            },
            segment_bytes: smallest_segment(limits).max(DEFAULT_SEGMENT_BYTES),
            tail_bytes: smallest_tail(limits).max(DEFAULT_TAIL_BYTES),
            sync_interval_ns: DEFAULT_SYNC_INTERVAL_NS,
            subjects_max: limits.stream_subjects,
            worker: worker_of("main", workers),
        }
    }

    /// A stream of which nothing but the name is known.
    pub(crate) fn undescribed(name: &str, limits: &Limits, workers: usize) -> Self {
        Self {
            name: name.to_owned(),
            subjects: Vec::new(),
            worker: worker_of(name, workers),
            ..Self::main(limits, workers)
        }
    }

    /// Computes a stream that is added while the server runs, from the text of one entry of `streams` (YAML or JSON).
    /// Overlap with other streams is the caller's to check: only it knows them all.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_text(text: &str, limits: &Limits, workers: usize) -> Result<Self, Problems> {
        let file = File::parse_stream("stream", text)?;
        let mut problems = Vec::new();
        let plan = Self::compute(&file, &file.config, limits, workers, &mut problems);
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(Problems(problems))
        }
    }

    /// Computes every number; what is wrong is pushed to `problems`, and the plan is then not to be used.
    pub(super) fn compute<T>(
        file: &File<T>,
        stream: &Stream,
        limits: &Limits,
        workers: usize,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut check = Check { file, problems };
        check.name(&stream.name);
        check.subjects(stream);
        let storage = stream
            .storage
            .as_ref()
            .map_or(Storage::File, |storage| storage.value);
        let plan = Self {
            name: stream.name.value.clone(),
            subjects: stream
                .subjects
                .iter()
                .map(|subject| subject.value.clone())
                .collect(),
            storage,
            visible: stream
                .visible
                .as_ref()
                .map_or(Visible::Ack, |visible| visible.value),
            subjects_max: limits.stream_subjects,
            worker: worker_of(&stream.name.value, workers),
            ..Self::main(limits, workers)
        };
        match storage {
            Storage::File => check.durable(stream, limits, plan),
            Storage::Memory => check.volatile(stream, limits, plan),
        }
    }
}

impl StreamPlan {
    /// How the space of its segments is made sure of.
    #[must_use]
    pub fn space(&self, synced_writes: SyncedWrites) -> Space {
        match (self.ack, synced_writes) {
            (Ack::Synced, SyncedWrites::Buffered) => Space::Written,
            (Ack::Synced, SyncedWrites::Direct) => Space::PastCache,
            (Ack::Stored | Ack::Received, _) => Space::Reserved,
        }
    }

    /// What its log is opened with. `entropy` is random and fresh; it is used when the stream is created.
    #[must_use]
    pub fn log_config(&self, limits: &Limits, entropy: u128) -> LogConfig {
        LogConfig {
            storage: match self.storage {
                Storage::File => trunkline_log::Storage::Files,
                Storage::Memory => trunkline_log::Storage::Memory,
            },
            durability: match self.ack {
                Ack::Synced => Durability::Synced,
                Ack::Stored | Ack::Received => Durability::Stored,
            },
            tail_bytes: self.tail_bytes,
            segment_bytes: self.segment_bytes,
            record_bytes_max: limits.payload_len_max(),
            subjects_max: self.subjects_max,
            sync_interval_ns: self.sync_interval_ns,
            retention: Retention {
                bytes_max: self.retention.bytes,
                age_ns_max: self.retention.age_ns,
                records_max: self.retention.records,
            },
            entropy,
            ..LogConfig::default()
        }
    }
}

/// The values of one stream against each other.
struct Check<'a, T> {
    file: &'a File<T>,
    problems: &'a mut Vec<Problem>,
}

impl<T> Check<'_, T> {
    fn refuse<V>(&mut self, value: &Spanned<V>, message: String) {
        self.problems.push(self.file.problem_at(value, message));
    }

    fn name(&mut self, name: &Spanned<String>) {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(legal) {
            self.refuse(
                name,
                format!(
                    "`{}` cannot name a stream: use 1 to 64 letters, digits, `-` and `_`",
                    name.value
                ),
            );
        }
    }

    fn subjects(&mut self, stream: &Stream) {
        if stream.subjects.is_empty() {
            self.refuse(
                &stream.name,
                "the stream captures no subject; `subjects: ['>']` captures all".to_owned(),
            );
        }
        for subject in &stream.subjects {
            if let Err(reason) = trunkline_wire::check_pattern(&subject.value) {
                self.refuse(
                    subject,
                    format!("`{}` is not a pattern: {reason}", subject.value),
                );
            } else if subject.value.starts_with(SYSTEM_PREFIX) {
                self.refuse(
                    subject,
                    format!(
                        "`{}` is the server's own: it answers calls to subjects below `{SYSTEM_PREFIX}`, and nobody publishes to them",
                        subject.value
                    ),
                );
            }
        }
    }

    fn durable(&mut self, stream: &Stream, limits: &Limits, plan: StreamPlan) -> StreamPlan {
        let smallest = smallest_segment(limits);
        let kept = stream.retention.as_ref();
        let (segment, bytes) = (
            &stream.segment,
            kept.and_then(|kept| kept.value.bytes.as_ref()),
        );
        if let Some(written) = segment {
            let possible = smallest..=MAX_SEGMENT_BYTES;
            if !possible.contains(&written.value.0)
                || !written.value.0.is_multiple_of(SEGMENT_STEP_BYTES)
            {
                let (least, most) = (Bytes(smallest), Bytes(MAX_SEGMENT_BYTES));
                let message = format!(
                    "a segment of {} is not possible: use a multiple of 64KiB from {least} \
                     ({RECORDS_PER_TAIL} of the largest records) to {most}",
                    written.value
                );
                self.refuse(written, message);
            }
        }
        // What is written rules; of two sizes that are not written the retention's default comes first.
        let segment_bytes = match (segment, bytes) {
            (Some(segment), _) => segment.value.0,
            (None, Some(bytes)) => {
                let quarter = (bytes.value.0 / SEGMENTS_MIN) & !(SEGMENT_STEP_BYTES - 1);
                quarter.clamp(smallest, DEFAULT_SEGMENT_BYTES.max(smallest))
            }
            (None, None) => DEFAULT_SEGMENT_BYTES.max(smallest),
        };
        let least = segment_bytes.saturating_mul(SEGMENTS_MIN);
        if let Some(written) = bytes.filter(|bytes| bytes.value.0 < least) {
            let message = format!(
                "{} is less than {SEGMENTS_MIN} segments of {} ({}): retention removes whole segments",
                written.value,
                Bytes(segment_bytes),
                Bytes(least)
            );
            self.refuse(written, message);
        }
        StreamPlan {
            ack: stream.ack.as_ref().map_or(Ack::Stored, |ack| ack.value),
            segment_bytes,
            tail_bytes: self.tail(stream, limits, DEFAULT_TAIL_BYTES),
            sync_interval_ns: self.sync_interval(stream),
            retention: self.retention(stream, Some(DEFAULT_RETENTION_BYTES.max(least))),
            ..plan
        }
    }

    fn volatile(&mut self, stream: &Stream, limits: &Limits, plan: StreamPlan) -> StreamPlan {
        const WHY: &str =
            "belongs to storage `file`; this stream lives in memory, and `tail` is its size";
        if let Some(segment) = &stream.segment {
            self.refuse(segment, format!("`segment` {WHY}"));
        }
        if let Some(interval) = &stream.sync_interval {
            self.refuse(interval, format!("`sync_interval` {WHY}"));
        }
        if let Some(bytes) = stream
            .retention
            .as_ref()
            .and_then(|retention| retention.value.bytes.as_ref())
        {
            self.refuse(bytes, format!("`bytes` {WHY}"));
        }
        if let Some(ack) = stream.ack.as_ref().filter(|ack| ack.value != Ack::Received) {
            self.refuse(ack, format!(
                "`{}` is not possible in memory, where nothing survives the server; use `received`, or storage `file`",
                ack.value.word()
            ));
        }
        StreamPlan {
            ack: Ack::Received,
            retention: self.retention(stream, None),
            tail_bytes: self.tail(stream, limits, DEFAULT_MEMORY_TAIL_BYTES),
            segment_bytes: 0,
            sync_interval_ns: 0,
            ..plan
        }
    }

    fn retention(&mut self, stream: &Stream, default_bytes: Option<u64>) -> RetentionPlan {
        let Some(written) = stream.retention.as_ref() else {
            return RetentionPlan {
                bytes: default_bytes,
                age_ns: None,
                records: None,
            };
        };
        let kept = &written.value;
        if let Some(age) = kept.age.as_ref().filter(|age| age.value < MIN_AGE) {
            self.refuse(
                age,
                format!(
                    "an age of {} is not possible: at least {MIN_AGE}",
                    age.value
                ),
            );
        }
        if let Some(records) = kept.records.as_ref().filter(|records| records.value == 0) {
            self.refuse(records, "a stream keeps at least 1 record".to_owned());
        }
        RetentionPlan {
            // Whoever bounds by age or count alone still gets the default cap, so that a disk is not filled by silence.
            bytes: kept
                .bytes
                .as_ref()
                .map(|bytes| bytes.value.0)
                .or(default_bytes),
            age_ns: kept.age.as_ref().map(|age| age.value.0),
            records: kept.records.as_ref().map(|records| records.value),
        }
    }

    fn tail(&mut self, stream: &Stream, limits: &Limits, default: u64) -> u64 {
        let smallest = smallest_tail(limits);
        let Some(written) = &stream.tail else {
            return smallest.max(default);
        };
        let bytes = written.value.0;
        if !bytes.is_power_of_two() || !(smallest..=MAX_TAIL_BYTES).contains(&bytes) {
            self.refuse(written, format!(
                "a tail of {} is not possible: use a power of two from {} ({RECORDS_PER_TAIL} of the largest records) to {}",
                written.value, Bytes(smallest), Bytes(MAX_TAIL_BYTES)
            ));
        }
        bytes
    }

    fn sync_interval(&mut self, stream: &Stream) -> u64 {
        let Some(written) = &stream.sync_interval else {
            return DEFAULT_SYNC_INTERVAL_NS;
        };
        if !(Span(1_000_000)..=Span(3_600_000_000_000)).contains(&written.value) {
            self.refuse(
                written,
                format!(
                    "a sync interval of {} is not possible: from 1ms to 1h",
                    written.value
                ),
            );
        }
        written.value.0
    }
}

const fn smallest_tail(limits: &Limits) -> u64 {
    let bytes = (RECORDS_PER_TAIL * limits.max_record_bytes as u64).next_power_of_two();
    if bytes < MIN_TAIL_BYTES {
        MIN_TAIL_BYTES
    } else {
        bytes
    }
}

const fn smallest_segment(limits: &Limits) -> u64 {
    let bytes = RECORDS_PER_TAIL * limits.max_record_bytes as u64;
    let bytes = bytes.next_multiple_of(SEGMENT_STEP_BYTES);
    if bytes < MIN_SEGMENT_BYTES {
        MIN_SEGMENT_BYTES
    } else {
        bytes
    }
}

const DEFAULT_RETENTION_BYTES: u64 = 1 << 30;
const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
const DEFAULT_TAIL_BYTES: u64 = 8 << 20;
const DEFAULT_MEMORY_TAIL_BYTES: u64 = 64 << 20;
const DEFAULT_SYNC_INTERVAL_NS: u64 = 1_000_000_000;
/// Retention removes whole segments: with fewer than four a stream would lose half of itself at a time.
const SEGMENTS_MIN: u64 = 4;
const SEGMENT_STEP_BYTES: u64 = 64 << 10;
const MIN_SEGMENT_BYTES: u64 = 256 << 10;
const MAX_SEGMENT_BYTES: u64 = 1 << 30;
const MIN_TAIL_BYTES: u64 = 256 << 10;
const MAX_TAIL_BYTES: u64 = 1 << 30;
const MIN_AGE: Span = Span(1_000_000_000);
