//! The rules of sections 2.3 and 3 at the server's end of an old agent's stream, and what its missing flow control may
//! cost.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use crate::konnectivity::{
    Backend, BackendEvent, DialFailure, Ended, FramingError, NotDialed, Packet, Status,
};
use crate::limits::{
    GRPC_BUFFER_BYTES_MAX, GRPC_DATA_BYTES_MAX, GRPC_SEND_PENDING_BYTES_TARGET, INGRESS_PENDING_BYTES_TARGET,
    LEGACY_CONNECTIONS_MAX, LEGACY_SEND_BYTES_TARGET, STOPPED_AFTER, TARGET_BYTES_MAX,
};

use super::{close_req, close_rsp, data, dial_req, dial_rsp, packet_of, wire};

/// A backend at a time of its own.
struct Agent {
    backend: Backend,
    now: Instant,
}

impl Agent {
    fn new() -> Self {
        Self { backend: Backend::new(), now: Instant::now() }
    }

    /// With connections of these numbers.
    fn with(connect_ids: &[i64]) -> Self {
        let mut agent = Self::new();
        for id in connect_ids {
            let random = agent.backend.dial("10.0.0.1:443").unwrap();
            agent.says(&dial_rsp(random, *id, ""));
            assert_eq!(agent.events(), [BackendEvent::Established { random, connect_id: *id }]);
        }
        agent.hears();
        _ = agent.backend.take_credit();
        agent
    }

    fn says(&mut self, packet: &Packet) -> &mut Self {
        self.backend.on_bytes(self.now, wire(packet));
        self
    }

