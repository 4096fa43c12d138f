//! Writing frames into the caller's buffer, many records to a frame, without allocating.
//!
//! ```
//! use trunkline_wire::encoder::FrameEncoder;
//! use trunkline_wire::frame::{FrameFlags, Opcode};
//! use trunkline_wire::record::Stamp;
//!
//! let mut out = [0; 256];
//! let mut encoder = FrameEncoder::new(&mut out);
//! let mut frame = encoder.begin(Opcode::Publish, FrameFlags::EXPECTS_RESPONSE, 1)?;
//! for (sequence, body) in [b"a", b"b"].into_iter().enumerate() {
//!     frame.push_record(&Stamp { sequence: sequence as u64, ..Stamp::DATA }, body)?;
//! }
//! frame.finish();
//! assert_eq!(encoder.len(), 8 + 2 * 48);
//! # Ok::<(), trunkline_wire::record::Short>(())
//! ```

use crate::body::Body;
use crate::frame::{FRAME_HEADER_BYTES, FrameFlags, FrameHeader, Opcode};
use crate::record::{self, Short, Stamp};

/// Appends frames to a buffer.
#[derive(Debug)]
pub struct FrameEncoder<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> FrameEncoder<'a> {
    /// Writes from the start of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes of the whole frames that were written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no frame was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole frames that were written.
    pub fn bytes(&self) -> &[u8] {
        &self.out[..self.len]
    }

    /// Writes a frame with a body that is ready.
    ///
    /// # Errors
    /// [`Short`] when it does not fit; what was written before stays.
    pub fn frame(
        &mut self,
        opcode: Opcode,
        flags: FrameFlags,
        sequence: u16,
        body: &[u8],
    ) -> Result<(), Short> {
        let mut frame = self.begin(opcode, flags, sequence)?;
        frame.push_bytes(body)?;
        frame.finish();
        Ok(())
    }

    /// Writes a control frame.
    ///
    /// # Errors
    /// [`Short`] when it does not fit; what was written before stays.
    pub fn control<B: Body>(
        &mut self,
        body: &B,
        flags: FrameFlags,
        sequence: u16,
    ) -> Result<(), Short> {
        let mut frame = self.begin(B::OPCODE, flags, sequence)?;
        let start = frame.start + FRAME_HEADER_BYTES;
        frame.end = start + body.encode(&mut frame.encoder.out[start..])?;
        frame.finish();
        Ok(())
    }

    /// Starts a frame, to which records are then pushed.
    ///
    /// # Errors
    /// [`Short`] when not even the header fits.
    #[inline]
    pub fn begin(
        &mut self,
        opcode: Opcode,
        flags: FrameFlags,
        sequence: u16,
    ) -> Result<FrameBuilder<'_, 'a>, Short> {
        let start = self.len;
        let end = start + FRAME_HEADER_BYTES;
        if end > self.out.len() {
            return Err(Short {
                needed: FRAME_HEADER_BYTES,
            });
        }
        Ok(FrameBuilder {
            encoder: self,
            opcode,
            flags,
            sequence,
            start,
            end,
            records: 0,
        })
    }
}

/// A frame in the making. Dropped without [`FrameBuilder::finish`], it was never there.
#[derive(Debug)]
pub struct FrameBuilder<'e, 'a> {
    encoder: &'e mut FrameEncoder<'a>,
    opcode: Opcode,
    flags: FrameFlags,
    sequence: u16,
    start: usize,
    end: usize,
    records: u32,
}

impl FrameBuilder<'_, '_> {
    /// Bytes of the body so far.
    #[inline]
    pub fn body_len(&self) -> usize {
        self.end - self.start - FRAME_HEADER_BYTES
    }

    /// Records pushed so far.
    #[inline]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Encodes one more record and returns its bytes.
    ///
    /// # Errors
    /// [`Short`] when it does not fit; the frame is as before then and may be finished.
    #[inline]
    pub fn push_record(&mut self, stamp: &Stamp, body: &[u8]) -> Result<usize, Short> {
        let len = record::encode(&mut self.encoder.out[self.end..], stamp, body)?;
        self.end += len;
        self.records += 1;
        Ok(len)
    }

    /// Appends bytes that are ready: whole records, or another body.
    ///
    /// # Errors
    /// [`Short`] when they do not fit; the frame is as before then.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), Short> {
        let end = self.end + bytes.len();
        let Some(out) = self.encoder.out.get_mut(self.end..end) else {
            return Err(Short {
                needed: bytes.len(),
            });
        };
        out.copy_from_slice(bytes);
        self.end = end;
        Ok(())
    }

    /// Writes the header and makes the frame part of the output.
    ///
    /// # Panics
    /// When the body has 4 GiB or more.
    #[inline]
    pub fn finish(self) -> FrameHeader {
        let length = u32::try_from(self.body_len()).expect("a body has less than 4 GiB");
        let header = FrameHeader {
            opcode: self.opcode,
            flags: self.flags,
            sequence: self.sequence,
            length,
        };
        let encoder = self.encoder;
        encoder.out[self.start..][..FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
        encoder.len = self.end;
        header
    }
}
