//! Small bytes on their way out: frame headers, acks, answers.
//!
//! Records leave from the tails themselves; everything else that a session sends is written here first, into fixed chunks
//! of registered memory that the kernel may read until the send completes. A session holds chunks only while it has something to say, so
//! ten thousand silent connections cost nothing. The arena grows by whole regions, when they are needed, and never shrinks; what it can
//! reach is a term of the plan. A new region is registered before the next send.
//!
//! It does not know frames, nor which session a chunk belongs to.

use trunkline_reactor::{AnyReactor, Reactor, RegionId, Slice};
use trunkline_ring::Buffer;

/// Bytes of a chunk: some hundred frame headers, or the largest control frame that the broker writes.
pub(super) const CHUNK_BYTES: usize = 4096;
/// Chunks of a region.
const CHUNKS: usize = 64;

/// One chunk, by number over all regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkId(u32);

/// The chunks of one worker.
pub(super) struct Arena {
    regions: Vec<Buffer>,
    /// Of the first regions, as the reactor knows them.
    registered: Vec<RegionId>,
    free: Vec<ChunkId>,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            regions: Vec::new(),
            registered: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Makes room for `bytes` more, wherever they start in a chunk. False when the system has no memory for another region.
    #[must_use]
    pub(super) fn make_room(&mut self, bytes: usize) -> bool {
        while self.free.len() * CHUNK_BYTES < bytes {
            let Ok(buffer) = Buffer::new(CHUNK_BYTES * CHUNKS) else {
                return false;
            };
            let first = self.regions.len() * CHUNKS;
            self.regions.push(buffer);
            let chunks = (first..first + CHUNKS).rev();
            self.free.extend(chunks.map(|chunk| ChunkId(chunk as u32)));
        }
        true
    }

    /// Makes regions that are new known to the reactor: before [`slice`](Self::slice) is asked for anything in them.
    pub(super) fn register(&mut self, reactor: &mut AnyReactor) {
        for buffer in &self.regions[self.registered.len()..] {
            self.registered.push(reactor.register_region(buffer.pin()));
        }
    }

    /// Bytes of chunks that are in use.
    pub(super) fn used_bytes(&self) -> usize {
        (self.regions.len() * CHUNKS - self.free.len()) * CHUNK_BYTES
    }

    pub(super) fn take(&mut self) -> Option<ChunkId> {
        self.free.pop()
    }

    pub(super) fn give_back(&mut self, chunk: ChunkId) {
        debug_assert!(
            !self.free.contains(&chunk),
            "chunk {chunk:?} came back twice"
        );
        self.free.push(chunk);
    }

    /// Copies `bytes` into `chunk` from `offset` on.
    pub(super) fn write(&mut self, chunk: ChunkId, offset: usize, bytes: &[u8]) {
        debug_assert!(offset + bytes.len() <= CHUNK_BYTES);
        let (region, start) = locate(chunk);
        self.regions[region]
            .slice_mut(start + offset, bytes.len())
            .copy_from_slice(bytes);
    }

    /// The slice of registered memory that `len` bytes of `chunk` from `offset` on are.
    pub(super) fn slice(&self, chunk: ChunkId, offset: usize, len: usize) -> Slice {
        let (region, start) = locate(chunk);
        Slice {
            region: self.registered[region],
            offset: (start + offset) as u64,
            len: len as u32,
        }
    }
}

fn locate(chunk: ChunkId) -> (usize, usize) {
    let chunk = chunk.0 as usize;
    (chunk / CHUNKS, chunk % CHUNKS * CHUNK_BYTES)
}
