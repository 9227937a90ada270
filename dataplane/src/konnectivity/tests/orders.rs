//! Any order of what a client, an agent and the caller may do keeps the promises of a stream.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use crate::konnectivity::{DialFailure, DialKey, Event, Frontend, Packet, TunnelEnd};
use crate::limits::{GRPC_DIALS_PER_STREAM_MAX, GRPC_REPLIES_MAX, GRPC_SEND_PENDING_MESSAGES_MAX};

use super::{dial_req, packet_of, wire};

/// One thing that happens, and a small number that says to what.
type Step = (u8, u8);
/// Kinds of steps that are not the stream's end.
const STEPS: u8 = 14;

#[derive(Default)]
struct World {
    frontend: Frontend,
    /// What the client has written and its HTTP/2 stream has not carried.
    unsent: Vec<u8>,
    sent_bytes: usize,
    credit_bytes: usize,
    /// Dials that were asked for, and those of them that were not taken back.
    keys: Vec<DialKey>,
    wanted: BTreeSet<DialKey>,
    /// Connections that the caller has to end some time.
    live: BTreeSet<i64>,
    /// What the client knows: connections that were announced, and those that were closed.
    announced: BTreeSet<i64>,
    closed: BTreeSet<i64>,
    /// Dials that the client asked for, less those that were answered.
    unanswered: BTreeMap<i64, i64>,
    /// Bytes by connection: the client's, those that were taken; the tunnel's, those that came.
    said: BTreeMap<i64, Vec<u8>>,
    taken: BTreeMap<i64, Vec<u8>>,
    offered: BTreeMap<i64, Vec<u8>>,
    heard: BTreeMap<i64, Vec<u8>>,
    counter: u8,
    over: bool,
}

impl World {
    fn payload(&mut self) -> Bytes {
        let bytes: Vec<u8> = (0..5).map(|step: u8| self.counter.wrapping_add(step)).collect();
        self.counter = self.counter.wrapping_add(5);
        bytes.into()
    }

    fn write(&mut self, packet: &Packet) {
        if !self.over {
            self.unsent.extend_from_slice(&wire(packet));
        }
    }

    fn carry(&mut self, count: usize) {
        let piece: Vec<u8> = self.unsent.drain(..count.min(self.unsent.len())).collect();
        self.sent_bytes += piece.len();
        self.frontend.on_bytes(piece.into());
    }

    fn step(&mut self, (what, which): Step) {
        let id = i64::from(which);
        match what {
            0 | 1 => {
                let address = if which == 5 { "no port" } else { "10.0.0.1:443" };
                *self.unanswered.entry(id).or_default() += 1;
                self.write(&dial_req(id, address));
            }
            2 => self.write(&Packet::DialCls { random: id }),
            3 => {
                let data = self.payload();
                self.said.entry(id).or_default().extend_from_slice(&data);
                self.write(&Packet::Data { connect_id: id, data });
            }
            // Rarer than the others, for nothing is read after it.
            4 if which < 2 => self.write(&Packet::CloseReq { connect_id: id }),
            4 => self.write(&Packet::Unknown(7 + i32::from(which))),
            5 | 6 => self.carry(1 + 9 * usize::from(which)),
            7 => self.establish(usize::from(which)),
            8 => self.fail_dial(usize::from(which)),
            9 => {
                let mut bytes = self.payload();
                let all = bytes.clone();
                self.frontend.on_tunnel_bytes(id, &mut bytes);
                if self.live.contains(&id) {
                    let took = &all[..all.len() - bytes.len()];
                    self.offered.entry(id).or_default().extend_from_slice(took);
                }
            }
            10 => {
                self.live.remove(&id);
                self.frontend.on_tunnel_ended(id, TunnelEnd::Closed);
            }
            11 => self.take(id),
            12 => self.hear(),
            _ => self.poll(),
        }
        self.credit_bytes += self.frontend.take_credit();
        assert!(self.credit_bytes <= self.sent_bytes);
    }

    fn establish(&mut self, which: usize) {
        let Some(key) = self.keys.get(which).copied() else { return };
        let wanted = self.wanted.remove(&key);
        if let Some(id) = self.frontend.on_established(key) {
            assert!(wanted, "a dial that was answered or taken back");
            assert!(self.live.insert(id), "a number twice");
        }
    }

    fn fail_dial(&mut self, which: usize) {
        let Some(key) = self.keys.get(which).copied() else { return };
        let failure = match which {
            0 => DialFailure::NoAgent,
            1 => DialFailure::Closed,
            _ => DialFailure::AgentLost("lost".into()),
        };
        let wanted = self.wanted.remove(&key);
        assert!(wanted || !self.frontend.on_dial_failed(key, failure.clone()));
        self.frontend.on_dial_failed(key, failure);
    }

    fn take(&mut self, id: i64) {
        if let Some(bytes) = self.frontend.take_for_tunnel(id) {
            self.taken.entry(id).or_default().extend_from_slice(&bytes);
        }
    }

