//! Completions, filed by what they were for. No decision is taken here beyond "whose is it, and is it still there".

use adit_io::{Close, Completion, DatagramDriver, OpError, Outcome, SlotSize};
use bytes::BytesMut;

use super::Shard;
use super::timers::Timer;
use super::token::{Purpose, decode};
use super::tunnel::Phase;
use crate::limits::STARVED_PAUSE;
use crate::stream::table::Key;
use crate::wire::ResetCode;

impl<D: DatagramDriver> Shard<D> {
    pub(super) fn on_completion(&mut self, completion: Completion) {
        let Completion { token, more, outcome } = completion;
        let Some((purpose, key)) = decode(token) else {
            self.stats.stale_completions += 1;
            return;
        };
        match purpose {
            Purpose::Accept => self.on_accepted(key, more, outcome),
            Purpose::RecvDatagrams => self.on_datagrams(more, outcome),
            Purpose::Train => self.on_train(key, more, outcome),
            _ => match self.live_tunnel(key) {
                Some(key) => self.on_tunnel_completion(key, purpose, more, outcome),
                None => self.on_stale(outcome),
            },
        }
    }

    fn live_tunnel(&self, key: Key) -> Option<Key> {
        #[cfg(feature = "defects")]
        if self.config.defect == Some(crate::config::Defect::StaleTokenAccepted) {
            return self.tunnels.current(key.index);
        }
        self.tunnels.get(key).is_some().then_some(key)
    }

    /// The entry is gone. What came too late must not leak.
    fn on_stale(&mut self, outcome: Outcome) {
        self.stats.stale_completions += 1;
        if let Outcome::Connected(Ok(socket)) = outcome {
            self.driver.close(socket, Close::Reset);
        }
    }

    fn on_tunnel_completion(&mut self, key: Key, purpose: Purpose, more: bool, outcome: Outcome) {
        match (purpose, outcome) {
            (Purpose::Recv, Outcome::Received(result)) => self.on_received(key, more, result),
            (Purpose::Send, Outcome::Sent { result, data }) => self.on_sent(key, result, data),
            (Purpose::ShutdownWrite, Outcome::ShutdownWrite(result)) => self.on_shutdown(key, result),
            (Purpose::Watch, Outcome::Gone(result)) => self.on_gone(key, result),
            (Purpose::Connect(attempt), Outcome::Connected(result)) => {
                self.on_connected(key, attempt, result)
            }
            (_, outcome) => self.on_stale(outcome),
        }
    }

