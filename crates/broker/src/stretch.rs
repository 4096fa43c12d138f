//! Matching records within a run: which stretches of it one member gets.

use trunkline_wire::record::PREFIX_BYTES;
use trunkline_wire::{Kind, record_bytes};

use crate::channel::Channel;
use crate::feed::{Feed, Filter};
use crate::limits::Limits;
use crate::out::Source;

/// A run that was found in a tail or in a buffer.
pub(crate) struct Found {
    pub(crate) source: Source,
    /// Position in the stream, or offset in the buffer.
    pub(crate) start: u64,
    pub(crate) len: u32,
    pub(crate) records: u32,
    pub(crate) first: u64,
}

/// Matching records within a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) records: u32,
    pub(crate) first: u64,
}

/// Finds the stretches of a run that match, data up to the sequence `last`. Returns the sequence at which it stopped because of the
/// channel's credit, `None` when it came to the end.
pub(crate) fn look(
    bytes: &[u8],
    run: &Found,
    last: u64,
    feed: &Feed,
    channel: &Channel,
    limits: &Limits,
    stretches: &mut Vec<Stretch>,
) -> Option<u64> {
    stretches.clear();
    let mut most = usize::MAX;
    if channel.tracks {
        most = (limits.unconfirmed_ranges as usize)
            .saturating_sub(channel.unconfirmed.len())
            .max(1);
    }
    let credit = u64::try_from(channel.credit).unwrap_or(0).max(1);
    let (mut sequence, mut offset, mut total) = (run.first, 0, 0);
    // The stretch that goes on, if the record before matched.
    let mut open: Option<Stretch> = None;
    while offset < bytes.len() {
        let Some((is_data, subject, len)) = head(&bytes[offset..]) else {
            break;
        };
        if !is_data {
            offset += len;
            // A definition ends a stretch: the client has it already.
            stretches.extend(open.take());
            continue;
        }
        if sequence > last {
            break;
        }
        let matches = match &feed.filter {
            Filter::Whole => true,
            Filter::Some(matches) => matches.has(subject),
        };
        if matches {
            if total >= credit || open.is_none() && stretches.len() >= most {
                stretches.extend(open.take());
                return Some(sequence);
            }
            total += len as u64;
            match &mut open {
                Some(stretch) => {
                    stretch.len += len as u32;
                    stretch.records += 1;
                }
                None => {
                    open = Some(Stretch {
                        offset: offset as u32,
                        len: len as u32,
                        records: 1,
                        first: sequence,
                    });
                }
            }
        } else {
            stretches.extend(open.take());
        }
        sequence += 1;
        offset += len;
    }
    stretches.extend(open.take());
    None
}

/// Whether the record at the start of `bytes` is data, its subject and its length. The log wrote or verified it.
#[inline]
fn head(bytes: &[u8]) -> Option<(bool, u32, usize)> {
    let prefix = bytes.get(..PREFIX_BYTES)?;
    let word = |at: usize| {
        u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]])
    };
    Some((
        prefix[5] == Kind::Data as u8,
        word(32),
        record_bytes(word(24)),
    ))
}
