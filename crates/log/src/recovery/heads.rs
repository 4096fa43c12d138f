//! What the files say of themselves: segment records, what they have in common, and the durable frontier.

use std::collections::BTreeMap;

use super::{Heads, Recoverer, damaged};
use crate::directory::is_zero;
use crate::files::Files;
use crate::layout::{BLOCK_BYTES, PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::mark::Mark;
use crate::marks::{self, HeadError, Identity};
use crate::open::{Defect, OpenError};
use crate::scan;

impl<F: Files> Recoverer<'_, F> {
    /// The segment records of all files, and what they have in common. `None`: a stream that was never used.
    pub(super) fn read_heads(&mut self) -> Result<Option<(Identity, Heads)>, OpenError> {
        let mut heads = BTreeMap::new();
        let mut identity: Option<Identity> = None;
        for (&segment, &bytes) in &self.listed {
            let mut page = [0; SEGMENT_RECORD_BYTES as usize];
            if bytes < page.len() as u64 {
                continue;
            }
            self.files.read(segment, 0, &mut page)?;
            let head = match marks::read_segment(&page) {
                Ok(head) => head,
                Err(HeadError::Newer {
                    version,
                    incompatible,
                }) => {
                    return Err(OpenError::Newer {
                        segment,
                        version,
                        incompatible,
                    });
                }
                Err(HeadError::Invalid) => continue,
            };
            let known = *identity.get_or_insert(head.identity);
            if known != head.identity || head.index != segment {
                let other_stream = known != head.identity;
                return Err(OpenError::Foreign {
                    segment,
                    index: head.index,
                    other_stream,
                });
            }
            heads.insert(segment, head);
        }
        let Some(identity) = identity else {
            if self.is_unused()? {
                return Ok(None);
            }
            let (&segment, _) = self.listed.first_key_value().expect("there is a file");
            return Err(damaged(
                Defect::Head,
                segment,
                0..SEGMENT_RECORD_BYTES,
                0,
                None,
            ));
        };
        let sane = identity.segment_bytes > 0 && identity.segment_bytes.is_multiple_of(BLOCK_BYTES);
        for (&segment, &bytes) in &self.listed {
            if bytes != identity.segment_bytes || !sane {
                return Err(damaged(
                    Defect::Length { bytes },
                    segment,
                    bytes..identity.segment_bytes,
                    0,
                    None,
                ));
            }
        }
        Ok(Some((identity, heads)))
    }

    /// Only segment 0 is there, and nothing behind its first page, in which no record ever stands.
    fn is_unused(&mut self) -> Result<bool, OpenError> {
        if self.listed.len() != 1 || !self.listed.contains_key(&0) {
            return Ok(false);
        }
        let image = self.files.load(0, self.listed[&0])?;
        Ok(image.get(PAGE_BYTES as usize..).is_some_and(is_zero))
    }

    /// The durable frontier: searched from the last file backwards until a segment starts at or below it.
    pub(super) fn find_durable(
        &mut self,
        identity: Identity,
        heads: &Heads,
    ) -> Result<Mark, OpenError> {
        let mut durable = heads
            .values()
            .map(|head| head.evidence.durable)
            .max()
            .unwrap_or_default();
        for &segment in self.listed.keys().rev() {
            let base = segment * identity.segment_bytes;
            let image = self.files.load(segment, identity.segment_bytes)?;
            durable = durable.max(scan::durable_in(image, base, identity.salt));
            if durable.position >= base && heads.contains_key(&segment) {
                break;
            }
        }
        Ok(durable)
    }
}
