//! Which files there are, and what they say of themselves, while a server may be making and removing some.

use std::collections::BTreeSet;
use std::io;
use std::ops::{ControlFlow, Range};

use super::{Seen, Verifier, unknown};
use crate::directory::{self, is_zero};
use crate::files::Files;
use crate::layout::{PAGE_BYTES, SEGMENT_RECORD_BYTES};
use crate::marks::{Evidence, Identity, SegmentHead};
use crate::open::{Defect, OpenError};
use crate::subjects::Subjects;

impl<F, P, V> Verifier<'_, F, P, V>
where
    F: Files,
    P: FnMut(u64, u64),
    V: FnMut(Seen<'_>, &Subjects) -> ControlFlow<()>,
{
    /// Whether there is such a file. While one is made or removed, a listing may pass over others, so what is not there is looked for once more.
    pub(super) fn is_listed(&mut self, segment: u64) -> Result<bool, OpenError> {
        if !self.listed.contains_key(&segment) {
            self.listed = self.files.list()?;
            let foreign = &self.foreign;
            self.listed.retain(|at, _| !foreign.contains_key(at));
        }
        Ok(self.listed.contains_key(&segment))
    }

    /// All files, those that belong elsewhere too, in order.
    pub(super) fn there(&self) -> impl DoubleEndedIterator<Item = u64> {
        let all: BTreeSet<u64> = self
            .listed
            .keys()
            .chain(self.foreign.keys())
            .copied()
            .collect();
        all.into_iter()
    }

    /// Why a file cannot be the segment that its name says, and which of its bytes are affected. A server never makes such a one, nor for a moment.
    pub(super) fn misfit(&self, segment: u64, bytes: u64) -> Option<(Defect, Range<u64>)> {
        if let Some(what) = self.foreign.get(&segment) {
            return Some((*what, 0..bytes));
        }
        let length = *self.listed.get(&segment)?;
        (length != bytes).then_some((Defect::Length { bytes: length }, length..bytes))
    }

    /// The segment's record. One that was not there may be by now: the frontier was read after the records.
    pub(super) fn begun(
        &mut self,
        segment: u64,
        identity: Identity,
        synced: bool,
    ) -> Result<Option<SegmentHead>, OpenError> {
        if let (None, true) = (self.heads.get(&segment), synced) {
            let head = self.files.head(segment, identity)?;
            self.heads.extend(head.map(|head| (segment, head)));
        }
        Ok(self.heads.get(&segment).copied())
    }

    /// Reads the segment records. `None`: not one of them is valid.
    pub(super) fn read_heads(&mut self) -> Result<Option<Identity>, OpenError> {
        let (gone, foreign) = (&mut self.gone, &mut self.foreign);
        self.heads = self
            .files
            .heads(&self.listed, |segment, error| match error {
                OpenError::Foreign {
                    index,
                    other_stream,
                    ..
                } => {
                    let what = Defect::Foreign {
                        index,
                        other_stream,
                    };
                    foreign.insert(segment, what);
                    Ok(())
                }
                error if is_gone(&error) => {
                    *gone = segment + 1;
                    Ok(())
                }
                error => Err(error),
            })?;
        self.listed.retain(|at, _| !foreign.contains_key(at));
        let identity =
            directory::identity(&self.heads).filter(|identity| identity.segment_bytes > 0);
        if let Some(identity) = identity {
            let most = directory::segments_max(identity.segment_bytes);
            self.beyond = foreign.split_off(&most);
        }
        Ok(identity)
    }

    /// A stream that was never used has one segment, and nothing behind its first page.
    pub(super) fn no_heads(&mut self) -> Result<(), OpenError> {
        let mut scan = unknown(0);
        for segment in self.foreign.keys().copied().collect::<Vec<_>>() {
            if let Some((what, range)) = self.misfit(segment, 0) {
                self.damage(what, segment, range, &mut scan, &Subjects::default());
            }
        }
        for (segment, bytes) in self.listed.clone() {
            let image = self.files.load(segment, bytes)?;
            let used = image
                .get(PAGE_BYTES as usize..)
                .is_none_or(|rest| !is_zero(rest));
            if used || segment > 0 {
                let range = 0..SEGMENT_RECORD_BYTES;
                self.damage(
                    Defect::Head,
                    segment,
                    range,
                    &mut scan,
                    &Subjects::default(),
                );
            }
        }
        Ok(())
    }

    /// The durable frontier and the oldest segment that must exist.
    pub(super) fn find_evidence(&mut self, identity: Identity) -> Result<Evidence, OpenError> {
        let (files, listed, heads) = (&mut self.files, &self.listed, &self.heads);
        let bytes = identity.segment_bytes;
        directory::find_evidence(listed, heads, bytes, |segment| {
            let told = |image: &[u8]| directory::told_in(image, segment, listed, heads, identity);
            let read = if listed.get(&segment) == Some(&bytes) {
                files.load(segment, bytes).map(told)
            } else {
                let image = files.padded(listed, segment, bytes);
                image.map(|image| told(&image))
            };
            match read {
                Ok(evidence) => Ok(Some(evidence)),
                // Retention removes the oldest first.
                Err(error) if is_gone(&error) => {
                    self.gone = self.gone.max(segment + 1);
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
    }
}

/// The file was there when the directory was listed.
pub(super) fn is_gone(error: &OpenError) -> bool {
    matches!(error, OpenError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
}
