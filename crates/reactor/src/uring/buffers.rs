//! The ring of buffers that the kernel picks from when a multishot receive has data.
//!
//! ```text
//! entry 0          1           2                     mask
//! +-------------+-----------+-----------+- - - -+-----------+
//! | addr len id | …         | …         |       | …         |     16 bytes each; the tail lives in entry 0's last two bytes
//! +-------------+-----------+-----------+- - - -+-----------+
//! ```
//! The kernel takes entries from the head on; this side writes entries and then publishes the tail, once per batch.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, squeue};
use trunkline_ring::{Buffer, Pinned};

pub(crate) struct BufferRing {
    entries: *mut BufRingEntry,
    /// Keeps the entries mapped; the kernel has their address until the ring is closed.
    memory: Pinned,
    mask: u16,
    tail: u16,
    published: u16,
    /// Buffers that are with the kernel.
    available: u32,
}

impl BufferRing {
    /// Registers an empty ring for at least `count` buffers.
    pub(crate) fn register(ring: &IoUring<squeue::Entry>, count: u16) -> io::Result<Self> {
        let entries = count
            .checked_next_power_of_two()
            .unwrap_or(MAX_ENTRIES)
            .min(MAX_ENTRIES);
        let bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let memory = Buffer::new(bytes.next_multiple_of(PAGE_BYTES))?.pin();
        // SAFETY: the memory is page aligned, zeroed, holds `entries` entries, and is kept by the pin for as long as the ring
        // lives: `Uring` closes its ring before it lets go of this value.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                memory.as_ptr() as u64,
                entries,
                GROUP,
                0,
            )?
        };
        Ok(Self {
            entries: memory.as_ptr().cast(),
            memory,
            mask: entries - 1,
            tail: 0,
            published: 0,
            available: 0,
        })
    }

    /// Adds a buffer; the kernel sees it after [`Self::publish`].
    #[inline]
    pub(crate) fn add(&mut self, id: u16, address: *mut u8, bytes: u32) {
        debug_assert!(self.available <= u32::from(self.mask));
        // SAFETY: the index is masked, so it lies in the ring; the kernel does not look at entries from the published tail on, and
        // it never has more entries than the ring holds, because every id is in it at most once.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail & self.mask)) };
        entry.set_addr(address as u64);
        entry.set_len(bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
    }

    /// Shows the kernel what was added.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.tail == self.published {
            return;
        }
        self.published = self.tail;
        // SAFETY: the tail's place is inside the first entry, which is mapped and aligned to two bytes; both sides access it atomically.
        let shared = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        // Pairs with the kernel's acquire load of the tail: the entries are written before it moves.
        shared.store(self.tail, Ordering::Release);
    }

    /// The kernel took a buffer.
    #[inline]
    pub(crate) fn took_one(&mut self) {
        self.available = self.available.saturating_sub(1);
    }

    /// Buffers that the kernel has.
    pub(crate) fn available(&self) -> u32 {
        self.available
    }

    /// For a ring that may still be read after this value is gone.
    pub(crate) fn leak(&self) {
        std::mem::forget(self.memory.clone());
    }
}

/// The only group: receives of all sockets share the pool.
pub(crate) const GROUP: u16 = 0;
const MAX_ENTRIES: u16 = 1 << 15;
const PAGE_BYTES: usize = 65_536;
