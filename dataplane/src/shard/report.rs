//! A shard's figures for control, and what tests look at to see that nothing is left.

use adit_io::{DatagramDriver, SlotSize};

use super::Shard;
use super::links::carrier_of_conn;
use super::session::Session;
use super::tunnel::Phase;
use crate::port::{Carried, Event, PathReport, PeerTransport, ShardReport};
use crate::quic::ConnId;
use crate::stream::tls::AgentProtocol;

/// What a shard still holds. All zero when nothing is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Entries of the tunnel table.
    pub tunnels: usize,
    /// Streams that belong to tunnels.
    pub streams: usize,
    /// Streams that cross between shards, either end.
    pub relays: usize,
    /// Peers.
    pub sessions: usize,
    /// Names being asked for.
    pub questions: usize,
    /// Readers being charged for.
    pub sending: usize,
    /// Operations that wait for the driver.
    pub deferred: usize,
    /// Trains on their way.
    pub trains: usize,
    /// QUIC connections whose end was not reported.
    pub connections: usize,
    /// Of those, handshakes that others began and that have not ended.
    pub handshakes: usize,
}

impl<D: DatagramDriver> Shard<D> {
    /// What this shard holds now.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        Holdings {
            tunnels: self.tunnels.len(),
            streams: self.by_stream.len(),
            relays: self.remotes.len() + self.relayed.len(),
            sessions: self.sessions.len(),
            questions: self.resolving.len(),
            sending: self.stopped.len(),
            deferred: self.refused.len(),
            trains: self.trains.in_flight(),
            connections: self.quic.open_connections(),
            handshakes: self.quic.half_open(),
        }
    }

    /// This shard's figures now.
    #[must_use]
    pub fn figures(&self) -> ShardReport {
        let mut stats = self.stats.clone();
        stats.tunnels_open = self.tunnels.iter().filter(|(_, entry)| !entry.is_carrying()).count() as u64;
        stats.stopped_readers = self.stopped_readers() as u64;
        stats.events_dropped = self.mailbox.dropped();
        let paths = self
            .sessions
            .iter()
            .filter_map(|(conn, session)| {
                let path = self.quic.path(*conn)?;
                Some(PathReport {
                    connection: self.connection_key(*conn),
                    remote: path.remote,
                    mtu_bytes: path.mtu_bytes,
                    rtt: path.rtt,
                    lost_packets: path.lost_packets,
                    tunnels: session.tunnels,
                    suspect: path.suspect,
                })
            })
            .collect();
        ShardReport {
            shard: self.config.id,
            driver: self.driver.capabilities().kind,
            stats,
            io: self.driver.counters().clone(),
            small_slots: self.driver.stream_slots(SlotSize::Small),
            large_slots: self.driver.stream_slots(SlotSize::Large),
            datagram_slots: self.driver.datagram_slots(),
            paths,
            carried: PeerTransport::ALL.map(|transport| self.carried_by(transport)),
            endpoint: *self.quic.endpoint_counts(),
            handshakes_under_way: self.quic.half_open() as u64,
        }
    }

    fn carried_by(&self, transport: PeerTransport) -> Carried {
        let its = || self.sessions.iter().filter(|(conn, _)| self.transport_of(**conn) == Some(transport));
        Carried {
            transport,
            sessions: its().filter(|(_, session)| Session::is_ready(session)).count() as u64,
            tunnels: its().map(|(_, session)| u64::from(session.tunnels)).sum(),
        }
    }

    /// What carries a connection; `None` for one over TCP that is not that far, or gone.
    pub(super) fn transport_of(&self, conn: ConnId) -> Option<PeerTransport> {
        let Some(key) = carrier_of_conn(conn) else { return Some(PeerTransport::Quic) };
        match &self.tunnels.get(key)?.phase {
            Phase::Carrier(link) => Some(match link.protocol {
                AgentProtocol::AditH2 => PeerTransport::Tcp,
                AgentProtocol::Grpc => PeerTransport::Konnectivity,
            }),
            _ => None,
        }
    }

    pub(super) fn report(&mut self) {
        let report = Box::new(self.figures());
        self.mailbox.send(Event::Stats(report));
    }
}
