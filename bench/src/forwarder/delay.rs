//! Packets that wait for their time.
//!
//! Every packet waits equally long, so the queue is in order of time by itself. It is bounded: a packet that finds it
//! full is dropped and counted, as a router would. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets on their way in one direction.
#[derive(Debug)]
pub struct DelayQueue {
    delay: Duration,
    bytes_max: usize,
    bytes: usize,
    dropped: u64,
    waiting: VecDeque<(Instant, Vec<u8>)>,
}

impl DelayQueue {
    /// An empty queue that keeps every packet for `delay`, and holds `bytes_max` bytes at most.
    #[must_use]
    pub const fn new(delay: Duration, bytes_max: usize) -> Self {
        Self { delay, bytes_max, bytes: 0, dropped: 0, waiting: VecDeque::new() }
    }

    /// Takes a packet that arrived now; says whether it was alone, so that nobody else was being waited for.
    pub fn push(&mut self, now: Instant, packet: Vec<u8>) -> bool {
        let alone = self.waiting.is_empty();
        if self.bytes + packet.len() > self.bytes_max {
            self.dropped += 1;
            return false;
        }
        self.bytes += packet.len();
        self.waiting.push_back((now + self.delay, packet));
        alone
    }

    /// Moves every packet whose time has come, in order.
    pub fn take_due(&mut self, now: Instant, due: &mut Vec<Vec<u8>>) {
        while let Some((_, packet)) = self.waiting.pop_front_if(|(at, _)| *at <= now) {
            self.bytes -= packet.len();
            due.push(packet);
        }
    }

    /// When the next packet's time comes.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }

    /// Packets that found the queue full.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::DelayQueue;

    const DELAY: Duration = Duration::from_millis(10);

    fn due(queue: &mut DelayQueue, now: Instant) -> Vec<Vec<u8>> {
        let mut due = Vec::new();
        queue.take_due(now, &mut due);
        due
    }

    #[test]
    fn a_packet_leaves_when_its_delay_is_over_and_not_before() {
        let start = Instant::now();
        let mut queue = DelayQueue::new(DELAY, 100);
        assert!(queue.push(start, vec![1]) && !queue.push(start + DELAY / 2, vec![2]));
        assert_eq!(due(&mut queue, start + DELAY - Duration::from_nanos(1)), Vec::<Vec<u8>>::new());
        assert_eq!(queue.next_at(), Some(start + DELAY));
        assert_eq!(due(&mut queue, start + DELAY), [vec![1]]);
        assert_eq!(queue.next_at(), Some(start + DELAY / 2 + DELAY));
        assert_eq!(due(&mut queue, start + DELAY * 9), [vec![2]]);
        assert_eq!((queue.next_at(), queue.dropped()), (None, 0));
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_it() {
        let start = Instant::now();
        let mut queue = DelayQueue::new(DELAY, 10);
        queue.push(start, vec![1; 6]);
        queue.push(start, vec![2; 5]);
        queue.push(start, vec![3; 4]);
        assert_eq!(queue.dropped(), 1);
        assert_eq!(due(&mut queue, start + DELAY), [vec![1; 6], vec![3; 4]]);
        queue.push(start, vec![4; 10]);
        assert_eq!((due(&mut queue, start + DELAY).len(), queue.dropped()), (1, 1));
    }

    proptest! {
        #[test]
        fn packets_are_neither_lost_nor_moved_nor_early(
            steps in prop::collection::vec((0u64..8, 0usize..30, any::<bool>()), 0..200),
        ) {
            let start = Instant::now();
            let mut queue = DelayQueue::new(DELAY, 200);
            let mut now = start;
            let mut sent: Vec<(Instant, usize)> = Vec::new();
            let mut left: Vec<(Instant, usize)> = Vec::new();
            let mut dropped = 0;
            for (index, (milliseconds, length, take)) in steps.into_iter().enumerate() {
                now += Duration::from_millis(milliseconds);
                let before = queue.dropped();
                queue.push(now, vec![u8::try_from(index).unwrap(); length]);
                if queue.dropped() == before { sent.push((now, index)) } else { dropped += 1 }
                if take {
                    let taken = due(&mut queue, now).len();
                    left.extend(sent.drain(..taken));
                    prop_assert!(left.iter().all(|(at, _)| *at + DELAY <= now));
                    prop_assert!(sent.iter().all(|(at, _)| *at + DELAY > now));
                }
            }
            prop_assert_eq!(queue.dropped(), dropped);
            prop_assert_eq!(due(&mut queue, now + DELAY).len(), sent.len());
        }
    }
}
