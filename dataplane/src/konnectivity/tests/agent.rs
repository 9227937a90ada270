//! The agent's end of a call to an old server: a table of what each rule does, and any order of events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use crate::konnectivity::{Agent, AgentEvent, FramingError, Packet, Status};
use crate::limits::{
    GRPC_BUFFER_BYTES_MAX, GRPC_DATA_BYTES_MAX, GRPC_SEND_PENDING_BYTES_TARGET, INGRESS_PENDING_BYTES_TARGET,
    LEGACY_CONNECTIONS_MAX, LEGACY_SEND_BYTES_TARGET, ORPHAN_TIME_MAX, STOPPED_AFTER,
};

use super::{close_req, close_rsp, data, dial_req, dial_rsp, packet_of, wire};

/// A server and our end, at a time of its own.
struct Server {
    agent: Agent,
    now: Instant,
}

impl Server {
    fn new() -> Self {
        Self { agent: Agent::new(), now: Instant::now() }
    }

    /// With so many connections, numbered from 1.
    fn with(connections: i64) -> Self {
        let mut server = Self::new();
        for connect_id in 1..=connections {
            server.says(&dial_req(100 + connect_id, "10.0.0.1:443"));
            assert_eq!(server.events(), [dial(connect_id, 100 + connect_id)]);
            assert!(server.agent.establish(connect_id));
            assert_eq!(server.hears(), [dial_rsp(100 + connect_id, connect_id, "")]);
        }
        _ = server.agent.take_credit();
        server
    }

    fn says(&mut self, packet: &Packet) -> &mut Self {
        self.agent.on_bytes(self.now, wire(packet));
        self
    }

    fn hears(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.agent.next_message()).map(|message| packet_of(&message)).collect()
    }

    fn events(&mut self) -> Vec<AgentEvent> {
        std::iter::from_fn(|| self.agent.poll_event(self.now)).collect()
    }

    fn taken(&mut self, connect_id: i64) -> String {
        let pieces = std::iter::from_fn(|| self.agent.take(self.now, connect_id));
        String::from_utf8(pieces.flatten().collect()).unwrap()
    }

    fn sends(&mut self, connect_id: i64, text: &str) {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        self.agent.send(connect_id, &mut bytes);
        assert!(bytes.is_empty());
    }

    /// What fills a connection's buffer beyond its target.
    fn floods(&mut self, connect_id: i64) {
        let chunk = vec![b'x'; GRPC_DATA_BYTES_MAX];
        for _ in 0..=INGRESS_PENDING_BYTES_TARGET / GRPC_DATA_BYTES_MAX {
            self.says(&Packet::Data { connect_id, data: chunk.clone().into() });
        }
    }
}

fn dial(connect_id: i64, random: i64) -> AgentEvent {
    AgentEvent::Dial { connect_id, random, address: "10.0.0.1:443".to_owned() }
}

#[test]
fn a_dial_bytes_both_ways_and_a_close_by_either_end_as_upstreams_agent() {
    let mut server = Server::with(2);
    server.says(&data(1, "ping"));
    assert_eq!((server.agent.take_readable(), server.agent.take_readable()), (Some(1), None));
    assert_eq!(server.taken(1), "ping");
    server.sends(1, "pong");
    assert!(server.agent.has_unsent(1) && !server.agent.has_unsent(2));
    assert_eq!(server.hears(), [data(1, "pong")]);
    // The target's end.
    server.sends(1, "last words");
    server.agent.close(1);
    server.agent.close(1);
    assert_eq!(server.hears(), [data(1, "last words"), close_rsp(1, "")]);
    assert!(!server.agent.has_unsent(1));
    // The server's: what it said before is taken first, and it is answered once.
    server.says(&data(2, "the rest")).says(&close_req(2)).says(&close_req(2)).says(&data(2, "late"));
    server.sends(2, "on its way");
    assert_eq!((server.events(), server.taken(2)), (vec![], "the rest".to_owned()));
    assert_eq!(server.events(), [AgentEvent::Closed { connect_id: 2 }]);
    server.sends(2, "nobody hears this");
    assert_eq!(server.hears(), [data(2, "on its way"), close_rsp(2, "")]);
    server.says(&close_req(2)).says(&data(2, "?"));
    assert_eq!(
        server.hears(),
        [close_rsp(2, "Unknown connectID"), close_rsp(2, "unrecognized connectID")],
        "as upstream's test of two closes has it"
    );
    assert_eq!((server.events(), server.agent.in_use()), (vec![], 0));
}

