//! From a stream's plan to its log and to what the broker knows of it.

use trunkline_broker as broker;
use trunkline_log::{Log, LogId, Recovery, State};
use trunkline_route::Pattern;
use trunkline_wire::AckLevel;

use super::Error;
use crate::config::{Bytes, Span};
use crate::plan::{Ack, Plan, Storage, StreamPlan, Visible};
use crate::storage::{DataDir, StreamDir, entropy};
use crate::system;

/// A stream that is open and not yet served.
pub(super) struct Opened {
    pub(super) plan: StreamPlan,
    pub(super) log: Log,
    pub(super) recovery: Recovery,
    /// None in memory.
    pub(super) dir: Option<StreamDir>,
}

/// Opens a stream, recovering it if need be. Blocks.
///
/// # Errors
/// The data directory's, and the log's.
pub(super) fn open(
    id: LogId,
    stream: StreamPlan,
    plan: &Plan,
    data: &DataDir,
) -> Result<Opened, Error> {
    let name = stream.name.clone();
    let failed = |error| Error::Stream {
        path: plan.stream_dir(&name),
        name: name.clone(),
        error,
    };
    let entropy = entropy().map_err(|error| Error::System {
        doing: "get random bytes",
        error,
    })?;
    let config = stream.log_config(&plan.limits, entropy);
    let (log, recovery, dir) = match stream.storage {
        Storage::File => {
            let mut dir = data.stream(&name, stream.space(plan.synced_writes))?;
            let (log, recovery) = Log::open(id, &config, &mut dir).map_err(failed)?;
            data.note_created(&name)?;
            (log, recovery, Some(dir))
        }
        Storage::Memory => {
            let (log, recovery) = Log::open_in_memory(id, &config).map_err(failed)?;
            (log, recovery, None)
        }
    };
    Ok(Opened {
        plan: stream,
        log,
        recovery,
        dir,
    })
}

/// What the broker knows of a stream.
pub(super) fn broker_plan(plan: &StreamPlan) -> broker::StreamPlan {
    let level = level(plan.ack);
    broker::StreamPlan {
        name: plan.name.as_str().into(),
        // The plan has checked them.
        patterns: plan
            .subjects
            .iter()
            .filter_map(|subject| Pattern::new(subject).ok())
            .collect(),
        level,
        visible: match plan.visible {
            Visible::Ack => level,
            Visible::Received => AckLevel::Received,
        },
    }
}

fn level(ack: Ack) -> AckLevel {
    match ack {
        Ack::Received => AckLevel::Received,
        Ack::Stored => AckLevel::Stored,
        Ack::Synced => AckLevel::Synced,
    }
}

/// A stream as `$sys.stream.info` tells it.
pub(super) fn describe(
    plan: &StreamPlan,
    info: &broker::StreamInfo,
    configured: bool,
) -> system::StreamInfo {
    system::StreamInfo {
        records: info.records,
        bytes: info.bytes,
        first_sequence: info.first_sequence,
        last_sequence: info.last_sequence,
        stored_sequence: info.stored.map(|mark| mark.sequence.saturating_sub(1)),
        synced_sequence: info.synced.map(|mark| mark.sequence.saturating_sub(1)),
        subjects_seen: info.subjects,
        subscribers: u64::from(info.subscribers),
        state: match info.state {
            State::Ok => "ok",
            State::NoSpace(_) => "no_space",
            State::Poisoned(_) => "read_only",
        }
        .to_owned(),
        reason: reason(info.state),
        retention_held: info.clock_held,
        damaged: info.damaged.clone(),
        skipped: info.skipped,
        disconnected: info.disconnected,
        ..describe_plan(plan, configured)
    }
}

/// What there is to say of a stream whether it could be opened or not.
pub(super) fn describe_plan(plan: &StreamPlan, configured: bool) -> system::StreamInfo {
    system::StreamInfo {
        name: plan.name.clone(),
        subjects: plan.subjects.clone(),
        storage: match plan.storage {
            Storage::File => "file",
            Storage::Memory => "memory",
        }
        .to_owned(),
        ack: plan.ack.word().to_owned(),
        visible: match plan.visible {
            Visible::Ack => "ack",
            Visible::Received => "received",
        }
        .to_owned(),
        worker: plan.worker as u32,
        retention: retention(plan),
        configured,
        ..system::StreamInfo::default()
    }
}

/// Why a stream takes no records, or soon takes none, and what can be done.
pub(super) fn reason(state: State) -> Option<String> {
    match state {
        State::Ok => None,
        State::NoSpace(error) => Some(format!(
            "the next segment cannot be made: {error}; it is tried again, and the stream goes on by itself"
        )),
        State::Poisoned(error) => Some(format!(
            "a write or a sync failed: {error}; what was synced can be read; start the server again when the disk is in order"
        )),
    }
}

fn retention(plan: &StreamPlan) -> String {
    let kept = &plan.retention;
    let bounds = [
        kept.bytes.map(|bytes| Bytes(bytes).to_string()),
        kept.age_ns.map(|ns| Span(ns).to_string()),
        kept.records.map(|records| format!("{records} records")),
    ];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    if bounds.is_empty() {
        match plan.storage {
            Storage::File => "unlimited".to_owned(),
            Storage::Memory => format!("its tail of {}", Bytes(plan.tail_bytes)),
        }
    } else {
        bounds.join(", ")
    }
}
