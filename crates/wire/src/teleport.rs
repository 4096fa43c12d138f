//! Typed values that are read where they lie, without a parser: for two programs that share a layout. Drawn in
//! `docs/format/teleport.md`.
//!
//! ```text
//!  0      4         6          8            12            16                      16 + values_len
//!  +------+---------+----------+------------+-------------+----------------------+---------------+
//!  | TLTP | version | reserved | values_len | strings_len | values, each aligned | strings       |
//!  +------+---------+----------+------------+-------------+----------------------+---------------+
//! ```
//!
//! Each value starts on a multiple of its own alignment, counted from the start of the buffer, which itself lies on a multiple of
//! 16; so a reader whose bytes lie on such a multiple too hands out references. A type qualifies when `zerocopy` derives its
//! traits, which proves at compile time that it has a fixed layout and no padding that would leak memory. Multi-byte
//! integers are the machine's own unless the type says otherwise (`zerocopy::little_endian`).
//!
//! ```
//! use trunkline_wire::teleport::{TeleportBuffer, TeleportReader};
//!
//! let mut buffer = TeleportBuffer::with_limit(4096);
//! let greeting = buffer.write_text("Hello, World!")?;
//! buffer.write(&7u16)?;
//! buffer.write(&42u64)?; // at the next multiple of 8
//! buffer.write(&greeting)?;
//!
//! let mut reader = TeleportReader::new(buffer.finish())?;
//! assert_eq!(*reader.read::<u16>()?, 7);
//! assert_eq!(*reader.read::<u64>()?, 42);
//! let greeting = *reader.read()?;
//! assert_eq!(reader.text(greeting)?, "Hello, World!");
//! # Ok::<(), trunkline_wire::teleport::TeleportError>(())
//! ```

use core::fmt;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Collects values, then [`finish`](Self::finish)es them into one run of bytes. Keeps its memory over
/// [`reset`](Self::reset).
#[derive(Debug)]
pub struct TeleportBuffer {
    /// Header and values, and after `finish` the strings, in blocks that keep the alignment.
    blocks: Vec<Block>,
    /// Bytes of header and values.
    values_end: usize,
    strings: Vec<u8>,
    limit: usize,
}

impl TeleportBuffer {
    /// Takes at most `limit` bytes in all, and at most 4 GiB.
    pub const fn with_limit(limit: usize) -> Self {
        let limit = if limit > u32::MAX as usize {
            u32::MAX as usize
        } else {
            limit
        };
        Self {
            blocks: Vec::new(),
            values_end: HEADER_BYTES,
            strings: Vec::new(),
            limit,
        }
    }

    /// Writes a value behind the last, at the next multiple of its alignment, and returns where.
    ///
    /// # Errors
    /// [`TeleportError::Full`] when it would go beyond the limit.
    pub fn write<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<u32, TeleportError> {
        self.write_slice(core::slice::from_ref(value))
    }

    /// Writes values one behind the other, and returns where the first is. How many there are is not written.
    ///
    /// # Errors
    /// [`TeleportError::Full`] when they would go beyond the limit.
    pub fn write_slice<T: IntoBytes + Immutable>(
        &mut self,
        values: &[T],
    ) -> Result<u32, TeleportError> {
        const {
            assert!(
                align_of::<T>() <= ALIGN_MAX,
                "the type is aligned more strictly than the buffer"
            )
        }
        let at = self.values_end.next_multiple_of(align_of::<T>());
        let bytes = values.as_bytes();
        let end = at.checked_add(bytes.len()).ok_or(TeleportError::Full)?;
        if end + self.strings.len() > self.limit {
            return Err(TeleportError::Full);
        }
        self.grow(end);
        let memory = self.blocks.as_mut_bytes();
        memory[self.values_end..at].fill(0);
        memory[at..end].copy_from_slice(bytes);
        self.values_end = end;
        Ok(at as u32)
    }

    /// Puts a text into the string table. The result is itself a value to be written.
    ///
    /// # Errors
    /// [`TeleportError::Full`] when it would go beyond the limit.
    pub fn write_text(&mut self, text: &str) -> Result<Text, TeleportError> {
        let offset = self.strings.len();
        if self.values_end + offset + text.len() > self.limit {
            return Err(TeleportError::Full);
        }
        self.strings.extend_from_slice(text.as_bytes());
        Ok(Text {
            offset: U32::new(offset as u32),
            len: U32::new(text.len() as u32),
        })
    }

