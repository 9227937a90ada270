//! One HTTP/2 connection of a client, and what its calls do to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use adit_dataplane::http2::{ConnectionError, End, ErrorCode, Event, StreamId};
use adit_dataplane::konnectivity::Packet;
use adit_dataplane::limits::GRPC_DATA_BYTES_MAX;
use adit_io::Close;
use bytes::{Buf, Bytes};

use super::channel::{Channel, Heard};
use super::packets::{Over, State};
use crate::clock::{SimTime, nanos};
use crate::net::{HostId, SimNet, StreamError};
use crate::pipe::{ECONNRESET, EPIPE, Readable};
use crate::script::Door;
use crate::tally::Family;

/// What a packet of DATA has beside its payload, at most.
const DATA_HEAD_BYTES_MAX: usize = 64;

/// The connection, while there is one.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) channel: Channel,
    pub(super) number: Option<u64>,
    /// The script that is stepped when the socket changes.
    owner: u32,
}

#[derive(Debug)]
pub(super) struct Shared {
    host: HostId,
    door: Door,
    /// Whether other calls come on the same connection.
    pub(super) reused: bool,
    cut_at: Option<SimTime>,
    pub(super) open: Option<Open>,
    /// By the script of their client.
    pub(super) calls: BTreeMap<u32, State>,
    /// Scripts for whom something changed.
    changed: BTreeSet<u32>,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Link(pub(super) Rc<RefCell<Shared>>);

impl Link {
    /// A connection that is made when somebody dials. It is reused by many dials, or ends with its only one; at
    /// `cut_at` the client cuts it.
    #[must_use]
    pub fn new(host: HostId, door: Door, reused: bool, cut_at: Option<SimTime>) -> Self {
        let (calls, changed) = (BTreeMap::new(), BTreeSet::new());
        Self(Rc::new(RefCell::new(Shared { host, door, reused, cut_at, open: None, calls, changed })))
    }

    /// Reads and writes what can be read and written. `script` is stepped already; the others that something changed
    /// for are stepped next.
    pub fn pump(&self, net: &mut SimNet, script: u32) {
        let mut shared = self.0.borrow_mut();
        shared.pump(net);
        shared.tidy(net);
        let changed = std::mem::take(&mut shared.changed);
        changed.into_iter().filter(|other| *other != script).for_each(|other| net.wake_script(other, 1));
    }

    /// Whether nothing is left of a client's call.
    #[must_use]
    pub fn is_over(&self, script: u32) -> bool {
        !self.0.borrow().calls.contains_key(&script)
    }

    pub(super) fn was_cut(&self, script: u32) -> bool {
        self.0.borrow().calls.get(&script).is_some_and(|call| call.over == Some(Over::Cut))
    }

    pub(super) fn has_sent(&self, script: u32) -> bool {
        self.0.borrow().calls.get(&script).is_none_or(|call| call.sending.is_empty() || call.over.is_some())
    }

    pub(super) fn readable(&self, script: u32) -> Readable {
        let shared = self.0.borrow();
        let Some(call) = shared.calls.get(&script) else { return Readable::Failed(ECONNRESET) };
        let waiting: usize = call.incoming.iter().map(Bytes::len).sum();
        match &call.over {
            _ if waiting > 0 => Readable::Bytes(waiting),
            _ if call.closed => Readable::End,
            Some(_) => Readable::Failed(ECONNRESET),
            None => Readable::Nothing,
        }
    }

    pub(super) fn read(&self, script: u32, max: usize, take: impl FnMut(&[u8])) -> usize {
        self.0.borrow_mut().calls.get_mut(&script).map_or(0, |call| call.read(max, take))
    }

    pub(super) fn writable(&self, script: u32) -> Result<usize, StreamError> {
        let shared = &mut *self.0.borrow_mut();
        let call = shared.calls.get_mut(&script).ok_or(StreamError(EPIPE))?;
        let (Some(open), None, false) = (&shared.open, &call.over, call.closed) else {
            return Err(StreamError(EPIPE));
        };
        let room = open.channel.http2.sendable_bytes(call.stream).saturating_sub(DATA_HEAD_BYTES_MAX);
        let room = if call.sending.is_empty() { room.min(GRPC_DATA_BYTES_MAX) } else { 0 };
        call.wants_room |= room == 0;
        Ok(room)
    }

    pub(super) fn write(&self, net: &mut SimNet, script: u32, data: Bytes) {
        if let Some(call) = self.0.borrow_mut().calls.get_mut(&script)
            && let Some(connect_id) = call.connect_id
        {
            call.say(&Packet::Data { connect_id, data });
        }
        self.pump(net, script);
    }

    pub(super) fn close(&self, net: &mut SimNet, script: u32, how: Close) -> bool {
        let mut aborts = how == Close::Reset;
        {
            let shared = &mut *self.0.borrow_mut();
            let Some(call) = shared.calls.get_mut(&script) else { return true };
            call.released = true;
            call.incoming.clear();
            match (&call.over, call.connect_id) {
                (None, Some(connect_id)) if how == Close::Graceful && !call.closed => {
                    call.say(&Packet::CloseReq { connect_id });
                }
                (None, _) if how == Close::Reset => shared.reset(script),
                (over, _) => aborts |= over.is_some() && !call.closed,
            }
        }
        self.pump(net, script);
        aborts
    }
}

impl Shared {
    /// Makes the connection, where there is none.
    pub(super) fn connect(&mut self, net: &mut SimNet, script: u32) -> Result<(), StreamError> {
        if self.open.is_some() {
            return Ok(());
        }
        let wire = self.door.connect(net, self.host, script)?;
        let channel = Channel::client(net, wire);
        self.open = Some(Open { number: channel.number(net), channel, owner: script });
        Ok(())
    }

