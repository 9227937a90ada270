//! Whether the peer still answers: a small state machine over what was sent and what came back.
//!
//! A connection is *suspect* when ack-eliciting data has been waiting for an answer and nothing at all was received for
//! max(1 s, 3 PTO), but no later than max(2 s, 2 round trips), or when the network reports the peer unreachable while
//! something waits. Anything received clears it. After max(5 s, 3 PTO) it is *silent*, and so is one of which nothing
//! was received for [`limits::IDLE_TIME_MAX`] although nothing waits. Whether a silent connection is given up is asked
//! for again and again, and not decided here: its peer may be there by another way. After [`limits::HELD_TIME_MAX`] it
//! is dead. QUIC's own idle timeout (RFC 9000 section 10.1) is off, for it asks nobody.
//!
//! While something waits for an acknowledgement the connection is probed at least every
//! [`limits::PROBE_INTERVAL_MAX`], and at once when something is heard late. A sender by the book doubles the pause
//! between its probes (RFC 9002 section 6.2.1): after an outage of three seconds it would be silent for another three,
//! and be given up although the network is well again. And quinn-proto lets a full congestion window hold back even
//! acknowledgements, unless a probe takes them along: without one the peer would not learn that it was heard. The book
//! protects a congested network; this deviates from it by a few packets each second, for the few seconds until an
//! answer or the end.
//!
//! A peer that says things and acknowledges nothing is no network's fault: what waits for its acknowledgement stays in
//! memory, and each probe adds to it. It is given up after [`limits::UNACKNOWLEDGED_TIME_MAX`], in which silence does
//! not count.
//!
//! quinn-proto does not show which packets are in flight. It counts frames, and that is enough: a rise of the
//! ack-eliciting frames sent is a question, a rise of the frames received an answer from the authentic peer (frames
//! are counted after decryption). An acknowledgement ends the waiting even when it acknowledges only a part; if the
//! peer dies right after it, the next probe (one PTO later) begins the waiting anew.

use std::time::{Duration, Instant};

use quinn_proto::{ConnectionStats, FrameStats};

use super::lost::LostReason;
use crate::limits;

/// The peer's maximum acknowledgement delay that quinn-proto announces (RFC 9000 section 18.2).
const ACK_DELAY_MAX: Duration = Duration::from_millis(25);

/// What the clock says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Unchanged,
    /// It has just become suspect.
    Suspect,
    /// It waits and has not asked for a while: it is to ask again.
    Probe,
    /// Nothing was heard for so long that it is to be given up, unless there is a reason not to.
    Silent,
    /// Nothing was heard for so long that there is no such reason.
    Dead,
    /// It says things, and acknowledges nothing of what it was told.
    Deaf,
}

/// What the traffic says of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// It was suspect and is not any more.
    pub(super) recovered: bool,
    /// Something was heard after a long wait: it is to be asked at once.
    pub(super) late: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// Since when something sent waits and nothing was received.
    waiting_since: Option<Instant>,
    /// Since when something sent waits for an acknowledgement, whatever else was received.
    unacknowledged_since: Option<Instant>,
    /// When a question was last sent, or was to be sent.
    asked_at: Option<Instant>,
    /// When anything was last received.
    heard_at: Option<Instant>,
    /// When it was last said that it is silent.
    silent_said_at: Option<Instant>,
    suspect: bool,
    questions: u64,
    frames_received: u64,
    acks_received: u64,
}

impl Liveness {
    pub(super) const fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Takes in what the connection counted since the last call.
    pub(super) fn on_traffic(&mut self, now: Instant, rtt: Duration, stats: &ConnectionStats) -> Traffic {
        let questions = ack_eliciting(&stats.frame_tx);
        let frames_received = received(&stats.frame_rx);
        let acks_received = stats.frame_rx.acks;
        let mut traffic = Traffic::default();
        if frames_received != self.frames_received {
            let acked = acks_received != self.acks_received;
            let silent = self.silent_for(now, rtt);
            self.unacknowledged_since = self.unacknowledged_since.filter(|_| !acked).map(|at| at + silent);
            self.heard_at = Some(now);
            self.silent_said_at = None;
            traffic.late = self
                .waiting_since
                .is_some_and(|since| now.saturating_duration_since(since) >= late_after(rtt));
            if traffic.late {
                self.asked_at = Some(now);
            }
            self.waiting_since = self.waiting_since.filter(|_| !acked).map(|_| now);
            traffic.recovered = std::mem::take(&mut self.suspect);
        }
        if questions != self.questions {
            self.asked_at = Some(now);
            self.waiting_since = self.waiting_since.or(Some(now));
            self.unacknowledged_since = self.unacknowledged_since.or(Some(now));
        }
        self.questions = questions;
        self.frames_received = frames_received;
        self.acks_received = acks_received;
        traffic
    }

