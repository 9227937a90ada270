//! A driver's sockets: a bounded table with generations, counting what is outstanding on each.
//!
//! The rules it keeps for every driver: an id outlived by its socket is refused, a socket leaves only with nothing
//! outstanding (R9), and a closed socket goes only with the last completion (R1). It knows nothing of what a
//! socket is.

use crate::driver::SocketId;
use crate::error::Refusal;

/// Sockets by [`SocketId`].
#[derive(Debug)]
pub struct SocketTable<T> {
    slots: Vec<Slot<T>>,
    /// Free places, last freed first: a stale id meets the place taken again as soon as possible, so that tests
    /// see what happens then.
    free: Vec<u32>,
    sockets_max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    outstanding: u32,
    closing: bool,
}

/// What became of a socket that is to be closed.
#[derive(Debug, PartialEq, Eq)]
pub enum Closing<T> {
    /// The id was stale.
    Stale,
    /// Nothing was outstanding: here it is.
    Now(T),
    /// It leaves with its last operation ([`SocketTable::end_operation`]).
    Later,
}

impl<T> SocketTable<T> {
    /// An empty table of at most `sockets_max` places. Memory grows with use.
    ///
    /// # Panics
    /// When `sockets_max` does not fit the index of a [`SocketId`].
    #[must_use]
    pub fn new(sockets_max: usize) -> Self {
        assert!(u32::try_from(sockets_max).is_ok(), "a table index has 32 bits");
        Self { slots: Vec::new(), free: Vec::new(), sockets_max }
    }

