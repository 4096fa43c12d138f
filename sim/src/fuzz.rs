//! Stream directories of any bytes: whatever they hold, nothing panics, and no reader gets a wrong byte.
//!
//! An input is a list of changes to a small stream, eight bytes each. Flipped bits alone never get past a checksum, so one kind of change makes a record
//! valid again, whatever it says by then; behind one of those, records may be others, and still nothing may panic.

use std::sync::OnceLock;

use trunkline_log::testing::{MemoryFiles, Queue, Rng, execute};
use trunkline_log::{
    Log, LogConfig, LogId, Loss, Now, Retention, SEQUENCE_FIRST, plan_repair, verify,
};
use trunkline_wire::Stamp;
use trunkline_wire::crc::Crc;
use trunkline_wire::record::{self, PREFIX_BYTES, RawRecord};

use crate::server::{Found, replay};

/// A stream that was written to as usual.
struct Sound {
    config: LogConfig,
    files: MemoryFiles,
}

/// Makes the changes that `input` says, and reads what is left: verified, recovered, repaired.
///
/// # Panics
/// Something is wrong with the log.
pub fn damaged_stream(input: &[u8]) {
    let sound = sound();
    let mut files = sound.files.clone();
    let mut is_forged = false;
    for change in input.chunks_exact(8).take(CHANGES_MAX) {
        is_forged |= apply(change, &mut files);
    }
    // A kept file is never longer than what was written of it; what it says is the reader's business.
    let verified = verify(&mut files, |_, _| {});
    let mut opened = files.clone();
    if let Ok((log, _)) = Log::open(LOG, &sound.config, &mut opened) {
        read(log, &opened, is_forged);
    } else {
        let same = |segment: &u64| opened.contents(*segment) == files.contents(*segment);
        assert!(
            opened.segments().iter().all(same),
            "what is refused is changed"
        );
    }
    let Ok(repair) = plan_repair(&mut files, 99, |_, _| {}) else {
        return;
    };
    assert!(verified.is_ok(), "what can be repaired can be verified");
    if repair.apply(&mut files).is_ok()
        && let Ok((log, _)) = Log::open(LOG, &sound.config, &mut files)
    {
        read(log, &files, is_forged);
    } else {
        assert!(is_forged, "what was repaired does not open");
    }
}

/// Every record is what it was, or is told as lost.
fn read(mut log: Log, files: &MemoryFiles, is_forged: bool) {
    let (mut next, end) = (log.first().sequence, log.received());
    let bytes = |segment, offset: u64, len: u32| {
        let bytes = files.contents(segment).unwrap_or_default();
        let end = bytes.len().min(offset as usize + len as usize);
        bytes.get(offset as usize..end).unwrap_or_default().to_vec()
    };
    let cursor = log.seek_first();
    let read = replay(&mut log, bytes, cursor, end, |found| {
        match found {
            Found::Record(record, subject) => {
                let sequence = record.sequence();
                assert!(sequence >= next, "{sequence} comes where {next} is due");
                let (own, body) = published(sequence);
                let lost = subject.is_some_and(|name| name.starts_with("$lost."));
                let same = record.body() == body && (subject == Some(own) || lost);
                assert!(same || is_forged, "{sequence} of {subject:?} is another");
                next = sequence + 1;
            }
            Found::Lost(lost) => {
                assert!(lost.why == Loss::Damaged || is_forged, "{lost:?}");
                next = lost.last + 1;
            }
        }
        Ok(())
    });
    assert!(read.is_ok() || is_forged, "{read:?}");
}

/// Makes one change. Whether something may be valid now that nobody wrote.
fn apply(change: &[u8], files: &mut MemoryFiles) -> bool {
    let [kind, segment, page, low, high, a, b, c] = *change else {
        return false;
    };
    let segments = files.segments();
    let Some(segment) = segments.get(usize::from(segment) % segments.len().max(1)) else {
        return false;
    };
    let at = usize::from(page) % 16 * PAGE_BYTES
        + usize::from(u16::from_le_bytes([low, high])) % PAGE_BYTES;
    let Some(bytes) = files.contents_mut(*segment) else {
        return false;
    };
    match kind % 8 {
        0 => flip(bytes, at, a),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = a;
            }
        }
        2 => {
            let end = bytes.len().min(at + usize::from(a) * 16);
            if let Some(stretch) = bytes.get_mut(at..end) {
                stretch.fill(b);
            }
        }
        3 => {
            let from = segments[usize::from(a) % segments.len()];
            let start = usize::from(b) % 16 * PAGE_BYTES;
            let page = files
                .contents(from)
                .and_then(|bytes| bytes.get(start..start + PAGE_BYTES));
            let page = page.map(<[u8]>::to_vec).unwrap_or_default();
            let at = at / PAGE_BYTES * PAGE_BYTES;
            if let Some(bytes) = files.contents_mut(*segment)
                && let Some(target) = bytes.get_mut(at..at + page.len())
            {
                target.copy_from_slice(&page);
            }
        }
        4 => bytes.resize(at + usize::from(a % 2) * 64, b),
        5 => {
            let taken = std::mem::take(bytes);
            let index = u64::from(a % 8);
            files.insert(index, taken);
        }
        6 => reseal(bytes, at, (a, b, c)),
        _ => bytes.clear(),
    }
    kind % 8 == 6
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
}

