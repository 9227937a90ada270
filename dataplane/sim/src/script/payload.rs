//! Payload that proves where it came from.

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

/// The bytes of one direction of one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    key: u64,
}

impl Payload {
    /// Those of this direction of this tunnel in the world of this seed.
    #[must_use]
    pub const fn new(seed: u64, tunnel: u32, direction: Direction) -> Self {
        let way = match direction {
            Direction::Up => 0,
            Direction::Down => 1,
        };
        Self { key: mix(seed ^ mix((tunnel as u64) << 1 | way)) }
    }

    /// Writes the bytes from position `from` on into `out`.
    pub fn fill(&self, from: u64, out: &mut [u8]) {
        let mut at = from;
        let mut rest = out;
        while !rest.is_empty() {
            let word = self.word(at / 8).to_le_bytes();
            let skip = usize::try_from(at % 8).unwrap_or(0);
            let take = rest.len().min(8 - skip);
            rest[..take].copy_from_slice(&word[skip..skip + take]);
            rest = &mut rest[take..];
            at += take as u64;
        }
    }

    /// The position of the first byte that is not what it must be.
    #[must_use]
    pub fn first_wrong(&self, from: u64, seen: &[u8]) -> Option<u64> {
        let mut expected = [0_u8; 512];
        let mut at = from;
        for piece in seen.chunks(expected.len()) {
            let expected = &mut expected[..piece.len()];
            self.fill(at, expected);
            if piece != expected {
                let off = piece.iter().zip(expected.iter()).position(|(a, b)| a != b).unwrap_or(0);
                return Some(at + off as u64);
            }
            at += piece.len() as u64;
        }
        None
    }

    const fn word(&self, index: u64) -> u64 {
        mix(self.key.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_bytes_and_every_error_is_found() {
        let payload = Payload::new(1, 2, Direction::Up);
        let mut whole = [0; 1_000];
        payload.fill(0, &mut whole);
        for (from, len) in [(0, 1), (3, 13), (8, 8), (511, 300), (999, 1)] {
            let mut part = vec![0; len];
            payload.fill(from as u64, &mut part);
            assert_eq!(part, whole[from..from + len]);
        }
        assert_eq!(payload.first_wrong(0, &whole), None);
        whole[700] ^= 1;
        assert_eq!(payload.first_wrong(0, &whole), Some(700));
        assert_eq!(payload.first_wrong(0, &whole[1..2]), Some(0));
        let mut other = [0; 16];
        Payload::new(1, 2, Direction::Down).fill(0, &mut other);
        assert_eq!(payload.first_wrong(0, &other), Some(0));
    }
}
