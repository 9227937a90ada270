//! The demo's payload: bytes that depend on their position, made and checked at memory speed.
//!
//! Position *p* lies in block *b* = *p* / 1 MiB; the block is a window of a table of random bytes that starts at a
//! place depending on *b*. A lost, repeated, swapped or altered byte shows at its position.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes in a block.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Steps the window's start from block to block; odd, so every start occurs before any is repeated.
const BLOCK_STEP: u64 = 40_503;
/// Bytes for one read or write.
const CHUNK_BYTES: usize = 256 * 1024;

/// The table.
pub(crate) struct Pattern {
    table: Vec<u8>,
}

impl Pattern {
    /// The pattern of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let half: Vec<u8> = (0..BLOCK_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect();
        Self { table: half.repeat(2) }
    }

    /// The bytes from `position` on, at most `max` and to the end of the block.
    pub(crate) fn at(&self, position: u64, max: usize) -> &[u8] {
        let (block, within) = (position / BLOCK_BYTES as u64, position % BLOCK_BYTES as u64);
        let within = usize::try_from(within).expect("below a block");
        let start = block.wrapping_mul(BLOCK_STEP) % BLOCK_BYTES as u64;
        let start = usize::try_from(start).expect("below a block") + within;
        &self.table[start..start + max.min(BLOCK_BYTES - within)]
    }

    /// Compares `got` with what belongs at `position`; the position of the first wrong byte.
    pub(crate) fn first_wrong(&self, position: u64, got: &[u8]) -> Option<u64> {
        let mut done = 0;
        while done < got.len() {
            let want = self.at(position + done as u64, got.len() - done);
            let have = &got[done..done + want.len()];
            if have != want {
                let at = have.iter().zip(want).position(|(a, b)| a != b).unwrap_or(0);
                return Some(position + (done + at) as u64);
            }
            done += want.len();
        }
        None
    }

    /// Writes `total` bytes; tells `progress` how many are out.
    ///
    /// # Errors
    /// The stream's.
    pub(crate) async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        to: &mut W,
        total: u64,
        mut progress: impl FnMut(u64),
    ) -> io::Result<()> {
        let mut position = 0;
        while position < total {
            let left = usize::try_from(total - position).unwrap_or(usize::MAX);
            let piece = self.at(position, left.min(CHUNK_BYTES));
            to.write_all(piece).await?;
            position += piece.len() as u64;
            progress(position);
        }
        Ok(())
    }

    /// Reads to the end of the stream and checks every byte; tells `progress` how many came.
    ///
    /// # Errors
    /// The stream's, and [`io::ErrorKind::InvalidData`] naming the first wrong position or a wrong length.
    pub(crate) async fn read_from<R: AsyncRead + Unpin>(
        &self,
        from: &mut R,
        total: u64,
        mut progress: impl FnMut(u64),
    ) -> io::Result<()> {
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut position = 0;
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            if let Some(at) = self.first_wrong(position, &buffer[..length]) {
                return wrong(format!("byte {at} is wrong"));
            }
            position += length as u64;
            if position > total {
                return wrong(format!("more than {total} bytes came"));
            }
            progress(position);
        }
        if position < total {
            return wrong(format!("{position} of {total} bytes came"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_what_is_expected() {
        let pattern = Pattern::new(7);
        let total = 3 * BLOCK_BYTES as u64 + 17;
        let mut bytes = Vec::new();
        pattern.write_to(&mut bytes, total, |_| {}).await.unwrap();
        assert_eq!(bytes.len() as u64, total);
        pattern.read_from(&mut &bytes[..], total, |_| {}).await.unwrap();
        assert_ne!(bytes[..1000], bytes[BLOCK_BYTES..BLOCK_BYTES + 1000], "blocks differ");
    }

    #[tokio::test]
    async fn every_kind_of_damage_is_noticed() {
        let pattern = Pattern::new(7);
        let total = BLOCK_BYTES as u64 + 4096;
        let mut good = Vec::new();
        pattern.write_to(&mut good, total, |_| {}).await.unwrap();
        let mut altered = good.clone();
        altered[BLOCK_BYTES + 5] ^= 1;
        let mut lost = good.clone();
        lost.remove(9);
        let mut repeated = good.clone();
        repeated.insert(100_000, good[100_000]);
        let short = good[..good.len() - 1].to_vec();
        for (bytes, what) in [(altered, "altered"), (lost, "lost"), (repeated, "repeated"), (short, "short")]
        {
            let error = pattern.read_from(&mut &bytes[..], total, |_| {}).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}");
        }
    }
}
