//! A buffer for frames on their way out, used again and again.

use crate::body::Body;
use crate::encoder::FrameEncoder;
use crate::frame::{FRAME_HEADER_BYTES, FrameFlags, Opcode};
use crate::record::Short;

/// Collects frames until they are sent. Grows up to its limit, keeps its memory over [`reset`](Self::reset), and
/// therefore stops allocating once it has seen its largest load.
///
/// ```
/// use trunkline_wire::response::ResponseBuffer;
/// use trunkline_wire::{Credit, FrameFlags};
///
/// let mut response = ResponseBuffer::with_limit(4096);
/// response.control(&Credit { bytes: 65_536 }, FrameFlags::empty(), 3)?;
/// assert_eq!(response.bytes().len(), 16);
/// response.consume(10); // the socket took ten bytes
/// assert_eq!(response.bytes().len(), 6);
/// # Ok::<(), trunkline_wire::Short>(())
/// ```
#[derive(Debug)]
pub struct ResponseBuffer {
    /// `start..end` is to be sent; all of it is initialised memory.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
}

impl ResponseBuffer {
    /// Holds at most `limit` bytes. Allocates nothing yet.
    pub const fn with_limit(limit: usize) -> Self {
        Self {
            memory: Vec::new(),
            start: 0,
            end: 0,
            limit,
        }
    }

    /// What is to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory that it holds, used or not.
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Most bytes that it takes before some are consumed.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Appends a frame with a body that is ready.
    ///
    /// # Errors
    /// [`Short`] when it would go beyond the limit; what was there stays.
    pub fn frame(
        &mut self,
        opcode: Opcode,
        flags: FrameFlags,
        sequence: u16,
        body: &[u8],
    ) -> Result<(), Short> {
        let free = self.reserve(FRAME_HEADER_BYTES + body.len())?;
        let mut encoder = FrameEncoder::new(free);
        encoder.frame(opcode, flags, sequence, body)?;
        let len = encoder.len();
        self.end += len;
        Ok(())
    }

    /// Appends a control frame.
    ///
    /// # Errors
    /// [`Short`] when it would go beyond the limit; what was there stays.
    pub fn control<B: Body>(
        &mut self,
        body: &B,
        flags: FrameFlags,
        sequence: u16,
    ) -> Result<(), Short> {
        let mut needed = 0;
        loop {
            let free = self.reserve(needed)?;
            let mut encoder = FrameEncoder::new(free);
            match encoder.control(body, flags, sequence) {
                Ok(()) => {
                    let len = encoder.len();
                    self.end += len;
                    return Ok(());
                }
                Err(short) if short == Short::NEVER => return Err(short),
                Err(short) => needed = FRAME_HEADER_BYTES + short.needed,
            }
        }
    }

    /// `len` bytes were sent.
    ///
    /// # Panics
    /// When that is more than there was.
    pub fn consume(&mut self, len: usize) {
        assert!(
            len <= self.end - self.start,
            "more bytes consumed than there are"
        );
        self.start += len;
        if self.start == self.end {
            self.reset();
        }
    }

    /// Forgets what is in it and keeps the memory.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Everything that is free, at least `len` bytes.
    fn reserve(&mut self, len: usize) -> Result<&mut [u8], Short> {
        let needed = (self.end - self.start)
            .checked_add(len)
            .filter(|bytes| *bytes <= self.limit);
        let needed = needed.ok_or(Short { needed: len })?;
        if self.end + len > self.memory.len() && self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if needed > self.memory.len() {
            let capacity = needed.next_power_of_two().max(CAPACITY_MIN).min(self.limit);
            self.memory.resize(capacity, 0);
        }
        Ok(&mut self.memory[self.end..])
    }
}

/// What the first frame makes it allocate, in bytes.
const CAPACITY_MIN: usize = 256;