    fn on_received(&mut self, key: Key, more: bool, result: Result<BytesMut, OpError>) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if !more {
            #[cfg(feature = "defects")]
            if self.config.defect == Some(crate::config::Defect::MultishotNotRearmed)
                && result.as_ref().is_ok_and(|bytes| !bytes.is_empty() && bytes.len() < 4096)
                && rand::RngExt::random_bool(&mut self.rng, 0.1)
            {
                // Still believed to be armed: nobody will ever read this socket again.
                let _ = result.map(|bytes| self.on_socket_bytes(key, bytes));
                return;
            }
            tunnel.ingress.on_disarmed();
        }
        match result {
            Ok(bytes) if tunnel.tls.is_some() => self.on_tls_received(key, bytes),
            Ok(bytes) if bytes.is_empty() => self.on_socket_end(key),
            Ok(bytes) => {
                tunnel.ingress.on_received(bytes.len());
                let bytes = self.unpinned(bytes);
                self.on_socket_bytes(key, bytes);
            }
            Err(OpError::Cancelled) => self.queue(key),
            Err(OpError::NoBuffers) => {
                self.stats.receives_starved += 1;
                if self.starved.is_empty() {
                    self.timers.set(self.now + STARVED_PAUSE, Timer::Starved);
                }
                self.starved.push(key);
            }
            Err(OpError::Os(_)) => self.on_receive_failed(key),
        }
    }

    /// Bytes may have to wait: for a reader that stopped, for an acknowledgement, for the rest of a head. As long as
    /// they do, they hold a slot. Once more than half of a size is held they are copied out, so that those who wait
    /// leave slots to those who move.
    fn unpinned(&mut self, bytes: BytesMut) -> BytesMut {
        let is_short = |size| {
            let slots = self.driver.stream_slots(size);
            slots.held * 2 > slots.total
        };
        if !is_short(SlotSize::Small) && !is_short(SlotSize::Large) {
            return bytes;
        }
        self.stats.bytes_copied_out += bytes.len() as u64;
        BytesMut::from(&bytes[..])
    }

    pub(super) fn feed_starved(&mut self) {
        for key in std::mem::take(&mut self.starved) {
            self.queue(key);
        }
    }

    pub(super) fn on_socket_bytes(&mut self, key: Key, bytes: BytesMut) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        match &mut tunnel.phase {
            Phase::Head(_) => return self.on_head_bytes(key, bytes),
            Phase::Lingering => {}
            Phase::Grpc(_) | Phase::Carrier(_) => tunnel.ingress.on_bytes(bytes.freeze()),
            Phase::Proxy(..) => return self.on_proxy_bytes(key, &bytes),
            Phase::Open => {
                self.stats.bytes_to_streams += bytes.len() as u64;
                if tunnel.egress.is_holding() {
                    tunnel.egress.on_answer_read();
                }
                tunnel.ingress.on_bytes(bytes.freeze());
            }
            _ => {
                self.stats.bytes_to_streams += bytes.len() as u64;
                tunnel.ingress.on_bytes(bytes.freeze());
            }
        }
        self.queue(key);
    }

    pub(super) fn on_socket_end(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        match tunnel.phase {
            Phase::Head(_) => return self.close_tunnel(key, Close::Graceful, None),
            // The error was taken by the send that failed: this is where the reset cut its peer's words off.
            Phase::Broken => return tunnel.ingress.on_broken(),
            Phase::Carrier(_) => return self.on_carrier_socket_end(key),
            Phase::Proxy(..) => return self.give_up_handshake(key, "the proxy closed the connection"),
            // Nobody hears its calls any more.
            Phase::Grpc(_) => {
                self.pump_grpc(key);
                return self.close_tunnel(key, Close::Graceful, None);
            }
            _ => tunnel.ingress.on_end(),
        }
        tunnel.half_closed_at = Some(self.now);
        self.expect_orphan(key);
        self.queue(key);
    }

    /// The socket is broken: the other side learns of it as a reset.
    pub(super) fn on_socket_failed(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get(key) else { return };
        match tunnel.phase {
            Phase::Dialing(_) | Phase::Moving(..) => self.abandon_dial(key),
            _ => self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer)),
        }
    }

    fn on_sent(&mut self, key: Key, result: Result<usize, OpError>, data: Option<Vec<bytes::Bytes>>) {
        let Ok(sent) = result else { return self.on_send_failed(key) };
        let (Some(tunnel), Some(data)) = (self.tunnels.get_mut(key), data) else { return };
        if tunnel.tls.is_some() {
            return self.on_tls_sent(key, sent, data);
        }
        if !tunnel.is_carrying() {
            self.stats.bytes_to_sockets += sent as u64;
        }
        tunnel.egress.on_sent(sent, data);
        #[cfg(feature = "defects")]
        if self.config.defect == Some(crate::config::Defect::CreditNotReturned)
            && sent >= 4096
            && rand::RngExt::random_bool(&mut self.rng, 0.1)
        {
            tunnel.readable = false;
        }
        if !tunnel.egress.has_unsent() {
            self.reader_took_all(key);
        }
        self.queue(key);
    }

    fn on_shutdown(&mut self, key: Key, result: Result<(), OpError>) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        match result {
            Ok(()) => {
                tunnel.egress.on_shutdown();
                self.queue(key);
            }
            Err(_) => self.on_send_failed(key),
        }
    }

    /// The peer of a socket that is not being read has gone. On TCP that is a reset, unless both directions had
    /// ended; on a Unix socket what it sent before is still to be delivered, and its target gets a while to answer
    /// nobody.
    fn on_gone(&mut self, key: Key, result: Result<(), OpError>) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        tunnel.watching = false;
        let gone = result.is_ok() || matches!(result, Err(OpError::Os(_)));
        if !gone || matches!(tunnel.phase, Phase::Broken) {
            return self.queue(key);
        }
        if self.needs_no_farewell(key) {
            return;
        }
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let reset = !tunnel.unix && !tunnel.egress.is_shut_down();
        if reset || matches!(tunnel.phase, Phase::Dialing(_) | Phase::Moving(..)) {
            self.on_socket_failed(key);
        } else if matches!(tunnel.phase, Phase::Open) {
            tunnel.gone = true;
            self.expect_orphan(key);
        }
    }
}
