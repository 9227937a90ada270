//! Streams that this shard's connections carry for frontends of other shards: bytes in, bytes out, and the ends. See
//! [`super::relay`] for the other half and for what is bounded.

use std::collections::VecDeque;

use adit_io::{Close, DatagramDriver};
use bytes::Bytes;

use super::Shard;
use super::links::carrier_of_conn;
use super::relay::{Crossing, Part, RelayMessage, What};
use super::tunnel::{Phase, Tunnel};
use crate::limits::EGRESS_BATCH_BYTES_MAX;
use crate::port::{ConnectionKey, ShardId};
use crate::quic::{ConnId, ReadState, WriteState};
use crate::stream::table::Key;
use crate::wire::ResetCode;

/// One of them.
#[derive(Debug)]
pub(crate) struct Relayed {
    home: ShardId,
    id: u32,
    /// The connection that was chosen, stream open or not.
    pub(crate) conn: ConnId,
    crossing: Crossing,
    /// Taken from the frontend's shard, and not by the stream.
    pending: VecDeque<Bytes>,
    is_finished: bool,
    /// Nobody reads the stream any more, which is said behind what came for it.
    stops: Option<ResetCode>,
}

impl<D: DatagramDriver> Shard<D> {
    pub(super) fn open_relayed(&mut self, home: ShardId, id: u32, chosen: ConnectionKey, is_last: bool) {
        let conn = ConnId { index: chosen.index, generation: chosen.generation };
        let session = self.sessions.get(&conn);
        let ready = session.is_some_and(super::session::Session::is_ready);
        let draining = session.is_some_and(super::session::Session::is_draining);
        if !ready || (!is_last && (draining || self.quic.is_suspect(conn))) {
            return self.say_back(home, id, Part::Reset(ResetCode::Cancelled));
        }
        let relayed = Relayed {
            home,
            id,
            conn,
            crossing: Crossing::default(),
            pending: VecDeque::new(),
            is_finished: false,
            stops: None,
        };
        let Ok(key) = self.tunnels.insert(Tunnel::new(Phase::Relayed(Box::new(relayed)))) else {
            return self.say_back(home, id, Part::Reset(ResetCode::Full));
        };
        self.relayed.insert((home, id), key);
        match self.open_stream(conn) {
            Ok(Some(stream)) => self.join_relayed(key, conn, stream),
            Ok(None) => {
                if let Some(session) = self.sessions.get_mut(&conn) {
                    session.waiting.push_back(key);
                }
            }
            Err(_) => self.close_tunnel(key, Close::Reset, Some(ResetCode::Cancelled)),
        }
    }

    /// The stream is there.
    pub(super) fn join_relayed(&mut self, key: Key, conn: ConnId, stream: crate::quic::StreamId) {
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        entry.stream = Some((conn, stream));
        self.by_stream.insert((conn, stream), key);
        self.on_tunnel_joined(conn);
        self.queue(key);
    }

    /// Nothing is taken from other shards any more.
    pub(super) fn refuse_relayed(&mut self, home: ShardId, id: u32) {
        self.say_back(home, id, Part::Reset(ResetCode::DrainCut));
    }

    fn say_back(&mut self, home: ShardId, id: u32, part: Part) {
        self.say_to(home, RelayMessage { home, id, what: What::Back(part) });
    }

    pub(super) fn on_forward(&mut self, home: ShardId, id: u32, part: Part) {
        let Some(key) = self.relayed.get(&(home, id)).copied() else { return };
        let Some(relayed) = self.relayed_of(key) else { return };
        match part {
            Part::Reset(code) => self.close_tunnel(key, Close::Reset, Some(code)),
            Part::Stop(code) => {
                relayed.crossing.is_ended = true;
                let Some(entry) = self.tunnels.get_mut(key) else { return };
                let ended = entry.egress.has_stream_ended();
                entry.egress.end();
                if let Some((conn, stream)) = entry.stream
                    && !ended
                {
                    if carrier_of_conn(conn).is_none() {
                        self.stop_stream(conn, stream, code);
                    } else if let Some(relayed) = self.relayed_of(key) {
                        // An old agent's connection has one end for both directions.
                        relayed.stops = Some(code);
                    }
                }
                self.queue(key);
            }
            part => {
                relayed.crossing.on_part(part);
                self.queue(key);
            }
        }
    }

    fn relayed_of(&mut self, key: Key) -> Option<&mut Relayed> {
        match &mut self.tunnels.get_mut(key)?.phase {
            Phase::Relayed(relayed) => Some(relayed),
            _ => None,
        }
    }

    pub(super) fn pump_relayed(&mut self, key: Key) {
        self.relay_forward(key);
        self.relay_back(key);
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let Phase::Relayed(relayed) = &mut entry.phase else { return };
        if relayed.is_finished
            && let (Some(code), Some((conn, stream))) = (relayed.stops.take(), entry.stream)
        {
            self.stop_stream(conn, stream, code);
        }
        let Some(relayed) = self.relayed_of(key) else { return };
        if relayed.is_finished && relayed.crossing.is_ended {
            self.close_tunnel(key, Close::Graceful, None);
        }
    }

