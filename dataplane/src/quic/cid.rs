//! Connection IDs: eight bytes, the first of which says which shard owns the connection.
//!
//! ```text
//!   byte 0                      bytes 1..8
//!   generation:3 | shard:5      random, from the shard's seeded generator
//! ```
//!
//! The length is fixed for ever: a short header does not carry it (RFC 9000 section 17.3), so whoever steers
//! packets must know it. The shard bits stay readable on purpose (RFC 9000 section 5.1 allows routing information);
//! the remaining 56 bits are what makes an ID unguessable and unlinkable.

use adit_io::net::ShardBits;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Bytes of every connection ID that adit issues, and of every initial destination ID that it chooses (RFC 9000
/// section 7.2 asks for at least 8).
pub const CONNECTION_ID_BYTES: usize = 8;
/// Largest generation: three bits.
pub const GENERATION_MAX: u8 = 7;

/// Where the kernel finds the shard: what `adit_io::net::steer_to_shards` is given. A short header's connection ID is
/// its second byte (RFC 9000 section 17.3.1); a long header's comes behind the version and its length (section 17.2).
pub const SHARD_BITS: ShardBits =
    ShardBits { short_header_offset: 1, long_header_offset: 6, mask: SHARD_MASK };

const SHARD_MASK: u8 = 0x1f;
/// The header form bit: set for long headers (RFC 9000 section 17.2).
const LONG_HEADER: u8 = 0x80;

/// The shard that owns a connection ID beginning with `byte`, among `shards` sockets of one reuseport group. The
/// steering program in the kernel computes the same expression.
///
/// # Panics
/// When `shards` is 0, which [`super::QuicConfig`] excludes.
#[must_use]
pub const fn owner(byte: u8, shards: u8) -> u8 {
    (byte & SHARD_MASK) % shards
}

/// The owner of a datagram that begins with a short header; `None` for a long header (any shard may answer
/// those) and for datagrams too short to carry a connection ID.
#[must_use]
pub fn short_header_owner(datagram: &[u8], shards: u8) -> Option<u8> {
    let first = *datagram.first()?;
    if first & LONG_HEADER != 0 || datagram.len() < 1 + CONNECTION_ID_BYTES {
        return None;
    }
    Some(owner(datagram[1], shards))
}

/// Issues connection IDs for one shard.
#[derive(Debug)]
pub(super) struct ShardCidGenerator {
    first: u8,
    rng: ChaCha20Rng,
}

impl ShardCidGenerator {
    pub(super) fn new(generation: u8, shard: u8, seed: [u8; 32]) -> Self {
        debug_assert!(generation <= GENERATION_MAX && shard <= SHARD_MASK);
        Self { first: generation << 5 | shard, rng: ChaCha20Rng::from_seed(seed) }
    }
}

impl ConnectionIdGenerator for ShardCidGenerator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        self.rng.fill_bytes(&mut bytes);
        bytes[0] = self.first;
        ConnectionId::new(&bytes)
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        // Other generations are answered on purpose: their connections belonged to an earlier process, and only a
        // stateless reset tells their peers so. A foreign shard must stay silent; see `short_header_owner`.
        if cid.len() == CONNECTION_ID_BYTES { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// An initial destination connection ID: random, with the shard bits set where the client wants a certain shard.
pub(super) fn initial_destination(rng: &mut ChaCha20Rng, shard: Option<u8>) -> ConnectionId {
    let mut bytes = [0; CONNECTION_ID_BYTES];
    rng.fill_bytes(&mut bytes);
    if let Some(shard) = shard {
        bytes[0] = bytes[0] & !SHARD_MASK | shard & SHARD_MASK;
    }
    ConnectionId::new(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_is_generation_and_shard() {
        let mut ids = ShardCidGenerator::new(5, 19, [7; 32]);
        for _ in 0..100 {
            let id = ids.generate_cid();
            assert_eq!(id.len(), CONNECTION_ID_BYTES);
            assert_eq!(id[0], 5 << 5 | 19);
            assert!(ids.validate(&id).is_ok());
        }
    }

    #[test]
    fn equal_seeds_give_equal_ids() {
        let ids = |seed| {
            let mut generator = ShardCidGenerator::new(0, 1, seed);
            (0..16).map(|_| generator.generate_cid()).collect::<Vec<_>>()
        };
        assert_eq!(ids([1; 32]), ids([1; 32]));
        assert_ne!(ids([1; 32]), ids([2; 32]));
    }

    #[test]
    fn the_owner_is_the_shard_that_issued() {
        for shards in 1..=32 {
            for shard in 0..shards {
                for generation in 0..=GENERATION_MAX {
                    let id = ShardCidGenerator::new(generation, shard, [3; 32]).generate_cid();
                    let mut datagram = vec![0x40];
                    datagram.extend_from_slice(&id);
                    assert_eq!(short_header_owner(&datagram, shards), Some(shard));
                }
            }
        }
    }

    #[test]
    fn long_headers_and_scraps_have_no_owner() {
        assert_eq!(short_header_owner(&[0xc0; 40], 4), None);
        assert_eq!(short_header_owner(&[0x40; 8], 4), None);
        assert_eq!(short_header_owner(&[], 4), None);
    }

    #[test]
    fn an_initial_id_asks_for_its_shard_and_hides_nothing_else() {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let ids: Vec<_> = (0..64).map(|_| initial_destination(&mut rng, Some(3))).collect();
        assert!(ids.iter().all(|id| owner(id[0], 8) == 3 && id.len() == CONNECTION_ID_BYTES));
        // The top bits stay random, as section 7.2 of RFC 9000 wants.
        assert!(ids.iter().any(|id| id[0] >> 5 != ids[0][0] >> 5));
    }
}
