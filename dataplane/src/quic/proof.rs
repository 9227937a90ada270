//! What goes to addresses that a peer claims and has not proved (RFC 9000 sections 8 and 9.3.1).
//!
//! quinn-proto limits that, with three holes. Where it may send anything it sends a whole datagram, so a challenge of
//! 1200 bytes goes out for a packet of 37; decision 8 says why that one stays. A probe of the path MTU asks for no
//! permission. And an answer to a challenge that came from elsewhere is padded to 1200 bytes whatever the challenge
//! was. The latter two are closed here, by not asking for packets and by dropping what was asked for; to quinn-proto a
//! dropped packet is one that the network lost.
//!
//! quinn-proto does not show whether a path is proved. What it sends shows it: beyond its own limit there is nothing
//! but probes of the MTU, until the path is proved. Its count of received bytes is reproduced from above, so that it
//! is never taken for proved too early.

use std::net::SocketAddr;

use quinn_proto::{Connection, Transmit};

/// How much may go to an address for what came from it (RFC 9000 section 8).
const AMPLIFICATION_MAX: u64 = 3;

/// A path that is not known to be proved.
#[derive(Clone, Copy, Debug, Default)]
struct Unproved {
    /// Bytes received for the connection since the move.
    received: u64,
    /// Bytes that quinn-proto has sent there since.
    sent: u64,
    /// PATH_RESPONSE frames received before.
    responses: u64,
}

impl Unproved {
    /// Whether quinn-proto, if the path is not proved to it, sends nothing but probes of the MTU.
    const fn is_used_up(&self) -> bool {
        AMPLIFICATION_MAX * self.received < self.sent + 1
    }
}

/// One connection's addresses. See the module.
#[derive(Debug)]
pub(super) struct Proof {
    /// The path's.
    remote: SocketAddr,
    /// The last one that was proved.
    proved: SocketAddr,
    unproved: Option<Unproved>,
    /// The last other address that was heard, and the bytes that may go there.
    elsewhere: Option<(SocketAddr, u64)>,
}

/// Whether a connection is to be asked for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nothing but a probe of the MTU would come.
    Useless,
    /// Ask.
    Freely,
    /// Ask, and tell what came of it: so many probes had been sent before.
    Watching(u64),
}

impl Proof {
    /// The handshake proves the first address, and until it ends nobody may move.
    pub(super) const fn new(remote: SocketAddr) -> Self {
        Self { remote, proved: remote, unproved: None, elsewhere: None }
    }

    /// A datagram was handed to the connection, which may have moved for it.
    pub(super) fn on_datagram(&mut self, inner: &Connection, from: SocketAddr, bytes: usize) {
        let bytes = bytes as u64;
        if inner.remote_address() != self.remote {
            self.remote = inner.remote_address();
            let responses = inner.stats().frame_rx.path_response;
            self.unproved =
                (self.remote != self.proved).then(|| Unproved { responses, ..Unproved::default() });
        }
        if let Some(unproved) = &mut self.unproved {
            unproved.received += bytes;
        }
        if from != self.remote {
            let before = self.elsewhere.filter(|(address, _)| *address == from).map_or(0, |(_, bytes)| bytes);
            self.elsewhere = Some((from, before.saturating_add(AMPLIFICATION_MAX * bytes)));
        }
    }

    /// Anything else was done to the connection. Where that changed its path, it went back to one that is proved.
    pub(super) fn on_settled(&mut self, inner: &Connection) {
        if inner.remote_address() != self.remote {
            self.remote = inner.remote_address();
            self.proved = self.remote;
            self.unproved = None;
        }
    }

    /// Whether to ask the connection for packets.
    pub(super) fn asking(&self, inner: &Connection) -> Asking {
        let Some(unproved) = &self.unproved else { return Asking::Freely };
        let stats = inner.stats();
        // Anybody can send a PATH_RESPONSE; without any there is no proof.
        if unproved.is_used_up() && stats.frame_rx.path_response == unproved.responses {
            return Asking::Useless;
        }
        Asking::Watching(stats.path.sent_plpmtud_probes)
    }

    /// Whether what the connection wants to send may go out.
    pub(super) fn passes(&mut self, inner: &Connection, asked: Asking, transmit: &Transmit) -> bool {
        let bytes = transmit.size as u64;
        if transmit.destination != self.remote {
            return self.passes_elsewhere(transmit.destination, bytes);
        }
        let (Some(unproved), Asking::Watching(probes)) = (&mut self.unproved, asked) else { return true };
        let was_used_up = unproved.is_used_up();
        unproved.sent += bytes;
        let is_probe = inner.stats().path.sent_plpmtud_probes != probes;
        if was_used_up && !is_probe {
            self.proved = self.remote;
            self.unproved = None;
            return true;
        }
        !is_probe || unproved.sent <= AMPLIFICATION_MAX * unproved.received
    }

    /// A challenge to the path before this one, or an answer to somebody's challenge.
    fn passes_elsewhere(&mut self, destination: SocketAddr, bytes: u64) -> bool {
        if destination == self.proved {
            return true;
        }
        match &mut self.elsewhere {
            Some((address, allowed)) if *address == destination && bytes <= *allowed => {
                *allowed -= bytes;
                true
            }
            _ => false,
        }
    }
}