    /// How long the peer has said nothing, above what would end most connections: whoever is not heard is not deaf.
    fn silent_for(&self, now: Instant, rtt: Duration) -> Duration {
        let waited = self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        waited.saturating_sub(dead_after(rtt))
    }

    /// The network says that the peer cannot be reached. Anyone on the path can forge that, so it counts only while
    /// something waits, and only until anything is received.
    pub(super) fn on_unreachable(&mut self) -> Verdict {
        if self.waiting_since.is_none() || self.suspect {
            return Verdict::Unchanged;
        }
        self.suspect = true;
        Verdict::Suspect
    }

    /// How long an answer may be away before there is a doubt: three probe timeouts (RFC 9002 section 6.2.1), at least
    /// a second. Suspicion costs little and gives time to reach the peer another way, so it must come well before the
    /// end: of a path whose round trip is known, two of them are enough. Before anything was heard it is a guess.
    fn suspect_after(&self, rtt: Duration) -> Duration {
        let patient = three_ptos(rtt);
        let enough = if self.heard_at.is_some() { limits::SUSPECT_AFTER_MAX.max(2 * rtt) } else { patient };
        patient.min(enough).max(limits::SUSPECT_AFTER_MIN)
    }

    /// When [`Self::check`] has something to say, unless something is received before.
    pub(super) fn deadline(&self, rtt: Duration) -> Option<Instant> {
        let again = self.silent_said_at.map(|at| at + limits::PROBE_INTERVAL_MAX);
        let silent = self.silent_at(rtt).map(|at| again.map_or(at, |again| again.max(at)));
        let silent = [silent, self.dead_at(rtt)].into_iter().flatten().min();
        let Some(since) = self.waiting_since else { return silent };
        let probe = self.asked_at.unwrap_or(since) + probe_after(rtt);
        let mut at = silent.map_or(probe, |silent| silent.min(probe));
        if !self.suspect {
            let deaf = self.unacknowledged_since.unwrap_or(since) + deaf_after(rtt);
            at = at.min(since + self.suspect_after(rtt)).min(deaf);
        }
        Some(at)
    }

    /// When it is silent, unless something is received before.
    fn silent_at(&self, rtt: Duration) -> Option<Instant> {
        let unanswered = self.waiting_since.map(|since| since + dead_after(rtt));
        unanswered.or_else(|| Some(self.heard_at? + limits::IDLE_TIME_MAX))
    }

    /// When it is dead, unless something is received before.
    fn dead_at(&self, rtt: Duration) -> Option<Instant> {
        self.heard_at.map(|at| at + limits::HELD_TIME_MAX.max(dead_after(rtt)))
    }

    /// Why a connection may be given up now; `None` while it is not silent.
    pub(super) fn silence(&self, now: Instant, rtt: Duration) -> Option<LostReason> {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        if self.dead_at(rtt).is_some_and(|at| at <= now) {
            return since(self.heard_at).map(LostReason::idle);
        }
        self.silent_at(rtt).filter(|at| *at <= now)?;
        let unanswered = since(self.waiting_since).map(LostReason::unanswered);
        unanswered.or_else(|| since(self.heard_at).map(LostReason::idle))
    }

    /// What `now` means for the connection.
    pub(super) fn check(&mut self, now: Instant, rtt: Duration) -> Verdict {
        if self.dead_at(rtt).is_some_and(|at| at <= now) {
            return Verdict::Dead;
        }
        let said_before = self.silent_said_at.is_some_and(|at| now < at + limits::PROBE_INTERVAL_MAX);
        if !said_before && self.silent_at(rtt).is_some_and(|at| at <= now) {
            self.silent_said_at = Some(now);
            return Verdict::Silent;
        }
        let Some(since) = self.waiting_since else { return Verdict::Unchanged };
        if !self.suspect {
            let unacknowledged = self.unacknowledged_since.map(|since| now.saturating_duration_since(since));
            if unacknowledged.is_some_and(|time| time >= deaf_after(rtt)) {
                return Verdict::Deaf;
            }
            if now >= since + self.suspect_after(rtt) {
                self.suspect = true;
                return Verdict::Suspect;
            }
        }
        if now >= self.asked_at.unwrap_or(since) + probe_after(rtt) {
            self.asked_at = Some(now);
            return Verdict::Probe;
        }
        Verdict::Unchanged
    }
}

