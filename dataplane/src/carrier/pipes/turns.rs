//! Whose turn it is, where output has less room than there is to send.
//!
//! Streams that were refused for lack of room stand in a queue. As output is taken, as many of its first are called as
//! there is room for a turn of each; a stream that was called and found no room keeps its place, one that had its turn
//! and wants more goes to the end. So nobody starves, however many there are and whatever order they are worked on in.
//! Who was called and does not come by the time that output is taken again goes to the end, and holds up nobody.

use std::collections::BTreeMap;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Streams that are to be called, by place.
    queue: BTreeMap<u64, u32>,
    /// Streams that were called, by the place that they had.
    called: BTreeMap<u64, u32>,
    /// The place of every stream in either.
    places: BTreeMap<u32, u64>,
    next_place: u64,
}

impl Turns {
    /// Whether another stream waits.
    pub(super) fn others_wait(&self, stream: u32) -> bool {
        self.places.len() > usize::from(self.places.contains_key(&stream))
    }

    /// Whether the stream was called.
    pub(super) fn is_called(&self, stream: u32) -> bool {
        self.places.get(&stream).is_some_and(|place| self.called.contains_key(place))
    }

    /// Takes a stream out: it has nothing to send, or cannot.
    pub(super) fn leave(&mut self, stream: u32) -> Option<u64> {
        let place = self.places.remove(&stream)?;
        self.queue.remove(&place);
        self.called.remove(&place);
        Some(place)
    }

    /// Puts a stream at the end, wherever it was.
    pub(super) fn queue_up(&mut self, stream: u32) {
        self.leave(stream);
        self.insert(self.next_place, stream);
        self.next_place += 1;
    }

    /// Puts a stream back where it was, or at the end if it was nowhere.
    pub(super) fn wait_on(&mut self, stream: u32) {
        match self.leave(stream) {
            Some(place) => self.insert(place, stream),
            None => self.queue_up(stream),
        }
    }

    /// The next stream to call, where fewer than `most` are called and have not come.
    pub(super) fn call(&mut self, most: usize) -> Option<u32> {
        if self.called.len() >= most {
            return None;
        }
        let (place, stream) = self.queue.pop_first()?;
        self.called.insert(place, stream);
        Some(stream)
    }

    /// Sends whoever was called and has not come to the end.
    pub(super) fn begin_round(&mut self) {
        for stream in std::mem::take(&mut self.called).into_values() {
            self.queue_up(stream);
        }
    }

    fn insert(&mut self, place: u64, stream: u32) {
        self.queue.insert(place, stream);
        self.places.insert(stream, place);
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn who_found_no_room_stays_in_front_of_who_had_a_turn() {
        let mut turns = Turns::default();
        for stream in [1, 3, 5] {
            turns.queue_up(stream);
        }
        assert_eq!([turns.call(2), turns.call(2), turns.call(2)], [Some(1), Some(3), None]);
        assert!(turns.is_called(3) && !turns.is_called(5));
        turns.queue_up(1);
        turns.wait_on(3);
        assert_eq!([turns.call(9), turns.call(9), turns.call(9)], [Some(3), Some(5), Some(1)]);
        assert_eq!(turns.call(9), None);
    }

    #[test]
    fn who_does_not_come_holds_up_nobody() {
        let mut turns = Turns::default();
        for stream in [1, 3, 5] {
            turns.queue_up(stream);
        }
        assert_eq!([turns.call(2), turns.call(2)], [Some(1), Some(3)]);
        turns.begin_round();
        assert_eq!([turns.call(3), turns.call(3), turns.call(3)], [Some(5), Some(1), Some(3)]);
    }

    #[test]
    fn who_leaves_is_not_called_and_is_no_other() {
        let mut turns = Turns::default();
        turns.queue_up(1);
        assert!(!turns.others_wait(1) && turns.others_wait(3));
        turns.queue_up(3);
        assert_eq!(turns.call(1), Some(1));
        turns.leave(1);
        turns.leave(1);
        assert_eq!((turns.call(1), turns.call(2)), (Some(3), None));
        turns.leave(3);
        assert!(!turns.others_wait(1));
    }
}
