//! A small swarm in every test run: the first seeds, all good, and alike when they run twice. The large one, which
//! also requires that every fault and every cell of the oracles occurred, is `cargo xtask sim --seeds 1000`.

use adit_sim::oracle::Cell;
use adit_sim::swarm::{DIALS_MIN, PAYLOAD_BYTES_MIN, run_world};
use adit_sim::world::options::Options;

#[test]
fn the_first_seeds_are_good() {
    for seed in 0..40 {
        let report = run_world(Options::swarm(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.dials >= DIALS_MIN && report.payload_bytes >= PAYLOAD_BYTES_MIN);
        let allowed = Cell::all();
        assert!(report.cells.keys().all(|cell| allowed.contains(cell)), "{:?}", report.cells);
    }
}

#[test]
fn equal_seeds_give_equal_traces() {
    let hash = |seed| {
        let report = run_world(Options::swarm(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        (report.trace_hash, report.events)
    };
    for seed in 1_000..1_006 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
    }
    assert_ne!(hash(1), hash(2));
}
