//! The rules of section 2.3, one test each.

use bytes::Bytes;

use crate::konnectivity::{DialFailure, DialKey, Event, Packet, Status, TunnelEnd, text};
use crate::limits::{
    GRPC_DATA_BYTES_MAX, GRPC_SEND_PENDING_BYTES_TARGET, GRPC_SEND_PENDING_MESSAGES_MAX,
    INGRESS_PENDING_BYTES_TARGET,
};

use super::{Stream, close_req, close_rsp, data, dial_req, dial_rsp, wire};

#[test]
fn a_dial_bytes_both_ways_and_a_close_in_the_order_of_upstreams_own_test() {
    let mut stream = Stream::established();
    stream.says(&data(1, "ping"));
    assert_eq!(stream.taken(1), "ping");
    stream.gets(1, "pong");
    assert_eq!(stream.hears(), [data(1, "pong")]);
    stream.says(&close_req(1));
    assert_eq!(stream.events(), [Event::Close { connect_id: 1 }]);
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    assert_eq!(stream.hears(), [close_rsp(1, "")]);
    assert!(!stream.0.is_done(), "the stream is the client's to end");
    stream.ends_well();
    assert!(stream.0.is_done());
}

#[test]
fn the_answer_to_a_dial_comes_before_any_of_its_bytes() {
    let mut stream = Stream::new();
    let key = stream.dials(7);
    let id = stream.0.on_established(key).unwrap();
    stream.gets(id, "220 a server that speaks first");
    assert_eq!(stream.hears(), [dial_rsp(7, 1, ""), data(1, "220 a server that speaks first")]);
}

#[test]
fn failed_dials_say_what_konnectivity_says_and_only_some_stop_the_stream() {
    let refused = "dial tcp 10.0.0.1:443: connect: connection refused";
    let lost = "Backend context error: connection lost";
    let no_answer = "timed out waiting for backend dial";
    for (failure, answer, reason, stops) in [
        (DialFailure::NoAgent, dial_rsp(7, 0, "No agent available"), "no_agent", true),
        (DialFailure::NotAsked("EOF".into()), dial_rsp(7, 0, "EOF"), "backend_close", true),
        (DialFailure::Refused(refused.into()), dial_rsp(7, 0, refused), "error_response", false),
        (DialFailure::TimedOut, dial_rsp(7, 0, no_answer), "backend_dial_timeout", false),
        (DialFailure::AgentLost("connection lost".into()), dial_rsp(7, 0, lost), "backend_close", false),
        (DialFailure::Closed, Packet::DialCls { random: 7 }, "backend_close", false),
    ] {
        assert_eq!(failure.reason(), reason);
        let mut stream = Stream::new();
        let key = stream.dials(7);
        assert!(stream.0.on_dial_failed(key, failure.clone()));
        assert_eq!(stream.hears(), [answer]);
        assert!(!stream.0.on_dial_failed(key, failure.clone()), "answered once");
        assert_eq!(stream.0.on_established(key), None);
        stream.says(&dial_req(8, "10.0.0.1:443"));
        assert_eq!(stream.events().is_empty(), stops, "{failure:?}");
        stream.ends_well();
    }
}

#[test]
fn a_dial_that_the_client_takes_back_is_cancelled_and_its_late_answer_is_nobodys() {
    let mut stream = Stream::new();
    let key = stream.dials(7);
    stream.says(&Packet::DialCls { random: 7 });
    assert_eq!(stream.events(), [Event::Cancel { key }]);
    assert_eq!(stream.0.on_established(key), None, "what was opened must be closed");
    assert_eq!(stream.hears(), []);
    // The same number again is another dial: the late answer to the first is not its answer.
    let again = stream.dials(7);
    assert_ne!(again, key);
    assert!(!stream.0.on_dial_failed(key, DialFailure::TimedOut));
    assert_eq!(stream.0.on_established(again), Some(1));
    assert_eq!(stream.hears(), [dial_rsp(7, 1, "")]);
}

#[test]
fn the_targets_end_is_close_rsp_without_an_error_behind_its_last_bytes() {
    let mut stream = Stream::established();
    stream.gets(1, "last words");
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    assert_eq!(stream.hears(), [data(1, "last words"), close_rsp(1, "")]);
    // What crossed it is passed over, and so is the client's own close.
    stream.says(&data(1, "late")).says(&close_req(1));
    assert_eq!((stream.hears(), stream.events()), (vec![], vec![]));
    assert_eq!(stream.0.take_ignored().unwrap().1, 2);
    stream.gets(1, "later");
    assert_eq!(stream.hears(), [], "nothing for a connection that is closed");
    stream.ends_well();
}