    fn poll(&mut self) {
        match self.frontend.poll_event() {
            Some(Event::Dial { key, .. }) => {
                self.keys.push(key);
                self.wanted.insert(key);
                assert!(self.wanted.len() + self.live.len() <= GRPC_DIALS_PER_STREAM_MAX + GRPC_REPLIES_MAX);
            }
            Some(Event::Cancel { key }) => _ = self.wanted.remove(&key),
            Some(Event::Close { .. }) | None => {}
            Some(Event::Abort { connect_id }) => {
                self.live.remove(&connect_id);
                assert!(self.frontend.take_for_tunnel(connect_id).is_none());
            }
            Some(Event::End(_)) => assert!(!self.frontend.has_message(), "the end before the last message"),
        }
    }

    fn hear(&mut self) {
        let Some(message) = self.frontend.next_message() else { return };
        match packet_of(&message) {
            Packet::DialRsp { random, connect_id, error } => {
                self.answered(random);
                assert_eq!(error.is_empty(), connect_id != 0);
                assert!(connect_id == 0 || self.announced.insert(connect_id), "announced twice");
            }
            Packet::DialCls { random } => self.answered(random),
            Packet::Data { connect_id, data } => {
                assert!(self.announced.contains(&connect_id), "DATA before DIAL_RSP");
                assert!(!self.closed.contains(&connect_id), "DATA after CLOSE_RSP");
                self.heard.entry(connect_id).or_default().extend_from_slice(&data);
            }
            Packet::CloseRsp { connect_id, error } => {
                let known = self.announced.contains(&connect_id);
                assert!(known || !error.is_empty(), "the end of a connection that never was");
                assert!(!known || self.closed.insert(connect_id), "closed twice");
            }
            other => panic!("nothing that a server sends: {other:?}"),
        }
    }

    fn answered(&mut self, random: i64) {
        let left = self.unanswered.entry(random).or_default();
        *left -= 1;
        assert!(*left >= 0, "more answers than dials");
    }

    /// Whatever came before, the end of the stream leaves nothing.
    fn finish(&mut self, how: u8) {
        match how {
            0 => {
                self.carry(usize::MAX);
                self.frontend.on_client_end();
            }
            1 => self.frontend.on_client_end(),
            2 => self.frontend.on_client_reset(),
            _ => {
                self.frontend.drain();
                self.carry(usize::MAX);
                self.frontend.on_client_end();
            }
        }
        self.over = true;
        for _ in 0..400 {
            self.hear();
            self.poll();
            (0..6).for_each(|id| self.take(id));
        }
        assert!(self.frontend.is_done(), "{:?}", self.frontend);
        assert!(self.wanted.is_empty(), "a dial that nobody took back");
        // What the caller still does about it means nothing.
        (0..6).for_each(|which| self.establish(which));
        (0..6).for_each(|which| self.step((9, which)));
        self.live.clear();
        assert!(self.frontend.is_done());
        self.credit_bytes += self.frontend.take_credit();
        assert_eq!(self.credit_bytes, self.sent_bytes, "credit that never came back");
        for (id, taken) in &self.taken {
            assert!(self.said[id].starts_with(taken), "bytes of connection {id} out of order");
        }
        for (id, heard) in &self.heard {
            assert!(self.offered[id].starts_with(heard), "bytes for the client out of order");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn any_order_of_events_keeps_the_promises_and_leaves_nothing(
        steps in prop::collection::vec((0..STEPS, 0_u8..6), 0..200),
        how in 0_u8..4,
    ) {
        let mut world = World::default();
        for step in steps {
            world.step(step);
            let most = GRPC_SEND_PENDING_MESSAGES_MAX + GRPC_REPLIES_MAX + GRPC_DIALS_PER_STREAM_MAX;
            prop_assert!(world.frontend.messages.len() <= most);
        }
        world.finish(how);
    }

    /// A client that dials, is answered and speaks, in whatever pieces: every byte comes through both ways.
    #[test]
    fn a_client_that_keeps_the_rules_loses_nothing(
        cuts in prop::collection::vec(1_usize..40, 1..20),
        count in 1_usize..60,
    ) {
        let mut world = World::default();
        world.step((0, 1));
        world.carry(usize::MAX);
        world.poll();
        world.establish(0);
        world.hear();
        for _ in 0..count {
            world.step((3, 1));
            world.step((9, 1));
        }
        world.write(&Packet::CloseReq { connect_id: 1 });
        for cut in cuts.iter().cycle() {
            world.carry(*cut);
            world.take(1);
            world.hear();
            if world.unsent.is_empty() {
                break;
            }
        }
        for _ in 0..count {
            world.take(1);
            world.hear();
        }
        prop_assert_eq!(world.frontend.poll_event(), Some(Event::Close { connect_id: 1 }));
        prop_assert_eq!(&world.taken, &world.said);
        prop_assert_eq!(&world.heard, &world.offered);
        world.frontend.on_tunnel_ended(1, TunnelEnd::Closed);
        world.finish(0);
    }
}
