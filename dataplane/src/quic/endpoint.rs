//! Datagrams in: the owner check, quinn-proto's endpoint, new connections, and what the endpoint answers by itself.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use adit_io::{Datagrams, Ecn};
use bytes::BytesMut;
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint, Incoming, Side};

use super::Quic;
use super::cid;
use super::connection::{Conn, Phase};
use super::event::ConnId;
use super::liveness::Liveness;
use super::lost::LostReason;
use super::proof::Proof;
use crate::limits;

/// A datagram that the endpoint sends without a connection: Retry, Version Negotiation, a stateless reset, a refusal.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) bytes: Vec<u8>,
    pub(super) peer: SocketAddr,
    pub(super) local_ip: Option<IpAddr>,
}

/// What the endpoint did outside any connection: totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    /// Datagrams received, strays included.
    pub datagrams: u64,
    /// Datagrams copied out of their receive slot.
    pub copied: u64,
    /// Short headers that another shard owns, kept for [`Quic::poll_stray`].
    pub strays: u64,
    /// Strays dropped because nobody collected [`limits::STRAYS_MAX`] earlier ones.
    pub strays_dropped: u64,
    /// Handshakes accepted.
    pub accepted: u64,
    /// Clients asked to prove their address.
    pub retried: u64,
    /// Clients refused because too many handshakes or connections are open.
    pub refused: u64,
    /// Clients ignored because [`limits::RESPONSES_MAX`] responses wait already.
    pub ignored: u64,
    /// First packets that could not become a connection; [`super::QuicEvent::Rejected`] says of some why.
    pub rejected: u64,
    /// Responses of the endpoint queued: Retry, refusal, version negotiation, stateless reset.
    pub responses: u64,
    /// Packets of connections that were not sent, because their address was not proved.
    pub withheld: u64,
    /// Responses dropped because [`limits::RESPONSES_MAX`] wait already.
    pub responses_dropped: u64,
}