#[test]
fn dials_that_fail_say_so_in_gos_words() {
    let mut server = Server::new();
    let mut udp = dial_req(1, "10.0.0.1:53");
    if let Packet::DialReq { protocol, .. } = &mut udp {
        "udp".clone_into(protocol);
    }
    server.says(&udp).says(&dial_req(2, "10.0.0.1")).says(&dial_req(3, "10.0.0.1:443"));
    assert_eq!(server.events(), [dial(1, 3)]);
    let refused = "dial tcp 10.0.0.1:443: connect: connection refused";
    assert!(server.agent.fail(1, refused));
    assert!(!server.agent.fail(1, refused) && !server.agent.establish(1));
    assert_eq!(
        server.hears(),
        [
            dial_rsp(1, 0, "dial udp: unknown network udp"),
            dial_rsp(2, 0, "dial tcp: address 10.0.0.1: missing port in address"),
            dial_rsp(3, 0, refused)
        ]
    );
}

#[test]
fn a_dial_that_is_taken_back_is_cancelled_and_not_answered() {
    let mut server = Server::new();
    server.says(&dial_req(7, "10.0.0.1:443")).says(&dial_req(7, "10.0.0.1:443"));
    assert_eq!(server.events(), [dial(1, 7), dial(2, 7)]);
    server.says(&Packet::DialCls { random: 7 }).says(&Packet::DialCls { random: 8 });
    assert_eq!(server.events(), [AgentEvent::Cancel { connect_id: 1 }]);
    assert!(!server.agent.establish(1) && server.agent.establish(2));
    assert_eq!((server.hears(), server.agent.take_ignored()), (vec![dial_rsp(7, 2, "")], 1));
    server.says(&Packet::DialCls { random: 7 });
    assert_eq!(server.events(), [], "it is answered");
}

#[test]
fn connections_are_numbered_from_one_and_unknown_ones_are_answered_as_upstreams_agent_does() {
    let mut server = Server::new();
    server.says(&dial_req(1, "10.0.0.1:443"));
    assert_eq!(server.events(), [dial(1, 1)]);
    // Before DIAL_RSP nobody can know the number.
    for packet in [data(1, "?"), close_req(1), data(0, "?"), close_rsp(9, ""), dial_rsp(9, 9, "")] {
        server.says(&packet);
    }
    server.says(&Packet::Drain).says(&Packet::Unknown(99));
    assert_eq!(server.hears(), [close_rsp(1, "unrecognized connectID"), close_rsp(1, "Unknown connectID")]);
    assert_eq!(server.agent.take_ignored(), 6);
    server.says(&data(1, "?"));
    server.agent.establish(1);
    assert_eq!(
        server.hears(),
        [close_rsp(1, "unrecognized connectID"), dial_rsp(1, 1, "")],
        "the other way round it would close the connection"
    );
}

#[test]
fn answers_overtake_data_of_others_and_a_drain_is_said_once() {
    let mut server = Server::with(1);
    server.sends(1, "bulk");
    server.says(&dial_req(5, "10.0.0.1:443"));
    server.agent.establish(2);
    server.sends(2, "behind its answer");
    server.agent.drain();
    server.agent.drain();
    assert_eq!(
        server.hears(),
        [dial_rsp(5, 2, ""), Packet::Drain, data(1, "bulk"), data(2, "behind its answer")]
    );
    server.says(&data(1, "goes on"));
    assert_eq!(server.taken(1), "goes on");
}

#[test]
fn a_target_that_stops_reading_is_closed_and_the_others_are_not_cut() {
    let mut server = Server::with(2);
    server.floods(1);
    assert_eq!((server.agent.take_credit(), server.agent.deadline()), (0, Some(server.now + STOPPED_AFTER)));
    server.says(&data(2, "beside it"));
    assert_eq!(server.taken(2), "beside it");
    server.now += STOPPED_AFTER - Duration::from_millis(1);
    server.agent.on_deadline(server.now);
    assert_eq!(server.events(), []);
    server.now += Duration::from_millis(1);
    server.agent.on_deadline(server.now);
    assert_eq!(server.events(), [AgentEvent::Stopped { connect_id: 1 }]);
    assert!(server.agent.take_credit() > INGRESS_PENDING_BYTES_TARGET);
    let [Packet::CloseRsp { connect_id: 1, error }] = &server.hears()[..] else { panic!("not closed") };
    assert!(error.contains("the target stopped reading"), "{error}");
    assert_eq!((server.agent.deadline(), server.agent.in_use()), (None, 1));
}

