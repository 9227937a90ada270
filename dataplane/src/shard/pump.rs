//! Working on one tunnel: whatever its halves want next is done, as far as it can be done without waiting.

use adit_io::{Close, DatagramDriver, Op};

use super::Shard;
use super::carriers::socket_failed;
use super::timers::Timer;
use super::token::Purpose;
use super::tunnel::Phase;
use crate::limits::{
    ANSWER_POLL_MAX, ANSWER_POLL_MIN, ANSWER_SETTLE_TIME, EGRESS_BATCH_BYTES_MAX, ORPHAN_TIME_MAX,
};
use crate::quic::{ConnId, ReadState, WriteState};
use crate::stream::ingress::RecvWant;
use crate::stream::table::Key;
use crate::wire::ResetCode;

impl<D: DatagramDriver> Shard<D> {
    /// The server may give up while the agent still dials.
    fn look_for_cancel(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get(key) else { return };
        if let Some((conn, stream)) = tunnel.stream
            && tunnel.readable
            && self.received_reset(conn, stream)
        {
            self.close_tunnel(key, Close::Reset, Some(ResetCode::Cancelled));
        }
    }

    /// Puts a tunnel into the work queue, once.
    pub(super) fn queue(&mut self, key: Key) {
        if let Some(tunnel) = self.tunnels.get_mut(key)
            && !tunnel.queued
        {
            tunnel.queued = true;
            self.work.push_back(key);
        }
    }

    pub(super) fn pump(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        match tunnel.phase {
            Phase::Head(_) => {
                self.pump_tls(key);
                self.pump_receive(key);
            }
            Phase::Dialing(_) => {
                self.pump_tls(key);
                self.pump_dial(key);
                self.pump_receive(key);
            }
            Phase::Grpc(_) => self.pump_grpc(key),
            Phase::Carrier(_) => self.pump_carrier(key),
            Phase::Reaching(_) => {}
            Phase::Proxy(..) | Phase::Handshake => {
                self.pump_send(key);
                self.pump_receive(key);
            }
            Phase::Relayed(_) => self.pump_relayed(key),
            Phase::Moving(..) => self.pump_move(key),
            Phase::Header(_) => self.pump_header(key),
            Phase::Resolving(_) | Phase::Connecting(..) => self.look_for_cancel(key),
            Phase::Open | Phase::Lingering => self.pump_splice(key),
            Phase::Broken => self.pump_last_words(key),
        }
    }

    fn pump_splice(&mut self, key: Key) {
        if !self.pump_to_stream(key) || !self.pump_from_stream(key) {
            return;
        }
        self.pump_send(key);
        self.pump_receive(key);
        if self.tunnels.get(key).is_some_and(super::tunnel::Tunnel::is_over) {
            self.finish_tunnel(key);
        }
    }

