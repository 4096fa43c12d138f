//! What one session still has to send: a queue of pieces, one send at a time.
//!
//! A piece is either a stretch of an arena chunk (small bytes) or a span of records in somebody's tail or read buffer, held
//! until its last byte has left. Invariant: the first `in_flight` pieces belong to the send that the reactor has; nothing
//! about them changes before its completion.

use std::collections::VecDeque;

use trunkline_broker::HoldId;
use trunkline_reactor::Slice;

use super::arena::{Arena, CHUNK_BYTES, ChunkId};

/// Slices of one send: what the reactor takes at once.
pub(super) const SLICES_PER_SEND: usize = 64;
/// Bytes of one send, at which a loopback or network send is most efficient.
const BYTES_PER_SEND: usize = 256 * 1024;

/// A delivery, and the worker whose shard has to hear that it left.
pub(super) type Held = (u8, HoldId);

/// What has to happen when a piece has left.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// `len` bytes of `chunk`, of which `passed` are of other sessions; the chunk is given back afterwards if `last`.
    Small {
        chunk: ChunkId,
        offset: u32,
        len: u32,
        passed: u32,
        last: bool,
    },
    /// Records; `hold` is released afterwards.
    Records { slice: Slice, hold: Held },
    /// `len` bytes at the start of `chunk`, which is given back afterwards: records that were copied.
    Copy { chunk: ChunkId, len: u32 },
    /// Nothing: `hold` is released when everything before it has left. Of that, `len` bytes were records.
    Mark { hold: Held, len: u32 },
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Small { len, .. } | Piece::Copy { len, .. } => *len as usize,
            Piece::Records { slice, .. } => slice.len as usize,
            Piece::Mark { .. } => 0,
        }
    }
}

/// The queue of one session.
#[derive(Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// The chunk that small bytes are being added to, and how much of it is used.
    open: Option<(ChunkId, usize)>,
    /// Bytes of the first piece that have left already.
    front_sent: usize,
    in_flight: usize,
    queued_bytes: usize,
    small_bytes: usize,
    /// Of these, records that came as a copy.
    delivered_bytes: usize,
    /// And calls and answers.
    passed_bytes: usize,
}

