//! What one session gets of one stream.

use crate::out::SessionId;
use crate::ranges::Ranges;
use crate::slab::Key;

/// A channel: its credit, and what it was given.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) session: Key,
    pub(crate) id: SessionId,
    /// What it is called on the wire.
    pub(crate) number: u16,
    pub(crate) subscription: u16,
    pub(crate) feed: Key,
    /// Bytes that it may be given; below zero after a record that was larger.
    pub(crate) credit: i64,
    /// How much of the stream's journal of subjects its client knows.
    pub(crate) definitions: usize,
    /// Whether anybody asks what it has confirmed: it has a group or a cursor.
    pub(crate) tracks: bool,
    /// The client confirms; otherwise what is sent counts as confirmed.
    pub(crate) explicit: bool,
    /// What was delivered and is not confirmed, if it tracks.
    pub(crate) unconfirmed: Ranges,
    /// It was too slow, and its session is to end.
    pub(crate) hopeless: bool,
}

impl Channel {
    pub(crate) fn grant(&mut self, bytes: u64) {
        self.credit = self
            .credit
            .saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