fn probe_after(rtt: Duration) -> Duration {
    limits::PROBE_INTERVAL_MAX.max(pto(rtt))
}

/// From when on an answer is no ordinary one.
fn late_after(rtt: Duration) -> Duration {
    (limits::PROBE_INTERVAL_MAX / 2).max(pto(rtt))
}

fn three_ptos(rtt: Duration) -> Duration {
    3 * pto(rtt)
}

/// The probe timeout of a steady path. quinn-proto keeps the variation of the round-trip time to itself; half the round
/// trip is what RFC 9002 section 5.3 begins with, and a steady path stays below it.
pub(super) fn pto(rtt: Duration) -> Duration {
    rtt + 4 * (rtt / 2) + ACK_DELAY_MAX
}

/// On a path so slow that three probe timeouts take longer, the probes get their time.
fn dead_after(rtt: Duration) -> Duration {
    limits::UNANSWERED_TIME_MAX.max(three_ptos(rtt))
}

/// An honest peer that hears nothing of this end has given up long before.
fn deaf_after(rtt: Duration) -> Duration {
    limits::UNACKNOWLEDGED_TIME_MAX.max(2 * dead_after(rtt))
}

/// Frames that the peer must acknowledge: all but ACK, PADDING and CONNECTION_CLOSE (RFC 9002 section 2).
fn ack_eliciting(sent: &FrameStats) -> u64 {
    received(sent) - sent.acks - sent.connection_close
}

