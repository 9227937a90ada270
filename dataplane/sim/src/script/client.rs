//! A client on the server's Unix socket, or over TCP with TLS: kube-apiserver's part, in HTTPConnect mode or in GRPC
//! mode.

use adit_io::Close;
use bytes::Bytes;

use super::door::{Answer, Door, Opening};
use super::end::End;
use super::grpc::{Dialed, Link, Parting};
use super::line::Line;
use super::manners::Manners;
use super::payload::{Direction, Payload};
use super::wire::Wire;
use crate::clock::SimTime;
use crate::net::{HostId, SimNet};
use crate::pipe::Readable;

/// Longest answer that is kept for reading.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A refused connect is tried again after this.
const CONNECT_AGAIN_NS: u64 = 20_000_000;
/// How long a read of a Unix socket goes on looking for more after the kernel shows its bytes as taken: half of what
/// the server allows for it.
const READ_TIME_NS: u64 = 1_000_000;

#[derive(Debug)]
enum State {
    Waiting,
    /// In GRPC mode.
    Dialing,
    Opening {
        line: Wire,
        head: Vec<u8>,
        written: usize,
    },
    Answering {
        line: Wire,
        seen: Vec<u8>,
    },
    Open(Box<End>),
    Over,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Client {
    script: u32,
    seed: u64,
    tunnel: u32,
    host: HostId,
    door: Door,
    manners: Manners,
    opening: Opening,
    /// In GRPC mode, its connection.
    link: Option<Link>,
    state: State,
    hurried: bool,
    /// When it connected.
    pub connected_at: Option<SimTime>,
    /// When its request was complete.
    pub asked_at: Option<SimTime>,
    /// The answer.
    pub answer: Option<Answer>,
    /// When the server closed the connection without an answer.
    pub closed_unanswered_at: Option<SimTime>,
    /// Its connection to the server.
    pub connection: Option<u64>,
    /// Payload that came in one piece with the answer, although the client had said nothing (design.md D15).
    pub bytes_behind_answer: usize,
    /// When the read that found a Unix socket's answer is over.
    read_ends: Option<SimTime>,
    ended: Option<Box<End>>,
}

impl Client {
    /// A client that will connect when it is stepped first.
    #[must_use]
    pub const fn new(
        script: u32,
        seed: u64,
        tunnel: u32,
        host: HostId,
        door: Door,
        opening: Opening,
        manners: Manners,
    ) -> Self {
        Self {
            script,
            seed,
            tunnel,
            host,
            door,
            manners,
            opening,
            link: None,
            state: State::Waiting,
            hurried: false,
            connected_at: None,
            asked_at: None,
            answer: None,
            closed_unanswered_at: None,
            connection: None,
            bytes_behind_answer: 0,
            read_ends: None,
            ended: None,
        }
    }

    /// The same in GRPC mode, with a call on this connection.
    #[must_use]
    pub fn over(mut self, link: Link) -> Self {
        self.link = Some(link);
        self
    }

