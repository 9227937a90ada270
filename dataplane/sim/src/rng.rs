//! Randomness from one seed, split by name: a draw added to one stream shifts no other.
//!
//! Whatever decides anything in a simulated world draws from here. Not for anything secret.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Parts per million: the unit of every probability in the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ppm(pub u32);

impl Ppm {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(1_000_000);

    /// Whole percents.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self(percent * 10_000)
    }
}

/// An inclusive range of nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Least, in nanoseconds.
    pub min_ns: u64,
    /// Most, in nanoseconds.
    pub max_ns: u64,
}

impl Span {
    /// Always nothing.
    pub const ZERO: Self = Self { min_ns: 0, max_ns: 0 };

    /// From microseconds.
    #[must_use]
    pub const fn micros(min: u64, max: u64) -> Self {
        Self { min_ns: min * 1_000, max_ns: max * 1_000 }
    }

    /// From milliseconds.
    #[must_use]
    pub const fn millis(min: u64, max: u64) -> Self {
        Self::micros(min * 1_000, max * 1_000)
    }
}

/// One named stream of randomness.
#[derive(Clone, Debug)]
pub struct Prng {
    inner: ChaCha8Rng,
}

impl Prng {
    /// The stream of this name under this seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (lane, salt) in
            [(8, 0xcbf2_9ce4_8422_2325_u64), (16, 0x9e37_79b9_7f4a_7c15), (24, 0x2545_f491_4f6c_dd1d)]
        {
            let hash =
                name.bytes().fold(salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            key[lane..lane + 8].copy_from_slice(&hash.to_le_bytes());
        }
        Self { inner: ChaCha8Rng::from_seed(key) }
    }

    /// Any value.
    pub fn draw(&mut self) -> u64 {
        self.inner.next_u64()
    }

    /// Less than `bound`; 0 when that is 0. The bias of the multiplication is below 2⁻³² for every use here.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.draw()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// As [`Self::below`], for sizes and indices.
    pub fn below_size(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// From `min` to `max`, both included.
    pub fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.below(max.saturating_sub(min).saturating_add(1))
    }

    /// Nanoseconds out of a span.
    pub fn span(&mut self, span: Span) -> u64 {
        if span.max_ns == 0 { 0 } else { self.between(span.min_ns, span.max_ns) }
    }

    /// Whether something of this probability happens. Draws nothing where the answer is certain.
    pub fn chance(&mut self, probability: Ppm) -> bool {
        match probability.0 {
            0 => false,
            1_000_000.. => true,
            ppm => self.below(1_000_000) < u64::from(ppm),
        }
    }

    /// One of several; the slice must not be empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below_size(from.len())]
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.inner.fill_bytes(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_names_do_not_shift_each_other() {
        let mut net = Prng::new(7, "net");
        let expected: Vec<u64> = (0..4).map(|_| net.draw()).collect();
        let mut net = Prng::new(7, "net");
        let mut io = Prng::new(7, "io");
        let seen: Vec<u64> = (0..4)
            .map(|_| {
                io.draw();
                net.draw()
            })
            .collect();
        assert_eq!(seen, expected);
        assert_ne!(Prng::new(7, "io").draw(), Prng::new(7, "net").draw());
        assert_ne!(Prng::new(8, "net").draw(), expected[0]);
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Prng::new(1, "bounds");
        for _ in 0..1_000 {
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert!(rng.below(10) < 10);
        }
        assert_eq!(rng.below(0), 0);
        assert!(!rng.chance(Ppm::NEVER));
        assert!(rng.chance(Ppm::ALWAYS));
        let hits = (0..10_000).filter(|_| rng.chance(Ppm::percent(25))).count();
        assert!((2_200..2_800).contains(&hits), "{hits} of 10000 at 25 %");
    }
}
