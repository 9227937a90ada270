//! Over TCP with TLS every end is what it was, and a stopped reader delays only itself.

use adit_sim::script::Seen;

use super::tell;

#[test]
fn frontends_over_tls() {
    tell("frontends_over_tls", 10, |report| {
        let client = |tunnel: usize| report.tunnels[tunnel].client.expect("established");
        let target = |tunnel: usize| report.tunnels[tunnel].targets[0];
        for tunnel in 0..3 {
            let (client, target) = (client(tunnel), target(tunnel));
            assert_eq!((client.received, target.received), (target.sent, client.sent), "tunnel {tunnel}");
            // Never the end of TCP alone.
            assert!(matches!(client.saw, Some((Seen::End, _))), "{client:?}");
            assert!(matches!(target.saw, Some((Seen::End | Seen::EndAndGone, _))), "{target:?}");
        }
        let ended = |saw: Option<(Seen, adit_sim::clock::SimTime)>| saw.expect("it ended").1;
        assert!(ended(client(2).saw) > ended(client(0).saw), "who stopped, waits");
        for end in [target(3), client(4)] {
            assert!(matches!(end.saw, Some((Seen::Reset, _))), "{end:?}");
            assert!(end.sent < 1_000_000, "the reset came while it was sending");
        }
    });
}
