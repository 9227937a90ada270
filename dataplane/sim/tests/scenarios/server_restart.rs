//! Six seconds after a restarted server is back, so are its agents.

use super::{all_arrived, tell};

#[test]
fn server_restart() {
    tell("server_restart", 8, |report| all_arrived(report, 4));
}
