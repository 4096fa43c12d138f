//! The names of subjects that a server defines on a channel.

use trunkline_wire::RawRecord;

/// Names by the stream's subject ids, which are dense from 0.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: Vec<Option<Box<str>>>,
}

impl Names {
    /// Takes a definition. `false` when it is none: an id out of all proportion, or a name that is not UTF-8.
    pub(crate) fn define(&mut self, definition: &RawRecord<'_>) -> bool {
        let id = definition.subject_id() as usize;
        let Ok(name) = std::str::from_utf8(definition.body()) else {
            return false;
        };
        if id >= IDS_MAX {
            return false;
        }
        if id >= self.names.len() {
            self.names.resize(id + 1, None);
        }
        if self.names[id].as_deref() != Some(name) {
            self.names[id] = Some(name.into());
        }
        true
    }

    /// The name of an id, if it was defined.
    #[inline]
    pub(crate) fn name(&self, id: u32) -> Option<&str> {
        self.names.get(id as usize)?.as_deref()
    }
}

/// A stream with more subjects than this is not taken: 16 bytes of table each.
const IDS_MAX: usize = 4 << 20;
