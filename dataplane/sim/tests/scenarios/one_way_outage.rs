//! Losing everything one way, for less time than a connection is given, costs no tunnel either.

use super::{all_arrived, tell};

#[test]
fn one_way_outage() {
    tell("one_way_outage", 4, |report| all_arrived(report, 0));
}
