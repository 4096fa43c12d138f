//! The records of a stream's files, without opening it: for exports, also while it is served.

use std::ops::ControlFlow;

use trunkline_wire::record::{Kind, RawRecord, Record};

use crate::files::Files;
use crate::layout::SEGMENT_RECORD_BYTES;
use crate::open::{Damage, Defect, OpenError};
use crate::subjects::Subjects;
use crate::verify::{Seen, Skip, Verifier};

/// What comes next in the files.
#[derive(Clone, Copy, Debug)]
pub enum Extracted<'a> {
    /// A data record, verified.
    Record {
        /// It.
        record: Record<'a>,
        /// Its subject.
        subject: &'a str,
    },
    /// Data that was known to be on the device, and is not what it was.
    Lost(Damage),
}

/// Where an extract begins. The default: with the oldest record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// Records of lower sequences are left out.
    pub sequence: u64,
    /// Older records are left out.
    pub timestamp_ns: u64,
}

/// Hands every record from `beginning` on to `take`, in order, until it breaks or the stream ends. Each is verified as [`verify`](crate::verify())
/// does; what does not verify is handed over in its place. `progress` is told how many of how many bytes are done.
///
/// # Errors
/// As [`verify`](crate::verify()).
pub fn extract(
    files: &mut impl Files,
    beginning: Beginning,
    progress: impl FnMut(u64, u64),
    mut take: impl FnMut(Extracted<'_>) -> ControlFlow<()>,
) -> Result<(), OpenError> {
    let skip = Skip {
        sequence: beginning.sequence,
        timestamp_ns: beginning.timestamp_ns,
    };
    let visit = |seen: Seen<'_>, subjects: &Subjects| match seen {
        Seen::Damage(damage) => lost(damage, beginning, &mut take),
        Seen::Segment {
            image,
            end,
            damages,
        } => records(image, end, damages, subjects, beginning, &mut take),
    };
    Verifier::new(files, skip, progress, visit)?.run()?;
    Ok(())
}

/// The records of one segment, which was walked before.
fn records(
    image: &[u8],
    end: u64,
    damages: &[Damage],
    subjects: &Subjects,
    beginning: Beginning,
    take: &mut impl FnMut(Extracted<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut damages = damages.iter().peekable();
    let mut offset = SEGMENT_RECORD_BYTES;
    loop {
        if let Some(damage) = damages.next_if(|damage| damage.start <= offset) {
            lost(*damage, beginning, take)?;
            offset = damage.end;
            continue;
        }
        if offset >= end {
            return ControlFlow::Continue(());
        }
        let rest = &image[offset as usize..];
        let verified = RawRecord::peek(rest, u32::MAX)
            .ok()
            .flatten()
            .and_then(|raw| raw.verify().ok());
        let Some(record) = verified else {
            debug_assert!(false, "the walk came past here");
            return ControlFlow::Continue(());
        };
        let wanted = record.kind() == Kind::Data
            && record.sequence() >= beginning.sequence
            && record.timestamp_ns() >= beginning.timestamp_ns;
        if wanted {
            let subject = subjects.name(record.subject_id()).unwrap_or_default();
            take(Extracted::Record { record, subject })?;
        }
        offset += record.len() as u64;
    }
}

/// Damage to the log's own records alone loses nothing; of a whole file, it is not always known what it held.
fn lost(
    damage: Damage,
    beginning: Beginning,
    take: &mut impl FnMut(Extracted<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let asked = if damage.records() > 0 {
        damage.last >= beginning.sequence
    } else {
        damage.what != Defect::Records
    };
    if asked {
        take(Extracted::Lost(damage))
    } else {
        ControlFlow::Continue(())
    }
}
