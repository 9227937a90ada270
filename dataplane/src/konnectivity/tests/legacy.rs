//! Clients' streams and an old agent's, put together as a server does: what one side says comes out at the other.

use std::time::Instant;

use bytes::Bytes;

use crate::konnectivity::{
    Backend, BackendEvent, DialFailure, DialKey, Ended, Event, Frontend, Packet, Status,
};
use crate::limits::{GRPC_DATA_BYTES_MAX, STOPPED_AFTER};

use super::{close_req, close_rsp, data, dial_req, dial_rsp, packet_of, wire};

/// A client's stream, and how the agent knows its dial and its connection.
#[derive(Default)]
struct Client {
    frontend: Frontend,
    dial: Option<(DialKey, i64)>,
    /// The client's number and the agent's.
    connection: Option<(i64, i64)>,
    /// Taken from the agent, and not by the client's stream.
    rest: Bytes,
    over: bool,
}

struct Server {
    clients: Vec<Client>,
    backend: Backend,
    now: Instant,
}

impl Server {
    fn new(clients: usize) -> Self {
        let clients = std::iter::repeat_with(Client::default).take(clients).collect();
        Self { clients, backend: Backend::new(), now: Instant::now() }
    }

    /// With every client connected, as connections 40, 41 and so on of the agent's.
    fn connected(clients: usize) -> Self {
        let mut server = Self::new(clients);
        for client in 0..clients {
            server.client_says(client, &dial_req(7, "10.0.0.1:443"));
            let [Packet::DialReq { random, .. }] = server.agent_hears()[..] else { panic!("no dial") };
            server.agent_says(&dial_rsp(random, 40 + i64::try_from(client).unwrap(), ""));
            assert_eq!(server.client_hears(client), [dial_rsp(7, 1, "")]);
        }
        server
    }

    fn client_says(&mut self, client: usize, packet: &Packet) {
        self.clients[client].frontend.on_bytes(wire(packet));
        self.work();
    }

    fn agent_says(&mut self, packet: &Packet) {
        self.backend.on_bytes(self.now, wire(packet));
        self.work();
    }

    /// What a client hears while it reads.
    fn client_hears(&mut self, client: usize) -> Vec<Packet> {
        let mut heard = Vec::new();
        while let Some(message) = self.clients[client].frontend.next_message() {
            heard.push(packet_of(&message));
            self.work();
        }
        heard
    }

    fn agent_hears(&mut self) -> Vec<Packet> {
        let mut heard = Vec::new();
        while let Some(message) = self.backend.next_message() {
            heard.push(packet_of(&message));
            self.work();
        }
        heard
    }

    fn pass(&mut self, client: usize, event: Event) {
        let client = &mut self.clients[client];
        match event {
            Event::Dial { key, address, .. } => {
                client.dial = Some((key, self.backend.dial(&address).unwrap()))
            }
            Event::Cancel { key } => {
                let (dial, random) = client.dial.take().unwrap();
                assert_eq!(dial, key);
                self.backend.cancel(random);
            }
            Event::Close { .. } | Event::Abort { .. } => self.backend.close(client.connection.unwrap().1),
            Event::End(_) => client.over = true,
        }
    }

    fn pass_back(&mut self, event: BackendEvent) {
        let dialing =
            |random: i64| move |client: &&mut Client| client.dial.is_some_and(|(_, known)| known == random);
        match event {
            BackendEvent::Established { random, connect_id } => {
                let client = self.clients.iter_mut().find(dialing(random)).unwrap();
                let (key, _) = client.dial.take().unwrap();
                client.connection = Some((client.frontend.on_established(key).unwrap(), connect_id));
            }
            BackendEvent::Failed { random, failure } => {
                let client = self.clients.iter_mut().find(dialing(random)).unwrap();
                let (key, _) = client.dial.take().unwrap();
                assert!(client.frontend.on_dial_failed(key, failure));
            }
            BackendEvent::Ended { connect_id, how } => {
                let known = |client: &&mut Client| client.connection.is_some_and(|(_, id)| id == connect_id);
                let client = self.clients.iter_mut().find(known).unwrap();
                let (id, _) = client.connection.take().unwrap();
                client.frontend.on_tunnel_ended(id, how.into_tunnel_end());
            }
            BackendEvent::Draining | BackendEvent::Over(_) => {}
        }
    }

