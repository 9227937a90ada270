//! Clients in GRPC mode lose, double and mix up nothing either, whatever goes wrong: every dial is answered once, no
//! DATA comes before the answer or behind CLOSE_RSP, and nothing is left.

use super::tell;

#[test]
fn grpc_under_faults() {
    let mut established = 0;
    tell("grpc_under_faults", 30, |report| {
        let mut tunnels = report.tunnels.iter();
        established +=
            tunnels.by_ref().filter(|tunnel| tunnel.answer.is_some_and(|(status, _)| status == 200)).count();
    });
    assert!(established > 200, "{established}");
}
