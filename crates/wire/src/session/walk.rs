//! Where the records of a run begin and end.

use zerocopy::FromBytes;

use super::{Body, Located, Role};
use crate::layout::{PREFIX_BYTES, RecordPrefix};
use crate::record::{RawRecord, RecordError, record_bytes};
use crate::violation::Fault;

/// Bytes and count of the whole records at the start of `bytes`, and what is wrong behind them, if it shows yet.
/// `left` is what is left of the frame's body, of which `bytes` is the part that came.
#[inline]
pub(super) fn walk<R: Role>(
    bytes: &[u8],
    left: u32,
    payload_max: u32,
) -> (usize, u32, Option<RecordError>) {
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        if left as usize - at < PREFIX_BYTES {
            return (at, records, Some(RecordError::Length { payload_len: 0 }));
        }
        match RawRecord::peek(&bytes[at..], payload_max) {
            Ok(Some(record)) if R::takes(record.kind()) => {
                at += record.len();
                records += 1;
            }
            Ok(Some(record)) => {
                let kind = record.kind() as u8;
                return (at, records, Some(RecordError::Kind { kind }));
            }
            Ok(None) => break,
            Err(error) => return (at, records, Some(error)),
        }
    }
    (at, records, None)
}

/// A record that is not whole yet must still end within its frame, as far as its bytes show.
pub(super) fn check_fit(body: Body, bytes: &[u8], at: u64) -> Result<(), Located> {
    let (payload_len, needed) = match RecordPrefix::ref_from_prefix(bytes) {
        Ok((prefix, _)) => (
            prefix.payload_len.get(),
            record_bytes(prefix.payload_len.get()),
        ),
        Err(_) => (0, PREFIX_BYTES),
    };
    if needed <= body.left as usize {
        return Ok(());
    }
    let fault = Fault::Record(RecordError::Length { payload_len });
    Err(Located {
        fault,
        offset: at,
        sequence: body.frame.sequence,
    })
}