    fn hears(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.backend.next_message()).map(|message| packet_of(&message)).collect()
    }

    fn events(&mut self) -> Vec<BackendEvent> {
        std::iter::from_fn(|| self.backend.poll_event()).collect()
    }

    fn taken(&mut self, connect_id: i64) -> String {
        let pieces = std::iter::from_fn(|| self.backend.take(self.now, connect_id));
        String::from_utf8(pieces.flatten().collect()).unwrap()
    }

    fn sends(&mut self, connect_id: i64, text: &str) {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        self.backend.send(connect_id, &mut bytes);
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

fn ended(connect_id: i64, how: Ended) -> BackendEvent {
    BackendEvent::Ended { connect_id, how }
}

fn failed(random: i64, failure: DialFailure) -> BackendEvent {
    BackendEvent::Failed { random, failure }
}

#[test]
fn a_dial_bytes_both_ways_and_a_close_by_either_end() {
    let mut agent = Agent::new();
    assert_eq!(agent.backend.dial("10.0.0.1:443"), Ok(1));
    assert_eq!(agent.hears(), [dial_req(1, "10.0.0.1:443")]);
    agent.says(&dial_rsp(1, 40, ""));
    assert_eq!(agent.events(), [BackendEvent::Established { random: 1, connect_id: 40 }]);
    agent.sends(40, "ping");
    agent.says(&data(40, "pong")).says(&close_rsp(40, ""));
    assert_eq!((agent.hears(), agent.events()), (vec![data(40, "ping")], vec![]));
    assert_eq!(agent.taken(40), "pong");
    assert_eq!(agent.events(), [ended(40, Ended::Closed(String::new()))]);

    let mut agent = Agent::with(&[1]);
    agent.sends(1, "the rest");
    agent.says(&data(1, "nobody reads this"));
    agent.backend.close(1);
    agent.backend.close(1);
    agent.says(&data(1, "nor this"));
    assert_eq!((agent.hears(), agent.taken(1)), (vec![data(1, "the rest"), close_req(1)], String::new()));
    assert_eq!(agent.events(), []);
    agent.says(&close_rsp(1, ""));
    assert_eq!(agent.events(), [ended(1, Ended::Closed(String::new()))]);
}

#[test]
fn failed_dials_are_told_apart() {
    let mut agent = Agent::new();
    let refused = "dial tcp 10.0.0.1:443: connect: connection refused";
    for (random, answer, failure) in [
        (1, dial_rsp(1, 0, refused), DialFailure::Refused(refused.into())),
        (2, Packet::DialCls { random: 2 }, DialFailure::Closed),
        (
            3,
            dial_rsp(3, 0, ""),
            DialFailure::Refused("the agent answered with connection 0, which is none of this dial's".into()),
        ),
    ] {
        assert_eq!(agent.backend.dial("10.0.0.1:443"), Ok(random));
        agent.says(&answer).says(&answer);
        assert_eq!(agent.events(), [failed(random, failure)], "once");
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_closed() {
    let mut agent = Agent::with(&[1]);
    let random = agent.backend.dial("10.0.0.1:443").unwrap();
    assert_eq!(agent.hears(), [dial_req(random, "10.0.0.1:443")]);
    agent.backend.cancel(random);
    assert_eq!(agent.hears(), [], "an agent would not listen");
    agent.says(&dial_rsp(random, 2, ""));
    assert_eq!((agent.hears(), agent.events()), (vec![close_req(2)], vec![]));
    agent.says(&close_rsp(2, ""));
    assert_eq!(agent.events(), []);
    // One that it was not asked yet is not asked at all.
    let random = agent.backend.dial("10.0.0.1:443").unwrap();
    agent.backend.cancel(random);
    assert_eq!(agent.hears(), []);
}

#[test]
fn data_of_nobodys_connection_is_answered_with_close_req_and_bounded() {
    let mut agent = Agent::with(&[1]);
    agent.says(&data(9, "?")).says(&data(0, "?"));
    assert_eq!(agent.hears(), [close_req(9)]);
    assert_eq!(agent.backend.take_ignored(), 2);
    for id in 0..2 * i64::try_from(LEGACY_CONNECTIONS_MAX).unwrap() {
        agent.says(&data(10 + id, "?"));
    }
    // A connection of ours is closed all the same.
    agent.backend.close(1);
    assert_eq!(agent.hears().len(), LEGACY_CONNECTIONS_MAX + 1);
}

#[test]
fn what_no_agent_should_send_harms_no_connection() {
    let mut agent = Agent::with(&[1]);
    let random = agent.backend.dial("10.0.0.1:443").unwrap();
    let packets = [
        dial_rsp(1, 1, ""),
        dial_rsp(99, 1, ""),
        Packet::DialCls { random: 99 },
        close_rsp(99, ""),
        close_req(1),
        dial_req(5, "10.0.0.1:443"),
        Packet::Unknown(99),
    ];
    for packet in &packets {
        agent.says(packet);
    }
    assert_eq!(agent.backend.take_ignored(), packets.len() as u64);
    assert_eq!(agent.hears(), [dial_req(random, "10.0.0.1:443")]);
    // A dial that is answered with somebody else's connection fails; the connection goes on.
    agent.says(&dial_rsp(random, 1, "")).says(&data(1, "fine"));
    let text = "the agent answered with connection 1, which is none of this dial's";
    assert_eq!(agent.events(), [failed(random, DialFailure::Refused(text.into()))]);
    assert_eq!(agent.taken(1), "fine");
}

#[test]
fn a_drain_is_told_once_and_stops_nothing() {
    let mut agent = Agent::with(&[1]);
    agent.says(&Packet::Drain).says(&Packet::Drain);
    assert_eq!(agent.events(), [BackendEvent::Draining]);
    assert!(agent.backend.is_draining());
    agent.says(&data(1, "goes on"));
    assert_eq!(agent.taken(1), "goes on");
    assert!(agent.backend.dial("10.0.0.1:443").is_ok(), "where there is no other agent");
}

#[test]
fn a_lost_agent_fails_its_dials_and_ends_its_connections_behind_their_last_bytes() {
    let mut agent = Agent::with(&[1, 2]);
    let random = agent.backend.dial("10.0.0.1:443").unwrap();
    agent.says(&data(1, "last words"));
    agent.backend.on_agent_gone();
    agent.backend.on_agent_gone();
    let lost = DialFailure::AgentLost("the agent was lost".into());
    let over = BackendEvent::Over(Status::Ok);
    assert_eq!(agent.events(), [failed(random, lost), ended(2, Ended::AgentLost), over]);
    assert!(!agent.backend.is_done());
    assert_eq!(agent.taken(1), "last words");
    assert_eq!(agent.events(), [ended(1, Ended::AgentLost)]);
    assert!(agent.backend.is_done());
    assert_eq!((agent.backend.dial("10.0.0.1:443"), agent.hears()), (Err(NotDialed::Over), vec![]));
}

#[test]
fn bytes_that_are_no_packets_end_the_call() {
    let mut agent = Agent::with(&[1]);
    agent.backend.on_bytes(agent.now, Bytes::from_static(&[1, 0, 0, 0, 0]));
    let over = BackendEvent::Over(Status::Violation(FramingError::Flags(1).into()));
    assert_eq!(agent.events(), [ended(1, Ended::AgentLost), over]);
    agent.says(&data(1, "late"));
    assert!(agent.backend.is_done());
}

#[test]
fn a_reader_that_stops_is_closed_and_the_others_are_not_cut() {
    let mut agent = Agent::with(&[1, 2]);
    agent.floods(1);
    assert_eq!((agent.backend.take_credit(), agent.backend.deadline()), (0, Some(agent.now + STOPPED_AFTER)));
    agent.says(&data(2, "beside it"));
    assert_eq!(agent.taken(2), "beside it");
    agent.now += STOPPED_AFTER - Duration::from_millis(1);
    agent.backend.on_deadline(agent.now);
    assert_eq!(agent.events(), []);
    agent.now += Duration::from_millis(1);
    agent.backend.on_deadline(agent.now);
    assert_eq!(agent.events(), [ended(1, Ended::Stopped)]);
    assert_eq!((agent.hears(), agent.backend.deadline()), (vec![close_req(1)], None));
    assert!(agent.backend.take_credit() > INGRESS_PENDING_BYTES_TARGET, "the others go on at once");
    // What is still on its way disappears, and the end is told once.
    agent.floods(1);
    assert!(agent.backend.take_credit() > 0);
    agent.says(&close_rsp(1, "")).says(&data(2, "untouched"));
    assert_eq!((agent.events(), agent.taken(2)), (vec![], "untouched".to_owned()));
    assert!(Ended::Stopped.text().contains("stopped reading"));
}

#[test]
fn a_slow_reader_slows_the_agent_and_is_not_closed() {
    let mut agent = Agent::with(&[1]);
    (0..4).for_each(|_| agent.floods(1));
    let mut taken_bytes = 0;
    while let Some(piece) = agent.backend.take(agent.now, 1) {
        taken_bytes += piece.len();
        agent.now += STOPPED_AFTER * 9 / 10;
        agent.backend.on_deadline(agent.now);
    }
    assert_eq!(agent.events(), []);
    assert_eq!(taken_bytes, 4 * (INGRESS_PENDING_BYTES_TARGET + GRPC_DATA_BYTES_MAX));
    assert!(agent.backend.take_credit() > taken_bytes);
}

#[test]
fn bytes_that_the_agent_left_behind_are_never_an_end_where_nobody_took_them() {
    let mut agent = Agent::with(&[1]);
    agent.floods(1);
    agent.says(&close_rsp(1, ""));
    agent.now += STOPPED_AFTER;
    agent.backend.on_deadline(agent.now);
    assert_eq!(agent.events(), [ended(1, Ended::Stopped)]);
    assert_eq!(agent.hears(), [], "the agent has closed it");
}

#[test]
fn nobody_hurries_for_what_an_agent_left_that_is_gone() {
    let mut agent = Agent::with(&[1]);
    (0..4).for_each(|_| agent.floods(1));
    agent.backend.on_agent_gone();
    assert!(agent.backend.take(agent.now, 1).is_some());
    assert_eq!(agent.backend.deadline(), None);
    agent.now += STOPPED_AFTER * 2;
    agent.backend.on_deadline(agent.now);
    assert_eq!(agent.events(), [BackendEvent::Over(Status::Ok)]);
    agent.taken(1);
    assert_eq!(agent.events(), [ended(1, Ended::AgentLost)]);
}

#[test]
fn an_agent_that_ignores_flow_control_loses_the_connection_it_floods() {
    let mut agent = Agent::with(&[1, 2]);
    let chunk = vec![0; GRPC_DATA_BYTES_MAX];
    for _ in 0..=GRPC_BUFFER_BYTES_MAX / GRPC_DATA_BYTES_MAX {
        agent.says(&Packet::Data { connect_id: 1, data: chunk.clone().into() });
    }
    assert_eq!(agent.events(), [ended(1, Ended::Stopped)]);
    agent.says(&data(2, "untouched"));
    assert_eq!((agent.hears(), agent.taken(2)), (vec![close_req(1)], "untouched".to_owned()));
}

#[test]
fn one_connection_cannot_fill_what_all_share_and_dials_overtake_it() {
    let ids: Vec<i64> = (1..=100).collect();
    let mut agent = Agent::with(&ids);
    let mut queued_bytes = 0;
    for id in &ids {
        let mut bytes = Bytes::from(vec![0; 1 << 20]);
        agent.backend.send(*id, &mut bytes);
        let took = (1 << 20) - bytes.len();
        assert!(took <= GRPC_SEND_PENDING_BYTES_TARGET + GRPC_DATA_BYTES_MAX, "{took}");
        assert_eq!(*id == 1, took > 0 && queued_bytes == 0);
        queued_bytes += took;
    }
    assert!(queued_bytes <= LEGACY_SEND_BYTES_TARGET + GRPC_DATA_BYTES_MAX);
    assert!(queued_bytes > LEGACY_SEND_BYTES_TARGET / 2);
    let random = agent.backend.dial("10.0.0.1:443").unwrap();
    let heard = agent.hears();
    assert_eq!(heard[0], dial_req(random, "10.0.0.1:443"));
    assert!(agent.backend.has_room(1));
}

#[test]
fn dials_and_connections_of_an_agent_are_bounded() {
    let mut agent = Agent::with(&[1]);
    for _ in 1..LEGACY_CONNECTIONS_MAX {
        agent.backend.dial("10.0.0.1:443").unwrap();
    }
    assert_eq!(agent.backend.dial("10.0.0.1:443"), Err(NotDialed::Full));
    agent.backend.cancel(2);
    let long = agent.backend.dial(&"a".repeat(TARGET_BYTES_MAX + 1));
    assert!(matches!(long, Err(NotDialed::Packet(_))), "{long:?}");
    assert!(agent.backend.dial("10.0.0.1:443").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn any_order_of_events_answers_each_dial_once_and_leaves_nothing(
        steps in prop::collection::vec((0_u8..12, 0_i64..6), 0..150),
    ) {
        let mut agent = Agent::new();
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        let (mut open, mut closed) = (Vec::new(), 0);
        let note = |event, answered: &mut Vec<i64>, open: &mut Vec<i64>, closed: &mut usize| match event {
            BackendEvent::Established { random, connect_id } => {
                assert!(!open.contains(&connect_id), "a number that is in use");
                answered.push(random);
                open.push(connect_id);
            }
            BackendEvent::Failed { random, .. } => answered.push(random),
            BackendEvent::Ended { connect_id, .. } => {
                let at = open.iter().position(|known| *known == connect_id).expect("an end without a beginning");
                open.remove(at);
                *closed += 1;
            }
            BackendEvent::Draining | BackendEvent::Over(_) => {}
        };
        for (what, which) in steps {
            match what {
                0 | 1 => asked.extend(agent.backend.dial("10.0.0.1:443")),
                2 => _ = agent.says(&dial_rsp(which, which, "")),
                3 => _ = agent.says(&dial_rsp(which + 6, which, "")),
                4 => _ = agent.says(&dial_rsp(which, 0, "no")),
                5 => agent.floods(which),
                6 => _ = agent.says(&close_rsp(which, "")),
                7 => agent.backend.close(which),
                8 => _ = agent.backend.take(agent.now, which),
                9 => {
                    agent.now += STOPPED_AFTER / 2;
                    agent.backend.on_deadline(agent.now);
                }
                10 => agent.backend.send(which, &mut Bytes::from(vec![0; 100_000])),
                _ => _ = agent.hears(),
            }
            for event in agent.events() {
                note(event, &mut answered, &mut open, &mut closed);
            }
        }
        agent.backend.on_agent_gone();
        (0..6).for_each(|id| _ = agent.taken(id));
        for event in agent.events() {
            note(event, &mut answered, &mut open, &mut closed);
        }
        prop_assert!(agent.backend.is_done(), "{:?}", agent.backend);
        prop_assert!(open.is_empty(), "connections whose end nobody told: {open:?}");
        answered.sort_unstable();
        prop_assert_eq!(answered, asked, "each dial once");
        prop_assert_eq!(agent.backend.deadline(), None);
    }
}
