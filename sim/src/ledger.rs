//! What clients sent, and what they were told about it.

use std::collections::BTreeSet;

use trunkline_log::testing::Rng;
use trunkline_wire::AckLevel;
use trunkline_wire::record::{self, Kind, PREFIX_BYTES, Stamp};

/// The number of a record that a client sent: its place in the ledger, and the first eight bytes of its body.
pub(crate) type RecordId = u64;

/// Everything that was ever sent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: Vec<Sent>,
    /// Connections whose bytes were changed on the way: what was sent on them may have arrived twice.
    tampered: BTreeSet<u32>,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// The subject that it was sent to.
    pub subject: &'static str,
    /// Bytes of its body.
    pub len: u32,
    /// What its client knows.
    pub fate: Fate,
    /// The connection that it was sent on.
    pub link: u32,
    /// Its body has marks of the log in it, as of a record that begins at this position.
    pub forged: Option<u64>,
    /// Where it was seen in a log: the sequence, 0 while it was not.
    pub sequence: u64,
    /// And the incarnation of the server that took it.
    pub epoch: u32,
}

/// What a client was told of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing: it may be stored or not.
    Open,
    /// It has this level.
    Acked(AckLevel),
    /// It was not taken.
    Refused,
}

impl Ledger {
    /// A record that is about to be sent.
    pub(crate) fn send(&mut self, subject: &'static str, len: u32, link: u32) -> RecordId {
        self.sent.push(Sent {
            subject,
            len: len.max(8),
            fate: Fate::Open,
            link,
            forged: None,
            sequence: 0,
            epoch: 0,
        });
        self.sent.len() as u64 - 1
    }

    /// The same, and its body has marks of the log in it, for the places at which it may come to lie behind `end`. They say that much more is durable
    /// than there is.
    pub(crate) fn send_forged(&mut self, subject: &'static str, link: u32, end: u64) -> RecordId {
        let id = self.send(subject, FORGED_BYTES, link);
        self.sent[id as usize].forged = Some(end);
        id
    }

    /// A record by its number.
    pub(crate) fn get(&self, id: RecordId) -> Option<&Sent> {
        self.sent.get(usize::try_from(id).ok()?)
    }

    /// A record by its number.
    pub(crate) fn get_mut(&mut self, id: RecordId) -> Option<&mut Sent> {
        self.sent.get_mut(usize::try_from(id).ok()?)
    }

    /// A connection's bytes were changed on the way.
    pub(crate) fn tampered(&mut self, link: u32) {
        self.tampered.insert(link);
    }

    /// Whether a record may be in a log more than once.
    pub(crate) fn may_be_doubled(&self, sent: &Sent) -> bool {
        self.tampered.contains(&sent.link)
    }

    /// How many records were sent.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// How many of them were acknowledged.
    pub(crate) fn acked(&self) -> usize {
        let acked = |sent: &&Sent| matches!(sent.fate, Fate::Acked(_));
        self.sent.iter().filter(acked).count()
    }

    /// The body of a record: its number, then bytes that follow from it.
    pub(crate) fn body(&self, id: RecordId) -> Vec<u8> {
        let len = self.get(id).map_or(0, |sent| sent.len as usize);
        let mut body = Vec::with_capacity(len + 8);
        body.extend_from_slice(&id.to_le_bytes());
        let mut rng = Rng(id);
        while body.len() < len {
            body.extend_from_slice(&rng.bits().to_le_bytes());
        }
        body.truncate(len);
        if let Some(end) = self.get(id).and_then(|sent| sent.forged) {
            forge(&mut body, end);
        }
        body
    }

    /// The record that a body says it is, if it is that one byte for byte.
    pub(crate) fn recognise(&self, body: &[u8]) -> Option<RecordId> {
        let id = u64::from_le_bytes(*body.first_chunk()?);
        let sent = self.get(id)?;
        (sent.len as usize == body.len() && self.body(id) == body).then_some(id)
    }
}

/// Writes marks into a body, behind the record's number: each is true to its place if the record comes to lie right behind `end`, behind a mark there, or behind
/// one that fills its page. Only the salt is not known to who publishes.
fn forge(body: &mut [u8], end: u64) {
    let starts = [
        end,
        end + MARK_BYTES as u64,
        (end + MARK_BYTES as u64).next_multiple_of(4096),
    ];
    for (nth, start) in starts.into_iter().enumerate() {
        let at = 8 + nth * MARK_BYTES;
        let mut fields = [0; 40];
        fields[8..16].copy_from_slice(&(start + (PREFIX_BYTES + at) as u64).to_le_bytes());
        fields[16..24].copy_from_slice(&(u64::MAX / 4).to_le_bytes());
        fields[24..32].copy_from_slice(&(start + (1 << 20)).to_le_bytes());
        let stamp = Stamp {
            kind: Kind::Batch,
            ..Stamp::DATA
        };
        let encoded = record::encode(&mut body[at..at + MARK_BYTES], &stamp, &fields);
        encoded.expect("a mark has its size");
    }
}

/// Bytes of a mark.
const MARK_BYTES: usize = 80;
/// A number and three marks.
const FORGED_BYTES: u32 = 8 + 3 * MARK_BYTES as u32;