#[test]
fn everything_sent_before_close_req_is_taken_before_the_close_and_nothing_comes_back_after_it() {
    let mut stream = Stream::established();
    stream.says(&data(1, "first ")).says(&data(1, "second")).says(&close_req(1));
    assert_eq!(stream.events(), []);
    stream.gets(1, "too late");
    assert_eq!(stream.taken(1), "first second");
    assert_eq!(stream.events(), [Event::Close { connect_id: 1 }]);
    stream.gets(1, "too late, too");
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    assert_eq!(stream.hears(), [close_rsp(1, "")]);
}

#[test]
fn an_agents_error_is_passed_on_with_the_close() {
    let mut stream = Stream::established();
    stream.0.on_tunnel_ended(1, TunnelEnd::Failed("tunnel: broken".into()));
    assert_eq!(stream.hears(), [close_rsp(1, "tunnel: broken")]);
}

#[test]
fn a_close_that_cannot_be_passed_on_is_answered_with_konnectivitys_words() {
    let mut stream = Stream::established();
    stream.says(&close_req(1));
    stream.0.on_tunnel_ended(1, TunnelEnd::NotPassedOn);
    assert_eq!(stream.hears(), [close_rsp(1, "CLOSE_REQ to backend failed")]);
}

#[test]
fn packets_before_any_dial_are_refused_and_nothing_more_is_read() {
    for (packet, error) in
        [(data(5, "?"), "backend not initialized"), (close_req(5), "backend uninitialized")]
    {
        let mut stream = Stream::new();
        stream.says(&packet).says(&packet).says(&dial_req(7, "10.0.0.1:443"));
        assert_eq!(stream.hears(), [close_rsp(5, error)]);
        assert_eq!(stream.events(), []);
        stream.ends_well();
    }
}

#[test]
fn data_for_a_second_connection_cuts_both_off() {
    let mut stream = Stream::established();
    let key = stream.dials(8);
    assert_eq!(stream.0.on_established(key), Some(2));
    stream.says(&data(1, "one")).says(&data(2, "two"));
    assert_eq!(stream.events(), [Event::Abort { connect_id: 1 }, Event::Abort { connect_id: 2 }]);
    let error = "mismatched connection IDs";
    assert_eq!(stream.hears(), [dial_rsp(8, 2, ""), close_rsp(1, error), close_rsp(2, error)]);
    assert_eq!((stream.taken(1), stream.taken(2)), (String::new(), String::new()));
    stream.gets(1, "late");
    assert_eq!(stream.hears(), []);
    stream.ends_well();
    assert!(stream.0.is_done());
}

#[test]
fn several_dials_of_one_stream_are_answered_each_in_any_order() {
    let mut stream = Stream::new();
    let keys: Vec<DialKey> = (0..3).map(|random| stream.dials(random)).collect();
    assert_eq!(stream.0.on_established(keys[2]), Some(1));
    assert!(stream.0.on_dial_failed(keys[0], DialFailure::Refused("no".into())));
    assert_eq!(stream.0.on_established(keys[1]), Some(2));
    assert_eq!(stream.hears(), [dial_rsp(2, 1, ""), dial_rsp(0, 0, "no"), dial_rsp(1, 2, "")]);
    stream.gets(2, "b");
    stream.gets(1, "a");
    assert_eq!(stream.hears(), [data(2, "b"), data(1, "a")]);
}

#[test]
fn only_tcp_is_dialed_and_only_what_can_be_understood() {
    for (protocol, address, error) in [
        ("udp", "10.0.0.1:53", "dial udp: unknown network udp"),
        ("tcp", "10.0.0.1", "dial tcp: address 10.0.0.1: missing port in address"),
        ("tcp", ":443", "dial tcp: address :443: missing host in address"),
    ] {
        let mut stream = Stream::new();
        stream.says(&Packet::DialReq { protocol: protocol.into(), address: address.into(), random: 7 });
        assert_eq!(stream.hears(), [dial_rsp(7, 0, error)]);
        // Another dial is as good as the first.
        stream.dials(8);
    }
}

#[test]
fn the_end_of_a_stream_cancels_dials_closes_connections_and_is_ok() {
    let mut stream = Stream::established();
    let key = stream.dials(8);
    stream.says(&data(1, "the rest"));
    stream.gets(1, "on its way");
    stream.0.on_client_end();
    assert_eq!(stream.events(), [Event::Cancel { key }]);
    assert_eq!(stream.hears(), [data(1, "on its way")], "what was taken is sent before the end");
    assert_eq!(stream.events(), [Event::End(Status::Ok)]);
    assert!(!stream.0.is_done(), "the connection has not taken the rest");
    assert_eq!(stream.taken(1), "the rest");
    assert_eq!(stream.events(), [Event::Close { connect_id: 1 }]);
    assert!(stream.0.is_done());
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    assert_eq!(stream.0.on_established(key), None);
    assert!(stream.0.is_done() && !stream.0.has_message());
}