/// Whose bytes these are: each are bounded by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The server's: answers to what the peer said itself.
    Own,
    /// Another session's: a call, or the answer to one.
    Passed,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether the reactor has a send of this session.
    pub(super) fn is_sending(&self) -> bool {
        self.in_flight > 0
    }

    /// Bytes waiting in arena chunks that the server itself says: what a peer that sends but does not read makes grow. Records are
    /// bounded by the credit that the peer gives, and what other sessions say by [`passed_bytes`](Self::passed_bytes).
    pub(super) fn small_bytes(&self) -> usize {
        self.small_bytes
            .saturating_sub(self.delivered_bytes + self.passed_bytes)
    }

    /// Bytes of calls and answers that wait.
    pub(super) fn passed_bytes(&self) -> usize {
        self.passed_bytes
    }

    /// Queues small bytes. Returns false, with nothing queued, if there is no memory for them.
    #[must_use]
    pub(super) fn push_small(&mut self, arena: &mut Arena, mut bytes: &[u8], whose: Whose) -> bool {
        let room = self.open.map_or(0, |(_, used)| CHUNK_BYTES - used);
        if !arena.make_room(bytes.len().saturating_sub(room)) {
            return false;
        }
        self.queued_bytes += bytes.len();
        self.small_bytes += bytes.len();
        if whose == Whose::Passed {
            self.passed_bytes += bytes.len();
        }
        while !bytes.is_empty() {
            let (chunk, used) = match self.open {
                Some(open) => open,
                None => (arena.take().expect("counted above"), 0),
            };
            let n = bytes.len().min(CHUNK_BYTES - used);
            arena.write(chunk, used, &bytes[..n]);
            let full = used + n == CHUNK_BYTES;
            self.append_small(chunk, used, n, whose, full);
            self.open = if full { None } else { Some((chunk, used + n)) };
            bytes = &bytes[n..];
        }
        true
    }

    fn append_small(
        &mut self,
        chunk: ChunkId,
        offset: usize,
        len: usize,
        whose: Whose,
        last: bool,
    ) {
        let (offset, len) = (offset as u32, len as u32);
        let passed = if whose == Whose::Passed { len } else { 0 };
        if self.pieces.len() > self.in_flight
            && let Some(Piece::Small {
                chunk: same,
                len: so_far,
                passed: passed_so_far,
                last: closes,
                ..
            }) = self.pieces.back_mut()
            && *same == chunk
            && !*closes
        {
            *so_far += len;
            *passed_so_far += passed;
            *closes = last;
            return;
        }
        self.pieces.push_back(Piece::Small {
            chunk,
            offset,
            len,
            passed,
            last,
        });
    }

    /// Queues records that the shard holds under `hold`.
    pub(super) fn push_records(&mut self, slice: Slice, hold: Held) {
        self.queued_bytes += slice.len as usize;
        self.pieces.push_back(Piece::Records { slice, hold });
    }

    /// Has `hold` released when everything queued so far has left; the last `len` of it are records, as small bytes.
    pub(super) fn push_mark(&mut self, hold: Held, len: usize) {
        self.delivered_bytes += len;
        let len = len as u32;
        self.pieces.push_back(Piece::Mark { hold, len });
    }

    /// Puts the slices of the next send into `into`, which has room for [`SLICES_PER_SEND`]. No send is under way.
    pub(super) fn begin_send(&mut self, arena: &Arena, into: &mut Vec<Slice>) {
        debug_assert_eq!(self.in_flight, 0);
        into.clear();
        let mut skip = self.front_sent;
        let mut bytes = 0;
        let mut taken = 0;
        for piece in self.pieces.iter().take(SLICES_PER_SEND) {
            taken += 1;
            let mut slice = match *piece {
                Piece::Small {
                    chunk, offset, len, ..
                } => arena.slice(chunk, offset as usize, len as usize),
                Piece::Records { slice, .. } => slice,
                Piece::Copy { chunk, len } => arena.slice(chunk, 0, len as usize),
                Piece::Mark { .. } => continue,
            };
            slice.offset += skip as u64;
            slice.len -= skip as u32;
            skip = 0;
            bytes += slice.len as usize;
            into.push(slice);
            if bytes >= BYTES_PER_SEND {
                break;
            }
        }
        self.in_flight = taken;
    }

    /// Takes back what [`Outbox::begin_send`] handed out, when the reactor could not take it.
    pub(super) fn abort_send(&mut self) {
        self.in_flight = 0;
    }

    /// `sent` bytes of the send under way have left; `released` learns of each hold that ended.
    pub(super) fn end_send(
        &mut self,
        mut sent: usize,
        arena: &mut Arena,
        mut released: impl FnMut(Held),
    ) {
        self.in_flight = 0;
        self.queued_bytes -= sent;
        while let Some(front) = self.pieces.front() {
            let left = front.len() - self.front_sent;
            if sent < left {
                self.front_sent += sent;
                break;
            }
            sent -= left;
            self.front_sent = 0;
            match self.pieces.pop_front() {
                Some(Piece::Small {
                    chunk,
                    len,
                    passed,
                    last,
                    ..
                }) => {
                    self.small_bytes -= len as usize;
                    self.passed_bytes -= passed as usize;
                    if last {
                        arena.give_back(chunk);
                    }
                }
                Some(Piece::Copy { chunk, .. }) => arena.give_back(chunk),
                Some(Piece::Records { hold, .. }) => released(hold),
                Some(Piece::Mark { hold, len }) => {
                    self.delivered_bytes -= len as usize;
                    released(hold);
                }
                None => {}
            }
        }
        debug_assert!(
            !self.pieces.is_empty() || sent == 0,
            "the reactor sent more than it was given"
        );
        if self.pieces.is_empty()
            && let Some((chunk, _)) = self.open.take()
        {
            arena.give_back(chunk);
        }
    }

    /// Copies records into chunks, so that what `bytes_of` tells of them can be reused. No send is under way. False, with the rest as
    /// it was, when there is no memory for them.
    #[must_use]
    pub(super) fn copy_records<'a>(
        &mut self,
        arena: &mut Arena,
        bytes_of: impl Fn(Held) -> Option<&'a [u8]>,
        mut copied: impl FnMut(Held),
    ) -> bool {
        debug_assert_eq!(self.in_flight, 0);
        let mut fits = true;
        // Of the first piece only.
        let mut sent = std::mem::take(&mut self.front_sent);
        for piece in std::mem::take(&mut self.pieces) {
            let unsent = match piece {
                Piece::Records { hold, .. } => bytes_of(hold).map(|bytes| (hold, &bytes[sent..])),
                _ => None,
            };
            fits &= unsent.is_none_or(|(_, bytes)| arena.make_room(bytes.len()));
            match unsent.filter(|_| fits) {
                Some((hold, bytes)) => {
                    for part in bytes.chunks(CHUNK_BYTES) {
                        let chunk = arena.take().expect("counted above");
                        arena.write(chunk, 0, part);
                        let len = part.len() as u32;
                        self.pieces.push_back(Piece::Copy { chunk, len });
                    }
                    self.pieces.push_back(Piece::Mark { hold, len: 0 });
                    copied(hold);
                }
                None => {
                    if self.pieces.is_empty() {
                        self.front_sent = sent;
                    }
                    self.pieces.push_back(piece);
                }
            }
            sent = 0;
        }
        fits
    }

    /// Drops everything. The reactor must have no send of this session any more.
    pub(super) fn clear(&mut self, arena: &mut Arena, mut released: impl FnMut(Held)) {
        self.in_flight = 0;
        let left = self.queued_bytes;
        self.end_send(left, arena, &mut released);
        debug_assert!(self.is_empty());
    }
}
