//! A path that carries less for a while and then as much as before is found out both times: datagrams become smaller,
//! and larger again, and no stream notices.

use adit_sim::tally::Family;

use super::{all_arrived, tell};

#[test]
fn mtu_grows_again() {
    tell("mtu_grows_again", 12, |report| {
        all_arrived(report, 0);
        assert_eq!(report.tally.count(Family::MtuShrunk), 1);
        assert_eq!(report.tally.count(Family::MtuGrown), 1);
        let [before, small, after] = report.paths[..] else {
            panic!("seed {}: {:?}", report.seed, report.paths)
        };
        assert_eq!([before, small, after].map(|sizes| sizes.mtu_bytes), [1_452, 1_230, 1_452]);
        for (sizes, expected) in [(before, 1_440..=1_452), (small, 1_200..=1_230), (after, 1_440..=1_452)] {
            for largest in [sizes.from_server_bytes, sizes.from_agents_bytes] {
                assert!(expected.contains(&largest), "seed {}: {:?}", report.seed, report.paths);
            }
        }
    });
}
