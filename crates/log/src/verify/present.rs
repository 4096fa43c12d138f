//! Which files there are, and what they say of themselves, while a server may be making and removing some.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;

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
            let misfits = &self.misfits;
            self.listed.retain(|at, _| !misfits.contains_key(at));
        }
        Ok(self.listed.contains_key(&segment))
    }

    /// All files, those that belong elsewhere or cannot be read too, in order.
    pub(super) fn there(&self) -> impl DoubleEndedIterator<Item = u64> {
        let all: BTreeSet<u64> = self
            .listed
            .keys()
            .chain(self.misfits.keys())
            .copied()
            .collect();
        all.into_iter()
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
        let mut unread = self.open_short();
        let (gone, misfits) = (&mut self.gone, &mut self.misfits);
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
                    misfits.insert(segment, what);
                    Ok(())
                }
                error if is_gone(&error) => {
                    *gone = segment + 1;
                    Ok(())
                }
                OpenError::Io {
                    error: ref refused, ..
                } => {
                    misfits.insert(segment, Defect::unread(refused));
                    unread.get_or_insert(error);
                    Ok(())
                }
                error => Err(error),
            })?;
        self.listed.retain(|at, _| !misfits.contains_key(at));
        let identity =
            directory::identity(&self.heads).filter(|identity| identity.segment_bytes > 0);
        if let Some(identity) = identity {
            let most = directory::segments_max(identity.segment_bytes);
            self.beyond = misfits.split_off(&most);
        }
        match unread {
            // Without a segment record, nothing tells what a file that cannot be read is to the others.
            Some(error) if identity.is_none() => Err(error),
            _ => Ok(identity),
        }
    }

    /// A stream that was never used has one segment, and nothing behind its first page.
    pub(super) fn no_heads(&mut self) -> Result<(), OpenError> {
        let mut scan = unknown(0);
        for segment in self.misfits.keys().copied().collect::<Vec<_>>() {
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
        let bytes = identity.segment_bytes;
        // A file that cannot be read is there all the same, and may be whole.
        let mut there = self.listed.clone();
        let may_be_whole = |(at, what): (&u64, &Defect)| {
            matches!(what, Defect::Unreadable(_)).then_some((*at, bytes))
        };
        there.extend(self.misfits.iter().filter_map(may_be_whole));
        let (files, listed, heads) = (&mut self.files, &self.listed, &self.heads);
        let mut unread = Vec::new();
        let evidence = directory::find_evidence(&there, heads, bytes, |segment| {
            if !listed.contains_key(&segment) {
                return Ok(Some(Evidence::default()));
            }
            let told = |image: &[u8]| directory::told_in(image, segment, &there, heads, identity);
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
                // What its marks say is not known; those before it may say something.
                Err(error @ OpenError::Io { .. }) => {
                    unread.push((segment, error));
                    Ok(Some(Evidence::default()))
                }
                Err(error) => Err(error),
            }
        })?;
        for (segment, error) in unread {
            self.set_aside(segment, error)?;
        }
        Ok(evidence)
    }
}

/// The file was there when the directory was listed.
pub(super) fn is_gone(error: &OpenError) -> bool {
    matches!(error, OpenError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
}
