//! User headers: the key-value pairs that a record's body may start with.

use core::fmt;

use crate::record::Short;

/// The user headers of a record, in the order in which they were written.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    count: u16,
    entries: &'a [u8],
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const NONE: Headers<'static> = Headers {
        count: 0,
        entries: &[],
    };

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.into()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Key and value of each.
    pub fn iter(&self) -> HeadersIter<'a> {
        HeadersIter { rest: self.entries }
    }

    /// The value of the first header with this key.
    pub fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// Key and value of each header.
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value, rest) = entry(self.rest)?;
        self.rest = rest;
        Some((key, value))
    }
}

/// Bytes that these headers take at the start of a body.
pub fn headers_bytes(headers: &[(&str, &[u8])]) -> usize {
    PROLOGUE_BYTES
        + headers
            .iter()
            .map(|(key, value)| ENTRY_BYTES + key.len() + value.len())
            .sum::<usize>()
}

/// Writes `headers` at the start of `out` and returns their bytes; the payload comes after them.
///
/// # Errors
/// [`Short`] when `out` cannot take them, or ([`Short::NEVER`]) when a key is longer than 255 bytes or all of them
/// than 65,535.
pub fn encode_headers(out: &mut [u8], headers: &[(&str, &[u8])]) -> Result<usize, Short> {
    let needed = headers_bytes(headers);
    let entries = u16::try_from(needed - PROLOGUE_BYTES).map_err(|_| Short::NEVER)?;
    let count = u16::try_from(headers.len()).map_err(|_| Short::NEVER)?;
    if headers
        .iter()
        .any(|(key, _)| key.len() > usize::from(u8::MAX))
    {
        return Err(Short::NEVER);
    }
    let Some(out) = out.get_mut(..needed) else {
        return Err(Short { needed });
    };
    out[..2].copy_from_slice(&count.to_le_bytes());
    out[2..4].copy_from_slice(&entries.to_le_bytes());
    let mut at = PROLOGUE_BYTES;
    for (key, value) in headers {
        // Both lengths were bounded above: the key's by its own check, the value's by the sum.
        out[at] = key.len() as u8;
        out[at + 1..at + 3].copy_from_slice(&(value.len() as u16).to_le_bytes());
        at += ENTRY_BYTES;
        out[at..at + key.len()].copy_from_slice(key.as_bytes());
        at += key.len();
        out[at..at + value.len()].copy_from_slice(value);
        at += value.len();
    }
    Ok(needed)
}

/// Checks that `body` starts with well-formed headers: lengths that add up, keys of UTF-8, as many as are claimed.
#[cold]
pub(crate) fn check(body: &[u8]) -> Result<(), MalformedHeaders> {
    let (headers, _) = split(body).ok_or(MalformedHeaders)?;
    let mut rest = headers.entries;
    for _ in 0..headers.count {
        (_, _, rest) = entry(rest).ok_or(MalformedHeaders)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(MalformedHeaders)
    }
}

/// Headers, and what comes after them.
pub(crate) fn split(body: &[u8]) -> Option<(Headers<'_>, &[u8])> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    let (bytes, rest) = rest.split_first_chunk::<2>()?;
    let (entries, rest) = rest.split_at_checked(u16::from_le_bytes(*bytes).into())?;
    Some((
        Headers {
            count: u16::from_le_bytes(*count),
            entries,
        },
        rest,
    ))
}

/// The user headers do not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedHeaders;

fn entry(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (&key_len, rest) = bytes.split_first()?;
    let (value_len, rest) = rest.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(key_len.into())?;
    let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*value_len).into())?;
    Some((core::str::from_utf8(key).ok()?, value, rest))
}

/// `count u16, bytes u16`.
const PROLOGUE_BYTES: usize = 4;
/// `key_len u8, value_len u16`.
const ENTRY_BYTES: usize = 3;
