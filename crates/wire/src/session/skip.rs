//! Getting past a record over the limit without buffering it.

use zerocopy::FromBytes;

use super::walk::check_fit;
use super::{Body, Found, Located, Oversized, Role, Session, State};
use crate::layout::{PREFIX_BYTES, RecordPrefix};
use crate::record::{Kind, RawRecord, RecordError, check_prefix, record_bytes};
use crate::violation::Fault;

#[derive(Clone, Copy, Debug)]
pub(super) struct Skip {
    pub(super) oversized: Oversized,
    /// Bytes of the current record yet to be skipped; never more than `Body::left`.
    pub(super) gap: usize,
}

impl<R: Role> Session<R> {
    /// At the prefix of a record over the limit, which `bytes` starts with; `at` is where.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_skip(&mut self, body: Body, bytes: &[u8], at: u64) -> Result<(), Located> {
        let located = |error| Located {
            fault: Fault::Record(error),
            offset: at,
            sequence: body.frame.sequence,
        };
        let Ok((prefix, _)) = RecordPrefix::ref_from_prefix(bytes) else {
            unreachable!("it was read")
        };
        let payload_len = check_prefix(prefix).map_err(located)?;
        let counts = skipped_kind::<R>(prefix).map_err(located)?;
        check_fit(body, bytes, at)?;
        let oversized = Oversized {
            frame: body.frame,
            first: body.first,
            sequence: prefix.sequence.get(),
            payload_len,
            payload_max: self.limits.max_record_bytes,
            records: counts,
            offset: at,
        };
        let gap = record_bytes(payload_len) - PREFIX_BYTES;
        let body = Body {
            left: body.left - PREFIX_BYTES as u32,
            ..body
        };
        self.state = State::Skip(body, Skip { oversized, gap });
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn skip(
        &mut self,
        mut body: Body,
        mut skip: Skip,
        input: &[u8],
        at: u64,
    ) -> Result<(usize, Found), Located> {
        let mut used = 0;
        loop {
            let step = skip.gap.min(input.len() - used);
            used += step;
            skip.gap -= step;
            body.left -= step as u32;
            if body.left == 0 {
                self.state = State::Frame;
                return Ok((used, Found::Oversized(skip.oversized)));
            }
            self.state = State::Skip(body, skip);
            if skip.gap > 0 {
                return Ok((used, Found::Nothing));
            }
            let start = at + used as u64 - self.carry.len() as u64;
            let located = |error| Located {
                fault: Fault::Record(error),
                offset: start,
                sequence: body.frame.sequence,
            };
            if (body.left as usize) < PREFIX_BYTES {
                return Err(located(RecordError::Length { payload_len: 0 }));
            }
            used += self.fill(&input[used..], PREFIX_BYTES);
            let Ok(prefix) = RecordPrefix::ref_from_bytes(&self.carry) else {
                RawRecord::peek(&self.carry, u32::MAX).map_err(located)?;
                return Ok((used, Found::Nothing));
            };
            let payload_len = check_prefix(prefix).map_err(located)?;
            let counts = skipped_kind::<R>(prefix).map_err(located)?;
            check_fit(body, &self.carry, start)?;
            skip.oversized.records += counts;
            skip.gap = record_bytes(payload_len) - PREFIX_BYTES;
            body.left -= PREFIX_BYTES as u32;
            self.carry.clear();
        }
    }
}

/// How much a skipped record counts.
fn skipped_kind<R: Role>(prefix: &RecordPrefix) -> Result<u32, RecordError> {
    match Kind::from_u8(prefix.kind) {
        Some(kind) if R::takes(kind) => Ok(u32::from(kind == Kind::Data)),
        _ => Err(RecordError::Kind { kind: prefix.kind }),
    }
}
