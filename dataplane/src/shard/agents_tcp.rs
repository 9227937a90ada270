//! Server: agents over TCP. They are accepted beside QUIC, with the same certificates, and what they agree on in their
//! TLS handshake says whether they are adit's or Konnectivity's.

use adit_io::{Close, DatagramDriver, PeerAddr, SocketId};
use rand::RngExt;

use super::Shard;
use super::tunnel::{Phase, TlsPeer, Tunnel};
use crate::carrier::pipes::Pipes;
use crate::carrier::{Carrier, OldAgent};
use crate::config::Role;
use crate::limits::{CONNECTIONS_MAX, TCP_HANDSHAKE_TIME_MAX};
use crate::quic::{Fault, LostKind, LostReason};
use crate::stream::table::Key;
use crate::stream::tls::AgentProtocol;

impl<D: DatagramDriver> Shard<D> {
    pub(super) fn on_tls_agent(&mut self, socket: SocketId, peer: &PeerAddr) {
        let has_room = self.stats.carriers_open < CONNECTIONS_MAX as u64;
        let session = if has_room { self.agent_tls.session(peer) } else { None };
        let Some(session) = session else {
            self.stats.agents_refused_over_tcp += 1;
            return self.driver.close(socket, Close::Reset);
        };
        let mut entry = Tunnel::new(Phase::Handshake);
        entry.socket = Some(socket);
        entry.tls = Some(session);
        entry.tls_peer = TlsPeer::Agent;
        match self.tunnels.insert(entry) {
            Ok(key) => {
                self.agent_tls.begin();
                self.set_deadline(key, self.now + TCP_HANDSHAKE_TIME_MAX);
                self.queue(key);
            }
            Err(_) => {
                self.stats.agents_refused_over_tcp += 1;
                self.driver.close(socket, Close::Reset);
            }
        }
    }

    /// The agent has proved which certificate it has: its first bytes follow.
    pub(super) fn begin_agent_over_tcp(&mut self, key: Key) {
        let Role::Server(role) = &self.config.role else { return };
        let Some(tls) = self.tunnels.get(key).and_then(|entry| entry.tls.as_ref()) else { return };
        let Some(remote) = tls.remote() else { return };
        let protocol = AgentProtocol::of(tls.alpn());
        let carrier = match protocol {
            AgentProtocol::AditH2 => Pipes::server(self.now).map(|pipes| Box::new(pipes) as Box<dyn Carrier>),
            AgentProtocol::Grpc => {
                OldAgent::new(self.now, role.keep_alive, role.retire_after, self.rng.random())
                    .map(|agent| Box::new(agent) as Box<dyn Carrier>)
            }
        };
        match carrier {
            Ok(carrier) => self.begin_carrier(key, carrier, remote, protocol),
            Err(error) => self.give_up_handshake(key, &error.to_string()),
        }
    }

    /// The handshake with a peer over TCP has come to nothing, or whoever was waited for is gone. Whoever has to know
    /// is told; the entry's socket goes with it.
    pub(super) fn leave_handshake(&mut self, key: Key, reason: &str) {
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let index = match (&entry.phase, entry.tls_peer) {
            (Phase::Reaching(_) | Phase::Proxy(..) | Phase::Handshake, TlsPeer::Server(index)) => Some(index),
            (Phase::Handshake, _) => None,
            _ => return,
        };
        let remote = entry.tls.as_ref().and_then(|tls| tls.remote());
        let has_heard = entry.tls.as_ref().is_some_and(|tls| tls.has_heard());
        entry.phase = Phase::Lingering;
        match index {
            Some(index) => self.tcp_attempt_failed(index, key, reason),
            // A load balancer that looks whether anybody listens says nothing.
            None if has_heard => {
                let reason = LostReason::new(LostKind::TlsLocal, Fault::Peer, true, reason);
                self.tell_rejection(remote, &reason);
            }
            None => {}
        }
    }

    /// As [`Self::leave_handshake`], and closes the socket.
    pub(super) fn give_up_handshake(&mut self, key: Key, reason: &str) {
        self.leave_handshake(key, reason);
        self.close_tunnel(key, Close::Graceful, None);
    }

    /// Nobody new is met any more.
    pub(super) fn stop_handshakes(&mut self) {
        let under_way = |entry: &Tunnel| matches!(entry.phase, Phase::Handshake);
        let keys: Vec<Key> =
            self.tunnels.iter().filter(|(_, entry)| under_way(entry)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close_tunnel(key, Close::Reset, None));
    }

    pub(super) fn on_handshake_timer(&mut self, key: Key) {
        let seconds = TCP_HANDSHAKE_TIME_MAX.as_secs();
        self.give_up_handshake(key, &format!("the TLS handshake over TCP did not end within {seconds} s"));
    }
}
