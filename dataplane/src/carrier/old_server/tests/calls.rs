//! How a server is called, what it may answer, and how it ends.

use std::time::{Duration, Instant};

use super::super::{NotCalled, OldServer};
use super::{Joined, call, data};
use crate::carrier::{Carrier, CarrierEvent};
use crate::http2::ErrorCode;
use crate::konnectivity::Packet;
use crate::limits::{HELLO_TIME_MAX, HTTP2_KEEP_ALIVE_TIMEOUT, OLD_SERVER_PING_INTERVAL_MIN};
use crate::quic::{Fault, Gone, LostKind, LostReason};
use crate::wire::CloseCode;

#[test]
fn the_agent_says_who_it_is_and_takes_the_servers_word_for_who_that_is() {
    let mut joined = Joined::called();
    let request = joined.server.request.clone().unwrap();
    assert!(request.is_grpc());
    assert_eq!((request.path.as_str(), request.user_agent.as_str()), ("/AgentService/Connect", "adit/1.2.3"));
    for (key, value) in [
        ("agentid", "node-1"),
        ("agentidentifiers", "host=node-1&ipv4=10.0.0.1"),
        ("authorization", "Bearer hunter2"),
    ] {
        assert_eq!(request.metadata.values(key).collect::<Vec<_>>(), [value.as_bytes()]);
    }
    assert_eq!(joined.events(), []);
    let call = joined.server.call.unwrap();
    joined.server.http2.respond(call, &[("serverid", "server-1"), ("servercount", "3")]).unwrap();
    let [CarrierEvent::Welcomed(welcome)] = &joined.events()[..] else { panic!("not welcomed") };
    assert_eq!((welcome.server_id.as_str(), welcome.server_count, welcome.shards), ("server-1", 3, 1));
    assert_eq!(welcome.instance_id.len(), 32);
    assert_eq!(joined.carrier.open(), Ok(None));
    for shown in [format!("{:?}", joined.carrier), format!("{:?}", super::call())] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn an_agent_without_a_token_sends_none_and_what_cannot_be_sent_is_no_call() {
    let now = Instant::now();
    let mut server = super::Server::new(now);
    let mut carrier =
        OldServer::new(now, super::OldServerCall { token: "", identifiers: "", ..call() }).unwrap();
    server.work(now, carrier.take_output());
    let request = server.request.unwrap();
    assert_eq!(request.metadata.values("authorization").count(), 0);
    assert_eq!(request.metadata.values("agentidentifiers").collect::<Vec<_>>(), [b""], "always sent");
    let bad = OldServer::new(now, super::OldServerCall { token: "two\nlines", ..call() });
    assert!(matches!(bad, Err(NotCalled::Call(_))), "{bad:?}");
    assert!(!bad.unwrap_err().to_string().contains("two"));
}

#[test]
fn an_answer_that_is_not_a_servers_is_lost_with_what_is_wrong() {
    for (metadata, text) in [
        (&[][..], "expected one serverid in the response, got 0"),
        (
            &[("serverid", "a"), ("serverid", "b"), ("servercount", "1")],
            "expected one serverid in the response, got 2",
        ),
        (&[("serverid", "a")], "expected one servercount in the response, got 0"),
        (&[("serverid", "a"), ("servercount", "many")], "servercount \"many\" is not a number"),
        (&[("serverid", ""), ("servercount", "1")], "serverid \"\" is empty, too long or not plain text"),
    ] {
        let mut joined = Joined::answered(metadata);
        let lost = joined.lost();
        assert_eq!(lost.text, format!("this is no server of Konnectivity's: {text}"));
        assert_eq!((lost.fault, lost.retry), (Fault::Peer, true));
        assert!(joined.server.goaway);
    }
    let mut joined = Joined::answered(&[("serverid", "a"), ("servercount", "0")]);
    let [CarrierEvent::Welcomed(welcome)] = &joined.events()[..] else { panic!("not welcomed") };
    assert_eq!(welcome.server_count, 1, "as upstream's agents have it");
}

#[test]
fn a_refusal_and_every_other_end_of_the_call_says_why() {
    for (ready, code, message, text) in [
        (false, 2, "wrong audience", "the server refused the agent: wrong audience (gRPC status 2)"),
        (
            false,
            12,
            "unknown service AgentService",
            "the server does not know /AgentService/Connect: this is not its port for agents",
        ),
        (true, 0, "", "the server ended the call"),
        (true, 13, "a defect", "the server ended the call: a defect (gRPC status 13)"),
    ] {
        let mut joined = if ready { Joined::ready() } else { Joined::called() };
        joined.server.http2.finish(joined.server.call.unwrap(), code, message).unwrap();
        let lost = joined.lost();
        assert_eq!((lost.text.as_str(), lost.retry), (text, true));
        assert_eq!(joined.carrier.open(), Err(Gone));
    }
    let mut joined = Joined::ready();
    joined.server.http2.reset(joined.server.call.unwrap(), ErrorCode::CANCEL);
    assert_eq!(joined.lost().text, "the call was reset by the server: CANCEL");
    let mut joined = Joined::called();
    joined.carrier.receive(joined.now, "HTTP/1.1 400 Bad Request\r\n\r\n".into());
    assert!(joined.lost().text.contains("it answers in HTTP/1"));
}

#[test]
fn a_server_that_does_not_answer_or_falls_silent_is_given_up() {
    let mut joined = Joined::called();
    assert_eq!(joined.carrier.deadline(), Some(joined.now + HELLO_TIME_MAX));
    joined.time_passes(HELLO_TIME_MAX);
    assert_eq!(joined.lost().text, "no answer of the server to /AgentService/Connect within 5 s");
    assert_eq!(joined.carrier.deadline(), None);

    let mut joined = Joined::ready();
    joined.time_passes(Duration::from_secs(3600));
    assert_eq!(joined.events(), [], "it answered");
    joined.now += Duration::from_secs(3600);
    joined.carrier.on_time(joined.now);
    assert!(!joined.carrier.take_output().is_empty());
    joined.now += HTTP2_KEEP_ALIVE_TIMEOUT;
    joined.carrier.on_time(joined.now);
    let Some(CarrierEvent::Lost(lost)) = joined.carrier.poll_event(joined.now) else { panic!("not lost") };
    assert_eq!((lost.kind, lost.text.as_str()), (LostKind::Idle, "no answer to a keep-alive within 20 s"));
}

#[test]
fn an_old_server_is_not_asked_more_often_than_it_allows() {
    let now = Instant::now();
    let often = super::OldServerCall { keep_alive: Duration::from_secs(1), ..call() };
    let mut joined = Joined { carrier: OldServer::new(now, often).unwrap(), now, ..Joined::called() };
    joined.server = super::Server::new(now);
    joined.run();
    let call = joined.server.call.unwrap();
    joined.server.http2.respond(call, &[("serverid", "server-1"), ("servercount", "1")]).unwrap();
    joined.run();
    assert_eq!(joined.carrier.deadline(), Some(now + OLD_SERVER_PING_INTERVAL_MIN));
    assert!(OLD_SERVER_PING_INTERVAL_MIN > Duration::from_secs(30), "an old server's limit");
}

#[test]
fn a_server_that_goes_away_takes_nothing_new_and_what_runs_goes_on() {
    let mut joined = Joined::ready();
    let stream = joined.connected(7);
    joined.server.http2.drain(joined.now);
    joined.says(&[data(1, b"goes on")]);
    assert!(joined.events().contains(&CarrierEvent::Draining));
    assert_eq!(joined.read(stream).0, b"goes on");
}

#[test]
fn a_drain_is_told_once_and_an_end_of_ours_is_one_of_the_call() {
    let mut joined = Joined::ready();
    let stream = joined.connected(7);
    joined.carrier.drain(joined.now);
    joined.carrier.drain(joined.now);
    assert_eq!(joined.hears(), [Packet::Drain]);
    joined.says(&[data(1, b"goes on")]);
    assert_eq!(joined.read(stream).0, b"goes on");
    joined.carrier.close(joined.now, CloseCode::Shutdown, "the agent ends");
    let lost = joined.lost();
    assert_eq!(
        (lost.kind, lost.text.as_str()),
        (LostKind::ClosedLocally(CloseCode::Shutdown), "the agent ends")
    );
    assert!(joined.server.half_closed && joined.server.goaway);
    joined.carrier.on_transport_end(
        joined.now,
        LostReason::new(LostKind::Reset, Fault::Network, true, "the socket broke"),
    );
    assert_eq!((joined.events(), joined.carrier.finish(stream)), (vec![], Err(Gone)));
}
