//! A bounded table with generations: an index that outlived its entry is found out, never mistaken for the next.

/// Names an entry of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Place in the table.
    pub index: u32,
    /// How often that place had been taken before, modulo 2^24: it must fit a token.
    pub generation: u32,
}

const GENERATION_MASK: u32 = (1 << 24) - 1;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A slab with generations and a hard limit.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    entries_max: usize,
}

impl<T> Table<T> {
    /// An empty table that never holds more than `entries_max` entries.
    #[must_use]
    pub const fn new(entries_max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), entries_max }
    }

    /// Entries now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Hands it back when the table is full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Ok(Key { index, generation: slot.generation });
        }
        let Some(index) =
            u32::try_from(self.slots.len()).ok().filter(|index| (*index as usize) < self.entries_max)
        else {
            return Err(value);
        };
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Ok(Key { index, generation: 0 })
    }

    /// The entry, if it is still that one.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(key.index as usize).filter(|slot| slot.generation == key.generation)?.value.as_ref()
    }

    /// The entry, if it is still that one.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)?
            .value
            .as_mut()
    }

    /// Takes the entry out; its key is stale from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(key.index);
        Some(value)
    }

    /// The present key of a place, whatever its generation. Only for code that looks for stale keys.
    #[must_use]
    pub fn current(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.is_some().then_some(Key { index, generation: slot.generation })
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let index = u32::try_from(index).ok()?;
            Some((Key { index, generation: slot.generation }, slot.value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut table = Table::new(8);
        let first = table.insert("first").unwrap();
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second").unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
        assert_eq!(table.current(first.index), Some(second));
    }

    #[test]
    fn a_full_table_hands_the_entry_back() {
        let mut table = Table::new(2);
        let key = table.insert(1).unwrap();
        table.insert(2).unwrap();
        assert_eq!(table.insert(3), Err(3));
        table.remove(key);
        assert!(table.insert(3).is_ok());
        assert_eq!(table.len(), 2);
    }
}