    /// Passes everything on that can be.
    fn work(&mut self) {
        for client in 0..self.clients.len() {
            while let Some(event) = self.clients[client].frontend.poll_event() {
                self.pass(client, event);
            }
            let client = &mut self.clients[client];
            let Some((id, agents)) = client.connection else { continue };
            while self.backend.has_room(agents)
                && let Some(mut bytes) = client.frontend.take_for_tunnel(id)
            {
                self.backend.send(agents, &mut bytes);
                assert!(bytes.is_empty(), "pieces in these tests are small");
            }
            loop {
                client.frontend.on_tunnel_bytes(id, &mut client.rest);
                if !client.rest.is_empty() {
                    break;
                }
                let Some(bytes) = self.backend.take(self.now, agents) else { break };
                client.rest = bytes;
            }
        }
        while let Some(event) = self.backend.poll_event() {
            self.pass_back(event);
        }
    }
}

#[test]
fn what_a_client_says_comes_to_the_agent_and_back_under_the_numbers_that_each_knows() {
    let mut server = Server::connected(2);
    server.client_says(1, &data(1, "ping"));
    assert_eq!(server.agent_hears(), [data(41, "ping")]);
    server.agent_says(&data(41, "pong"));
    server.agent_says(&data(40, "unasked"));
    assert_eq!(
        (server.client_hears(0), server.client_hears(1)),
        (vec![data(1, "unasked")], vec![data(1, "pong")])
    );
    server.client_says(0, &close_req(1));
    assert_eq!(server.agent_hears(), [close_req(40)]);
    server.agent_says(&close_rsp(40, ""));
    server.agent_says(&close_rsp(41, "tunnel: broken"));
    assert_eq!(server.client_hears(0), [close_rsp(1, "")]);
    assert_eq!(server.client_hears(1), [close_rsp(1, "tunnel: broken")]);
}

#[test]
fn a_client_that_goes_leaves_nothing_at_the_agent() {
    let mut server = Server::connected(2);
    server.clients[0].frontend.on_client_reset();
    server.clients[1].frontend.on_client_end();
    server.work();
    assert_eq!(server.agent_hears(), [close_req(40), close_req(41)]);
    server.agent_says(&close_rsp(40, ""));
    server.agent_says(&close_rsp(41, ""));
    assert!(server.clients[1].over && server.clients.iter().all(|client| client.frontend.is_done()));
    server.backend.on_agent_gone();
    assert_eq!(server.backend.poll_event(), Some(BackendEvent::Over(Status::Ok)));
    assert!(server.backend.is_done());

    // One that goes while it dials: what the agent connects is closed.
    let mut server = Server::new(1);
    server.client_says(0, &dial_req(7, "10.0.0.1:443"));
    assert_eq!(server.agent_hears(), [dial_req(1, "10.0.0.1:443")]);
    server.clients[0].frontend.on_client_reset();
    server.work();
    server.agent_says(&dial_rsp(1, 40, ""));
    assert_eq!(server.agent_hears(), [close_req(40)]);
    assert!(server.clients[0].frontend.is_done());
}

#[test]
fn a_lost_agent_is_told_to_clients_that_dial_and_to_those_that_are_connected() {
    let mut server = Server::connected(2);
    server.clients.push(Client::default());
    server.client_says(2, &dial_req(9, "10.0.0.1:443"));
    server.agent_says(&data(40, "last words"));
    server.backend.on_agent_gone();
    server.work();
    assert_eq!(server.client_hears(0), [data(1, "last words"), close_rsp(1, "")]);
    assert_eq!(server.client_hears(1), [close_rsp(1, "")]);
    let lost = DialFailure::AgentLost("the agent was lost".to_owned());
    assert_eq!(lost.reason(), "backend_close");
    assert_eq!(server.client_hears(2), [dial_rsp(9, 0, "Backend context error: the agent was lost")]);
    assert!(server.backend.is_done());
}

#[test]
fn a_client_that_stops_reading_is_closed_with_the_reason_and_the_others_carry_on() {
    let mut server = Server::connected(2);
    let chunk = Packet::Data { connect_id: 40, data: vec![0; GRPC_DATA_BYTES_MAX].into() };
    _ = server.backend.take_credit();
    while server.backend.take_credit() > 0 || server.backend.deadline().is_none() {
        server.agent_says(&chunk);
    }
    server.agent_says(&data(41, "beside it"));
    assert_eq!(server.client_hears(1), [data(1, "beside it")]);
    server.now += STOPPED_AFTER;
    server.backend.on_deadline(server.now);
    server.work();
    assert!(server.backend.take_credit() > 0);
    assert_eq!(server.agent_hears(), [close_req(40)]);
    let reason = Ended::Stopped.text().to_owned();
    assert_eq!(server.client_hears(0).last(), Some(&close_rsp(1, &reason)));
    server.agent_says(&data(41, "still"));
    assert_eq!(server.client_hears(1), [data(1, "still")]);
}