    /// Takes a socket in.
    ///
    /// # Errors
    /// The socket, when the table is full.
    pub fn insert(&mut self, value: T) -> Result<SocketId, T> {
        if self.is_full() {
            return Err(value);
        }
        let entry = Some(Entry { value, outstanding: 0, closing: false });
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.entry = entry;
            return Ok(SocketId::new(index, slot.generation));
        }
        let index = u32::try_from(self.slots.len()).expect("bounded by sockets_max");
        self.slots.push(Slot { generation: 0, entry });
        Ok(SocketId::new(index, 0))
    }

    /// Whether [`Self::insert`] would be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.sockets_max
    }

    /// The socket, unless it is closed or gone.
    #[must_use]
    pub fn get(&self, id: SocketId) -> Option<&T> {
        self.entry(id).filter(|entry| !entry.closing).map(|entry| &entry.value)
    }

    /// The socket, unless it is closed or gone.
    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut T> {
        self.entry_mut(id).filter(|entry| !entry.closing).map(|entry| &mut entry.value)
    }

    /// The socket even if it is closed, as long as something is outstanding on it: for the driver's own
    /// bookkeeping.
    #[must_use]
    pub fn get_even_closing(&self, id: SocketId) -> Option<&T> {
        self.entry(id).map(|entry| &entry.value)
    }

    /// As [`Self::get_even_closing`].
    pub fn get_even_closing_mut(&mut self, id: SocketId) -> Option<&mut T> {
        self.entry_mut(id).map(|entry| &mut entry.value)
    }

    /// Notes one more outstanding operation and gives the socket.
    ///
    /// # Errors
    /// [`Refusal::StaleSocket`].
    pub fn start_operation(&mut self, id: SocketId) -> Result<&mut T, Refusal> {
        let entry = self.entry_mut(id).filter(|entry| !entry.closing).ok_or(Refusal::StaleSocket)?;
        entry.outstanding += 1;
        Ok(&mut entry.value)
    }

    /// Notes the final completion of an operation. When the socket is closed and this was the last, it comes back,
    /// to be dropped.
    ///
    /// # Panics
    /// When nothing was outstanding: the driver lost count.
    pub fn end_operation(&mut self, id: SocketId) -> Option<T> {
        let entry = self.entry_mut(id).expect("a socket stays while an operation is outstanding");
        entry.outstanding = entry.outstanding.checked_sub(1).expect("operations end once");
        (entry.closing && entry.outstanding == 0).then(|| self.take(id))
    }

    /// How many operations are outstanding; 0 for a stale id.
    #[must_use]
    pub fn outstanding(&self, id: SocketId) -> u32 {
        self.entry(id).map_or(0, |entry| entry.outstanding)
    }

    /// Whether it is closed and waits for its last operation.
    #[must_use]
    pub fn is_closing(&self, id: SocketId) -> bool {
        self.entry(id).is_some_and(|entry| entry.closing)
    }

    /// Lets a socket go (R9).
    ///
    /// # Errors
    /// [`Refusal::StaleSocket`], or [`Refusal::Busy`] while something is outstanding.
    pub fn remove(&mut self, id: SocketId) -> Result<T, Refusal> {
        match self.entry(id) {
            Some(entry) if entry.closing => Err(Refusal::StaleSocket),
            Some(entry) if entry.outstanding > 0 => Err(Refusal::Busy),
            Some(_) => Ok(self.take(id)),
            None => Err(Refusal::StaleSocket),
        }
    }

    /// Closes a socket: the id is stale from here on.
    pub fn close(&mut self, id: SocketId) -> Closing<T> {
        match self.entry_mut(id) {
            Some(entry) if entry.closing => Closing::Stale,
            Some(entry) if entry.outstanding > 0 => {
                entry.closing = true;
                Closing::Later
            }
            Some(_) => Closing::Now(self.take(id)),
            None => Closing::Stale,
        }
    }

    /// Sockets in the table, those that are closing included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entry(&self, id: SocketId) -> Option<&Entry<T>> {
        let slot = self.slots.get(id.index() as usize)?;
        if slot.generation == id.generation() { slot.entry.as_ref() } else { None }
    }

    fn entry_mut(&mut self, id: SocketId) -> Option<&mut Entry<T>> {
        let slot = self.slots.get_mut(id.index() as usize)?;
        if slot.generation == id.generation() { slot.entry.as_mut() } else { None }
    }

    fn take(&mut self, id: SocketId) -> T {
        let slot = &mut self.slots[id.index() as usize];
        let entry = slot.entry.take().expect("looked up before");
        // After 2^32 sockets in one place an id could be mistaken for a later one; nobody holds one that long.
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index());
        entry.value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn place_taken_again_refuses_the_old_id() {
        let mut table = SocketTable::new(1);
        let old = table.insert('a').unwrap();
        assert_eq!(table.insert('b'), Err('b'));
        assert_eq!(table.remove(old), Ok('a'));
        let new = table.insert('c').unwrap();
        assert_eq!(old.index(), new.index());
        assert_eq!((table.get(old), table.get(new)), (None, Some(&'c')));
        assert_eq!(table.remove(old), Err(Refusal::StaleSocket));
        assert_eq!(table.close(old), Closing::Stale);
    }

    #[test]
    fn closed_socket_leaves_with_its_last_operation() {
        let mut table = SocketTable::new(4);
        let id = table.insert('a').unwrap();
        table.start_operation(id).unwrap();
        table.start_operation(id).unwrap();
        assert_eq!(table.remove(id), Err(Refusal::Busy));
        assert_eq!(table.close(id), Closing::Later);
        assert_eq!(table.close(id), Closing::Stale);
        assert_eq!(table.get(id), None);
        assert_eq!(table.get_even_closing(id), Some(&'a'));
        assert_eq!(table.start_operation(id), Err(Refusal::StaleSocket));
        assert_eq!(table.end_operation(id), None);
        assert_eq!(table.end_operation(id), Some('a'));
        assert!(table.is_empty());
    }

    proptest! {
        /// Against a plain list of what is alive.
        #[test]
        fn behaves_as_a_bounded_map(steps in proptest::collection::vec((0u8..3, 0usize..6), 0..200)) {
            const MAX: usize = 4;
            let mut table = SocketTable::new(MAX);
            let mut alive: Vec<(SocketId, usize)> = Vec::new();
            let mut dead: Vec<SocketId> = Vec::new();
            for (step, (what, which)) in steps.into_iter().enumerate() {
                match what {
                    0 => match table.insert(step) {
                        Ok(id) => {
                            prop_assert!(!dead.contains(&id) && alive.iter().all(|(other, _)| *other != id));
                            alive.push((id, step));
                        }
                        Err(value) => prop_assert!(value == step && alive.len() == MAX),
                    },
                    1 if which < alive.len() => {
                        let (id, value) = alive.swap_remove(which);
                        prop_assert_eq!(table.remove(id), Ok(value));
                        dead.push(id);
                    }
                    _ if which < alive.len() => {
                        let (id, value) = alive.swap_remove(which);
                        prop_assert_eq!(table.close(id), Closing::Now(value));
                        dead.push(id);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), alive.len());
                prop_assert_eq!(table.is_full(), alive.len() == MAX);
                prop_assert!(alive.iter().all(|(id, value)| table.get(*id) == Some(value)));
                prop_assert!(dead.iter().all(|id| table.get(*id).is_none()));
            }
        }
    }
}
