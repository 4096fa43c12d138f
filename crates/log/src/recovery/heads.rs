//! What the files say of themselves: segment records, what they have in common, and the durable frontier.

use super::{Recoverer, damaged};
use crate::directory::{self, Heads};
use crate::files::Files;
use crate::layout::{BLOCK_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::SEQUENCE_FIRST;
use crate::marks::{Evidence, Identity};
use crate::open::{Defect, OpenError};

impl<F: Files> Recoverer<'_, F> {
    /// The segment records of all files, and what they have in common. `None`: a stream that was never used.
    pub(super) fn read_heads(&mut self) -> Result<Option<(Identity, Heads)>, OpenError> {
        let heads = self.files.heads(&self.listed, |_, error| Err(error))?;
        let Some(identity) = directory::identity(&heads) else {
            if self.files.is_unused(&self.listed)? {
                return Ok(None);
            }
            let (&segment, _) = self.listed.first_key_value().expect("there is a file");
            return Err(damaged(
                Defect::Head,
                segment,
                0..SEGMENT_RECORD_BYTES,
                SEQUENCE_FIRST,
                None,
            ));
        };
        // No file that has a segment record is of 0 bytes.
        let sane = identity.segment_bytes.is_multiple_of(BLOCK_BYTES);
        for (&segment, &bytes) in &self.listed {
            if bytes != identity.segment_bytes || !sane {
                let held = directory::held(&heads, segment);
                return Err(damaged(
                    Defect::Length { bytes },
                    segment,
                    bytes..identity.segment_bytes,
                    held.start,
                    Some(held.end),
                ));
            }
        }
        Ok(Some((identity, heads)))
    }

    /// The durable frontier, and the oldest segment that must exist as far as any mark tells, behind the end of the log as well.
    pub(super) fn find_evidence(
        &mut self,
        identity: Identity,
        heads: &Heads,
    ) -> Result<Evidence, OpenError> {
        let (files, listed) = (&mut self.files, &self.listed);
        let bytes = identity.segment_bytes;
        directory::find_evidence(listed, heads, bytes, |segment| {
            let image = files.load(segment, bytes)?;
            Ok(Some(directory::told_in(
                image, segment, listed, heads, identity,
            )))
        })
    }
}
