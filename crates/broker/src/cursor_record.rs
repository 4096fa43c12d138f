//! The body of a record in the log of durable cursors; drawn in `docs/format/cursors.md`.

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CursorRecord<'a> {
    pub(crate) what: What,
    /// The first sequence that is not confirmed; 0 in one that is removed.
    pub(crate) next: u64,
    pub(crate) stream: &'a str,
    pub(crate) cursor: &'a str,
}

/// What a record says of its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Stands = 1,
    Removed = 2,
}

impl<'a> CursorRecord<'a> {
    /// Writes the body at the start of `out` and returns its bytes. Names have at most 255 bytes.
    pub(crate) fn encode(&self, out: &mut [u8; BODY_BYTES_MAX]) -> usize {
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            out[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        put(&[VERSION, self.what as u8]);
        put(&self.next.to_le_bytes());
        for name in [self.stream, self.cursor] {
            put(&(name.len() as u16).to_le_bytes());
            put(name.as_bytes());
        }
        len
    }

    /// `None` for what another version wrote, or damage.
    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<10>()?;
        let what = match head[..2] {
            [VERSION, 1] => What::Stands,
            [VERSION, 2] => What::Removed,
            _ => return None,
        };
        let next = u64::from_le_bytes(head[2..].try_into().ok()?);
        let (stream, rest) = text(rest)?;
        let (cursor, rest) = text(rest)?;
        rest.is_empty().then_some(Self {
            what,
            next,
            stream,
            cursor,
        })
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    Some((core::str::from_utf8(text).ok()?, rest))
}

/// Two names of the longest.
pub(crate) const BODY_BYTES_MAX: usize = 10 + 2 * (2 + 255);
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const STANDS: CursorRecord<'_> = CursorRecord {
        what: What::Stands,
        next: 0x0102_0304_0506_0708,
        stream: "orders",
        cursor: "billing",
    };
    const REMOVED: CursorRecord<'_> = CursorRecord {
        what: What::Removed,
        next: 0,
        ..STANDS
    };

    fn encoded(record: &CursorRecord<'_>) -> Vec<u8> {
        let mut out = [0xee; BODY_BYTES_MAX];
        let len = record.encode(&mut out);
        out[..len].to_vec()
    }

    /// `BLESS=1` writes the files anew, which is right only together with a new version of the format.
    #[test]
    fn golden_files_hold_what_is_encoded_today() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for (name, record) in [
            ("cursor-stands.bin", STANDS),
            ("cursor-removed.bin", REMOVED),
        ] {
            let path = folder.join(name);
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, encoded(&record)).unwrap();
            }
            let golden = std::fs::read(&path).unwrap();
            assert_eq!(golden, encoded(&record), "{name}");
            assert_eq!(CursorRecord::decode(&golden), Some(record), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_whole_record_of_this_version_is_none() {
        let whole = encoded(&STANDS);
        for len in 0..whole.len() {
            assert_eq!(CursorRecord::decode(&whole[..len]), None, "{len} bytes");
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(CursorRecord::decode(&longer), None);
        for (at, byte) in [(0, 2), (1, 3), (12, 0xff)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(CursorRecord::decode(&other), None, "byte {at}");
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let name = "n".repeat(255);
        let record = CursorRecord {
            stream: &name,
            cursor: &name,
            ..STANDS
        };
        assert_eq!(CursorRecord::decode(&encoded(&record)), Some(record));
    }
}
