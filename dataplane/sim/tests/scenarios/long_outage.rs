//! What a long outage cut off is over at both ends, and the agent serves again soon after it.

use super::{all_arrived, tell};

#[test]
fn long_outage() {
    tell("long_outage", 4, |report| all_arrived(report, 4));
}