    /// Resets a call's stream.
    pub(super) fn reset(&mut self, script: u32) {
        if let (Some(open), Some(call)) = (&mut self.open, self.calls.get_mut(&script)) {
            open.channel.http2.reset(call.stream, ErrorCode::CANCEL);
            call.over = Some(Over::GivenUp);
        }
    }

    fn pump(&mut self, net: &mut SimNet) {
        let now = net.clock().now();
        if self.cut_at.is_some_and(|at| at <= net.time()) && self.open.is_some() {
            net.hit(Family::CallsCut);
            self.cut_at = None;
            return self.leave(net, Close::Reset, &Over::Cut);
        }
        if let Some(open) = &mut self.open
            && open.channel.http2.deadline().is_some_and(|deadline| deadline <= now)
        {
            open.channel.http2.on_time(now);
        }
        loop {
            while let Some(event) = self.open.as_mut().and_then(|open| open.channel.http2.poll_event(now)) {
                self.on_event(net, event);
            }
            self.send();
            let Some(open) = &mut self.open else { return };
            open.channel.flush(net);
            match open.channel.receive(net) {
                Heard::Something => {}
                Heard::Nothing => break,
                Heard::Gone => return self.leave(net, Close::Graceful, &Over::Lost),
            }
        }
        self.look_at_room();
        self.look_at_time(net);
    }

    fn on_event(&mut self, net: &mut SimNet, event: Event) {
        match event {
            Event::Data { stream, bytes } => {
                if let Some(call) = self.call(stream)
                    && let Err(what) = call.on_bytes(bytes)
                {
                    net.violation(format!("GRPC mode: {what}"));
                }
            }
            Event::Finished { stream, status } => self.end_call(stream, Over::Finished(status.code)),
            Event::Reset { stream, .. } => self.end_call(stream, Over::Reset),
            Event::Ended(end) => {
                if let End::Failed(ConnectionError::Protocol { .. } | ConnectionError::Flood(_)) = &end {
                    net.violation(format!("GRPC mode: the server's HTTP/2: {end:?}"));
                }
                if let Some(open) = &mut self.open {
                    open.channel.flush(net);
                }
                self.leave(net, Close::Graceful, &Over::Lost);
            }
            _ => {}
        }
    }

    fn call(&mut self, stream: StreamId) -> Option<&mut State> {
        let (script, call) = self.calls.iter_mut().find(|(_, call)| call.stream == stream)?;
        self.changed.insert(*script);
        Some(call)
    }

    fn end_call(&mut self, stream: StreamId, over: Over) {
        if let Some(call) = self.call(stream) {
            call.over.get_or_insert(over);
        }
    }

    /// Gives HTTP/2 what calls have to say, and credit.
    fn send(&mut self) {
        let Some(open) = &mut self.open else { return };
        for call in self.calls.values_mut().filter(|call| call.over.is_none()) {
            if call.closed {
                // Nobody hears it any more.
                call.sending.clear();
            }
            while let Some(piece) = call.sending.front_mut() {
                let taken = open.channel.http2.send(call.stream, piece.clone()).unwrap_or(0);
                piece.advance(taken);
                if !piece.is_empty() {
                    break;
                }
                call.sending.pop_front();
            }
            let credit = call.take_credit();
            open.channel.http2.credit(call.stream, credit);
            if call.released && call.is_settled() && call.sending.is_empty() && !call.half_closed {
                call.half_closed = true;
                // Gone is as good as ended.
                let _ = open.channel.http2.half_close(call.stream);
            }
        }
    }

    /// Whoever waits to write and has room again is stepped.
    fn look_at_room(&mut self) {
        let Some(open) = &self.open else { return };
        for (script, call) in self.calls.iter_mut().filter(|(_, call)| call.wants_room) {
            if call.sending.is_empty() && open.channel.http2.sendable_bytes(call.stream) > DATA_HEAD_BYTES_MAX
            {
                call.wants_room = false;
                self.changed.insert(*script);
            }
        }
    }

    fn look_at_time(&mut self, net: &mut SimNet) {
        let Some(open) = &self.open else { return };
        let now = net.clock().now();
        let cut = self.cut_at.map(|at| net.clock().instant(at));
        let due = [open.channel.http2.deadline(), cut].into_iter().flatten().min();
        if let Some(due) = due {
            net.wake_script(open.owner, nanos(due.saturating_duration_since(now)));
        }
    }

    /// Calls that are over and that nobody needs are forgotten; with the last of them goes the connection.
    fn tidy(&mut self, net: &mut SimNet) {
        if !self.reused && self.calls.values().all(|call| call.released && call.is_settled()) {
            // konnectivity-client closes its connection when it has heard CLOSE_RSP.
            self.calls.values_mut().for_each(|call| _ = call.over.get_or_insert(Over::GivenUp));
        }
        let (changed, calls) = (&mut self.changed, &mut self.calls);
        calls.retain(|script, call| {
            let stays = !call.released || call.over.is_none();
            if !stays {
                changed.insert(*script);
            }
            stays
        });
        if self.calls.is_empty() {
            self.leave(net, Close::Graceful, &Over::Lost);
        }
    }

    /// The connection is none any more.
    pub(super) fn leave(&mut self, net: &mut SimNet, how: Close, over: &Over) {
        let Some(open) = self.open.take() else { return };
        open.channel.close(net, how);
        for (script, call) in &mut self.calls {
            call.over.get_or_insert_with(|| over.clone());
            self.changed.insert(*script);
        }
    }
}
