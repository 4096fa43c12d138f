//! A bounded table with stable addresses and generations: a stale id finds nothing.

/// `INDEX_BITS` of an id are the index, `GENERATION_BITS` above it the generation.
///
/// The storage is reserved once (untouched pages cost nothing), so entries never move and inserting never allocates.
pub(crate) struct Slab<T, const INDEX_BITS: u32, const GENERATION_BITS: u32> {
    entries: Vec<Entry<T>>,
    free_head: u32,
    len: usize,
    capacity: usize,
}

/// On lines of its own: what is known about a socket is one line of the cache.
#[repr(align(64))]
struct Entry<T> {
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

const NONE: u32 = u32::MAX;

impl<T, const INDEX_BITS: u32, const GENERATION_BITS: u32> Slab<T, INDEX_BITS, GENERATION_BITS> {
    const INDEX_MASK: u32 = mask(INDEX_BITS);
    const GENERATION_MASK: u32 = mask(GENERATION_BITS);

    pub(crate) fn new(capacity: usize) -> Self {
        assert!(
            capacity <= Self::INDEX_MASK as usize,
            "a table of {capacity} is more than {} entries",
            Self::INDEX_MASK
        );
        Self {
            entries: Vec::with_capacity(capacity),
            free_head: NONE,
            len: 0,
            capacity,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    pub(crate) fn insert(&mut self, value: T) -> Result<u32, T> {
        let index = if self.free_head != NONE {
            let index = self.free_head;
            let entry = &mut self.entries[index as usize];
            self.free_head = entry.next_free;
            entry.value = Some(value);
            index
        } else if self.entries.len() < self.capacity {
            self.entries.push(Entry {
                generation: 0,
                next_free: NONE,
                value: Some(value),
            });
            self.entries.len() as u32 - 1
        } else {
            return Err(value);
        };
        self.len += 1;
        Ok(self.entries[index as usize].generation << INDEX_BITS | index)
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let entry = self.entries.get((id & Self::INDEX_MASK) as usize)?;
        if entry.generation != id >> INDEX_BITS {
            return None;
        }
        entry.value.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let entry = self.entries.get_mut((id & Self::INDEX_MASK) as usize)?;
        if entry.generation != id >> INDEX_BITS {
            return None;
        }
        entry.value.as_mut()
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let index = id & Self::INDEX_MASK;
        let entry = self.entries.get_mut(index as usize)?;
        if entry.generation != id >> INDEX_BITS {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) & Self::GENERATION_MASK;
        entry.next_free = self.free_head;
        self.free_head = index;
        self.len -= 1;
        Some(value)
    }

    /// Drops every value; the ids of all of them are stale.
    pub(crate) fn clear(&mut self) {
        for index in 0..self.entries.len() as u32 {
            let generation = self.entries[index as usize].generation;
            self.remove(generation << INDEX_BITS | index);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                entry
                    .value
                    .as_ref()
                    .map(|value| (entry.generation << INDEX_BITS | index as u32, value))
            })
    }
}

const fn mask(bits: u32) -> u32 {
    if bits == 32 {
        u32::MAX
    } else {
        (1 << bits) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slab: Slab<&str, 18, 13> = Slab::new(2);
        let first = slab.insert("first").unwrap();
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second").unwrap();
        assert_ne!(first, second);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
    }

    #[test]
    fn a_full_table_gives_the_value_back_and_never_moves_its_entries() {
        let mut slab: Slab<u64, 16, 16> = Slab::new(3);
        let id = slab.insert(0).unwrap();
        let address = std::ptr::from_ref(slab.get(id).unwrap());
        slab.insert(1).unwrap();
        slab.insert(2).unwrap();
        assert!(slab.is_full());
        assert_eq!(slab.insert(3), Err(3));
        assert_eq!(std::ptr::from_ref(slab.get(id).unwrap()), address);
        assert_eq!(slab.iter().count(), slab.len());
    }
}
