//! A CONNECT client on the server's Unix socket: kube-apiserver's part in HTTPConnect mode.

use adit_io::Close;
use bytes::Bytes;

use super::end::End;
use super::manners::Manners;
use super::payload::{Direction, Payload};
use crate::clock::SimTime;
use crate::net::{HostId, SimNet, SimSocket};
use crate::pipe::Readable;

/// Longest answer that is kept for reading.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// A refused connect is tried again after this.
const CONNECT_AGAIN_NS: u64 = 20_000_000;

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A CONNECT request for this `host:port`.
    Connect(String),
    /// The same, a few bytes at a time.
    Trickled(String),
    /// Nothing.
    Silence,
    /// Something that is no request.
    Garbage,
    /// Half a request, and then it leaves.
    LeavesEarly(String),
    /// A request, and then it leaves before the answer.
    LeavesBeforeAnswer(String),
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code; 0 where the answer is no HTTP.
    pub status: u16,
    /// When it was complete.
    pub at: SimTime,
    /// The status line and what follows it.
    pub text: String,
}

#[derive(Debug)]
enum State {
    Waiting,
    Opening { socket: SimSocket, head: Vec<u8>, written: usize },
    Answering { socket: SimSocket, seen: Vec<u8> },
    Open(End),
    Over,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Client {
    script: u32,
    seed: u64,
    tunnel: u32,
    host: HostId,
    path: String,
    manners: Manners,
    opening: Opening,
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
    ended: Option<End>,
}

impl Client {
    /// A client that will connect to `path` when it is stepped first.
    #[must_use]
    pub const fn new(
        script: u32,
        seed: u64,
        tunnel: u32,
        host: HostId,
        path: String,
        opening: Opening,
        manners: Manners,
    ) -> Self {
        Self {
            script,
            seed,
            tunnel,
            host,
            path,
            manners,
            opening,
            state: State::Waiting,
            hurried: false,
            connected_at: None,
            asked_at: None,
            answer: None,
            closed_unanswered_at: None,
            connection: None,
            bytes_behind_answer: 0,
            ended: None,
        }
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
            _ => self.ended.as_ref(),
        }
    }

    /// Whether it has done everything it will ever do.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
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
        if matches!(self.state, State::Waiting) {
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

    fn connect(&mut self, net: &mut SimNet) {
        let Ok(socket) = net.connect_unix(self.host, &self.path) else {
            return net.wake_script(self.script, CONNECT_AGAIN_NS);
        };
        net.own_by_script(socket, self.script);
        self.connected_at = Some(net.time());
        self.connection = net.connection_of(socket);
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
        self.state = State::Opening { socket, head, written: 0 };
    }

    fn ask(&mut self, net: &mut SimNet) {
        let State::Opening { socket, head, written } = &mut self.state else { return };
        let socket = *socket;
        while *written < head.len() {
            match net.writable(socket) {
                Ok(0) => return,
                Ok(room) => {
                    let piece_max =
                        if matches!(self.opening, Opening::Trickled(_)) { 40 } else { usize::MAX };
                    let bytes = (head.len() - *written).min(room).min(piece_max);
                    net.write(socket, Bytes::copy_from_slice(&head[*written..*written + bytes]));
                    *written += bytes;
                    if piece_max < usize::MAX && *written < head.len() {
                        return net.wake_script(self.script, 3_000_000);
                    }
                }
                Err(_) => break,
            }
        }
        match self.opening {
            Opening::LeavesEarly(_) | Opening::LeavesBeforeAnswer(_) => {
                net.close(socket, Close::Graceful);
                self.state = State::Over;
            }
            _ => {
                // A server that lost patience with half a request has answered it, or closed.
                if !head.is_empty() && *written == head.len() {
                    self.asked_at = Some(net.time());
                }
                self.state = State::Answering { socket, seen: Vec::new() };
            }
        }
    }

    fn read_answer(&mut self, net: &mut SimNet) {
        let State::Answering { socket, seen } = &mut self.state else { return };
        let socket = *socket;
        let mut ended = false;
        loop {
            match net.readable(socket) {
                Ok(Readable::Bytes(waiting)) => {
                    net.read(socket, waiting, |piece| seen.extend_from_slice(piece));
                }
                Ok(Readable::Nothing) => break,
                Ok(Readable::End | Readable::Failed(_)) | Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        let head_end = seen.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let Some(head_end) = head_end.filter(|_| seen.len() <= ANSWER_BYTES_MAX) else {
            if ended {
                self.closed_unanswered_at = Some(net.time());
                net.close(socket, Close::Graceful);
                self.state = State::Over;
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
        self.answer = Some(Answer { status, at: net.time(), text });
        if status != 200 {
            net.close(socket, Close::Graceful);
            self.state = State::Over;
            return;
        }
        self.bytes_behind_answer = behind;
        let outgoing = Payload::new(self.seed, self.tunnel, Direction::Up);
        let incoming = Payload::new(self.seed, self.tunnel, Direction::Down);
        let mut end = End::new(socket, self.manners, outgoing, incoming, net);
        if self.hurried {
            end.hurry();
        }
        self.state = State::Open(end);
    }
}