impl Quic {
    /// Takes in received datagrams: split by stride, each decrypted in the memory it arrived in (or in an exact copy,
    /// see [`Self::set_copy_received`]). Connections are driven once for all of them.
    ///
    /// A datagram with a short header that another shard owns is not handled here, because this shard's endpoint would
    /// answer it with a stateless reset that ends a live connection; it comes out of [`Self::poll_stray`].
    pub fn handle_datagrams(&mut self, now: Instant, datagrams: Datagrams) {
        let Datagrams { mut data, stride, peer, local_ip, ecn } = datagrams;
        let mut touched = std::mem::take(&mut self.touched);
        self.last_readable = None;
        while !data.is_empty() {
            let stride = stride.clamp(1, data.len());
            let datagram =
                if stride < data.len() { data.split_to(stride) } else { std::mem::take(&mut data) };
            self.counts.datagrams += 1;
            let bytes = datagram.len();
            if cid::short_header_owner(&datagram, self.shards).is_some_and(|owner| owner != self.shard) {
                self.keep_stray(Datagrams { stride: datagram.len(), data: datagram, peer, local_ip, ecn });
                continue;
            }
            let datagram = self.own(datagram);
            self.response.clear();
            let event = self.endpoint.handle(
                now,
                peer,
                local_ip,
                ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
                datagram,
                &mut self.response,
            );
            match event {
                None => {}
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some(conn) = self.table.by_handle(handle) {
                        conn.inner.handle_event(event);
                        conn.proof.on_datagram(&conn.inner, peer, bytes);
                        if !std::mem::replace(&mut conn.touched, true) {
                            touched.push(conn.id);
                        }
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => self.on_incoming(now, incoming),
                Some(DatagramEvent::Response(transmit)) => {
                    self.respond(transmit.destination, transmit.src_ip)
                }
            }
        }
        for id in touched.drain(..) {
            if let Some(conn) = self.table.get_mut(id) {
                conn.touched = false;
                self.queues.mark(conn);
                self.settle(now, id);
            }
        }
        self.touched = touched;
    }

    /// The next datagram that another shard owns, to be handed to that shard's [`Self::handle_datagrams`].
    pub fn poll_stray(&mut self) -> Option<Datagrams> {
        self.strays.pop_front()
    }

    /// Whether received datagrams are copied to exact size before they are handled: worth it once stopped readers hold
    /// more than half of the receive slots. Afterwards is too late, since a slot stays held by any byte kept of it.
    pub fn set_copy_received(&mut self, copy: bool) {
        self.copy_received = copy;
    }

    /// What the endpoint did outside any connection.
    #[must_use]
    pub const fn endpoint_counts(&self) -> &EndpointCounts {
        &self.counts
    }

    fn own(&mut self, datagram: BytesMut) -> BytesMut {
        if !self.copy_received {
            return datagram;
        }
        self.counts.copied += 1;
        BytesMut::from(&datagram[..])
    }

    fn keep_stray(&mut self, stray: Datagrams) {
        if self.strays.len() >= limits::STRAYS_MAX {
            self.counts.strays_dropped += 1;
            return;
        }
        self.counts.strays += 1;
        self.strays.push_back(stray);
    }

    /// Accepts, asks for proof of address, refuses or ignores (RFC 9000 sections 8.1.2 and 5.2.2).
    fn on_incoming(&mut self, now: Instant, incoming: Incoming) {
        let (peer, local_ip) = (incoming.remote_address(), incoming.local_ip());
        let full = self.half_open >= limits::HANDSHAKES_MAX || self.table.len() >= limits::CONNECTIONS_MAX;
        let prove = self.half_open >= limits::HANDSHAKES_BEFORE_RETRY && !incoming.remote_address_validated();
        if (full || prove) && self.responses.len() >= limits::RESPONSES_MAX {
            self.counts.ignored += 1;
            self.endpoint.ignore(incoming);
            return;
        }
        self.response.clear();
        if full {
            self.counts.refused += 1;
            let _ = self.endpoint.refuse(incoming, &mut self.response);
            self.respond(peer, local_ip);
        } else if prove {
            match self.endpoint.retry(incoming, &mut self.response) {
                Ok(_) => {
                    self.counts.retried += 1;
                    self.respond(peer, local_ip);
                }
                // An address that is not validated has not been asked, says quinn-proto; ignoring is safe regardless.
                Err(error) => self.endpoint.ignore(error.into_incoming()),
            }
        } else {
            match self.endpoint.accept(incoming, now, &mut self.response, None) {
                Ok((handle, inner)) => {
                    self.counts.accepted += 1;
                    self.adopt(now, handle, inner);
                }
                Err(error) => {
                    self.counts.rejected += 1;
                    if self.rejections.len() < limits::REJECTIONS_MAX {
                        self.rejections.push_back((peer, LostReason::from_error(&error.cause)));
                    }
                    if error.response.is_some() {
                        self.respond(peer, local_ip);
                    }
                }
            }
        }
    }

    /// Puts a new connection of quinn-proto's into the table.
    pub(super) fn adopt(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        inner: quinn_proto::Connection,
    ) -> ConnId {
        let id = self.table.reserve(handle);
        let side = inner.side();
        let conn = self.table.insert(Conn {
            id,
            remote: inner.remote_address(),
            proof: Proof::new(inner.remote_address()),
            moved_at: None,
            moves: (0, now),
            moves_unanswered: (0, 0),
            side,
            inner,
            phase: Phase::Handshaking { deadline: now + limits::HANDSHAKE_TIME_MAX },
            liveness: Liveness::default(),
            dirty: false,
            eventful: false,
            touched: false,
            deadline: None,
            streams_granted: u32::from(side == Side::Server),
        });
        self.half_open += usize::from(conn.is_half_open());
        self.usable += 1;
        self.queues.mark(conn);
        self.settle(now, id);
        id
    }

    /// Queues what the endpoint has written into the response buffer.
    fn respond(&mut self, peer: SocketAddr, local_ip: Option<IpAddr>) {
        let bytes = std::mem::take(&mut self.response);
        push_response(&mut self.responses, &mut self.counts, Response { bytes, peer, local_ip });
    }
}

fn push_response(responses: &mut VecDeque<Response>, counts: &mut EndpointCounts, response: Response) {
    if responses.len() >= limits::RESPONSES_MAX {
        counts.responses_dropped += 1;
    } else {
        counts.responses += 1;
        responses.push_back(response);
    }
}

/// quinn-proto's codepoint as the driver's.
pub(super) fn ecn(codepoint: Option<EcnCodepoint>) -> Option<Ecn> {
    codepoint.and_then(|codepoint| Ecn::from_bits(codepoint as u8))
}
