//! Payload whose every byte is a function of a seed and its position.
//!
//! Position `i` holds byte `i % 8` (little endian) of `mix(seed, i / 8)`, where `mix` is a 64-bit finaliser over a
//! counter: two multiplications for eight bytes, no state. A receiver that knows the seed and counts what it got
//! detects loss, duplication and reordering at the first byte that is out of place, and bytes of another tunnel
//! (which has another seed) at once: a wrong byte passes by chance once in 256, eight of them once in 2⁶⁴.
//!
//! Not a cipher and not a random source: whoever knows one word knows the seed.

/// Bytes made by one step.
const WORD_BYTES: usize = size_of::<u64>();

/// Writes the payload of `seed` from position `offset` on into `buf`.
pub fn fill(seed: u64, offset: u64, buf: &mut [u8]) {
    let (head, mut word) = split(offset, buf.len());
    let key = key(seed);
    let (first, rest) = buf.split_at_mut(head);
    if !first.is_empty() {
        let from = in_word(offset);
        first.copy_from_slice(&mix(key, word).to_le_bytes()[from..from + head]);
        word = word.wrapping_add(1);
    }
    let mut words = rest.chunks_exact_mut(WORD_BYTES);
    for chunk in &mut words {
        chunk.copy_from_slice(&mix(key, word).to_le_bytes());
        word = word.wrapping_add(1);
    }
    let last = words.into_remainder();
    last.copy_from_slice(&mix(key, word).to_le_bytes()[..last.len()]);
}

/// Compares `buf` with the payload of `seed` from position `offset` on.
///
/// # Errors
/// The position (counted like `offset`, from the start of the payload) of the first byte that differs.
pub fn check(seed: u64, offset: u64, buf: &[u8]) -> Result<(), u64> {
    let (head, mut word) = split(offset, buf.len());
    let key = key(seed);
    let (first, rest) = buf.split_at(head);
    let mut position = offset;
    if !first.is_empty() {
        let from = in_word(offset);
        compare(first, &mix(key, word).to_le_bytes()[from..from + head], position)?;
        word = word.wrapping_add(1);
        position += head as u64;
    }
    let mut words = rest.chunks_exact(WORD_BYTES);
    for chunk in &mut words {
        let expected = mix(key, word).to_le_bytes();
        if chunk != expected {
            return compare(chunk, &expected, position);
        }
        word = word.wrapping_add(1);
        position += WORD_BYTES as u64;
    }
    let last = words.remainder();
    compare(last, &mix(key, word).to_le_bytes()[..last.len()], position)
}

/// How many bytes come before the first whole word, and the number of the first word that is touched.
const fn split(offset: u64, len: usize) -> (usize, u64) {
    let head = (WORD_BYTES - in_word(offset)) % WORD_BYTES;
    (if head < len { head } else { len }, offset / WORD_BYTES as u64)
}

/// The place of a position in its word.
const fn in_word(position: u64) -> usize {
    // The low three bits; `as` from a byte cannot truncate.
    (position.to_le_bytes()[0] & 7) as usize
}

fn compare(got: &[u8], expected: &[u8], position: u64) -> Result<(), u64> {
    match got.iter().zip(expected).position(|(a, b)| a != b) {
        Some(index) => Err(position + index as u64),
        None => Ok(()),
    }
}

/// Spreads a seed over the word, so that neighbouring seeds do not give neighbouring stretches of one sequence.
const fn key(seed: u64) -> u64 {
    finalise(seed ^ 0xA076_1D64_78BD_642F)
}

/// The word at `index`: a Weyl sequence (the golden ratio's odd multiplier) through the finaliser.
const fn mix(key: u64, index: u64) -> u64 {
    finalise(key.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// A bijection of 64 bits in which every input bit reaches every output bit (the SplitMix64 constants: Steele, Lea,
/// Flood, "Fast splittable pseudorandom number generators", 2014).
const fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{check, fill};

    fn payload(seed: u64, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        fill(seed, offset, &mut bytes);
        bytes
    }

    /// The sequence is part of what runs of different builds agree on: it must not drift.
    #[test]
    fn first_bytes_are_pinned() {
        let pinned = [239, 48, 233, 224, 123, 82, 214, 51, 182, 226, 97, 17, 40, 221, 117, 1];
        assert_eq!(payload(0, 0, 16), pinned);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_bytes(seed: u64, offset in 0..1u64 << 40, len in 0..300usize, cut in 0..300usize) {
            let whole = payload(seed, offset, len);
            let cut = cut.min(len);
            let mut parts = payload(seed, offset, cut);
            parts.extend(payload(seed, offset + cut as u64, len - cut));
            prop_assert_eq!(&whole, &parts);
            prop_assert_eq!(check(seed, offset, &whole), Ok(()));
        }

        #[test]
        fn a_changed_byte_is_found_where_it_is(
            seed: u64, offset in 0..1u64 << 40, len in 1..300usize, at in 0..300usize, flip in 1..=255u8,
        ) {
            let at = at % len;
            let mut bytes = payload(seed, offset, len);
            bytes[at] ^= flip;
            prop_assert_eq!(check(seed, offset, &bytes), Err(offset + at as u64));
        }

        #[test]
        fn lost_repeated_and_swapped_stretches_are_found(
            seed: u64, offset in 0..1u64 << 40, at in 0..64usize, run in 1..64usize,
        ) {
            let bytes = payload(seed, offset, 256);
            let lost = [&bytes[..at], &bytes[at + run..]].concat();
            prop_assert!(check(seed, offset, &lost).is_err());
            let repeated = [&bytes[..at + run], &bytes[at..]].concat();
            prop_assert!(check(seed, offset, &repeated).is_err());
            let swapped =
                [&bytes[..at], &bytes[at + run..at + 2 * run], &bytes[at..at + run], &bytes[at + 2 * run..]].concat();
            // A single byte may equal its neighbour; longer runs do so once in 2¹⁶ and more.
            prop_assert!(check(seed, offset, &swapped).is_err() || run <= 2);
        }

        #[test]
        fn another_seed_is_found(seed: u64, other: u64, offset in 0..1u64 << 40) {
            prop_assume!(seed != other);
            prop_assert!(check(seed, offset, &payload(other, offset, 64)).is_err());
            prop_assert!(check(seed, offset, &payload(seed.wrapping_add(1), offset, 64)).is_err());
        }
    }
}
