//! The subjects of a stream: dense ids for names, and which of them the segment in use has defined.

use std::collections::{BTreeMap, BTreeSet};

/// Interned names. An id keeps its meaning for as long as the log is open, and in every segment that exists.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    /// By id. `None`: an id that no segment uses any more, free since the log was opened.
    names: Vec<Option<Box<str>>>,
    ids: BTreeMap<Box<str>, u32>,
    /// One bit for each id: the segment in use holds its definition.
    defined: Vec<u64>,
    /// The definitions of the segment in use, for its seal.
    places: Vec<Place>,
    free: Vec<u32>,
    max: u32,
    /// Ids whose data may come before their definition, or without one. Recovery has none.
    excused: Excused,
}

/// Data records without a definition in front of them.
#[derive(Debug, Default)]
pub(crate) enum Excused {
    /// Are not valid: so a segment is written.
    #[default]
    None,
    /// Are valid with these ids, whose definitions a seal lists: so a segment is repaired.
    Listed(BTreeSet<u32>),
    /// Are valid, and noted: repair finds out what they were.
    Noted(BTreeSet<u32>),
}

/// Where in the segment in use a definition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: u32,
    pub(crate) offset: u32,
}

impl Subjects {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    pub(crate) fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    #[inline]
    pub(crate) fn name(&self, id: u32) -> Option<&str> {
        self.names.get(id as usize)?.as_deref()
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The id of `name`, a new one if need be; `None` when there are too many.
    pub(crate) fn intern(&mut self, name: &str) -> Option<u32> {
        if let Some(id) = self.id(name) {
            return Some(id);
        }
        if self.ids.len() >= self.max as usize {
            return None;
        }
        let id = self.free.pop().unwrap_or(self.names.len() as u32);
        self.place_name(id, name);
        Some(id)
    }

    /// Takes over an id from a definition record. False: the id or the name has another meaning already.
    pub(crate) fn adopt(&mut self, id: u32, name: &str) -> bool {
        match (self.name(id), self.id(name)) {
            (Some(known), _) => known == name,
            (None, Some(_)) => false,
            (None, None) => {
                self.place_name(id, name);
                true
            }
        }
    }

    fn place_name(&mut self, id: u32, name: &str) {
        let index = id as usize;
        if index >= self.names.len() {
            self.names.resize(index + 1, None);
            self.defined.resize(self.names.len().div_ceil(64), 0);
            // Room for every place up front, so that defining again after a rotation allocates nothing.
            self.places
                .reserve(self.names.len().saturating_sub(self.places.len()));
        }
        self.names[index] = Some(name.into());
        self.ids.insert(name.into(), id);
    }

    /// After recovery: ids below the highest that no segment uses may be given out again, lowest first.
    pub(crate) fn collect_free(&mut self) {
        self.free = (0..self.names.len() as u32)
            .rev()
            .filter(|id| self.names[*id as usize].is_none())
            .collect();
    }

    /// Whether the segment in use holds the definition of `id`; false for ids that there are not.
    #[inline]
    pub(crate) fn is_defined(&self, id: u32) -> bool {
        match self.defined.get(id as usize / 64) {
            Some(word) => word >> (id % 64) & 1 == 1,
            None => false,
        }
    }

    /// Whether a data record with an id that is not defined counts all the same.
    #[cold]
    pub(crate) fn excuses(&mut self, id: u32) -> bool {
        match &mut self.excused {
            Excused::None => false,
            Excused::Listed(ids) => ids.contains(&id),
            Excused::Noted(ids) => {
                ids.insert(id);
                true
            }
        }
    }

    /// What holds for the next segment; returns what held before.
    pub(crate) fn excuse(&mut self, excused: Excused) -> Excused {
        std::mem::replace(&mut self.excused, excused)
    }

    pub(crate) fn define(&mut self, id: u32, offset: u32) {
        self.defined[id as usize / 64] |= 1 << (id % 64);
        self.places.push(Place { id, offset });
    }

    /// The definitions of the segment in use, in its order.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// A new segment defines nothing yet.
    pub(crate) fn forget_places(&mut self) {
        self.defined.fill(0);
        self.places.clear();
    }

    /// For streams without files, where no segment needs to explain itself.
    pub(crate) fn names_max(&self) -> u32 {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_dense_ids_and_refuses_one_too_many() {
        let mut subjects = Subjects::new(2);
        assert_eq!(
            (
                subjects.intern("a"),
                subjects.intern("b"),
                subjects.intern("a")
            ),
            (Some(0), Some(1), Some(0))
        );
        assert_eq!(subjects.intern("c"), None);
        assert_eq!(
            (subjects.name(1), subjects.name(2), subjects.len()),
            (Some("b"), None, 2)
        );
    }

    #[test]
    fn adopts_sparse_ids_and_fills_the_gaps_from_below() {
        let mut subjects = Subjects::new(10);
        assert!(subjects.adopt(3, "d") && subjects.adopt(1, "b") && subjects.adopt(3, "d"));
        assert!(!subjects.adopt(3, "x"), "the id means d");
        assert!(!subjects.adopt(5, "d"), "d has an id");
        subjects.collect_free();
        assert_eq!(
            (
                subjects.intern("a"),
                subjects.intern("c"),
                subjects.intern("e")
            ),
            (Some(0), Some(2), Some(4))
        );
    }

    #[test]
    fn knows_what_the_segment_defined() {
        let mut subjects = Subjects::new(100);
        for i in 0..70 {
            subjects.intern(&format!("s{i}"));
        }
        subjects.define(69, 8);
        assert!(subjects.is_defined(69) && !subjects.is_defined(5) && !subjects.is_defined(1000));
        subjects.forget_places();
        assert!(!subjects.is_defined(69) && subjects.places().is_empty());
    }
}
