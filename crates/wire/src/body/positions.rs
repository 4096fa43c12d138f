//! Where a client stands that comes back.

use core::fmt;

use crate::field::{Fields, Malformed};
use crate::short::Short;

/// Streams by name, each with the sequence to go on with: `stream str, next u64`, one behind the other.
///
/// ```
/// use trunkline_wire::Positions;
///
/// let mut bytes = Vec::new();
/// Positions::push(&mut bytes, "orders", 17)?;
/// Positions::push(&mut bytes, "main", 3)?;
/// let positions = Positions::new(&bytes)?;
/// assert!(positions.iter().eq([("orders", 17), ("main", 3)]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Positions<'a> {
    /// Checked: it holds whole entries.
    bytes: &'a [u8],
}

impl<'a> Positions<'a> {
    /// None.
    pub const NONE: Self = Self { bytes: &[] };

    /// Checks what [`push`](Self::push) wrote.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::decode(Fields::new(bytes))
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// [`Short::NEVER`] when the name is longer than 65,535 bytes.
    pub fn push(out: &mut Vec<u8>, stream: &str, next: u64) -> Result<(), Short> {
        let len = u16::try_from(stream.len()).map_err(|_| Short::NEVER)?;
        out.extend(len.to_le_bytes());
        out.extend(stream.as_bytes());
        out.extend(next.to_le_bytes());
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Each stream and the sequence to go on with.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, u64)> + use<'a> {
        let mut fields = Fields::new(self.bytes);
        core::iter::from_fn(move || entry(&mut fields).ok())
    }

    /// What is left of a body.
    pub(super) fn decode(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        let bytes = fields.clone().rest();
        while !fields.is_empty() {
            entry(&mut fields)?;
        }
        Ok(Self { bytes })
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for Positions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn entry<'a>(fields: &mut Fields<'a>) -> Result<(&'a str, u64), Malformed> {
    Ok((fields.text("positions")?, fields.u64("positions")?))
}
