//! A CONNECT client on the server's Unix socket, or over TCP with TLS: kube-apiserver's part in HTTPConnect mode.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use adit_io::Close;
use bytes::Bytes;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::end::End;
use super::line::Line;
use super::manners::Manners;
use super::payload::{Direction, Payload};
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

/// Where a client knocks.
#[derive(Clone)]
pub enum Door {
    /// At this Unix socket.
    Unix(String),
    /// At this TCP port, in TLS, expecting a server of this name.
    Tls(SocketAddr, Arc<ClientConfig>, ServerName<'static>),
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Tls(at, ..) => write!(f, "tls:{at}"),
        }
    }
}

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
    Opening { line: Line, head: Vec<u8>, written: usize },
    Answering { line: Line, seen: Vec<u8> },
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
    door: Door,
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
    /// When the read that found a Unix socket's answer is over.
    read_ends: Option<SimTime>,
    ended: Option<End>,
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
        let connected = match &self.door {
            Door::Unix(path) => net.connect_unix(self.host, path),
            Door::Tls(at, ..) => net.connect_tcp(self.host, *at),
        };
        let Ok(socket) = connected else {
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
        let line = match &self.door {
            Door::Unix(_) => Line::plain(socket),
            Door::Tls(_, config, name) => Line::tls(net, socket, Arc::clone(config), name.clone()),
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
        let outgoing = Payload::new(self.seed, self.tunnel, Direction::Up);
        let incoming = Payload::new(self.seed, self.tunnel, Direction::Down);
        let State::Answering { line, .. } = std::mem::replace(&mut self.state, State::Over) else { return };
        let mut end = End::new(line, self.manners, outgoing, incoming, net);
        if self.hurried {
            end.hurry();
        }
        self.state = State::Open(end);
    }

    fn leave(&mut self, net: &mut SimNet) {
        if let State::Answering { line, .. } = std::mem::replace(&mut self.state, State::Over) {
            line.close(net, Close::Graceful);
        }
    }
}
