//! What happened, as a rolling hash of every event and, where wanted, a bounded tail of readable lines.
//!
//! Sizes, times and ids go in; ciphertext and addresses of memory never do: the cryptography is real, so only the
//! control flow is the same in two runs of one seed.

use std::collections::VecDeque;
use std::fmt;

use crate::clock::SimTime;

/// The trace of one world.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    tail_max: usize,
    tail: VecDeque<String>,
}

impl Trace {
    /// An empty trace that keeps the last `tail_max` lines (0: the hash alone, which is fast).
    #[must_use]
    pub fn new(tail_max: usize) -> Self {
        Self { hash: 0x9e37_79b9_7f4a_7c15, events: 0, tail_max, tail: VecDeque::new() }
    }

    /// Notes an event: when, what (a short constant name), and two figures.
    pub fn note(&mut self, at: SimTime, what: &'static str, a: u64, b: u64) {
        self.events += 1;
        let mut hash = self.hash;
        for value in [
            at.0,
            what.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))),
            a,
            b,
        ] {
            hash = (hash.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.hash = hash;
        if self.tail_max > 0 {
            self.line(format!("{at} {what} {a} {b}"));
        }
    }

    /// Adds a readable line to the tail (not to the hash). The text is only made when a tail is kept.
    pub fn explain(&mut self, at: SimTime, text: impl FnOnce() -> String) {
        if self.tail_max > 0 {
            self.line(format!("{at} {}", text()));
        }
    }

    /// The hash of everything noted so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were noted.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }

    fn line(&mut self, line: String) {
        if self.tail.len() == self.tail_max {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} over {} events", self.hash, self.events)
    }
}
