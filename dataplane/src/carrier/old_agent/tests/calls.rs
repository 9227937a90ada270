//! How an agent begins, is taken or refused, and ends.

use std::time::Duration;

use super::{Joined, METADATA, data};
use crate::carrier::{Carrier, CarrierEvent};
use crate::http2::{ErrorCode, Event};
use crate::konnectivity::Packet;
use crate::limits::{HELLO_TIME_MAX, HTTP2_KEEP_ALIVE_TIMEOUT, LEGACY_DIAL_SILENCE_MAX};
use crate::quic::{Fault, Gone, LostKind, LostReason};
use crate::wire::{CloseCode, DialRequest, StreamHeader, Welcome};

#[test]
fn an_agent_presents_itself_and_is_told_of_the_server_at_once() {
    let mut joined = Joined::called(METADATA);
    let [CarrierEvent::Presented(hello)] = &joined.events()[..] else { panic!("not presented") };
    assert_eq!((hello.agent_id.as_str(), hello.token.as_str()), ("node-1", "hunter2"));
    assert_eq!(hello.identifiers, "host=node-1&ipv4=10.0.0.1");
    assert_eq!((hello.version.as_str(), &hello.instance_id[..]), ("grpc-go/1.80.0", &[7; 16][..]));
    assert_eq!(joined.agent.answer, [], "not before control has decided");
    assert_eq!(joined.carrier.open(), Ok(None));
    let welcome = Welcome { server_id: "server-1".to_owned(), server_count: 3, ..Welcome::default() };
    joined.carrier.welcome(joined.now, &welcome);
    assert_eq!(joined.events(), [CarrierEvent::StreamsAvailable]);
    let expected = [("serverid", "server-1"), ("servercount", "3"), ("content-type", "application/grpc")];
    assert_eq!(joined.agent.answer, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert!(!format!("{:?}", joined.carrier).contains("hunter2"));
}

#[test]
fn an_agent_without_a_token_or_with_another_kind_of_it_presents_none() {
    for metadata in [
        &[("agentid", "a")][..],
        &[("agentid", "a"), ("authorization", "Basic hunter2")],
        &[("agentid", "a"), ("authorization", "Bearer x"), ("authorization", "Bearer y")],
    ] {
        let mut joined = Joined::called(metadata);
        let [CarrierEvent::Presented(hello)] = &joined.events()[..] else { panic!("not presented") };
        assert_eq!((hello.token.as_str(), hello.identifiers.as_str()), ("", ""));
    }
}

#[test]
fn metadata_that_break_a_rule_end_the_call_with_unknown_and_the_reason() {
    for (metadata, reason) in [
        (&[][..], "expected one agentid in the metadata, got 0"),
        (&[("agentid", "a"), ("agentid", "b")], "expected one agentid in the metadata, got 2"),
        (
            &[("agentid", "a"), ("agentidentifiers", "host=%")],
            "invalid URL escape in agent identifiers: \"%\"",
        ),
        (
            &[("agentid", "")],
            "agentid in the metadata is empty: give the agent an id, by --agent-id or PROXY_AGENT_ID",
        ),
    ] {
        let mut joined = Joined::called(metadata);
        let lost = joined.lost();
        assert_eq!(lost.text, format!("an agent of Konnectivity's was refused: {reason}"));
        assert_eq!((lost.kind, lost.fault), (LostKind::ClosedLocally(CloseCode::Protocol), Fault::Peer));
        let status = joined.agent.status.clone().unwrap();
        assert_eq!((status.code, status.message.as_str()), (Some(2), reason));
        assert!(joined.agent.goaway && !joined.carrier.wants_input());
        assert_eq!(joined.carrier.open(), Err(Gone));
    }
}

#[test]
fn a_refused_agent_hears_why() {
    let mut joined = Joined::called(METADATA);
    joined.carrier.close(joined.now, CloseCode::Refused, "the token is not valid");
    let lost = joined.lost();
    assert_eq!(
        (lost.kind, lost.text.as_str()),
        (LostKind::ClosedLocally(CloseCode::Refused), "the token is not valid")
    );
    let status = joined.agent.status.clone().unwrap();
    assert_eq!((status.code, status.message.as_str()), (Some(2), "the token is not valid"));
    assert!(joined.agent.goaway);
}

#[test]
fn an_end_of_ours_is_told_and_a_drain_is_not_for_an_agent_would_cut_its_tunnels() {
    for (code, status) in [(CloseCode::NoError, 0), (CloseCode::Shutdown, 14), (CloseCode::Draining, 14)] {
        let mut joined = Joined::ready();
        let stream = joined.connected(1);
        joined.carrier.drain(joined.now);
        assert_eq!((joined.hears(), joined.events()), (vec![], vec![]));
        assert!(!joined.agent.goaway);
        joined.says(&[data(1, b"goes on")]);
        assert_eq!(joined.read(stream).0, b"goes on");
        joined.carrier.close(joined.now, code, "bye");
        assert_eq!(joined.lost().kind, LostKind::ClosedLocally(code));
        assert_eq!(joined.agent.status.clone().unwrap().code, Some(status));
        assert!(joined.agent.goaway);
    }
}

#[test]
fn other_calls_are_refused_on_their_streams_without_harm() {
    let mut joined = Joined::ready();
    let stream = joined.connected(1);
    for (path, code, text) in [
        ("/AgentService/Connect", 9, "one call on each connection"),
        ("/ProxyService/Proxy", 12, "unknown method /ProxyService/Proxy; agents call /AgentService/Connect"),
    ] {
        joined.agent.open(path, METADATA);
        joined.run();
        let [Event::Finished { status, .. }] = &joined.others[..] else { panic!("{:?}", joined.others) };
        assert_eq!((status.code, status.message.as_str()), (Some(code), text));
        joined.others.clear();
    }
    joined.says(&[data(1, b"fine")]);
    assert_eq!(joined.read(stream).0, b"fine");
    assert_eq!(joined.events(), [CarrierEvent::Readable(stream)]);
}

#[test]
fn an_agent_that_does_not_call_is_given_up() {
    let mut joined = Joined::new(None);
    joined.agent.open("/somewhere/else", &[]);
    joined.run();
    assert_eq!(joined.carrier.deadline(), Some(joined.now + HELLO_TIME_MAX));
    joined.time_passes(HELLO_TIME_MAX);
    let lost = joined.lost();
    assert_eq!(lost.text, "no call of /AgentService/Connect within 5 s");
    assert_eq!(lost.kind, LostKind::ClosedLocally(CloseCode::HelloTimeout));
    assert_eq!(joined.carrier.deadline(), None);
}

#[test]
fn bytes_that_are_no_http2_or_no_packets_lose_the_agent_with_a_text() {
    let mut joined = Joined::new(None);
    joined.carrier.receive(joined.now, "GET / HTTP/1.1\r\n\r\n".into());
    assert!(joined.lost().text.contains("it did not begin with the HTTP/2 preface"));

    let mut joined = Joined::ready();
    joined.agent.unsent = vec![1, 0, 0, 0, 0].into();
    let lost = joined.lost();
    assert_eq!(
        lost.text,
        "an agent of Konnectivity's broke the protocol: \
         grpc: a message with flags 0x01: compression was not offered"
    );
    assert_eq!(joined.agent.status.clone().unwrap().code, Some(13));
}

#[test]
fn the_end_of_a_call_or_of_the_socket_loses_everything_once() {
    type Way = fn(&mut Joined);
    let ended = |joined: &mut Joined| joined.agent.http2.half_close(joined.agent.call.unwrap()).unwrap();
    let reset = |joined: &mut Joined| joined.agent.http2.reset(joined.agent.call.unwrap(), ErrorCode::CANCEL);
    let broken = |joined: &mut Joined| {
        let reason = LostReason::new(LostKind::Reset, Fault::Network, true, "the socket broke");
        joined.carrier.on_transport_end(joined.now, reason);
    };
    let ways: [(Way, &str); 3] = [
        (ended, "the agent ended its call"),
        (reset, "the agent's call was reset: CANCEL"),
        (broken, "the socket broke"),
    ];
    for (way, text) in ways {
        let mut joined = Joined::ready();
        let stream = joined.connected(1);
        joined.asks("10.0.0.1:80");
        way(&mut joined);
        assert_eq!(joined.lost().text, text);
        joined.carrier.close(joined.now, CloseCode::Shutdown, "late");
        assert_eq!(joined.events(), []);
        assert_eq!(joined.carrier.finish(stream), Err(Gone));
        assert_eq!(joined.carrier.read(joined.now, stream, 1, &mut Vec::new()), Err(Gone));
        assert!(!joined.carrier.received_reset(stream));
    }
}

#[test]
fn a_silent_agent_is_asked_and_given_up() {
    let mut joined = Joined::ready();
    joined.time_passes(Duration::from_secs(3600));
    assert_eq!(joined.events(), [], "it answered");
    // Now its answers are lost.
    is_asked_and_given_up(&mut joined, Duration::from_secs(3600));
}

/// After so much silence, and again after no answer.
fn is_asked_and_given_up(joined: &mut Joined, silence: Duration) {
    joined.now += silence;
    joined.carrier.on_time(joined.now);
    assert!(!joined.carrier.take_output().is_empty());
    joined.now += HTTP2_KEEP_ALIVE_TIMEOUT;
    joined.carrier.on_time(joined.now);
    let Some(CarrierEvent::Lost(lost)) = joined.carrier.poll_event(joined.now) else { panic!("not lost") };
    assert_eq!(lost.kind, LostKind::Idle);
}

#[test]
fn an_agent_that_says_nothing_to_a_dial_is_asked_soon() {
    let mut joined = Joined::ready();
    joined.asks("10.0.0.1:443");
    joined.time_passes(LEGACY_DIAL_SILENCE_MAX);
    assert_eq!(joined.events(), [], "it is there, and slow");
    // The next one finds nobody.
    let stream = joined.carrier.open().unwrap().unwrap();
    let header =
        StreamHeader::dial(DialRequest { address: "10.0.0.1:443".to_owned(), ..DialRequest::default() });
    joined.write(stream, &header.to_frame().unwrap());
    joined.carrier.take_output();
    is_asked_and_given_up(&mut joined, LEGACY_DIAL_SILENCE_MAX);
}

#[test]
fn a_drain_of_the_agents_is_told_once_also_where_it_came_before_the_welcome() {
    let mut joined = Joined::called(METADATA);
    joined.says(&[Packet::Drain, Packet::Drain]);
    assert!(matches!(joined.events()[..], [CarrierEvent::Presented(_)]));
    joined.carrier.welcome(joined.now, &Welcome { server_id: "server-1".to_owned(), ..Welcome::default() });
    assert_eq!(joined.events(), [CarrierEvent::Draining]);
    joined.connected(1);
}