/// All frames but PADDING, which is not counted.
fn received(frames: &FrameStats) -> u64 {
    let FrameStats {
        acks,
        ack_frequency,
        crypto,
        connection_close,
        data_blocked,
        datagram,
        handshake_done,
        immediate_ack,
        max_data,
        max_stream_data,
        max_streams_bidi,
        max_streams_uni,
        new_connection_id,
        new_token,
        path_challenge,
        path_response,
        ping,
        reset_stream,
        retire_connection_id,
        stream_data_blocked,
        streams_blocked_bidi,
        streams_blocked_uni,
        stop_sending,
        stream,
        ..
    } = *frames;
    [
        acks,
        ack_frequency,
        crypto,
        connection_close,
        data_blocked,
        datagram,
        u64::from(handshake_done),
        immediate_ack,
        max_data,
        max_stream_data,
        max_streams_bidi,
        max_streams_uni,
        new_connection_id,
        new_token,
        path_challenge,
        path_response,
        ping,
        reset_stream,
        retire_connection_id,
        stream_data_blocked,
        streams_blocked_bidi,
        streams_blocked_uni,
        stop_sending,
        stream,
    ]
    .iter()
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);
    const MS: Duration = Duration::from_millis(1);

    fn stats(sent: u64, received: u64, acks: u64) -> ConnectionStats {
        let mut stats = ConnectionStats::default();
        stats.frame_tx.stream = sent;
        stats.frame_rx.stream = received;
        stats.frame_rx.acks = acks;
        stats
    }

    #[test]
    fn a_second_without_an_answer_is_suspect_and_five_are_silent() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        assert_eq!(liveness.deadline(RTT), None);
        liveness.on_traffic(t, RTT, &stats(1, 0, 0));
        assert_eq!(liveness.deadline(RTT), Some(t + limits::SUSPECT_AFTER_MIN));
        assert_eq!(liveness.check(t + limits::SUSPECT_AFTER_MIN - MS, RTT), Verdict::Unchanged);
        assert_eq!(liveness.check(t + limits::SUSPECT_AFTER_MIN, RTT), Verdict::Suspect);
        liveness.on_traffic(t + limits::UNANSWERED_TIME_MAX - MS, RTT, &stats(2, 0, 0));
        assert_eq!(liveness.deadline(RTT), Some(t + limits::UNANSWERED_TIME_MAX));
        let silent = t + limits::UNANSWERED_TIME_MAX;
        assert_eq!(liveness.check(silent - MS, RTT), Verdict::Unchanged);
        assert_eq!(liveness.silence(silent - MS, RTT), None);
        assert_eq!(liveness.check(silent, RTT), Verdict::Silent);
        assert_eq!(liveness.silence(silent, RTT).unwrap().text, "no answer for 5 s");
        // It asks on, and is said to be silent again a second later.
        assert_eq!(liveness.check(silent, RTT), Verdict::Unchanged);
        assert_eq!(liveness.deadline(RTT), Some(silent - MS + limits::PROBE_INTERVAL_MAX));
        assert_eq!(liveness.check(silent - MS + limits::PROBE_INTERVAL_MAX, RTT), Verdict::Probe);
        assert_eq!(liveness.check(silent + limits::PROBE_INTERVAL_MAX, RTT), Verdict::Silent);
        // Nor is it deaf: it says nothing.
        let late = t + limits::UNACKNOWLEDGED_TIME_MAX + limits::PROBE_INTERVAL_MAX;
        assert_eq!(liveness.check(late, RTT), Verdict::Silent);
        assert_eq!(liveness.check(late, RTT), Verdict::Probe);
        // Nor when it is heard again, and has had no time yet to acknowledge anything.
        let heard = late + MS;
        assert!(liveness.on_traffic(heard, RTT, &stats(3, 1, 0)).recovered);
        assert_eq!(liveness.check(heard, RTT), Verdict::Unchanged);
        assert!(liveness.deadline(RTT).unwrap() > heard);
        // Silent again: not before the same time has passed.
        let late = heard + MS;
        liveness.on_traffic(late, RTT, &stats(4, 2, 1));
        assert_eq!(liveness.silence(late, RTT), None);
        assert_eq!(liveness.check(late + limits::UNANSWERED_TIME_MAX, RTT), Verdict::Silent);
    }

    #[test]
    fn whoever_says_nothing_is_silent_after_the_idle_time_although_nothing_waits() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        liveness.on_traffic(t, RTT, &stats(0, 1, 0));
        let silent = t + limits::IDLE_TIME_MAX;
        assert_eq!(liveness.deadline(RTT), Some(silent));
        assert_eq!(liveness.check(silent - MS, RTT), Verdict::Unchanged);
        assert_eq!(liveness.check(silent, RTT), Verdict::Silent);
        assert_eq!(liveness.silence(silent, RTT).unwrap().text, "nothing was received for 15 s");
        assert_eq!(liveness.deadline(RTT), Some(silent + limits::PROBE_INTERVAL_MAX));
    }

    #[test]
    fn whoever_is_silent_for_long_is_dead_also_where_it_was_asked_late() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        liveness.on_traffic(t, RTT, &stats(0, 1, 0));
        let dead = t + limits::HELD_TIME_MAX;
        assert_eq!(liveness.check(dead - 1500 * MS, RTT), Verdict::Silent);
        liveness.on_traffic(dead - 1400 * MS, RTT, &stats(1, 1, 0));
        assert_eq!(liveness.silence(dead - MS, RTT), None, "it has not had its time to answer");
        assert_eq!(liveness.check(dead, RTT), Verdict::Dead);
        assert_eq!(liveness.silence(dead, RTT).unwrap().text, "nothing was received for 30 s");
    }

    #[test]
    fn who_waits_and_does_not_ask_is_told_to_every_second() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        liveness.on_traffic(t, RTT, &stats(1, 0, 0));
        // What it hears is no acknowledgement: it is not suspect, and asks on.
        assert!(!liveness.on_traffic(t + 400 * MS, RTT, &stats(1, 1, 0)).late);
        assert_eq!(liveness.deadline(RTT), Some(t + limits::PROBE_INTERVAL_MAX));
        assert_eq!(liveness.check(t + limits::PROBE_INTERVAL_MAX, RTT), Verdict::Probe);
        assert_eq!(liveness.check(t + 1400 * MS, RTT), Verdict::Suspect);
        assert_eq!(liveness.deadline(RTT), Some(t + 2 * limits::PROBE_INTERVAL_MAX));
        // One that asked by itself has time again.
        liveness.on_traffic(t + 1950 * MS, RTT, &stats(2, 1, 0));
        assert_eq!(liveness.check(t + 2 * limits::PROBE_INTERVAL_MAX, RTT), Verdict::Unchanged);
        assert_eq!(liveness.check(t + 2950 * MS, RTT), Verdict::Probe);
        // An acknowledgement is the answer.
        liveness.on_traffic(t + 2960 * MS, RTT, &stats(2, 1, 1));
        assert_eq!(liveness.deadline(RTT), Some(t + 2960 * MS + limits::IDLE_TIME_MAX));
    }

    #[test]
    fn whoever_speaks_and_acknowledges_nothing_is_given_up() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        let end = t + limits::UNACKNOWLEDGED_TIME_MAX;
        liveness.on_traffic(t, RTT, &stats(1, 0, 0));
        for received in 1..30 {
            let now = t + u32::try_from(received).unwrap() * 500 * MS;
            assert_ne!(liveness.check(now - MS, RTT), Verdict::Deaf);
            liveness.on_traffic(now, RTT, &stats(1 + received, received, 0));
            assert!(liveness.deadline(RTT).unwrap() <= end);
        }
        assert_eq!(liveness.check(end, RTT), Verdict::Deaf);
        // One acknowledgement, and the time begins anew.
        liveness.on_traffic(end, RTT, &stats(40, 30, 1));
        assert_eq!(liveness.check(end, RTT), Verdict::Unchanged);
    }

    #[test]
    fn more_questions_do_not_restart_the_wait() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        liveness.on_traffic(t, RTT, &stats(1, 0, 0));
        liveness.on_traffic(t + 900 * MS, RTT, &stats(2, 0, 0));
        assert_eq!(liveness.check(t + limits::SUSPECT_AFTER_MIN, RTT), Verdict::Suspect);
    }

    #[test]
    fn an_acknowledgement_ends_the_wait_and_anything_else_restarts_it() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        liveness.on_traffic(t, RTT, &stats(1, 0, 0));
        liveness.on_traffic(t + 500 * MS, RTT, &stats(2, 1, 0));
        let suspect_at = t + 500 * MS + limits::SUSPECT_AFTER_MIN;
        assert_eq!(liveness.deadline(RTT), Some(suspect_at));
        assert_eq!(liveness.check(suspect_at - MS, RTT), Verdict::Unchanged);
        liveness.on_traffic(suspect_at - MS, RTT, &stats(2, 1, 1));
        assert_eq!(liveness.deadline(RTT), Some(suspect_at - MS + limits::IDLE_TIME_MAX));
    }

    #[test]
    fn anything_received_recovers() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        liveness.on_traffic(t, RTT, &stats(1, 0, 0));
        assert_eq!(liveness.check(t + 2 * limits::SUSPECT_AFTER_MIN, RTT), Verdict::Suspect);
        assert_eq!(
            liveness.on_traffic(t + 3000 * MS, RTT, &stats(1, 1, 0)),
            Traffic { recovered: true, late: true }
        );
        assert!(!liveness.is_suspect());
        assert_eq!(liveness.on_traffic(t + 3001 * MS, RTT, &stats(1, 2, 0)), Traffic::default());
    }

    #[test]
    fn a_hint_counts_only_while_something_waits() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        assert_eq!(liveness.on_unreachable(), Verdict::Unchanged);
        liveness.on_traffic(t, RTT, &stats(1, 0, 0));
        assert_eq!(liveness.on_unreachable(), Verdict::Suspect);
        assert_eq!(liveness.on_unreachable(), Verdict::Unchanged);
    }

    #[test]
    fn acknowledgements_alone_ask_nothing() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        let mut sent = ConnectionStats::default();
        sent.frame_tx.acks = 7;
        sent.frame_tx.connection_close = 1;
        liveness.on_traffic(t, RTT, &sent);
        assert_eq!(liveness.deadline(RTT), None);
    }

    #[test]
    fn slow_paths_get_three_probe_timeouts() {
        let liveness = Liveness::default();
        let slow = Duration::from_millis(400);
        assert_eq!(liveness.suspect_after(slow), 3 * (3 * slow + ACK_DELAY_MAX));
        assert_eq!(liveness.suspect_after(RTT), limits::SUSPECT_AFTER_MIN);
        let slower = Duration::from_millis(900);
        assert_eq!(dead_after(slower), liveness.suspect_after(slower));
    }

    #[test]
    fn a_slow_path_of_which_something_was_heard_is_suspect_long_before_it_is_silent() {
        let (mut liveness, t) = (Liveness::default(), Instant::now());
        liveness.on_traffic(t, RTT, &stats(0, 1, 0));
        assert_eq!(liveness.suspect_after(RTT), limits::SUSPECT_AFTER_MIN);
        for (rtt, suspect_ms) in [(200, 1875), (400, 2000), (900, 2000), (3000, 6000)] {
            let rtt = rtt * MS;
            assert_eq!(liveness.suspect_after(rtt), suspect_ms * MS, "{rtt:?}");
            assert!(liveness.suspect_after(rtt) * 2 < dead_after(rtt), "{rtt:?}");
        }
    }
}