#[test]
fn a_target_that_takes_something_slows_the_server_and_is_not_closed() {
    let mut server = Server::with(1);
    (0..4).for_each(|_| server.floods(1));
    while server.agent.take(server.now, 1).is_some() {
        server.now += STOPPED_AFTER * 9 / 10;
        server.agent.on_deadline(server.now);
    }
    assert_eq!(server.events(), []);
    assert!(server.agent.take_credit() > 4 * INGRESS_PENDING_BYTES_TARGET);
}

#[test]
fn what_a_server_left_behind_a_close_is_waited_for_as_long_as_for_an_orphan() {
    let mut server = Server::with(1);
    server.says(&data(1, "little")).says(&close_req(1));
    assert_eq!(server.agent.deadline(), Some(server.now + ORPHAN_TIME_MAX));
    assert!(server.agent.take_credit() > 0, "nobody waits for it");
    server.now += ORPHAN_TIME_MAX;
    server.agent.on_deadline(server.now);
    assert_eq!(server.events(), [AgentEvent::Stopped { connect_id: 1 }]);
    assert_eq!((server.hears().len(), server.agent.deadline()), (1, None));
}

#[test]
fn a_server_that_ignores_flow_control_loses_the_connection_it_floods() {
    let mut server = Server::with(2);
    let chunk = vec![0; GRPC_DATA_BYTES_MAX];
    for _ in 0..=GRPC_BUFFER_BYTES_MAX / GRPC_DATA_BYTES_MAX {
        server.says(&Packet::Data { connect_id: 1, data: chunk.clone().into() });
    }
    assert_eq!(server.events(), [AgentEvent::Stopped { connect_id: 1 }]);
    server.says(&data(2, "untouched"));
    assert_eq!(server.taken(2), "untouched");
}

#[test]
fn one_target_cannot_fill_what_all_share() {
    let mut server = Server::with(100);
    let mut queued_bytes = 0;
    for connect_id in 1..=100 {
        let mut bytes = Bytes::from(vec![0; 1 << 20]);
        server.agent.send(connect_id, &mut bytes);
        let took = (1 << 20) - bytes.len();
        assert!(took <= GRPC_SEND_PENDING_BYTES_TARGET + GRPC_DATA_BYTES_MAX, "{took}");
        queued_bytes += took;
    }
    assert!(queued_bytes <= LEGACY_SEND_BYTES_TARGET + GRPC_DATA_BYTES_MAX);
    assert!(queued_bytes > LEGACY_SEND_BYTES_TARGET / 2);
    server.hears();
    assert!(server.agent.has_room(1) && server.agent.has_room(100));
}

#[test]
fn dials_are_bounded_and_each_is_answered() {
    let mut server = Server::new();
    for random in 0..=i64::try_from(LEGACY_CONNECTIONS_MAX).unwrap() {
        server.says(&dial_req(random, "10.0.0.1:443"));
    }
    assert_eq!(server.events().len(), LEGACY_CONNECTIONS_MAX);
    let last = i64::try_from(LEGACY_CONNECTIONS_MAX).unwrap();
    assert_eq!(server.hears(), [dial_rsp(last, 0, "dial tcp 10.0.0.1:443: too many tunnels")]);
}

#[test]
fn a_server_that_floods_and_does_not_listen_is_read_no_further_until_it_does() {
    let mut server = Server::with(1);
    for connect_id in 0..2 * i64::try_from(LEGACY_CONNECTIONS_MAX).unwrap() {
        server.says(&data(1_000_000 + connect_id, "?"));
    }
    server.says(&data(1, "behind it"));
    assert_eq!((server.agent.take_credit(), server.taken(1)), (0, String::new()));
    assert_eq!(server.hears().len(), LEGACY_CONNECTIONS_MAX);
    assert_eq!(server.events(), []);
    assert_eq!(server.hears().len(), LEGACY_CONNECTIONS_MAX);
    assert_eq!(server.events(), []);
    assert_eq!(server.taken(1), "behind it");
    assert!(server.agent.take_credit() > 0);
}

