//! quinn-proto's advisories, and those of other implementations that it could share, as attacks on the production
//! endpoint: memory stays bounded, nothing panics, and whoever breaks the protocol is told how. And HTTP/2's floods.

mod flood;
mod frames;
mod http2;
mod parameters;
mod paths;
mod peer;
mod pki;
mod rejections;
mod shard;
mod streams;
mod victim;
mod wire;

use adit_io::conformance::allocations::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
