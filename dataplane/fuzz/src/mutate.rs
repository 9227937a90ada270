//! Changes inputs: bit by bit, in ways that parsers of lengths and numbers stumble over, with words of the target's
//! dictionary, and with parts of other inputs. Whatever is drawn is drawn from the caller's generator.

use rand::{Rng, RngExt as _};

/// Most bytes of an input: enough that work which grows with the square of it is noticed.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that parsers treat differently from their neighbours.
const BYTES: [u8; 16] =
    [0, 1, 0x1b, 0x7f, 0x80, 0xc0, 0xff, b'\t', b'\r', b'\n', b' ', b':', b'%', b'-', b'0', b','];
/// Numbers next to which something changes, and their neighbours.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x3f,
    0x40,
    0x7f,
    0xff,
    0x3fff,
    0x7fff,
    0xffff,
    0x3fff_ffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Mutations for one target.
#[derive(Debug)]
pub(crate) struct Mutator {
    pub(crate) tokens: &'static [&'static str],
}

impl Mutator {
    /// Changes an input in one place.
    pub(crate) fn mutate(&self, input: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
        let at = rng.random_range(0..=input.len());
        match rng.random_range(0..18) {
            0 => input.truncate(at),
            1 => input.insert(at, rng.random()),
            2 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            3 if at < input.len() => input[at] = pick(&BYTES, rng),
            4 => drop(input.drain(at..some_end(at, input.len(), 16, rng))),
            // A part of another seed: in this place, over what is in this place, or as all that follows.
            5 => drop(input.splice(at..at, part(other, rng).iter().copied())),
            6 => overwrite(input, at, part(other, rng)),
            7 => {
                input.truncate(at);
                input.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
            }
            8 | 9 if !self.tokens.is_empty() => {
                drop(input.splice(at..at, pick(self.tokens, rng).bytes()));
            }
            10 | 11 if !self.tokens.is_empty() => overwrite(input, at, pick(self.tokens, rng).as_bytes()),
            12 => overwrite(input, at, &integer(near(pick(&NUMBERS, rng), rng), rng)),
            // What would be right for a length here, or nearly.
            13 => {
                let rest = u64::try_from(input.len() - at).unwrap_or(0);
                let field = integer(near(rest, rng), rng);
                overwrite(input, at, &field);
            }
            14 => change_field(input, at, rng),
            15 => change_decimal(input, at, rng),
            // A long run, seldom: it costs.
            16 if rng.random_ratio(1, 32) => {
                let piece = input[at..some_end(at, input.len(), 64, rng)].to_vec();
                let times =
                    INPUT_BYTES_MAX.checked_div(piece.len()).map_or(0, |most| rng.random_range(0..=most));
                drop(input.splice(at..at, piece.repeat(times)));
            }
            // A part of its own, doubled.
            _ => {
                let piece = input[at..some_end(at, input.len(), 32, rng)].to_vec();
                drop(input.splice(at..at, piece));
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

fn pick<T: Copy>(from: &[T], rng: &mut impl Rng) -> T {
    from[rng.random_range(0..from.len())]
}

/// The end of a part that begins at `at`.
fn some_end(at: usize, len: usize, bytes_max: usize, rng: &mut impl Rng) -> usize {
    at + rng.random_range(0..=bytes_max.min(len - at))
}

fn part<'a>(bytes: &'a [u8], rng: &mut impl Rng) -> &'a [u8] {
    let start = rng.random_range(0..=bytes.len());
    &bytes[start..some_end(start, bytes.len(), bytes.len(), rng)]
}

/// Writes over what is there, past the end where it is longer.
fn overwrite(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = input.len().min(at + bytes.len());
    drop(input.splice(at..end, bytes.iter().copied()));
}

fn near(number: u64, rng: &mut impl Rng) -> u64 {
    number.wrapping_add(rng.random_range(0..5)).wrapping_sub(2)
}

/// A number as a field of 1, 2, 4 or 8 bytes, in either order; what does not fit is cut off.
fn integer(number: u64, rng: &mut impl Rng) -> Vec<u8> {
    let width = 1 << rng.random_range(0..4);
    let mut bytes = number.to_le_bytes()[..width].to_vec();
    if rng.random() {
        bytes.reverse();
    }
    bytes
}

/// Adds to, doubles or inverts the field of 1, 2, 4 or 8 bytes that may be here.
fn change_field(input: &mut [u8], at: usize, rng: &mut impl Rng) {
    let width = 1 << rng.random_range(0..4);
    let Some(field) = input.get_mut(at..at + width) else { return };
    let big_endian = rng.random();
    let mut value = [0; 8];
    value[..width].copy_from_slice(field);
    if big_endian {
        value[..width].reverse();
    }
    let number = u64::from_le_bytes(value);
    let changed = match rng.random_range(0..3) {
        0 => number.wrapping_mul(2),
        1 => !number,
        _ => near(number, rng),
    };
    value = changed.to_le_bytes();
    if big_endian {
        value[..width].reverse();
    }
    field.copy_from_slice(&value[..width]);
}

/// Writes another number over the first decimal one at or behind this place.
fn change_decimal(input: &mut Vec<u8>, at: usize, rng: &mut impl Rng) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|ahead| at + ahead) else { return };
    let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = match rng.random_range(0..4) {
        0 => "9".repeat(rng.random_range(1..60)),
        1 => "0".repeat(rng.random_range(1..60)),
        2 => format!("-{}", pick(&NUMBERS, rng)),
        _ => near(pick(&NUMBERS, rng), rng).to_string(),
    };
    drop(input.splice(start..start + digits, number.into_bytes()));
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::{INPUT_BYTES_MAX, Mutator};

    /// Whether one of some thousand mutations of "12,len=05" (and the other seed "OTHER") is like this.
    fn comes_up(like: impl Fn(&[u8]) -> bool) -> bool {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mutator = Mutator { tokens: &["token"] };
        (0..5000).any(|_| {
            let mut input = b"12,len=05".to_vec();
            mutator.mutate(&mut input, b"OTHER", &mut rng);
            assert!(input.len() <= INPUT_BYTES_MAX);
            like(&input)
        })
    }

    #[test]
    fn every_kind_of_mutation_comes_up() {
        assert!(comes_up(|input| input == b"12,len=token05"), "a word inserted");
        assert!(comes_up(|input| input == b"12,token5"), "a word written over");
        assert!(comes_up(|input| input == b"12,HER"), "the other's end on one's own beginning");
        assert!(comes_up(|input| input == b"18446744073709551615,len=05"), "a number's limit");
        assert!(comes_up(|input| input == b"12,\x06en=05"), "a length that is right, one byte wide");
        assert!(comes_up(|input| input == b"12,\x00\x06n=05"), "and two bytes wide");
        assert!(comes_up(|input| input == b"12,l\x9an=05"), "a field inverted");
        assert!(comes_up(|input| input.len() > 10_000), "a long run");
    }

    #[test]
    fn nothing_at_all_can_be_mutated() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..2000 {
            Mutator { tokens: &[] }.mutate(&mut Vec::new(), b"", &mut rng);
        }
    }
}