/// Writes a byte into the record that lies around a place, and its checksum anew.
fn reseal(bytes: &mut [u8], at: usize, (where_to, value, _): (u8, u8, u8)) {
    let mut start = 0;
    while let Some(Ok(Some(raw))) = bytes
        .get(start..)
        .map(|rest| RawRecord::peek(rest, u32::MAX))
    {
        let end = start + raw.len();
        if end <= at {
            start = end;
            continue;
        }
        let payload_end = start + PREFIX_BYTES - record::ADDRESS_BYTES + raw.payload_len() as usize;
        let record = &mut bytes[start..payload_end];
        let place = usize::from(where_to) % record.len();
        // The checksum itself comes last.
        if !(28..32).contains(&place) {
            record[place] = value;
        }
        let crc = Crc::new()
            .update(&record[PREFIX_BYTES..])
            .update(&record[32..PREFIX_BYTES])
            .update(&record[..28])
            .finish();
        record[28..32].copy_from_slice(&crc.to_le_bytes());
        return;
    }
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let config = LogConfig {
            tail_bytes: 256 << 10,
            segment_bytes: 64 << 10,
            record_bytes_max: 4 << 10,
            read_bytes: 16 << 10,
            subjects_max: 16,
            retention: Retention {
                records_max: Some(120),
                ..Retention::default()
            },
            entropy: 7,
            ..LogConfig::default()
        };
        let mut files = MemoryFiles::default();
        let (mut log, _) = Log::open(LOG, &config, &mut files).expect("an empty directory");
        let (mut queue, mut now) = (
            Queue::default(),
            Now {
                mono_ns: 1,
                wall_ns: 1_700_000_000_000_000_000,
            },
        );
        for sequence in SEQUENCE_FIRST..SEQUENCE_FIRST + RECORDS {
            let (subject, body) = published(sequence);
            let id = log.define(subject).expect("few subjects");
            let mut bytes = vec![0; record::body_record_bytes(body.len())];
            record::encode(&mut bytes, &Stamp::DATA, &body).expect("it has its size");
            let raw = RawRecord::peek(&bytes, u32::MAX)
                .ok()
                .flatten()
                .expect("a record");
            while log.append(&raw, id, now.wall_ns).is_err() {
                settle(&mut log, &mut files, &mut queue, now);
            }
            if sequence % 9 == 0 {
                log.want_synced(sequence);
                settle(&mut log, &mut files, &mut queue, now);
            }
            now.mono_ns += 1_000_000;
            now.wall_ns += 1_000_000;
        }
        for _ in 0..3 {
            now.mono_ns += 2_000_000_000;
            settle(&mut log, &mut files, &mut queue, now);
        }
        Sound { config, files }
    })
}

fn settle(log: &mut Log, files: &mut MemoryFiles, queue: &mut Queue, now: Now) {
    log.flush(now, queue);
    while !queue.requests.is_empty() {
        let (_, token, request) = queue.requests.remove(0);
        let done = execute(log, files, request, &mut Vec::new());
        log.on_completion(token, done, now, queue);
    }
}

/// What has this sequence.
fn published(sequence: u64) -> (&'static str, Vec<u8>) {
    let mut rng = Rng(sequence);
    let len = rng.below(1800) as usize;
    let mut body: Vec<u8> = (0..len.div_ceil(8))
        .flat_map(|_| rng.bits().to_le_bytes())
        .collect();
    body.truncate(len);
    (["a", "b.c", "d"][(sequence % 3) as usize], body)
}

const LOG: LogId = LogId(0);
const PAGE_BYTES: usize = 4096;
/// More than two segments of them.
const RECORDS: u64 = 260;
/// More changes at once find nothing more.
const CHANGES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_any_bytes_are_refused_or_read_as_they_were() {
        let segments = sound().files.segments();
        assert!(segments.len() >= 3 && segments[0] > 0, "{segments:?}");
        damaged_stream(&[]);
        // A seal that lists one subject more, and so has entries that are none.
        damaged_stream(&[6, 0, 15, 240, 15, 80, 255, 0]);
        let mut rng = Rng(11);
        for _ in 0..400 {
            let count = 1 + rng.below(6);
            let input: Vec<u8> = (0..count).flat_map(|_| rng.bits().to_le_bytes()).collect();
            damaged_stream(&input);
        }
    }
}