#[test]
fn bytes_that_are_no_packets_end_the_call() {
    let mut server = Server::with(1);
    server.agent.on_bytes(server.now, Bytes::from_static(&[1, 0, 0, 0, 0]));
    let over = AgentEvent::Over(Status::Violation(FramingError::Flags(1).into()));
    assert_eq!(server.events(), [over]);
    server.says(&data(1, "late"));
    server.agent.close(1);
    assert_eq!((server.events(), server.hears(), server.agent.in_use()), (vec![], vec![], 0));
}

#[derive(Default)]
struct Told {
    dialed: BTreeSet<i64>,
    open: BTreeSet<i64>,
}

impl Told {
    fn note(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Dial { connect_id, .. } => assert!(self.dialed.insert(connect_id), "dialed twice"),
            AgentEvent::Cancel { connect_id } => assert!(self.dialed.remove(&connect_id)),
            AgentEvent::Closed { connect_id } | AgentEvent::Stopped { connect_id } => {
                assert!(self.open.remove(&connect_id), "an end without a beginning");
            }
            AgentEvent::Over(status) => panic!("{status:?}"),
        }
    }
}

/// What the server heard: answers by dial, and the state of each connection.
#[derive(Default)]
struct Heard {
    answers: BTreeMap<i64, usize>,
    open: BTreeSet<i64>,
}

impl Heard {
    fn note(&mut self, packet: Packet) {
        match packet {
            Packet::DialRsp { random, connect_id, error } => {
                *self.answers.entry(random).or_default() += 1;
                assert_eq!(connect_id == 0, !error.is_empty());
                assert!(connect_id == 0 || self.open.insert(connect_id), "a number twice");
            }
            Packet::Data { connect_id, .. } => {
                assert!(self.open.contains(&connect_id), "DATA before DIAL_RSP or behind CLOSE_RSP");
            }
            Packet::CloseRsp { connect_id, error } => {
                let known = self.open.remove(&connect_id);
                assert!(known || !error.is_empty(), "closed twice");
            }
            Packet::Drain => {}
            other => panic!("nothing that an agent sends: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn any_order_of_events_answers_each_dial_once_and_leaves_nothing(
        steps in prop::collection::vec((0_u8..14, 0_i64..6), 0..150),
    ) {
        let mut server = Server::new();
        let (mut told, mut heard) = (Told::default(), Heard::default());
        let (mut asked, mut random) = (BTreeSet::new(), 0);
        for (what, which) in steps {
            match what {
                0 | 1 => {
                    random += 1;
                    asked.insert(random);
                    server.says(&dial_req(random, if which == 5 { "nowhere" } else { "10.0.0.1:443" }));
                }
                2 | 3 => {
                    if server.agent.establish(which) {
                        prop_assert!(told.dialed.remove(&which));
                        told.open.insert(which);
                    }
                }
                4 => {
                    if server.agent.fail(which, "no") {
                        prop_assert!(told.dialed.remove(&which));
                    }
                }
                5 => server.floods(which),
                6 => _ = server.says(&close_req(which)),
                7 => {
                    server.agent.close(which);
                    told.open.remove(&which);
                }
                8 => _ = server.agent.take(server.now, which),
                9 => {
                    server.now += STOPPED_AFTER / 2;
                    server.agent.on_deadline(server.now);
                }
                10 => server.agent.send(which, &mut Bytes::from(vec![0; 100_000])),
                11 => {
                    server.says(&Packet::DialCls { random: random - which });
                }
                12 => server.agent.drain(),
                _ => server.hears().into_iter().for_each(|packet| heard.note(packet)),
            }
            for event in server.events() {
                if let AgentEvent::Cancel { .. } = event {
                    asked.remove(&(random - which));
                }
                told.note(event);
            }
        }
        for connect_id in told.dialed.clone() {
            prop_assert!(server.agent.fail(connect_id, "the end"));
        }
        told.open.iter().for_each(|connect_id| server.agent.close(*connect_id));
        server.hears().into_iter().for_each(|packet| heard.note(packet));
        prop_assert_eq!(server.agent.in_use(), 0);
        prop_assert!(heard.open.is_empty(), "connections that were never closed: {:?}", heard.open);
        prop_assert!(asked.iter().all(|dial| heard.answers.get(dial) == Some(&1)), "each dial once");
        prop_assert_eq!(server.agent.deadline(), None);
        prop_assert!(!server.agent.has_unsent(0) && server.agent.next_message().is_none());
    }
}
