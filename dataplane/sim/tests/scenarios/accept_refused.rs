//! A listener goes on listening, whatever its driver has no room for and whoever leaves at the same moment.

use super::tell;

#[test]
fn accept_refused() {
    tell("accept_refused", 50, |report| {
        for tunnel in &report.tunnels {
            assert_eq!(tunnel.answer.map(|(status, _)| status), Some(200));
        }
    });
}
