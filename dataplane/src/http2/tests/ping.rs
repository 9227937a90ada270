//! PINGs of ours, and what is not their acknowledgement.

use super::super::Event;
use super::{ACK, Server, frame, open};

const PING: u8 = 6;

#[test]
fn a_ping_waits_for_its_own_acknowledgement() {
    let mut server = Server::greeted();
    server.connection.ping();
    server.connection.ping();
    let ping = (PING, 0, 0, b"adit up?".to_vec());
    assert_eq!(server.sent(), [ping.clone(), ping]);
    assert_eq!(server.connection.pings_unanswered(), 2);
    let others = [frame(PING, 0, 0, b"adit up?"), frame(PING, ACK, 0, &[0; 8]), open(1)].concat();
    assert!(matches!(server.hear(&others)[..], [Event::Opened { .. }]));
    assert_eq!(server.connection.pings_unanswered(), 2);
    for left in [1, 0, 0] {
        assert_eq!(server.hear(&frame(PING, ACK, 0, b"adit up?")), []);
        assert_eq!(server.connection.pings_unanswered(), left);
    }
}

#[test]
fn a_ping_does_not_end_a_drain_nor_a_drain_answer_a_ping() {
    let mut server = Server::greeted();
    server.hear(&open(1));
    server.connection.drain(server.now);
    server.connection.ping();
    server.sent();
    server.hear(&frame(PING, ACK, 0, b"adit up?"));
    assert_eq!(server.connection.pings_unanswered(), 0);
    assert_eq!(server.sent(), [], "streams that cross the announcement are still taken");
    server.connection.ping();
    server.sent();
    server.hear(&frame(PING, ACK, 0, b"adit end"));
    assert_eq!(server.connection.pings_unanswered(), 1);
    assert!(matches!(server.sent()[..], [(7, 0, 0, _)]), "now it says which is the last");
}

#[test]
fn a_connection_that_is_over_asks_nobody() {
    let mut server = Server::greeted();
    server.hear(&frame(PING, 0, 1, &[0; 8]));
    server.sent();
    server.connection.ping();
    assert_eq!((server.sent(), server.connection.pings_unanswered()), (Vec::new(), 0));
}
