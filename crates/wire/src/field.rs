//! Reading and writing the fields of control bodies, one after the other.

use core::fmt;

use crate::record::Short;

/// A body does not hold what its opcode says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Byte of the body where the field starts that is wrong.
    pub offset: u32,
    /// The field.
    pub field: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed body: {} at byte {}", self.field, self.offset)
    }
}

impl core::error::Error for Malformed {}

/// Takes fields from the front of a body.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let malformed = self.malformed(field);
        let len = usize::from(self.u16(field)?);
        let bytes = self.body.get(self.at..self.at + len).ok_or(malformed)?;
        self.at += len;
        core::str::from_utf8(bytes).map_err(|_| malformed)
    }

    /// `count` bytes that version 1 wants to be zero.
    pub(crate) fn reserved(&mut self, count: usize) -> Result<(), Malformed> {
        let malformed = self.malformed("reserved bytes");
        let bytes = self.body.get(self.at..self.at + count).ok_or(malformed)?;
        self.at += count;
        if bytes.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(malformed)
        }
    }

    /// Turns a number into what it stands for.
    pub(crate) fn one_of<N, T>(
        &mut self,
        field: &'static str,
        read: impl Fn(&mut Self, &'static str) -> Result<N, Malformed>,
        meaning: impl Fn(N) -> Option<T>,
    ) -> Result<T, Malformed> {
        let malformed = self.malformed(field);
        meaning(read(self, field)?).ok_or(malformed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.body.len()
    }

    /// Everything that was not taken.
    pub(crate) fn rest(self) -> &'a [u8] {
        &self.body[self.at..]
    }

    /// Nothing may be left.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Malformed> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self.malformed("bytes after the last field"))
        }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let bytes = self.body.get(self.at..).and_then(|rest| rest.first_chunk());
        let bytes = *bytes.ok_or(self.malformed(field))?;
        self.at += N;
        Ok(bytes)
    }

    fn malformed(&self, field: &'static str) -> Malformed {
        Malformed {
            offset: self.at as u32,
            field,
        }
    }
}

/// Puts fields one after the other; counts on when the buffer is full, so that the error can say what is needed.
pub(crate) struct Out<'a> {
    out: &'a mut [u8],
    at: usize,
    impossible: bool,
}

impl<'a> Out<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            at: 0,
            impossible: false,
        }
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn text(mut self, value: &str) -> Self {
        match u16::try_from(value.len()) {
            Ok(len) => self.u16(len).bytes(value.as_bytes()),
            Err(_) => {
                self.impossible = true;
                self
            }
        }
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        let end = self.at + bytes.len();
        if let Some(out) = self.out.get_mut(self.at..end) {
            out.copy_from_slice(bytes);
        }
        self.at = end;
        self
    }

    pub(crate) fn finish(self) -> Result<usize, Short> {
        if self.impossible {
            Err(Short::NEVER)
        } else if self.at > self.out.len() {
            Err(Short { needed: self.at })
        } else {
            Ok(self.at)
        }
    }
}
