//! Driving connections: the exchange between a connection and its endpoint, the end of a connection, timeouts, events.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{Dir, EndpointEvent, Event, StreamEvent, VarInt};

use super::Quic;
use super::connection::{Conn, Phase};
use super::event::{ConnId, QuicEvent};
use super::liveness::{Verdict, pto};
use super::lost::{LostReason, reset_code};
use crate::limits;
use crate::wire::CloseCode;

impl Quic {
    /// After anything was done to a connection: passes messages between it and the endpoint, notices the end of the
    /// handshake and of the connection, and registers its next deadline.
    pub(super) fn settle(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        let handle = conn.handle();
        let mut drained = false;
        while let Some(event) = conn.inner.poll_endpoint_events() {
            drained |= event.is_drained();
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                conn.inner.handle_event(event);
                self.queues.mark(conn);
            }
        }
        if conn.inner.is_closed() {
            self.notice_end(now, id);
        } else if conn.is_usable() {
            if !conn.inner.is_handshaking() && conn.phase != Phase::Open {
                self.half_open -= usize::from(conn.is_half_open());
                conn.phase = Phase::Open;
            }
            conn.proof.on_settled(&conn.inner);
            if conn.inner.remote_address() != conn.remote
                && let Err(text) = conn.on_moved(now)
            {
                let reason = LostReason::moved_too_often(&text);
                self.queues.register(conn);
                return self.end(now, id, CloseCode::Protocol, &text, reason);
            }
            let traffic = conn.liveness.on_traffic(now, conn.inner.rtt(), &conn.inner.stats());
            if traffic.recovered {
                self.events.push_back(QuicEvent::Recovered { conn: id });
            }
            if traffic.late {
                probe(now, conn);
                self.queues.mark(conn);
                if conn.inner.is_closed() {
                    self.notice_end(now, id);
                }
            }
        }
        if drained {
            self.free(id);
        } else if let Some(conn) = self.table.get_mut(id) {
            self.queues.register(conn);
        }
    }

    /// Reports a connection that quinn-proto has given up, unless its end was reported before. Its other events are
    /// dropped: their streams are gone.
    fn notice_end(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.is_usable()) else { return };
        let mut reason = None;
        while let Some(event) = conn.inner.poll() {
            if let Event::ConnectionLost { reason: error } = event {
                reason = Some(LostReason::from_error(&error));
            }
        }
        // quinn-proto gives a reason for every end but one, besides our own close: a handshake that has used up its
        // keys (RFC 9001 section 6.6), which it closes by itself.
        self.lose(now, id, reason.unwrap_or_else(LostReason::keys_used_up));
    }

    fn lose(&mut self, now: Instant, id: ConnId, reason: LostReason) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.is_usable()) else { return };
        self.half_open -= usize::from(conn.is_half_open());
        self.usable -= 1;
        conn.phase = Phase::Lost { until: now + 3 * pto(conn.inner.rtt()) };
        self.events.push_back(QuicEvent::Lost { conn: id, reason });
    }

    fn free(&mut self, id: ConnId) {
        if let Some(mut conn) = self.table.remove(id) {
            debug_assert!(!conn.is_usable(), "a drained connection was reported lost");
            self.queues.unregister(&mut conn);
        }
    }

    /// Closes a connection (RFC 9000 section 10.2). [`QuicEvent::Lost`] follows at once; its place is free three probe
    /// timeouts later. Unread bytes are lost, and so is what was not acknowledged yet. Stale names are ignored. The
    /// peer sees at most [`limits::REASON_PHRASE_BYTES_MAX`] bytes of the reason.
    pub fn close(&mut self, now: Instant, id: ConnId, code: CloseCode, reason: &str) {
        self.end(now, id, code, reason, LostReason::closed_locally(code, reason));
    }

    fn end(&mut self, now: Instant, id: ConnId, code: CloseCode, text: &str, reason: LostReason) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.is_usable()) else { return };
        let cut = text.floor_char_boundary(limits::REASON_PHRASE_BYTES_MAX);
        conn.inner.close(now, VarInt::from_u32(code.code()), Bytes::copy_from_slice(&text.as_bytes()[..cut]));
        self.queues.mark(conn);
        self.lose(now, id, reason);
        self.settle(now, id);
    }

    /// Gives up a connection whose peer is [`QuicEvent::Silent`]; one that was heard since stays as it is.
    /// [`QuicEvent::Lost`] follows at once. Stale names are ignored.
    pub fn give_up(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.is_usable()) else { return };
        if let Some(reason) = conn.liveness.silence(now, conn.inner.rtt()) {
            self.end_unanswered(now, id, reason);
        }
    }

    fn end_unanswered(&mut self, now: Instant, id: ConnId, reason: LostReason) {
        let text = reason.text.clone();
        self.end(now, id, CloseCode::Unanswered, &text, reason);
    }

    /// When [`Self::handle_timeouts`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.queues.next_deadline()
    }

    /// Does what was due by `now`: retransmissions, acknowledgements, keep-alives, suspicion, ends.
    pub fn handle_timeouts(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.due);
        self.queues.due(now, &mut due);
        for index in due.drain(..) {
            let Some(conn) = self.table.at(index) else { continue };
            let id = conn.id;
            conn.inner.handle_timeout(now);
            self.queues.mark(conn);
            match conn.phase {
                Phase::Handshaking { deadline } if deadline <= now => {
                    let reason = LostReason::handshake_timeout();
                    let text = reason.text.clone();
                    self.end(now, id, CloseCode::HelloTimeout, &text, reason);
                }
                Phase::Open => match conn.liveness.check(now, conn.inner.rtt()) {
                    Verdict::Unchanged => {}
                    Verdict::Suspect => self.events.push_back(QuicEvent::Suspect { conn: id }),
                    Verdict::Probe => probe(now, conn),
                    Verdict::Dead => self.give_up(now, id),
                    Verdict::Silent => self.events.push_back(QuicEvent::Silent { conn: id }),
                    Verdict::Deaf => self.end_unanswered(now, id, LostReason::unacknowledged()),
                },
                // quinn-proto leaves a connection that ends with its very first packet to the idle timeout, and that
                // is off.
                Phase::Lost { until } if until <= now && conn.inner.poll_timeout().is_none() => {
                    self.endpoint.handle_event(conn.handle(), EndpointEvent::drained());
                    self.free(id);
                    continue;
                }
                Phase::Handshaking { .. } | Phase::Lost { .. } => {}
            }
            self.settle(now, id);
        }
        self.due = due;
    }

    /// The network reports that datagrams to `peer` do not arrive (ICMP). A hint that can be forged: it makes
    /// connections suspect that wait for an answer, until anything is received, and does nothing else.
    pub fn peer_unreachable(&mut self, now: Instant, peer: SocketAddr) {
        for index in self.queues.at_remote(peer) {
            let Some(conn) = self.table.at(index).filter(|conn| conn.is_usable()) else { continue };
            let id = conn.id;
            if conn.liveness.on_unreachable() == Verdict::Suspect {
                self.events.push_back(QuicEvent::Suspect { conn: id });
            }
            self.settle(now, id);
        }
    }

    /// Whether [`Self::poll_event`] may have something to say.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty() || !self.rejections.is_empty() || !self.queues.eventful.is_empty()
    }

    /// The next thing to know. To be called until `None` after datagrams or timeouts were handled.
    pub fn poll_event(&mut self) -> Option<QuicEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if let Some((remote, reason)) = self.rejections.pop_front() {
                return Some(QuicEvent::Rejected { remote, reason });
            }
            let id = *self.queues.eventful.front()?;
            let event =
                self.table.get_mut(id).filter(|conn| conn.is_usable()).and_then(|conn| conn.inner.poll());
            match event {
                Some(event) => self.translate(id, event),
                None => {
                    self.queues.eventful.pop_front();
                    if let Some(conn) = self.table.get_mut(id) {
                        conn.eventful = false;
                    }
                }
            }
        }
    }

    fn translate(&mut self, id: ConnId, event: Event) {
        let Some(conn) = self.table.get_mut(id) else { return };
        let event = match event {
            Event::Connected => QuicEvent::Connected { conn: id, side: conn.side },
            Event::Stream(StreamEvent::Opened { dir }) => {
                while let Some(stream) = conn.inner.streams().accept(dir) {
                    self.events.push_back(QuicEvent::Opened { conn: id, stream });
                }
                if grow_grant(conn) {
                    self.queues.mark(conn);
                }
                return;
            }
            Event::Stream(StreamEvent::Readable { id: stream }) => {
                // quinn-proto reports every packet. A report says no more than the one before it, since all packets
                // were taken in before the first report was asked for.
                if self.last_readable.replace((id, stream)) == Some((id, stream)) {
                    return;
                }
                QuicEvent::Readable { conn: id, stream }
            }
            Event::Stream(StreamEvent::Writable { id: stream }) => QuicEvent::Writable { conn: id, stream },
            Event::Stream(StreamEvent::Finished { id: stream }) => QuicEvent::Finished { conn: id, stream },
            Event::Stream(StreamEvent::Stopped { id: stream, error_code }) => {
                // RFC 9000 section 3.5 wants the reset, and quinn-proto leaves it to us. Already reset: nothing to do.
                let _ = conn.inner.send_stream(stream).reset(error_code);
                self.queues.mark(conn);
                QuicEvent::Stopped { conn: id, stream, code: reset_code(error_code) }
            }
            Event::Stream(StreamEvent::Available { dir: Dir::Bi }) => {
                QuicEvent::StreamsAvailable { conn: id }
            }
            // Unidirectional streams and datagrams are off, the handshake's data is asked for when it has ended, and
            // the end of a connection was taken out in `notice_end`.
            Event::Stream(StreamEvent::Available { dir: Dir::Uni })
            | Event::HandshakeDataReady
            | Event::DatagramReceived
            | Event::DatagramsUnblocked
            | Event::ConnectionLost { .. } => return,
        };
        self.events.push_back(event);
    }

    /// Lifts the limits of a peer that was not known: the connection-level window no longer binds (one stopped reader
    /// must cost only itself), and the peer may have `grant_streams` streams open. 0 or 1 leaves it at the control
    /// stream; anything larger doubles as it is used up, to at most [`limits::AGENT_STREAMS_MAX`].
    pub fn welcome(&mut self, id: ConnId, grant_streams: u32) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.is_usable()) else { return };
        conn.inner.set_receive_window(VarInt::MAX);
        let grant = grant_streams.min(limits::AGENT_STREAMS_MAX);
        if grant > conn.streams_granted {
            conn.streams_granted = grant;
            conn.inner.set_max_concurrent_streams(Dir::Bi, VarInt::from_u32(grant));
        }
        self.queues.mark(conn);
    }
}

