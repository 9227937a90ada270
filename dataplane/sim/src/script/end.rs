//! One scripted end of a connection: sends its payload, checks the other's, and ends as its manners say.

use adit_io::Close;
use bytes::Bytes;

use super::line::Line;
use super::manners::{Finale, Manners};
use super::payload::Payload;
use crate::clock::SimTime;
use crate::net::SimNet;
use crate::pipe::Readable;

/// How the incoming direction of an end was seen to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// The end of the stream; the connection was still open the other way.
    End,
    /// The end of the stream, together with the connection's: all that a Unix socket shows of a reset.
    EndAndGone,
    /// A reset or another error.
    Reset,
}

/// What an end did to its outgoing direction last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Did {
    /// Ended it.
    Finished,
    /// Closed with nothing unread.
    Closed,
    /// Reset it, or closed with bytes unread.
    Aborted,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct End {
    /// The open connection.
    line: Option<Line>,
    manners: Manners,
    outgoing: Payload,
    incoming: Payload,
    /// Bytes sent so far.
    pub sent: u64,
    /// Bytes received and found right so far.
    pub received: u64,
    /// Whether it ended its direction with a FIN.
    pub finished: bool,
    /// Whether it did so before the other direction had ended.
    pub finished_first: bool,
    /// How it closed, if it did by itself.
    pub closed: Option<Did>,
    /// How it saw the other direction end, and when.
    pub saw: Option<(Seen, SimTime)>,
    /// The connection that it is an end of.
    pub connection: Option<u64>,
    /// Whether a write failed.
    pub cannot_send: bool,
    /// The first wrong byte.
    pub wrong_at: Option<u64>,
    next_write: SimTime,
    next_read: SimTime,
    stopped_until: Option<SimTime>,
    stopped: bool,
    hurried: bool,
}

impl End {
    /// An end of a connection.
    pub fn new(line: Line, manners: Manners, outgoing: Payload, incoming: Payload, net: &mut SimNet) -> Self {
        let start = net.time().plus_ns(net.net_rng.span(manners.start_after));
        Self {
            connection: line.connection(net),
            line: Some(line),
            manners,
            outgoing,
            incoming,
            sent: 0,
            received: 0,
            finished: false,
            finished_first: false,
            closed: None,
            saw: None,
            cannot_send: false,
            wrong_at: None,
            next_write: start,
            next_read: SimTime(0),
            stopped_until: None,
            stopped: false,
            hurried: false,
        }
    }

    /// How it behaves.
    #[must_use]
    pub const fn manners(&self) -> &Manners {
        &self.manners
    }

