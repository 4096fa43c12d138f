//! Records that say who sent them: every byte follows from the client, the stream and the number.

use crate::rng::Rng;

/// The streams, by number: name and configuration.
///
/// `ticks` is short of room: retention is always at work. In the other two it comes only now and then.
pub(crate) const STREAMS: [(&str, &str); 3] = [
    (
        "orders",
        "ack: stored, segment: 1MiB, tail: 512KiB, retention: {bytes: 48MiB}",
    ),
    (
        "events",
        "ack: synced, segment: 1MiB, tail: 1MiB, retention: {bytes: 32MiB}",
    ),
    (
        "ticks",
        "ack: stored, segment: 256KiB, tail: 512KiB, retention: {bytes: 1MiB}",
    ),
];

/// The server's configuration with these streams.
pub(crate) fn configuration<'a>(streams: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::from("limits: {max_record: 64KiB}\nstreams:\n");
    for (name, rest) in streams {
        text.push_str(&format!(
            "- {{name: {name}, subjects: ['{name}.>'], {rest}}}\n"
        ));
    }
    text
}

/// A record that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) client: u16,
    pub(crate) stream: u16,
    /// Counts the client's records to this stream, from 0, over all of its connections.
    pub(crate) number: u64,
}

impl Id {
    /// Puts the record's payload in place of what is in `payload`.
    pub(crate) fn write(self, payload: &mut Vec<u8>) {
        let mut rng =
            Rng(u64::from(self.client) << 48 | u64::from(self.stream) << 40 ^ self.number);
        let len = match rng.below(16) {
            0 => rng.below(6000),
            1..=5 => rng.below(500),
            _ => rng.below(90),
        };
        payload.clear();
        payload.extend_from_slice(&self.client.to_le_bytes());
        payload.extend_from_slice(&self.stream.to_le_bytes());
        payload.extend_from_slice(&self.number.to_le_bytes());
        let end = payload.len() + len as usize;
        while payload.len() < end {
            payload.extend_from_slice(&rng.bits().to_le_bytes());
        }
        payload.truncate(end);
    }

    /// Who sent these bytes. `None` when nobody sends such.
    pub(crate) fn read(payload: &[u8], scratch: &mut Vec<u8>) -> Option<Self> {
        let (client, rest) = payload.split_first_chunk()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (number, _) = rest.split_first_chunk()?;
        let id = Self {
            client: u16::from_le_bytes(*client),
            stream: u16::from_le_bytes(*stream),
            number: u64::from_le_bytes(*number),
        };
        id.write(scratch);
        (scratch == payload).then_some(id)
    }

    /// What it is published to.
    pub(crate) fn subject(self) -> String {
        subject(self.stream, self.client)
    }
}

/// The subject of a client in a stream.
pub(crate) fn subject(stream: u16, client: u16) -> String {
    format!("{}.c{client}", STREAMS[usize::from(stream)].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_recognised_by_every_one_of_its_bytes() {
        let id = Id {
            client: 3,
            stream: 1,
            number: 77,
        };
        let (mut payload, mut scratch) = (Vec::new(), Vec::new());
        id.write(&mut payload);
        assert_eq!(Id::read(&payload, &mut scratch), Some(id));
        for at in 0..payload.len() {
            payload[at] ^= 1;
            assert_ne!(Id::read(&payload, &mut scratch), Some(id));
            payload[at] ^= 1;
        }
    }
}
