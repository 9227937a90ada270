//! Replays the corpora of `fuzz/corpus/` and mutations of them. What a seed's name means, and how more and other
//! mutations are run, is told in `adit-fuzz`.

mod grpc;
mod http2;
mod pipes;
mod targets;
mod tls;

use adit_fuzz::Suite;

const SUITE: Suite =
    Suite { corpora: concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"), targets: &targets::ALL };

#[test]
fn every_seed_fares_as_its_name_says() {
    SUITE.replay();
}

#[test]
fn every_corpus_belongs_to_a_target() {
    SUITE.match_corpora();
}

#[test]
fn mutated_seeds_break_nothing() {
    SUITE.mutate();
}
