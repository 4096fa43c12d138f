//! What the subject ids of a session mean.
//!
//! A session numbers its subjects as it likes; the broker finds the stream of each and the stream's own number for it, once. Looking an id up
//! is one probe of a hash table of 40-byte slots; the publishing loop keeps the last answer.

use trunkline_wire::ErrorCode;
use trunkline_wire::subject::check_subject;

use crate::slab::Key;

/// The subjects of one session. Names are kept, so that an id can be looked up again when streams come and go.
#[derive(Debug)]
pub(crate) struct SubjectTable {
    /// Open addressing with linear probes, at most half full, a power of two; empty at first.
    slots: Vec<Slot>,
    len: u32,
    names: Vec<u8>,
    /// A definition was not taken because of a limit: an id that is not known may be one that was defined.
    overflowed: bool,
    seed: u64,
    len_max: u32,
    names_max: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    id: u32,
    name: u32,
    name_len: u8,
    used: bool,
    /// The shard's count of changes to its streams when `meaning` was found.
    epoch: u32,
    meaning: Meaning,
}

/// What an id means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It was not looked up yet.
    Unknown,
    /// A stream captures it, under this number of its own.
    Subject { stream: Key, subject: u32 },
    /// Records of it are refused.
    Refused(ErrorCode),
    /// Likewise: the session has all the subjects that it may have, and this may be one more.
    Over,
    /// Likewise: this stream has all the subjects that it may have.
    Full(Key),
    /// Likewise: it is the server's own.
    Reserved,
    /// Likewise: the stream of this number that captures it could not be opened.
    Unopened(u32),
}

/// The id has another name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redefined;

impl SubjectTable {
    pub(crate) fn new(seed: u64, len_max: u32, names_max: u32) -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
            names: Vec::new(),
            overflowed: false,
            seed,
            len_max,
            names_max,
        }
    }

    /// Where an id is.
    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut index = self.start(id) & mask;
        loop {
            let slot = &self.slots[index];
            if !slot.used {
                return None;
            }
            if slot.id == id {
                return Some(index);
            }
            index = (index + 1) & mask;
        }
    }

    /// Where ids may be: below this.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Whether one is there.
    pub(crate) fn is_defined(&self, index: usize) -> bool {
        self.slots[index].used
    }

    /// What the id at `index` means, unless streams have changed since it was looked up.
    #[inline]
    pub(crate) fn meaning(&self, index: usize, epoch: u32) -> Meaning {
        let slot = &self.slots[index];
        // What is not a subject stays none.
        if slot.epoch == epoch || slot.name_len == 0 {
            slot.meaning
        } else {
            Meaning::Unknown
        }
    }

    pub(crate) fn set_meaning(&mut self, index: usize, epoch: u32, meaning: Meaning) {
        let slot = &mut self.slots[index];
        (slot.epoch, slot.meaning) = (epoch, meaning);
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        let slot = &self.slots[index];
        let start = slot.name as usize;
        // It was checked when it came in.
        core::str::from_utf8(&self.names[start..start + usize::from(slot.name_len)])
            .unwrap_or_default()
    }

    /// Whether an id that is not known may be one of those that were over a limit.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// How many there may be, and how many bytes their names may have together.
    pub(crate) fn limits(&self) -> (u32, u32) {
        (self.len_max, self.names_max)
    }

    /// Takes a definition. Saying the same again is fine.
    pub(crate) fn define(&mut self, id: u32, name: &[u8]) -> Result<(), Redefined> {
        let legal = core::str::from_utf8(name).is_ok_and(|name| check_subject(name).is_ok());
        if let Some(index) = self.find(id) {
            let same = if legal {
                self.name(index).as_bytes() == name
            } else {
                self.slots[index].name_len == 0
            };
            return if same { Ok(()) } else { Err(Redefined) };
        }
        if self.len >= self.len_max || self.names.len() + name.len() > self.names_max as usize {
            self.overflowed = true;
            return Ok(());
        }
        let start = self.names.len() as u32;
        let mut slot = Slot {
            id,
            name: start,
            name_len: 0,
            used: true,
            epoch: 0,
            meaning: Meaning::Refused(ErrorCode::SUBJECT),
        };
        if legal {
            // A legal subject has at most 255 bytes.
            slot.name_len = name.len() as u8;
            slot.meaning = Meaning::Unknown;
            self.names.extend_from_slice(name);
        }
        self.insert(slot);
        Ok(())
    }

    fn insert(&mut self, slot: Slot) {
        if (self.len as usize + 1) * 2 > self.slots.len() {
            let bigger = vec![Slot::FREE; (self.slots.len() * 2).max(8)];
            for slot in core::mem::replace(&mut self.slots, bigger) {
                if slot.used {
                    self.place(slot);
                }
            }
        }
        self.len += 1;
        self.place(slot);
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut index = self.start(slot.id) & mask;
        while self.slots[index].used {
            index = (index + 1) & mask;
        }
        self.slots[index] = slot;
    }

    /// The ids are the client's choice; the seed keeps it from choosing some that collide.
    #[inline]
    fn start(&self, id: u32) -> usize {
        let product =
            (u64::from(id) ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ self.seed << 1);
        (product >> 32) as usize
    }
}

impl Slot {
    const FREE: Self = Self {
        id: 0,
        name: 0,
        name_len: 0,
        used: false,
        epoch: 0,
        meaning: Meaning::Unknown,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_name() {
        let mut table = SubjectTable::new(7, 100, 1000);
        assert_eq!(table.find(5), None);
        for id in 0..50 {
            table.define(id * 3, format!("s.{id}").as_bytes()).unwrap();
        }
        for id in 0..50 {
            assert_eq!(table.name(table.find(id * 3).unwrap()), format!("s.{id}"));
        }
        assert_eq!(table.define(3, b"s.1"), Ok(()));
        assert_eq!(table.define(3, b"s.2"), Err(Redefined));
        assert_eq!(table.find(1), None);
    }

    #[test]
    fn what_is_not_a_subject_is_refused_for_good() {
        let mut table = SubjectTable::new(0, 100, 1000);
        for (id, name) in [&b"a..b"[..], b"", b"\xff", b"a.*"].into_iter().enumerate() {
            table.define(id as u32, name).unwrap();
            let index = table.find(id as u32).unwrap();
            assert_eq!(
                table.meaning(index, 9),
                Meaning::Refused(ErrorCode::SUBJECT)
            );
        }
    }

    #[test]
    fn beyond_a_limit_nothing_is_kept() {
        let mut table = SubjectTable::new(0, 2, 1000);
        for id in 0..3 {
            table.define(id, b"a").unwrap();
        }
        assert!(table.overflowed() && table.find(1).is_some() && table.find(2).is_none());
        let mut table = SubjectTable::new(0, 20, 4);
        table.define(0, b"abc").unwrap();
        assert!(!table.overflowed());
        table.define(1, b"abc").unwrap();
        assert!(table.overflowed());
    }

    #[test]
    fn a_meaning_is_looked_up_again_when_streams_have_changed() {
        let mut table = SubjectTable::new(0, 20, 40);
        table.define(1, b"abc").unwrap();
        let index = table.find(1).unwrap();
        assert_eq!(table.meaning(index, 1), Meaning::Unknown);
        table.set_meaning(index, 1, Meaning::Refused(ErrorCode::NO_STREAM));
        assert_eq!(
            table.meaning(index, 1),
            Meaning::Refused(ErrorCode::NO_STREAM)
        );
        assert_eq!(table.meaning(index, 2), Meaning::Unknown);
    }
}
