//! Reading whole frames from a stretch of bytes. [`crate::session`] reads them from a connection, in pieces.

use crate::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader};

/// A frame that lies whole in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Its body, not looked at.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Looks at the frame at the start of `bytes`. `None` asks for more bytes.
    ///
    /// # Errors
    /// What is wrong with its header.
    #[inline]
    pub fn peek(bytes: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(header)?;
        Ok(rest
            .get(..header.length as usize)
            .map(|body| Self { header, body }))
    }

    /// Bytes of header and body.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a frame is at least 8 bytes")]
    pub fn len(&self) -> usize {
        FRAME_HEADER_BYTES + self.body.len()
    }
}

/// Walks the frames of a stretch of bytes; stops at the first error, or where a frame is not whole.
#[derive(Clone, Debug)]
pub struct FrameDecoder<'a> {
    rest: &'a [u8],
}

impl<'a> FrameDecoder<'a> {
    /// Walks `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not walked yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for FrameDecoder<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match Frame::peek(self.rest) {
            Ok(Some(frame)) => {
                self.rest = &self.rest[frame.len()..];
                Some(Ok(frame))
            }
            Ok(None) => None,
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}
