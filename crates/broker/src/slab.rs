//! A table with stable keys: a key of something that was taken out never finds what took its place.

/// Where something is in a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    generation: u32,
}

impl Key {
    /// Finds nothing.
    pub(crate) const NONE: Self = Self {
        index: u32::MAX,
        generation: u32::MAX,
    };

    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_u64(key: u64) -> Self {
        Self {
            index: key as u32,
            generation: (key >> 32) as u32,
        }
    }
}

/// At most `max` values. Grows on demand and reuses places, so that after warm-up it allocates nothing.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The free place that was given back last.
    free: u32,
    len: u32,
    max: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    /// Of a free place: the next free one.
    next: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            entries: Vec::new(),
            free: END,
            len: 0,
            max,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// How many more there may be.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        self.max - self.len
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.max
    }

    /// The value itself when there is no room.
    pub(crate) fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.is_full() {
            return Err(value);
        }
        self.len += 1;
        if self.free == END {
            let index = self.entries.len() as u32;
            self.entries.push(Entry {
                generation: 0,
                next: END,
                value: Some(value),
            });
            return Ok(Key {
                index,
                generation: 0,
            });
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.value = Some(value);
        Ok(Key {
            index,
            generation: entry.generation,
        })
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = key.index;
        self.len -= 1;
        Some(value)
    }

    #[inline]
    pub(crate) fn at(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation == key.generation {
            entry.value.as_ref()
        } else {
            None
        }
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation {
            entry.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries
            .iter_mut()
            .filter_map(|entry| entry.value.as_mut())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.entries
            .iter_mut()
            .enumerate()
            .filter_map(|(index, entry)| {
                let key = Key {
                    index: index as u32,
                    generation: entry.generation,
                };
                entry.value.as_mut().map(|value| (key, value))
            })
    }

    /// The keys that there are now, to be used while values change.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + use<T> {
        let keys: Vec<Key> = self.iter().map(|(key, _)| key).collect();
        keys.into_iter()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let key = Key {
                    index: index as u32,
                    generation: entry.generation,
                };
                entry.value.as_ref().map(|value| (key, value))
            })
    }
}

const END: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_find_what_took_its_place() {
        let mut slab = Slab::new(2);
        let a = slab.insert("a").unwrap();
        let b = slab.insert("b").unwrap();
        assert_eq!(slab.insert("c"), Err("c"));
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert("c").unwrap();
        assert_eq!(c.index, a.index);
        assert_eq!(
            (slab.at(a), slab.at(b), slab.at(c)),
            (None, Some(&"b"), Some(&"c"))
        );
        assert_eq!(slab.at(Key::NONE), None);
        assert_eq!(slab.iter().count(), 2);
    }
}