/// A time in which every probe of quinn-proto's is due: it doubles its pause sixteen times at most. So is an idle
/// timeout, where the peer asked for one, which it should not.
const EVERY_PROBE_DUE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes quinn-proto send a probe now, if anything is in flight, past a congestion window that is full. It has no
/// method for that; but its timers believe the time that they are told. First those due within a probe timeout,
/// losses among them; what is left then is the probe's and, at worst, a keep-alive's, and none of these looks at the
/// time. While a new path may still be validated nothing is done: that timer would give the path up.
fn probe(now: Instant, conn: &mut Conn) {
    if conn.moved_at.is_some_and(|at| now < at + limits::UNANSWERED_TIME_MAX) {
        return;
    }
    conn.inner.handle_timeout(now + pto(conn.inner.rtt()));
    conn.inner.handle_timeout(now + EVERY_PROBE_DUE);
}

/// Doubles what the peer may open once half of it is open. quinn-proto keeps an entry for every stream that may be
/// opened, so granting the most from the start would cost 5 MiB for each connection.
fn grow_grant(conn: &mut Conn) -> bool {
    let granted = conn.streams_granted;
    if granted <= 1 || granted >= limits::AGENT_STREAMS_MAX {
        return false;
    }
    if conn.inner.streams().remote_open_streams(Dir::Bi) <= u64::from(granted / 2) {
        return false;
    }
    conn.streams_granted = granted.saturating_mul(2).min(limits::AGENT_STREAMS_MAX);
    conn.inner.set_max_concurrent_streams(Dir::Bi, VarInt::from_u32(conn.streams_granted));
    true
}
