//! A target service: a TCP listener of one tunnel, and the connections that agents made to it.

use std::net::{IpAddr, SocketAddr};

use super::end::End;
use super::line::Line;
use super::manners::Manners;
use super::payload::{Direction, Payload};
use super::wire::Wire;
use crate::clock::SimTime;
use crate::net::{Address, HostId, SimNet, SimSocket};

/// One connection to a target.
#[derive(Debug)]
pub struct TargetConnection {
    /// The agent's address.
    pub from: Option<IpAddr>,
    /// When it was accepted.
    pub since: SimTime,
    /// The target's end.
    pub end: End,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Target {
    script: u32,
    seed: u64,
    tunnel: u32,
    manners: Manners,
    /// The listener, while it listens.
    pub listener: Option<SimSocket>,
    /// All connections; more than one where an agent's dial was repeated.
    pub connections: Vec<TargetConnection>,
    hurried: bool,
}

impl Target {
    /// Listens for one tunnel.
    ///
    /// # Panics
    /// When the address is taken: the world hands out each once.
    pub fn new(
        net: &mut SimNet,
        host: HostId,
        at: SocketAddr,
        script: u32,
        seed: u64,
        tunnel: u32,
        manners: Manners,
    ) -> Self {
        let listener =
            net.listen(host, Address::Inet(at), 16).expect("every target has an address of its own");
        net.own_by_script(listener, script);
        Self {
            script,
            seed,
            tunnel,
            manners,
            listener: Some(listener),
            connections: Vec::new(),
            hurried: false,
        }
    }

    /// Accepts what waits and moves every connection on.
    pub fn step(&mut self, net: &mut SimNet) {
        while let Some(socket) = self.listener.and_then(|listener| net.accept(listener)) {
            net.own_by_script(socket, self.script);
            let from = net.peer_addr(socket).map(|addr| addr.ip());
            let outgoing = Payload::new(self.seed, self.tunnel, Direction::Down);
            let incoming = Payload::new(self.seed, self.tunnel, Direction::Up);
            let mut end = End::new(Line::Wire(Wire::plain(socket)), self.manners, outgoing, incoming, net);
            if self.hurried {
                end.hurry();
            }
            self.connections.push(TargetConnection { from, since: net.time(), end });
        }
        for connection in &mut self.connections {
            connection.end.step(net, self.script);
        }
    }

    /// Tells its connections, and those to come, to come to an end.
    pub fn hurry(&mut self) {
        self.hurried = true;
        for connection in &mut self.connections {
            connection.end.hurry();
        }
    }

    /// Stops listening.
    pub fn stop(&mut self, net: &mut SimNet) {
        if let Some(listener) = self.listener.take() {
            net.close(listener, adit_io::Close::Graceful);
        }
    }

    /// Whether every connection so far is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connections.iter().all(|connection| connection.end.is_over())
    }
}
