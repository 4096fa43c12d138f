//! Many records in a row: walking them, and what a session hands out.

use core::fmt;

use crate::record::{RawRecord, RecordError};

/// Walks a stretch of records; stops at the end, at the first error, or where a record is not whole.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    payload_max: u32,
}

impl<'a> Records<'a> {
    /// Walks `bytes`, refusing records with more payload than `payload_max`.
    pub fn new(bytes: &'a [u8], payload_max: u32) -> Self {
        Self {
            rest: bytes,
            payload_max,
        }
    }

    /// What was not walked yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawRecord<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match RawRecord::peek(self.rest, self.payload_max) {
            Ok(Some(record)) => {
                self.rest = &self.rest[record.len()..];
                Some(Ok(record))
            }
            Ok(None) => None,
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// A run of whole records whose framing was checked by the session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    bytes: &'a [u8],
    records: u32,
}

impl<'a> Run<'a> {
    /// A run of nothing.
    pub const EMPTY: Self = Self {
        bytes: &[],
        records: 0,
    };

    /// A run of `records` records; the caller walked them.
    pub(crate) const fn walked(bytes: &'a [u8], records: u32) -> Self {
        Self { bytes, records }
    }

    /// Walks `bytes` and takes them as a run if they are whole records and nothing else.
    ///
    /// # Errors
    /// The first record's that is wrong; [`RecordError::Length`] if the last one is not whole.
    pub fn check(bytes: &'a [u8], payload_max: u32) -> Result<Self, RecordError> {
        let mut walk = Records::new(bytes, payload_max);
        let mut records = 0;
        for record in &mut walk {
            record?;
            records += 1;
        }
        match walk.rest() {
            [] => Ok(Self { bytes, records }),
            rest => Err(RecordError::Length {
                payload_len: rest.len() as u32,
            }),
        }
    }

    /// The bytes of all records.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of all records.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many records there are.
    #[inline]
    pub fn count(&self) -> u32 {
        self.records
    }

    /// The records, in order.
    #[inline]
    pub fn records(&self) -> RunRecords<'a> {
        RunRecords { rest: self.bytes }
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Run({} records, {} bytes)",
            self.records,
            self.bytes.len()
        )
    }
}

/// The records of a [`Run`].
#[derive(Clone, Debug)]
pub struct RunRecords<'a> {
    rest: &'a [u8],
}

impl<'a> RunRecords<'a> {
    /// What was not walked yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for RunRecords<'a> {
    type Item = RawRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawRecord<'a>> {
        let record = RawRecord::again(self.rest)?;
        self.rest = &self.rest[record.len()..];
        Some(record)
    }
}