    /// Whether everything it will ever do is done.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.line.is_none()
    }

    /// Whether it stopped reading at some time.
    #[must_use]
    pub const fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Tells it to come to an end: it reads again, and ends its direction once everything is sent.
    pub fn hurry(&mut self) {
        self.hurried = true;
        self.stopped_until = None;
        if self.manners.finale == Finale::Hold {
            self.manners.finale = Finale::Fin;
        }
        self.manners.write_pause = crate::rng::Span::ZERO;
        self.manners.read_pause = crate::rng::Span::ZERO;
        self.next_write = SimTime(0);
        self.next_read = SimTime(0);
    }

    /// Does what can be done now, and asks for the next step where only time is missing.
    pub fn step(&mut self, net: &mut SimNet, script: u32) {
        if let Some(line) = &mut self.line {
            line.flush(net);
            if line.was_cut() {
                return self.close(net, Close::Reset);
            }
        }
        self.read(net, script);
        self.write(net, script);
        self.finish(net);
        if let Some(Line::Call(call)) = &mut self.line {
            // What was read is given back.
            call.flush(net);
        }
    }

    fn read(&mut self, net: &mut SimNet, script: u32) {
        while let (Some(line), None) = (&mut self.line, self.saw) {
            let now = net.time();
            let Ok(readable) = line.readable(net) else { return };
            match readable {
                Readable::Nothing => return,
                Readable::Bytes(waiting) => {
                    let Some(bytes) = self.may_read(net, script, waiting) else { return };
                    let (mut at, incoming) = (self.received, self.incoming);
                    let mut wrong = None;
                    let Some(line) = &mut self.line else { return };
                    line.read(net, bytes, |piece| {
                        wrong = wrong.or_else(|| incoming.first_wrong(at, piece));
                        at += piece.len() as u64;
                    });
                    self.received = at;
                    self.wrong_at = self.wrong_at.or(wrong);
                    let pause = net.net_rng.span(self.manners.read_pause);
                    self.next_read = now.plus_ns(pause);
                }
                Readable::End => {
                    let gone = line.is_gone(net);
                    self.saw = Some((if gone { Seen::EndAndGone } else { Seen::End }, now));
                }
                Readable::Failed(_) => {
                    self.saw = Some((Seen::Reset, now));
                }
            }
        }
    }

    /// How much may be read now; `None`: not yet, and somebody will see to it that it is tried again.
    fn may_read(&mut self, net: &mut SimNet, script: u32, waiting: usize) -> Option<usize> {
        let now = net.time();
        let mut bytes = waiting.min(self.manners.read_max);
        if let Some(stop) = self.manners.stop.filter(|_| !self.hurried) {
            if self.received >= stop.after_bytes {
                if !self.stopped {
                    self.stopped = true;
                    self.stopped_until = stop.for_ns.map(|ns| now.plus_ns(ns));
                }
                match self.stopped_until {
                    Some(until) if until <= now => {}
                    Some(until) => {
                        net.wake_script(script, until.0 - now.0);
                        return None;
                    }
                    None => return None,
                }
            } else {
                let left = stop.after_bytes - self.received;
                bytes = bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
            }
        }
        if self.next_read > now {
            net.wake_script(script, self.next_read.0 - now.0);
            return None;
        }
        Some(bytes)
    }

    fn write(&mut self, net: &mut SimNet, script: u32) {
        while let Some(line) = &mut self.line {
            let left = self.manners.bytes - self.sent;
            if left == 0 || self.cannot_send || self.finished {
                return;
            }
            let now = net.time();
            if self.next_write > now {
                net.wake_script(script, self.next_write.0 - now.0);
                return;
            }
            let room = match line.writable(net) {
                Ok(0) => return,
                Ok(room) => room,
                Err(_) => {
                    self.cannot_send = true;
                    return;
                }
            };
            let bytes = room.min(self.manners.write_max).min(usize::try_from(left).unwrap_or(usize::MAX));
            let mut piece = vec![0; bytes];
            self.outgoing.fill(self.sent, &mut piece);
            line.write(net, Bytes::from(piece));
            self.sent += bytes as u64;
            self.next_write = now.plus_ns(net.net_rng.span(self.manners.write_pause));
        }
    }

    fn finish(&mut self, net: &mut SimNet) {
        if self.line.is_none() {
            return;
        }
        let sent_all = self.sent == self.manners.bytes;
        let peer_ended = self.saw.is_some();
        if sent_all && !self.finished && !self.cannot_send {
            let half_closes = self.line.as_ref().is_some_and(Line::has_half_close);
            match self.manners.finale {
                Finale::CloseAfter(bytes) if self.received >= bytes => {
                    return self.close(net, Close::Graceful);
                }
                Finale::Fin if half_closes => self.end_direction(net),
                Finale::Fin | Finale::FinAfterPeer if peer_ended || self.hurried => self.end_direction(net),
                Finale::Hold if peer_ended => self.end_direction(net),
                Finale::Close => return self.close(net, Close::Graceful),
                Finale::Reset => return self.close(net, Close::Reset),
                Finale::Fin | Finale::FinAfterPeer | Finale::Hold | Finale::CloseAfter(_) => {}
            }
        }
        let failed = matches!(self.saw, Some((Seen::Reset | Seen::EndAndGone, _)));
        // Not before the end was really sent: with TLS it may wait behind what the socket has not taken.
        let said = self.line.as_ref().is_none_or(Line::is_flushed);
        if (failed || (peer_ended && said && (self.finished || self.cannot_send)))
            && let Some(line) = self.line.take()
        {
            line.close(net, Close::Graceful);
        }
    }

    fn end_direction(&mut self, net: &mut SimNet) {
        let Some(line) = &mut self.line else { return };
        if !line.has_half_close() {
            return self.close(net, Close::Graceful);
        }
        match line.shutdown_write(net) {
            Ok(()) => (self.finished, self.finished_first) = (true, self.saw.is_none()),
            Err(_) => self.cannot_send = true,
        }
    }

    fn close(&mut self, net: &mut SimNet, how: Close) {
        let Some(line) = self.line.take() else { return };
        let aborts = line.close(net, how);
        self.closed = Some(if aborts { Did::Aborted } else { Did::Closed });
    }

    /// Gives up at once.
    pub fn abandon(&mut self, net: &mut SimNet) {
        self.close(net, Close::Reset);
    }
}