#[test]
fn a_cancelled_stream_cuts_everything_off_and_sends_nothing_more() {
    let mut stream = Stream::established();
    let key = stream.dials(8);
    stream.says(&data(1, "the rest"));
    stream.gets(1, "on its way");
    stream.0.on_client_reset();
    assert_eq!(stream.events(), [Event::Cancel { key }, Event::Abort { connect_id: 1 }]);
    assert_eq!((stream.hears(), stream.taken(1)), (vec![], String::new()));
    assert!(stream.0.is_done());
}

#[test]
fn a_lost_agent_fails_its_dials_and_ends_its_connections() {
    let mut stream = Stream::established();
    let key = stream.dials(8);
    assert!(stream.0.on_dial_failed(key, DialFailure::AgentLost("no answer in time".into())));
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    let lost = format!("{}no answer in time", text::AGENT_LOST);
    assert_eq!(stream.hears(), [dial_rsp(8, 0, &lost), close_rsp(1, "")]);
}

#[test]
fn a_drain_refuses_new_dials_and_ends_a_stream_that_has_nothing_left() {
    let mut stream = Stream::established();
    stream.0.drain();
    stream.says(&dial_req(8, "10.0.0.1:443")).says(&data(1, "goes on"));
    assert_eq!(stream.taken(1), "goes on");
    stream.gets(1, "both ways");
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    assert_eq!(stream.events(), [], "not before everything was sent");
    let draining = "the server is draining";
    assert_eq!(stream.hears(), [dial_rsp(8, 0, draining), data(1, "both ways"), close_rsp(1, "")]);
    assert_eq!(stream.events(), [Event::End(Status::Ok)]);
    assert!(stream.0.is_done());

    // A stream that was opened just before is told why.
    let mut stream = Stream::new();
    stream.0.drain();
    assert!(!stream.0.is_done());
    stream.says(&dial_req(8, "10.0.0.1:443"));
    assert_eq!(stream.hears(), [dial_rsp(8, 0, draining)]);
    assert_eq!(stream.events(), [Event::End(Status::Ok)]);
}

#[test]
fn bytes_of_a_tunnel_come_in_chunks_and_only_while_there_is_room() {
    let mut stream = Stream::established();
    let all: Vec<u8> = (0_u32..300_000).flat_map(u32::to_be_bytes).collect();
    let mut rest = Bytes::from(all.clone());
    let mut sent = Vec::new();
    while !rest.is_empty() {
        stream.0.on_tunnel_bytes(1, &mut rest);
        assert!(!stream.0.has_room() || rest.is_empty());
        let waiting = stream.hears();
        assert!(waiting.len() <= GRPC_SEND_PENDING_BYTES_TARGET / GRPC_DATA_BYTES_MAX + 1);
        for packet in waiting {
            let Packet::Data { connect_id: 1, data } = packet else { panic!("{packet:?}") };
            assert!((1..=GRPC_DATA_BYTES_MAX).contains(&data.len()));
            sent.extend_from_slice(&data);
        }
    }
    assert!(sent == all);
    // Single bytes fill the room, too.
    let mut single = Bytes::new();
    for _ in 0..=GRPC_SEND_PENDING_MESSAGES_MAX {
        single = Bytes::from_static(b"x");
        stream.0.on_tunnel_bytes(1, &mut single);
    }
    assert_eq!(single.len(), 1, "left for later");
}

#[test]
fn a_tunnel_that_takes_nothing_stops_the_credit_and_gives_it_back_when_it_does() {
    let mut stream = Stream::established();
    _ = stream.0.take_credit();
    let packet =
        wire(&Packet::Data { connect_id: 1, data: vec![1; INGRESS_PENDING_BYTES_TARGET / 4].into() });
    for _ in 0..4 {
        stream.0.on_bytes(packet.clone());
        assert_eq!(stream.0.take_credit(), packet.len());
    }
    stream.0.on_bytes(packet.clone());
    assert_eq!(stream.0.take_credit(), 0);
    // A client that does not read its own bytes does not hold up what it sends.
    let mut download = Bytes::from(vec![2; 1 << 20]);
    stream.0.on_tunnel_bytes(1, &mut download);
    assert!(!stream.0.has_room());
    while stream.0.take_for_tunnel(1).is_some() {}
    assert_eq!(stream.0.take_credit(), packet.len());
}

#[test]
fn a_tunnel_that_ends_gives_back_the_credit_that_it_held() {
    let mut stream = Stream::established();
    let other = stream.dials(8);
    _ = stream.0.take_credit();
    let packet = wire(&Packet::Data { connect_id: 1, data: vec![1; GRPC_DATA_BYTES_MAX].into() });
    let all = 1 + INGRESS_PENDING_BYTES_TARGET / GRPC_DATA_BYTES_MAX;
    (0..all).for_each(|_| stream.0.on_bytes(packet.clone()));
    assert_eq!(stream.0.take_credit(), 0);
    stream.0.on_tunnel_ended(1, TunnelEnd::Closed);
    assert_eq!(stream.0.take_credit(), all * packet.len());
    assert_eq!(stream.0.on_established(other), Some(2));
}
