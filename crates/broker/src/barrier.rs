//! A Publish frame without records that asks for an ack level: everything before it is to get there.

use trunkline_wire::AckLevel;

use crate::acks::Row;
use crate::publish::resolve;
use crate::shard::Shard;
use crate::slab::Key;
use crate::subjects::Meaning;

impl Shard {
    /// Leaves a row for each stream that captures a subject of the session: what it holds now is to get to `level`. The last
    /// of them, or one that waits for nothing, ends the frame. There is room for as many rows as there are streams.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait_for_everything(&mut self, key: Key, frame: u16, level: AckLevel) {
        let Some(session) = self.sessions.at_mut(key) else {
            return;
        };
        for index in 0..session.subjects.places() {
            if !session.subjects.is_defined(index) {
                continue;
            }
            let mut meaning = session.subjects.meaning(index, self.epoch);
            if meaning == Meaning::Unknown {
                let name = session.subjects.name(index);
                meaning = resolve(&self.routes, &mut self.streams, &self.unopened, name);
                session.subjects.set_meaning(index, self.epoch, meaning);
            }
            let Meaning::Subject {
                stream: stream_key, ..
            } = meaning
            else {
                continue;
            };
            if session.acks.row(stream_key).is_some() {
                continue;
            }
            let Some(stream) = self.streams.at_mut(stream_key) else {
                continue;
            };
            let upto = stream.log.received().sequence.saturating_sub(1);
            if level == AckLevel::Synced {
                stream.log.want_synced(upto);
            }
            session.acks.push(Row {
                stream: stream_key,
                upto,
                level,
                ..Row::new(frame)
            });
            if !stream.listed {
                stream.listed = true;
                self.attention.push(stream_key);
            }
        }
        if session.acks.last_open().is_none() {
            session.acks.push(Row::new(frame));
        }
        if let Some(row) = session.acks.last_open() {
            (row.ends, row.alone, row.level, row.told) = (true, true, level, level);
        }
    }
}
