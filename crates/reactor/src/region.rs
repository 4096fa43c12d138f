//! Memory that the kernel may read from: registered once, named by id, kept alive while an operation uses it.

use trunkline_ring::Pinned;

use crate::op::{RegionId, Slice};
use crate::slab::Slab;
use crate::sys::Span;

/// The table of registered regions. A region that is unregistered while operations use it goes when the last of them completes.
pub(crate) struct Regions {
    slab: Slab<Region, 16, 16>,
}

struct Region {
    pinned: Pinned,
    in_flight: u32,
    retired: bool,
}

impl Regions {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(MAX_REGIONS),
        }
    }

    pub(crate) fn add(&mut self, pinned: Pinned) -> RegionId {
        let region = Region {
            pinned,
            in_flight: 0,
            retired: false,
        };
        match self.slab.insert(region) {
            Ok(id) => RegionId(id),
            Err(_) => panic!("more than {MAX_REGIONS} regions in one reactor"),
        }
    }

    pub(crate) fn retire(&mut self, id: RegionId) {
        if let Some(region) = self.slab.get_mut(id.0) {
            region.retired = true;
            if region.in_flight == 0 {
                self.slab.remove(id.0);
            }
        }
    }

    /// The address of a slice, held until [`Self::release`]; `None` when the region is unknown or the slice leaves it.
    #[inline]
    pub(crate) fn hold(&mut self, slice: &Slice) -> Option<Span> {
        let span = self.span(slice)?;
        self.slab.get_mut(slice.region.0)?.in_flight += 1;
        Some(span)
    }

    /// The address of a slice for a call that is over before anything else happens to the table.
    #[inline]
    pub(crate) fn span(&self, slice: &Slice) -> Option<Span> {
        let region = self
            .slab
            .get(slice.region.0)
            .filter(|region| !region.retired)?;
        let end = slice.offset.checked_add(u64::from(slice.len))?;
        if end > region.pinned.len() as u64 {
            return None;
        }
        // `wrapping_add` stays inside: the offset was just checked against the region's length.
        let address = region
            .pinned
            .as_ptr()
            .cast_const()
            .wrapping_add(slice.offset as usize);
        Some(Span {
            address,
            len: slice.len as usize,
        })
    }

    #[inline]
    pub(crate) fn release(&mut self, id: RegionId) {
        let Some(region) = self.slab.get_mut(id.0) else {
            return;
        };
        region.in_flight -= 1;
        if region.in_flight == 0 && region.retired {
            self.slab.remove(id.0);
        }
    }
}

const MAX_REGIONS: usize = 65_000;