    /// What it says first.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Its end of the tunnel, once there is or was one.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Open(end) => Some(end),
            _ => self.ended.as_deref(),
        }
    }

    /// Whether it has done everything it will ever do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over) && self.link.as_ref().is_none_or(|link| link.is_over(self.script))
    }

    /// Whether it is a tunnel's end, now.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Tells it to come to an end.
    pub fn hurry(&mut self) {
        self.hurried = true;
        if let State::Open(end) = &mut self.state {
            end.hurry();
        }
    }

    /// Moves on as far as possible.
    pub fn step(&mut self, net: &mut SimNet) {
        if let Some(link) = self.link.clone() {
            link.pump(net, self.script);
            self.step_call(net, &link);
        } else if matches!(self.state, State::Waiting) {
            self.connect(net);
        }
        if matches!(self.state, State::Opening { .. }) {
            self.ask(net);
        }
        if matches!(self.state, State::Answering { .. }) {
            self.read_answer(net);
        }
        if let State::Open(end) = &mut self.state {
            end.step(net, self.script);
            if end.is_over()
                && let State::Open(end) = std::mem::replace(&mut self.state, State::Over)
            {
                self.ended = Some(end);
            }
        }
    }

    /// The beginning in GRPC mode.
    fn step_call(&mut self, net: &mut SimNet, link: &Link) {
        if matches!(self.state, State::Waiting) {
            let address = match &self.opening {
                Opening::Connect(target) | Opening::LeavesBeforeAnswer(target) => Some(target.as_str()),
                _ => None,
            };
            if !link.dial(net, self.script, &self.door.authority(), address) {
                return net.wake_script(self.script, CONNECT_AGAIN_NS);
            }
            self.connected_at = Some(net.time());
            self.connection = link.connection(self.script);
            self.state = State::Dialing;
            if !matches!(self.opening, Opening::Connect(_)) {
                let partings = [Parting::Cancels, Parting::Resets, Parting::Cuts];
                self.state = State::Over;
                return link.part(net, self.script, partings[self.tunnel as usize % partings.len()]);
            }
        }
        if !matches!(self.state, State::Dialing) {
            return;
        }
        if self.asked_at.is_none() && link.is_flushed(self.script) {
            self.asked_at = Some(net.time());
        }
        match link.dialed(self.script) {
            Dialed::Waiting => {}
            Dialed::Answered(Ok(())) => {
                self.asked_at.get_or_insert_with(|| net.time());
                self.answer = Some(Answer { status: 200, at: net.time(), text: String::new() });
                self.open(Line::Call(link.call(self.script)), net);
            }
            Dialed::Answered(Err(text)) => {
                self.answer = Some(Answer { status: 500, at: net.time(), text });
                self.state = State::Over;
                link.release(net, self.script);
            }
            gone @ (Dialed::Cut | Dialed::Over) => {
                self.closed_unanswered_at = (gone == Dialed::Over).then(|| net.time());
                self.state = State::Over;
                link.release(net, self.script);
            }
        }
    }

    fn connect(&mut self, net: &mut SimNet) {
        let Ok(line) = self.door.connect(net, self.host, self.script) else {
            return net.wake_script(self.script, CONNECT_AGAIN_NS);
        };
        self.connected_at = Some(net.time());
        self.connection = net.connection_of(line.socket());
        let request = |target: &str| {
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: adit-sim\r\n\r\n")
                .into_bytes()
        };
        let head = match &self.opening {
            Opening::Connect(target) | Opening::Trickled(target) | Opening::LeavesBeforeAnswer(target) => {
                request(target)
            }
            Opening::Silence => Vec::new(),
            Opening::Garbage => b"\x16\x03\x01 hello, is anybody there?\r\n\r\n".to_vec(),
            Opening::LeavesEarly(target) => {
                let mut head = request(target);
                head.truncate(head.len() / 2);
                head
            }
        };
        self.state = State::Opening { line, head, written: 0 };
    }

    fn ask(&mut self, net: &mut SimNet) {
        let State::Opening { line, head, written } = &mut self.state else { return };
        while *written < head.len() {
            match line.writable(net) {
                Ok(0) => return,
                Ok(room) => {
                    let piece_max =
                        if matches!(self.opening, Opening::Trickled(_)) { 40 } else { usize::MAX };
                    let bytes = (head.len() - *written).min(room).min(piece_max);
                    line.write(net, Bytes::copy_from_slice(&head[*written..*written + bytes]));
                    *written += bytes;
                    if piece_max < usize::MAX && *written < head.len() {
                        return net.wake_script(self.script, 3_000_000);
                    }
                }
                Err(_) => break,
            }
        }
        // A server that lost patience with half a request has answered it, or closed.
        let asked = !head.is_empty() && *written == head.len();
        let State::Opening { line, .. } = std::mem::replace(&mut self.state, State::Over) else { return };
        if matches!(self.opening, Opening::LeavesEarly(_) | Opening::LeavesBeforeAnswer(_)) {
            line.close(net, Close::Graceful);
            return;
        }
        if asked {
            self.asked_at = Some(net.time());
        }
        self.state = State::Answering { line, seen: Vec::new() };
    }

    fn read_answer(&mut self, net: &mut SimNet) {
        let State::Answering { line, seen } = &mut self.state else { return };
        let mut ended = false;
        loop {
            match line.readable(net) {
                Ok(Readable::Bytes(waiting)) => {
                    line.read(net, waiting, |piece| seen.extend_from_slice(piece));
                    // Whoever reads records sees what is behind the answer only if it is in the answer's.
                    if line.is_tls() && seen.starts_with(b"HTTP/1.1 200 ") && seen.ends_with(b"\r\n\r\n") {
                        break;
                    }
                }
                Ok(Readable::Nothing) => break,
                Ok(Readable::End | Readable::Failed(_)) | Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        let head_end = seen.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let Some(head_end) = head_end.filter(|end| *end <= ANSWER_BYTES_MAX) else {
            if ended {
                self.closed_unanswered_at = Some(net.time());
                self.leave(net);
            }
            return;
        };
        let text = String::from_utf8_lossy(seen).into_owned();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let behind = seen.len() - head_end;
        if status != 200 && !ended {
            // The body follows, and then the end of the connection.
            return;
        }
        // The kernel shows bytes as taken before the read that takes them is over: what comes until then is in it.
        let read_ends = *self.read_ends.get_or_insert_with(|| net.time().plus_ns(READ_TIME_NS));
        if status == 200 && !ended && !line.is_tls() && net.time() < read_ends {
            return net.wake_script(self.script, READ_TIME_NS);
        }
        self.answer = Some(Answer { status, at: net.time(), text });
        if status != 200 {
            return self.leave(net);
        }
        self.bytes_behind_answer = behind;
        let State::Answering { line, .. } = std::mem::replace(&mut self.state, State::Over) else { return };
        self.open(Line::Wire(line), net);
    }

    fn open(&mut self, line: Line, net: &mut SimNet) {
        let outgoing = Payload::new(self.seed, self.tunnel, Direction::Up);
        let incoming = Payload::new(self.seed, self.tunnel, Direction::Down);
        let mut end = End::new(line, self.manners, outgoing, incoming, net);
        if self.hurried {
            end.hurry();
        }
        self.state = State::Open(Box::new(end));
    }

    fn leave(&mut self, net: &mut SimNet) {
        if let State::Answering { line, .. } = std::mem::replace(&mut self.state, State::Over) {
            line.close(net, Close::Graceful);
        }
    }
}
