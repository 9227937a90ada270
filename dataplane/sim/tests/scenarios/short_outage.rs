//! An outage that ends a second before the connection would be given up costs no tunnel.

use super::{all_arrived, tell};

#[test]
fn short_outage() {
    tell("short_outage", 4, |report| all_arrived(report, 0));
}
