//! Tunnels whose socket has broken: what its peer said before is passed on first, and the reset comes behind it.
//!
//! A kernel keeps readable what arrived before a reset. A server that answers a request early and closes with the rest
//! of it unread, or that sends a TLS alert and closes, relies on that: its last words and its reset come together.
//! RESET_STREAM overtakes what was not delivered, so it waits for a few round trips. That is no promise: words that
//! were lost on the way, or that nobody took in that time, are cut off, as any reset may cut them off.

use adit_io::DatagramDriver;

use super::Shard;
use super::tunnel::Phase;
use crate::limits::{LAST_WORDS_ROUND_TRIPS, LAST_WORDS_TIME_MAX, LAST_WORDS_TIME_MIN};
use crate::stream::table::Key;

impl<D: DatagramDriver> Shard<D> {
    /// Reading failed: everything that the socket's peer said has been read.
    pub(super) fn on_receive_failed(&mut self, key: Key) {
        if self.needs_no_farewell(key) {
            return;
        }
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        match tunnel.phase {
            Phase::Open => {
                tunnel.ingress.on_broken();
                self.begin_last_words(key);
            }
            Phase::Broken => tunnel.ingress.on_broken(),
            _ => {
                self.tell_of_tls_handshake_left(key, "reset");
                self.on_socket_failed(key);
            }
        }
    }

    /// Writing failed: what the socket's peer said before it went can still be read.
    pub(super) fn on_send_failed(&mut self, key: Key) {
        if self.needs_no_farewell(key) {
            return;
        }
        match self.tunnels.get(key).map(|tunnel| &tunnel.phase) {
            Some(Phase::Open) => self.begin_last_words(key),
            Some(Phase::Broken) | None => {}
            Some(_) => self.on_socket_failed(key),
        }
    }

    fn begin_last_words(&mut self, key: Key) {
        self.reader_took_all(key);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.phase = Phase::Broken;
        let path = tunnel.conn().and_then(|conn| self.quic.path(conn));
        let round_trips = path.map_or(LAST_WORDS_TIME_MIN, |path| path.rtt * LAST_WORDS_ROUND_TRIPS);
        self.set_deadline(key, self.now + round_trips.clamp(LAST_WORDS_TIME_MIN, LAST_WORDS_TIME_MAX));
        self.queue(key);
    }

    /// Socket → stream alone: nothing is taken for a broken socket.
    pub(super) fn pump_last_words(&mut self, key: Key) {
        if self.pump_to_stream(key) {
            self.pump_receive(key);
        }
    }
}
