//! Regions whose pages the kernel has looked up once and keeps: writes and zero-copy sends from them need not do so again.
//! They count against `RLIMIT_MEMLOCK`; a region that does not fit is used in the ordinary way.

use io_uring::{IoUring, squeue};
use trunkline_ring::Pinned;

use crate::op::RegionId;

/// Which regions are registered, and at which place of the kernel's table.
pub(crate) struct FixedRegions {
    places: Vec<(RegionId, u16)>,
    free: Vec<u16>,
}

impl FixedRegions {
    /// A table without places: nothing is registered.
    pub(crate) fn none() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// A table of empty places.
    pub(crate) fn reserve(ring: &IoUring<squeue::Entry>) -> std::io::Result<Self> {
        ring.submitter()
            .register_buffers_sparse(u32::from(PLACES))?;
        Ok(Self {
            places: Vec::with_capacity(usize::from(PLACES)),
            free: (0..PLACES).rev().collect(),
        })
    }

    pub(crate) fn add(&mut self, ring: &IoUring<squeue::Entry>, id: RegionId, region: &Pinned) {
        let Some(place) = self.free.pop() else { return };
        let vector = libc::iovec {
            iov_base: region.as_ptr().cast(),
            iov_len: region.len(),
        };
        // SAFETY: the kernel takes hold of the pages themselves during the call.
        match unsafe {
            ring.submitter()
                .register_buffers_update(u32::from(place), &[vector], None)
        } {
            Ok(()) => self.places.push((id, place)),
            Err(error) => {
                tracing::debug!(%error, bytes = region.len(), "a region is not registered");
                self.free.push(place);
            }
        }
    }

    /// Gives the pages back when the last operation on them has ended.
    pub(crate) fn remove(&mut self, ring: &IoUring<squeue::Entry>, id: RegionId) {
        let Some(known) = self.places.iter().position(|(known, _)| *known == id) else {
            return;
        };
        let (_, place) = self.places.swap_remove(known);
        let nothing = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: an empty vector names no memory.
        if unsafe {
            ring.submitter()
                .register_buffers_update(u32::from(place), &[nothing], None)
        }
        .is_ok()
        {
            self.free.push(place);
        }
    }

    #[inline]
    pub(crate) fn place(&self, id: RegionId) -> Option<u16> {
        self.places
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, place)| *place)
    }
}

const PLACES: u16 = 64;
