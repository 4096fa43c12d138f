//! How far durable cursors have come: read and written by name, and saved as their feeds confirm.

use trunkline_wire::ErrorCode;

use crate::Now;
use crate::cursors::CursorInfo;
use crate::refusal::Refusal;
use crate::shard::Shard;
use crate::slab::Key;

impl Shard {
    /// All durable cursors.
    pub fn cursors(&self) -> Vec<CursorInfo> {
        self.cursors.infos().collect()
    }

    /// Whether the log of the durable cursors has what they say.
    pub fn cursors_are_kept(&self) -> bool {
        self.cursors.is_written()
    }

    /// Takes in where a durable cursor stands that was kept elsewhere, however many there are; with turns until
    /// [`cursors_are_kept`](Self::cursors_are_kept).
    pub fn import_cursor(&mut self, stream: &str, name: &str, next: u64, now: Now) {
        let key = self.cursors.bind(stream, name);
        self.cursors.set_next(key, next);
        self.cursors.touch(key, now);
    }

    /// Forgets a durable cursor that nobody reads with.
    ///
    /// # Errors
    /// When there is none of this name, or somebody reads with it.
    pub fn remove_cursor(&mut self, stream: &str, name: &str, now: Now) -> Result<(), Refusal> {
        let Some(key) = self.cursors.find(stream, name) else {
            return Err(Refusal::new(
                ErrorCode::NOT_FOUND,
                format!("stream {stream} has no cursor {name}"),
            ));
        };
        if self.cursors.feed(key) != Key::NONE {
            return Err(Refusal::new(
                ErrorCode::EXISTS,
                format!("somebody reads with cursor {name} of stream {stream}"),
            ));
        }
        self.forget_cursor(key, now);
        Ok(())
    }

    /// Writes where durable cursors stand.
    pub(crate) fn save_cursors(&mut self, now: Now) -> usize {
        let mut active = core::mem::take(&mut self.saving);
        active.extend(self.cursors.active().map(|(_, feed)| feed));
        for feed in active.drain(..) {
            self.save_progress(feed);
        }
        self.saving = active;
        let log = self.streams.at_mut(self.cursors.stream);
        let listed = self.cursors.stream;
        let written = self.cursors.write(log.map(|stream| &mut stream.log), now);
        if written > 0 {
            self.look_at(listed);
        }
        written
    }

    /// Notes how far a feed has confirmed: everything before the first sequence that was not delivered, or not confirmed.
    pub(crate) fn save_progress(&mut self, key: Key) {
        let Some(feed) = self.feeds.at(key) else {
            return;
        };
        if feed.durable == Key::NONE {
            return;
        }
        let members = feed
            .members
            .iter()
            .filter_map(|member| self.channels.at(*member));
        let unconfirmed = members
            .filter_map(|channel| channel.unconfirmed.first())
            .min();
        let next = [
            Some(feed.cursor.sequence()),
            feed.again.first(),
            unconfirmed,
        ]
        .into_iter()
        .flatten()
        .min();
        if let Some(next) = next {
            self.cursors.set_next(feed.durable, next);
        }
    }

    pub(crate) fn forget_cursor(&mut self, key: Key, now: Now) {
        let stream = self.cursors.stream;
        let log = self.streams.at_mut(stream).map(|stream| &mut stream.log);
        self.cursors.remove(key, log, now);
        self.look_at(stream);
    }
}