    /// What came from the frontend's shard → stream.
    fn relay_forward(&mut self, key: Key) {
        let Some(entry) = self.tunnels.get_mut(key) else { return };
        let (Some((conn, stream)), Phase::Relayed(relayed)) = (entry.stream, &mut entry.phase) else {
            return;
        };
        let mut came_end = false;
        if relayed.pending.is_empty() {
            let mut left = EGRESS_BATCH_BYTES_MAX;
            while left > 0 {
                match relayed.crossing.take(left) {
                    Ok(piece) => {
                        left -= piece.len();
                        relayed.pending.push_back(piece);
                    }
                    Err(state) => {
                        came_end = state == ReadState::Finished;
                        break;
                    }
                }
            }
        }
        let (home, id, credit) = (relayed.home, relayed.id, relayed.crossing.take_credit());
        let mut pending = std::mem::take(&mut relayed.pending);
        let had_some = !pending.is_empty();
        let state =
            if had_some { self.write_stream(conn, stream, &mut pending) } else { Ok(WriteState::Took) };
        let took_all = pending.is_empty();
        if let Some(relayed) = self.relayed_of(key) {
            relayed.pending = pending;
        }
        if let Some(bytes) = credit {
            self.say_back(home, id, Part::Credit(bytes));
        }
        match state {
            Ok(WriteState::Took) if had_some => self.queue(key),
            Ok(WriteState::Took | WriteState::Blocked) => {}
            Ok(WriteState::Stopped(code)) => return self.say_stopped(key, code),
            Err(_) => return self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer)),
        }
        let Some(relayed) = self.relayed_of(key) else { return };
        if came_end && took_all && !std::mem::replace(&mut relayed.is_finished, true) {
            // The other half may go on; gone is as good as finished.
            let _ = self.finish_stream(conn, stream);
            if let Some(entry) = self.tunnels.get_mut(key) {
                entry.ingress.on_stopped();
            }
            self.on_stream_ending(conn, stream);
        }
    }

    /// The agent takes no more of this stream.
    pub(super) fn say_stopped(&mut self, key: Key, code: ResetCode) {
        let Some(relayed) = self.relayed_of(key) else { return };
        relayed.crossing.stop();
        relayed.pending.clear();
        relayed.is_finished = true;
        let (home, id) = (relayed.home, relayed.id);
        if let Some(entry) = self.tunnels.get_mut(key) {
            entry.ingress.on_stopped();
        }
        self.say_back(home, id, Part::Stop(code));
        self.queue(key);
    }

    /// Stream → frontend's shard, as far as it has room.
    fn relay_back(&mut self, key: Key) {
        loop {
            let Some(entry) = self.tunnels.get_mut(key) else { return };
            let (Some((conn, stream)), Phase::Relayed(relayed)) = (entry.stream, &entry.phase) else {
                return;
            };
            let (home, id) = (relayed.home, relayed.id);
            let room_bytes = relayed.crossing.room_bytes().min(EGRESS_BATCH_BYTES_MAX);
            if !entry.readable || relayed.crossing.is_ended {
                return;
            }
            if room_bytes < crate::limits::RELAY_MESSAGE_COST_BYTES {
                // Not read now, but a reset must not wait for the reader.
                if self.received_reset(conn, stream) {
                    self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer));
                }
                return;
            }
            let mut batch = Vec::new();
            let state = self.read_stream(conn, stream, room_bytes, &mut batch);
            self.send_back(key, home, id, batch);
            let Some(entry) = self.tunnels.get_mut(key) else { return };
            match state {
                Ok(ReadState::More) => {}
                Ok(ReadState::Blocked) => {
                    entry.readable = false;
                    return;
                }
                Ok(ReadState::Finished) => {
                    entry.readable = false;
                    entry.egress.on_stream_end();
                    if let Some(relayed) = self.relayed_of(key) {
                        relayed.crossing.is_ended = true;
                    }
                    return self.say_back(home, id, Part::End);
                }
                Ok(ReadState::Reset(code)) => return self.close_tunnel(key, Close::Reset, Some(code)),
                Err(_) => return self.close_tunnel(key, Close::Reset, Some(ResetCode::ResetByPeer)),
            }
        }
    }

    /// Small pieces go together: a message costs as much as many bytes.
    fn send_back(&mut self, key: Key, home: ShardId, id: u32, batch: Vec<Bytes>) {
        let total: usize = batch.iter().map(Bytes::len).sum();
        let mut pieces: VecDeque<Bytes> = match batch.len() {
            0 | 1 => batch.into(),
            _ => VecDeque::from([Bytes::from(batch.concat())]),
        };
        self.stats.bytes_relayed += total as u64;
        while let Some(piece) =
            self.relayed_of(key).and_then(|relayed| relayed.crossing.next_piece(&mut pieces))
        {
            self.say_back(home, id, Part::Data(piece));
        }
        debug_assert!(pieces.is_empty(), "no more was read than there was room for");
    }

    /// The entry was removed: the frontend's shard is told what it was not told yet.
    pub(super) fn forget_relayed(&mut self, relayed: &Relayed, code: Option<ResetCode>) {
        self.relayed.remove(&(relayed.home, relayed.id));
        if !relayed.crossing.is_ended {
            self.say_back(relayed.home, relayed.id, Part::Reset(code.unwrap_or(ResetCode::ResetByPeer)));
        }
        if !relayed.is_finished {
            self.say_back(relayed.home, relayed.id, Part::Stop(code.unwrap_or(ResetCode::ResetByPeer)));
        }
    }
}
