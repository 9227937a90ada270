//! Agent: servers over TCP. One attempt is a connection to an address, the proxy's tunnel if there is one, a TLS
//! handshake, and the server's word that the agent is welcome.

use std::net::SocketAddr;

use adit_io::{DatagramDriver, Op, OpError, SocketId};
use bytes::{Bytes, BytesMut};
use rustls_pki_types::ServerName;

use super::Shard;
use super::links::conn_of_carrier;
use super::session::Session;
use super::token::Purpose;
use super::tunnel::{Phase, TlsPeer, Tunnel};
use crate::carrier::egress_proxy::ConnectAnswer;
use crate::carrier::pipes::Pipes;
use crate::carrier::{Carrier, OldServer, OldServerCall};
use crate::config::Role;
use crate::limits::{HELLO_TIME_MAX, TCP_HANDSHAKE_TIME_MAX};
use crate::port::TcpRoute;
use crate::quic::ConnId;
use crate::stream::table::Key;
use crate::stream::tls::{AgentProtocol, TlsSession};
use crate::wire::DialError;

impl<D: DatagramDriver> Shard<D> {
    /// Begins to connect to one of a server's addresses; the attempt's name.
    ///
    /// # Errors
    /// Why it cannot begin.
    pub(super) fn reach_server(
        &mut self,
        index: u32,
        route: &TcpRoute,
        turn: usize,
    ) -> Result<ConnId, String> {
        if route.addresses.is_empty() {
            return Err("the server has no address over TCP".to_owned());
        }
        let addr = route.addresses[turn % route.addresses.len()];
        let mut entry = Tunnel::new(Phase::Reaching(addr));
        entry.tls_peer = TlsPeer::Server(index);
        let key = self.tunnels.insert(entry).map_err(|_| "the table of tunnels is full".to_owned())?;
        self.set_deadline(key, self.now + TCP_HANDSHAKE_TIME_MAX);
        self.submit(Op::Connect { addr }, Purpose::Connect(0), key);
        Ok(conn_of_carrier(key))
    }

    pub(super) fn on_server_reached(&mut self, key: Key, result: Result<SocketId, OpError>) {
        let route = self.tcp_route();
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let Phase::Reaching(addr) = entry.phase else { return };
        let socket = match result {
            Ok(socket) => socket,
            Err(error) => return self.give_up_handshake(key, &DialError::connect(addr, error).text),
        };
        entry.socket = Some(socket);
        match route.and_then(|route| route.proxy_request) {
            Some(request) => {
                entry.phase = Phase::Proxy(ConnectAnswer::new(), addr);
                entry.egress.push(request);
                self.queue(key);
            }
            None => self.begin_tls_with_server(key, addr, &Bytes::new()),
        }
    }

    /// The proxy's answer, and what may already be behind it.
    pub(super) fn on_proxy_bytes(&mut self, key: Key, bytes: &BytesMut) {
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let Phase::Proxy(answer, addr) = &mut entry.phase else { return };
        let addr = *addr;
        match answer.push(bytes) {
            Ok(None) => self.queue(key),
            Ok(Some(rest)) => self.begin_tls_with_server(key, addr, &rest),
            Err(error) => self.give_up_handshake(key, &error.to_string()),
        }
    }

    fn begin_tls_with_server(&mut self, key: Key, remote: SocketAddr, early: &Bytes) {
        let session = self.server_session(remote);
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        match session {
            Ok(session) => {
                entry.tls = Some(Box::new(session));
                entry.phase = Phase::Handshake;
                self.queue(key);
                if !early.is_empty() {
                    self.on_tls_received(key, BytesMut::from(&early[..]));
                }
            }
            Err(text) => self.give_up_handshake(key, &text),
        }
    }

    fn server_session(&self, remote: SocketAddr) -> Result<TlsSession, String> {
        let Role::Agent(role) = &self.config.role else { return Err("no agent".to_owned()) };
        let config = role.tcp_tls.clone().ok_or("no TLS over TCP is configured")?;
        let name = self.server_name().unwrap_or_default();
        let name = ServerName::try_from(name.clone())
            .map_err(|_| format!("{name:?} is no name that a certificate can carry"))?;
        TlsSession::connect(config, name, Some(remote)).map_err(|error| error.to_string())
    }

    /// The server has proved who it is: what it speaks was agreed on.
    pub(super) fn begin_server_over_tcp(&mut self, key: Key, index: u32) {
        let Role::Agent(role) = &self.config.role else { return };
        let Some(tls) = self.tunnels.get(key).and_then(|entry| entry.tls.as_ref()) else { return };
        let Some(remote) = tls.remote() else { return };
        let name = self.server_name().unwrap_or_default();
        let call = OldServerCall {
            authority: &name,
            agent_id: &role.hello.agent_id,
            identifiers: &role.hello.identifiers,
            token: &role.hello.token,
            user_agent: concat!("adit/", env!("CARGO_PKG_VERSION")),
            keep_alive: role.keep_alive,
        };
        let protocol = AgentProtocol::of(tls.alpn());
        let carrier = match protocol {
            AgentProtocol::AditH2 => Pipes::agent(self.now)
                .map(|pipes| Box::new(pipes) as Box<dyn Carrier>)
                .map_err(|error| error.to_string()),
            AgentProtocol::Grpc => OldServer::new(self.now, call)
                .map(|server| Box::new(server) as Box<dyn Carrier>)
                .map_err(|error| error.to_string()),
        };
        match carrier {
            Ok(carrier) => {
                let conn = conn_of_carrier(key);
                self.sessions.insert(conn, Session::new(index));
                self.set_session_deadline(conn, self.now + HELLO_TIME_MAX);
                self.begin_carrier(key, carrier, remote, protocol);
            }
            Err(error) => self.give_up_handshake(key, &error),
        }
    }
}