    /// Socket → stream. False when the tunnel has ended over it.
    pub(super) fn pump_to_stream(&mut self, key: Key) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return false };
        let Some((conn, stream)) = tunnel.stream else { return true };
        if let Some(mut pending) = tunnel.ingress.take_for_stream() {
            let state = self.write_stream(conn, stream, &mut pending);
            let Some(tunnel) = self.tunnels.get_mut(key) else { return false };
            tunnel.ingress.on_written(pending);
            match state {
                Ok(WriteState::Took | WriteState::Blocked) => {}
                Ok(WriteState::Stopped(_)) => tunnel.ingress.on_stopped(),
                Err(_) => return false,
            }
        }
        let Some(tunnel) = self.tunnels.get_mut(key) else { return false };
        if tunnel.ingress.want_finish() {
            tunnel.ingress.on_finished();
            if self.finish_stream(conn, stream).is_err() {
                return false;
            }
            self.on_stream_ending(conn, stream);
        }
        if let Some(tunnel) = self.tunnels.get_mut(key)
            && tunnel.ingress.is_done()
            && std::mem::take(&mut tunnel.stops_behind_end)
        {
            self.stop_stream(conn, stream, ResetCode::Cancelled);
        }
        true
    }

    /// Stream → batch. False when the tunnel has ended over it.
    fn pump_from_stream(&mut self, key: Key) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return false };
        let Some((conn, stream)) = tunnel.stream else { return true };
        if tunnel.egress.is_waiting_for_reader() {
            self.look_for_reader(key);
        }
        let Some(tunnel) = self.tunnels.get_mut(key) else { return false };
        if !tunnel.readable {
            return true;
        }
        let Some(mut batch) = tunnel.egress.want_read() else {
            // Not read now, but a reset must not wait for the reader.
            if self.received_reset(conn, stream) {
                self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer));
                return false;
            }
            return true;
        };
        let state = self.read_stream(conn, stream, EGRESS_BATCH_BYTES_MAX, &mut batch);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return false };
        tunnel.egress.on_read(batch);
        match state {
            Ok(ReadState::More) => {}
            Ok(ReadState::Blocked) => tunnel.readable = false,
            Ok(ReadState::Finished) => {
                tunnel.readable = false;
                #[cfg(feature = "defects")]
                if self.config.defect == Some(crate::config::Defect::LostFin)
                    && rand::RngExt::random_bool(&mut self.rng, 0.1)
                {
                    return true;
                }
                tunnel.egress.on_stream_end();
            }
            Ok(ReadState::Reset(_)) => {
                self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer));
                return false;
            }
            Err(_) => return false,
        }
        true
    }

    /// Batch → socket, and the end after it.
    pub(super) fn pump_send(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if tunnel.call.is_some() {
            return self.pump_call_send(key);
        }
        let Some(socket) = tunnel.socket else { return };
        if tunnel.tls.is_some() {
            return self.pump_tls(key);
        }
        if let Some(data) = tunnel.egress.want_send() {
            // Zero copy would hold the next batch back until the peer has acknowledged this one.
            self.reader_must_take(key);
            self.submit(Op::Send { socket, data, zero_copy: false }, Purpose::Send, key);
        } else if tunnel.egress.want_shutdown() {
            tunnel.egress.on_shutdown_submitted();
            self.submit(Op::ShutdownWrite { socket }, Purpose::ShutdownWrite, key);
        }
    }

    pub(super) fn pump_receive(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if tunnel.call.is_some() {
            return self.pump_call_receive(key);
        }
        let Some(socket) = tunnel.socket else { return };
        match tunnel.ingress.want_recv() {
            RecvWant::Nothing => {}
            RecvWant::Arm(slot, shots) => {
                tunnel.ingress.on_armed(slot, shots);
                self.submit(Op::Recv { socket, slot, shots }, Purpose::Recv, key);
            }
            RecvWant::Cancel => {
                tunnel.ingress.on_cancelling();
                self.cancel(Purpose::Recv, key);
            }
        }
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let unread =
            tunnel.ingress.is_stopped() || (tunnel.ingress.has_ended() && !tunnel.egress.is_shut_down());
        // Of an open tunnel's Unix socket it would tell nothing: see `on_gone`.
        let telling = !tunnel.unix || matches!(tunnel.phase, Phase::Dialing(_));
        if unread && telling && !tunnel.watching && !tunnel.ingress.is_armed() {
            tunnel.watching = true;
            self.submit(Op::Watch { socket }, Purpose::Watch, key);
        }
    }

    /// D15: target bytes wait until the frontend has read the 200. Nothing signals that on a Unix socket, so it is
    /// looked at, with growing pauses, and only while there is something to hold back. A frontend that speaks first,
    /// as HTTP and TLS do, does not wait for this.
    fn look_for_reader(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some(socket) = tunnel.socket else { return };
        // The end of the stream alone is held back as well: it may have come together with the answer.
        if !tunnel.readable && !tunnel.egress.has_held() && !tunnel.egress.has_stream_ended() {
            return;
        }
        // TLS keeps the answer and what follows in records of their own, so that no read returns both.
        let read = tunnel.unix && self.driver.unsent_bytes(socket) == 0;
        let settled = read.then(|| *tunnel.answer_read_at.get_or_insert(self.now) + ANSWER_SETTLE_TIME);
        if !tunnel.unix || settled.is_some_and(|at| at <= self.now) {
            tunnel.egress.on_answer_read();
            tunnel.deadline = None;
            return;
        }
        if tunnel.deadline.is_some_and(|deadline| settled.is_none_or(|at| deadline <= at)) {
            return;
        }
        if let Some(at) = settled {
            return self.set_deadline(key, at);
        }
        tunnel.answer_poll = (tunnel.answer_poll * 2).clamp(ANSWER_POLL_MIN, ANSWER_POLL_MAX);
        let at = self.now + tunnel.answer_poll;
        self.set_deadline(key, at);
    }

    pub(super) fn set_deadline(&mut self, key: Key, at: std::time::Instant) {
        if let Some(tunnel) = self.tunnels.get_mut(key) {
            tunnel.deadline = Some(at);
            self.timers.set(at, Timer::Tunnel(key));
        }
    }

    /// Wakes at that time or, where an earlier one is set, then: whoever looks at its own deadlines when it is woken
    /// needs no timer for each of them that moves.
    pub(super) fn wake_by(&mut self, key: Key, at: std::time::Instant) {
        if self.tunnels.get(key).is_some_and(|tunnel| tunnel.deadline.is_none_or(|set| at < set)) {
            self.set_deadline(key, at);
        }
    }

    pub(super) fn on_tunnel_timer(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some(deadline) = tunnel.deadline else { return };
        if deadline > self.now {
            return;
        }
        tunnel.deadline = None;
        match tunnel.phase {
            Phase::Head(_) => self.on_head_timeout(key),
            Phase::Grpc(_) => self.on_grpc_timer(key),
            Phase::Carrier(_) => self.on_carrier_timer(key),
            Phase::Reaching(_) | Phase::Proxy(..) | Phase::Handshake => self.on_handshake_timer(key),
            Phase::Dialing(_) | Phase::Moving(..) => self.on_dial_timeout(key),
            Phase::Relayed(_) => {}
            Phase::Lingering => self.close_tunnel(key, Close::Graceful, None),
            Phase::Broken => self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer)),
            Phase::Header(_) => self.close_tunnel(key, Close::Graceful, Some(ResetCode::Deadline)),
            Phase::Resolving(_) | Phase::Connecting(..) => self.on_agent_dial_timer(key),
            Phase::Open => self.on_open_timer(key),
        }
    }

    /// A Unix frontend that has finished sending may have gone altogether. That is looked at when its target has
    /// had [`ORPHAN_TIME_MAX`] to end the other direction: most do at once, and a watch for each would cost.
    pub(super) fn expect_orphan(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get(key) else { return };
        if let Some(since) = tunnel.half_closed_at
            && tunnel.unix
            && matches!(tunnel.phase, Phase::Open)
            && tunnel.deadline.is_none()
        {
            self.set_deadline(key, since + ORPHAN_TIME_MAX);
        }
    }

    fn on_open_timer(&mut self, key: Key) {
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        if tunnel.call.is_some() {
            // Its target has ended, and takes nothing.
            return self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer));
        }
        let late = tunnel.half_closed_at.is_some_and(|since| since + ORPHAN_TIME_MAX <= self.now);
        if late && tunnel.gone {
            return self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer));
        }
        if late && !tunnel.watching && tunnel.unix {
            if let Some(socket) = tunnel.socket {
                tunnel.watching = true;
                self.submit(Op::Watch { socket }, Purpose::Watch, key);
            }
        } else if !late {
            self.expect_orphan(key);
        }
        self.queue(key);
    }

    /// Both directions ended in order.
    fn finish_tunnel(&mut self, key: Key) {
        if self.tunnels.get(key).is_some_and(|tunnel| matches!(tunnel.phase, Phase::Open)) {
            self.stats.tunnels_finished += 1;
        }
        self.close_tunnel(key, Close::Graceful, None);
    }

    /// Removes a tunnel and everything that hangs on it. With a code, the stream's other end learns that it broke.
    pub(super) fn close_tunnel(&mut self, key: Key, how: Close, code: Option<ResetCode>) {
        self.cancel_connects(key);
        self.forget_question(key);
        self.leave_grpc(key);
        self.leave_handshake(key, "the TCP connection was reset or failed");
        self.leave_carrier(key, socket_failed());
        self.detach_stream(key, code.unwrap_or(ResetCode::Cancelled));
        let Some(tunnel) = self.tunnels.remove(key) else { return };
        if let Some(call) = tunnel.call {
            self.forget_call(call, key, code);
        }
        if let Phase::Relayed(relayed) = &tunnel.phase {
            self.forget_relayed(relayed, code);
        }
        self.forget_refused(key);
        self.forget_tls(&tunnel);
        if let Some(socket) = tunnel.socket {
            self.driver.close(socket, how);
        }
        if matches!(tunnel.phase, Phase::Dialing(_) | Phase::Moving(..)) {
            self.stats.dials_pending -= 1;
        }
        if matches!(tunnel.phase, Phase::Open | Phase::Broken) && code.is_some() {
            self.stats.tunnels_reset += 1;
        }
    }

    /// Takes the stream off a tunnel. What of it is not over in order is reset with this code.
    pub(super) fn detach_stream(&mut self, key: Key, code: ResetCode) {
        self.reader_took_all(key);
        let Some(tunnel) = self.tunnels.get_mut(key) else { return };
        let Some((conn, stream)) = tunnel.stream.take() else { return };
        tunnel.readable = false;
        let (sending, receiving) = (!tunnel.ingress.is_done(), !tunnel.egress.has_stream_ended());
        if sending {
            self.reset_stream(conn, stream, code);
        }
        if receiving {
            self.stop_stream(conn, stream, code);
        }
        self.by_stream.remove(&(conn, stream));
        self.on_tunnel_left(conn);
    }

    /// The tunnels on a connection, or asking it.
    pub(super) fn tunnels_on(&self, conn: ConnId) -> Vec<Key> {
        self.tunnels.iter().filter(|(_, tunnel)| tunnel.conn() == Some(conn)).map(|(key, _)| key).collect()
    }
}