    /// Joins header, values and strings. More may be written afterwards, and finished again.
    pub fn finish(&mut self) -> &[u8] {
        let end = self.values_end + self.strings.len();
        self.grow(end);
        let header = Header {
            magic: MAGIC,
            version: U16::new(VERSION),
            reserved: U16::ZERO,
            values_len: U32::new((self.values_end - HEADER_BYTES) as u32),
            strings_len: U32::new(self.strings.len() as u32),
        };
        let memory = self.blocks.as_mut_bytes();
        memory[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        memory[self.values_end..end].copy_from_slice(&self.strings);
        &memory[..end]
    }

    /// Forgets what is in it and keeps the memory.
    pub fn reset(&mut self) {
        self.values_end = HEADER_BYTES;
        self.strings.clear();
    }

    /// Bytes of memory that it holds for header and values.
    pub fn capacity(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    fn grow(&mut self, bytes: usize) {
        let blocks = bytes.div_ceil(size_of::<Block>());
        if blocks > self.blocks.len() {
            self.blocks.resize(blocks, Block([0; ALIGN_MAX]));
        }
    }
}

/// Reads values in the order in which they were written, where they lie.
#[derive(Clone, Debug)]
pub struct TeleportReader<'a> {
    /// Header and values.
    values: &'a [u8],
    strings: &'a [u8],
    at: usize,
}

impl<'a> TeleportReader<'a> {
    /// Checks the header. `bytes` must lie on a multiple of [`ALIGN_MAX`].
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(bytes: &'a [u8]) -> Result<Self, TeleportError> {
        if !bytes.as_ptr().addr().is_multiple_of(ALIGN_MAX) {
            return Err(TeleportError::Misaligned);
        }
        let (header, rest) =
            Header::ref_from_prefix(bytes).map_err(|_| TeleportError::Truncated)?;
        if header.magic != MAGIC || header.version.get() != VERSION || header.reserved.get() != 0 {
            return Err(TeleportError::Foreign);
        }
        let (values_len, strings_len) = (
            header.values_len.get() as usize,
            header.strings_len.get() as usize,
        );
        if values_len.checked_add(strings_len) != Some(rest.len()) {
            return Err(TeleportError::Truncated);
        }
        let (values, strings) = bytes.split_at(HEADER_BYTES + values_len);
        Ok(Self {
            values,
            strings,
            at: HEADER_BYTES,
        })
    }

    /// The next value.
    ///
    /// # Errors
    /// [`TeleportError::Truncated`] when there is none.
    pub fn read<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<&'a T, TeleportError> {
        let at = self.at.next_multiple_of(align_of::<T>());
        let value = self.value(at)?;
        self.at = at + size_of::<T>();
        Ok(value)
    }

    /// The next `count` values, which were written as a slice.
    ///
    /// # Errors
    /// [`TeleportError::Truncated`] when there are fewer.
    pub fn read_slice<T: FromBytes + Immutable>(
        &mut self,
        count: usize,
    ) -> Result<&'a [T], TeleportError> {
        const {
            assert!(
                align_of::<T>() <= ALIGN_MAX,
                "the type is aligned more strictly than the buffer"
            )
        }
        let at = self.at.next_multiple_of(align_of::<T>());
        let rest = self.values.get(at..).ok_or(TeleportError::Truncated)?;
        let (values, rest) =
            <[T]>::ref_from_prefix_with_elems(rest, count).map_err(|_| TeleportError::Truncated)?;
        self.at = self.values.len() - rest.len();
        Ok(values)
    }

    /// The value that was written at `offset`, as [`TeleportBuffer::write`] returned it.
    ///
    /// # Errors
    /// [`TeleportError::Truncated`] when it does not lie within the values, [`TeleportError::Misaligned`] when no
    /// such value can start there.
    pub fn read_at<T: FromBytes + KnownLayout + Immutable>(
        &self,
        offset: u32,
    ) -> Result<&'a T, TeleportError> {
        let at = offset as usize;
        if !at.is_multiple_of(align_of::<T>()) {
            return Err(TeleportError::Misaligned);
        }
        if at < HEADER_BYTES {
            return Err(TeleportError::Truncated);
        }
        self.value(at)
    }

    /// A text of the string table.
    ///
    /// # Errors
    /// [`TeleportError::Truncated`] when it does not lie within the table, [`TeleportError::Text`] when it is not
    /// UTF-8.
    pub fn text(&self, text: Text) -> Result<&'a str, TeleportError> {
        let start = text.offset.get() as usize;
        let bytes = start
            .checked_add(text.len.get() as usize)
            .and_then(|end| self.strings.get(start..end));
        core::str::from_utf8(bytes.ok_or(TeleportError::Truncated)?)
            .map_err(|_| TeleportError::Text)
    }

    fn value<T: FromBytes + KnownLayout + Immutable>(
        &self,
        at: usize,
    ) -> Result<&'a T, TeleportError> {
        const {
            assert!(
                align_of::<T>() <= ALIGN_MAX,
                "the type is aligned more strictly than the buffer"
            )
        }
        let bytes = at
            .checked_add(size_of::<T>())
            .and_then(|end| self.values.get(at..end));
        T::ref_from_bytes(bytes.ok_or(TeleportError::Truncated)?)
            .map_err(|_| TeleportError::Misaligned)
    }
}

/// Where a text lies in the string table.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Text {
    offset: U32,
    len: U32,
}

/// What can be wrong with a buffer or with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeleportError {
    /// The buffer's limit is reached.
    Full,
    /// The bytes do not start on a multiple of [`ALIGN_MAX`], or a value not on one of its own alignment.
    Misaligned,
    /// The bytes do not start with the header of this version.
    Foreign,
    /// The bytes end before what is to be read, or have another length than the header says.
    Truncated,
    /// A text is not UTF-8.
    Text,
}

impl fmt::Display for TeleportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "teleport buffer is full",
            Self::Misaligned => "teleport bytes or value are not aligned",
            Self::Foreign => "teleport bytes have another magic or version",
            Self::Truncated => "teleport bytes end before the value",
            Self::Text => "teleport text is not utf-8",
        })
    }
}

impl core::error::Error for TeleportError {}

/// What the buffer is aligned to, and the strictest alignment of a value.
pub const ALIGN_MAX: usize = 16;

const MAGIC: [u8; 4] = *b"TLTP";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U16,
    reserved: U16,
    values_len: U32,
    strings_len: U32,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(16))]
struct Block([u8; ALIGN_MAX]);

const _: () = {
    assert!(size_of::<Header>() == HEADER_BYTES && HEADER_BYTES.is_multiple_of(ALIGN_MAX));
    assert!(size_of::<Block>() == ALIGN_MAX && align_of::<Block>() == ALIGN_MAX);
};
