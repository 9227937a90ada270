//! One HTTP/2 connection to a proxy and the tunnels on it: one gRPC stream each. No input and output.
//!
//! Who has something to send takes turns, a frame each, as long as the windows allow and the output is not long. Wakers
//! are kept here because only here is it known whom an event concerns.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::failure::Failure;
use super::frames::FRAME_BYTES_MAX;
use super::http2::{Event, Field, Http2};
use super::status;
use super::tunnel::{Read, Tunnel};

/// Nothing more is put into the output, and nothing should be received, while this much waits there.
pub(super) const OUTPUT_BYTES_TARGET: usize = 256 * 1024;
const PATH: &str = "/ProxyService/Proxy";
const USER_AGENT: &str = concat!("adit-bench/", env!("CARGO_PKG_VERSION"));

/// What every request to one proxy has in common.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// `:authority`.
    pub(super) authority: String,
    /// `:scheme`.
    pub(super) scheme: &'static str,
}

/// Where a stream waits to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It has nothing to send.
    Nowhere,
    /// In [`Session::sending`].
    Sending,
    /// In [`Session::stopped`].
    Stopped,
}

#[derive(Debug)]
struct Entry {
    tunnel: Tunnel,
    /// The HTTP/2 stream is still one.
    live: bool,
    /// Somebody holds the tunnel's other end.
    held: bool,
    place: Place,
    dialer: Option<Waker>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    http2: Http2,
    request: Request,
    entries: HashMap<u32, Entry>,
    /// Streams with something to send and, as far as is known, room for it; each at most once.
    sending: VecDeque<u32>,
    /// Streams that the windows stopped.
    stopped: VecDeque<u32>,
    /// Streams that must be over by then, in this order: all are given the same time.
    ending: VecDeque<(Instant, u32)>,
    live: usize,
    output: Vec<u8>,
    /// There will be more dials.
    wanted: bool,
    /// Why there can be none.
    over: Option<Failure>,
    said_goodbye: bool,
}

impl Session {
    /// A connection that was just made.
    ///
    /// # Errors
    /// As [`Http2::new`].
    pub(super) fn new(request: Request) -> Result<Self, Failure> {
        Ok(Self {
            http2: Http2::new()?,
            request,
            entries: HashMap::new(),
            sending: VecDeque::new(),
            stopped: VecDeque::new(),
            ending: VecDeque::new(),
            live: 0,
            output: Vec::new(),
            wanted: true,
            over: None,
            said_goodbye: false,
        })
    }

    /// Dials on a new stream; [`Self::answer`] tells what came of it.
    ///
    /// # Errors
    /// There can be no new stream.
    pub(super) fn dial(&mut self, random: i64, address: &str) -> Result<u32, Failure> {
        if let Some(failure) = &self.over {
            return Err(failure.clone());
        }
        let stream = self.http2.open(&[
            (":method", "POST"),
            (":scheme", self.request.scheme),
            (":path", PATH),
            (":authority", &self.request.authority),
            ("content-type", "application/grpc"),
            ("user-agent", USER_AGENT),
            ("te", "trailers"),
        ])?;
        let tunnel = Tunnel::dial(random, address);
        let entry = Entry {
            tunnel,
            live: true,
            held: true,
            place: Place::Nowhere,
            dialer: None,
            reader: None,
            writer: None,
        };
        self.entries.insert(stream, entry);
        self.live += 1;
        self.settle(stream);
        Ok(stream)
    }

    /// Whether a new stream may be tried.
    pub(super) fn is_usable(&self) -> bool {
        self.over.is_none()
    }

    /// Says that no more dials will come: the connection ends with its last tunnel.
    pub(super) fn no_more_dials(&mut self) {
        self.wanted = false;
    }

    /// Waits for the answer to a dial.
    pub(super) fn answer(&mut self, stream: u32, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll(stream, |entry| {
            let answer = entry.tunnel.answer();
            keep(&mut entry.dialer, answer.is_none(), cx);
            answer
        })
    }

    /// Reads; 0 bytes are the end.
    pub(super) fn read(
        &mut self,
        stream: u32,
        buf: &mut [u8],
        cx: &Context<'_>,
    ) -> Poll<Result<usize, Failure>> {
        self.poll(stream, |entry| {
            let answer = match entry.tunnel.read(buf) {
                Read::Some(count) => Some(Ok(count)),
                Read::End(result) => Some(result.map(|()| 0)),
                Read::Wait => None,
            };
            keep(&mut entry.reader, answer.is_none(), cx);
            answer
        })
    }

    /// Writes.
    pub(super) fn write(
        &mut self,
        stream: u32,
        bytes: &[u8],
        cx: &Context<'_>,
    ) -> Poll<Result<usize, Failure>> {
        self.poll(stream, |entry| {
            let answer = entry.tunnel.write(bytes).transpose();
            keep(&mut entry.writer, answer.is_none(), cx);
            answer
        })
    }

    /// Closes both directions of a tunnel.
    pub(super) fn close(&mut self, stream: u32, now: Instant) {
        self.finish(stream, |entry| entry.tunnel.close(now));
    }

    /// The tunnel's other end is gone.
    pub(super) fn abandon(&mut self, stream: u32, now: Instant) {
        self.finish(stream, |entry| {
            entry.held = false;
            entry.tunnel.abandon(now);
        });
    }

    fn finish(&mut self, stream: u32, act: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&stream) else { return };
        let before = entry.tunnel.deadline();
        act(entry);
        if let (None, Some(until)) = (before, entry.tunnel.deadline()) {
            self.ending.push_back((until, stream));
        }
        self.settle(stream);
    }

    fn poll<T>(
        &mut self,
        stream: u32,
        ask: impl FnOnce(&mut Entry) -> Option<Result<T, Failure>>,
    ) -> Poll<Result<T, Failure>> {
        let Some(entry) = self.entries.get_mut(&stream) else {
            return Poll::Ready(Err(Failure::malformed("no such tunnel")));
        };
        let answer = ask(entry);
        self.settle(stream);
        answer.map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes what was read from the connection.
    pub(super) fn receive(&mut self, input: &[u8]) {
        let mut events = Vec::new();
        let received = self.http2.receive(input, &mut events);
        for event in events {
            self.event(event);
        }
        if let Err(failure) = received {
            self.end(&failure);
        }
        self.output.extend(self.http2.output());
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Fields { stream, fields, end } => self.tunnel(stream, |tunnel| head(tunnel, &fields, end)),
            Event::Data { stream, bytes, window_bytes, end } => self.tunnel(stream, |tunnel| {
                tunnel.receive(&bytes, window_bytes);
                if end {
                    tunnel.end_early();
                }
            }),
            Event::Reset { stream, code } => self.tunnel(stream, |tunnel| {
                let text = format!("the proxy reset the stream: {code}");
                tunnel.end(Err(Failure::io(std::io::ErrorKind::ConnectionReset, text)));
            }),
            Event::Goaway { last, code, debug } => {
                let text = format!("the proxy sent GOAWAY: {code} {debug:?}");
                let failure = Failure::io(std::io::ErrorKind::ConnectionAborted, text);
                let lost: Vec<u32> = self.entries.keys().copied().filter(|stream| *stream > last).collect();
                for stream in lost {
                    self.tunnel(stream, |tunnel| tunnel.end(Err(failure.clone())));
                }
                self.over.get_or_insert(failure);
                self.wanted = false;
            }
            Event::Window { stream: Some(stream) } => {
                if self.entries.get(&stream).is_some_and(|entry| entry.place == Place::Stopped) {
                    self.stopped.retain(|stopped| *stopped != stream);
                    self.resume(stream);
                }
            }
            Event::Window { stream: None } => {
                for stream in std::mem::take(&mut self.stopped) {
                    self.resume(stream);
                }
            }
        }
    }

    /// A stream that was stopped may have room again.
    fn resume(&mut self, stream: u32) {
        if let Some(entry) = self.entries.get_mut(&stream) {
            entry.place = Place::Nowhere;
            self.settle(stream);
        }
    }

    fn tunnel(&mut self, stream: u32, act: impl FnOnce(&mut Tunnel)) {
        // What still comes for a stream that we ended concerns nobody.
        if let Some(entry) = self.entries.get_mut(&stream).filter(|entry| entry.live) {
            act(&mut entry.tunnel);
            self.settle(stream);
        }
    }

    /// Does what a tunnel's new state asks for.
    fn settle(&mut self, stream: u32) {
        let Some(entry) = self.entries.get_mut(&stream) else { return };
        if entry.live && (entry.tunnel.is_over() || entry.tunnel.has_left()) {
            entry.live = false;
            self.live -= 1;
            entry.tunnel.end(Ok(()));
            self.http2.cancel(stream);
        }
        if entry.live {
            if let Some(bytes) = entry.tunnel.credit() {
                // Refused only where more would be given than was taken, which the tunnel counts.
                let _ = self.http2.credit(stream, bytes);
            }
            if entry.place == Place::Nowhere && !entry.tunnel.outgoing().is_empty() {
                entry.place = Place::Sending;
                self.sending.push_back(stream);
            }
        }
        if entry.tunnel.answer().is_some() {
            wake(&mut entry.dialer);
        }
        if entry.tunnel.is_readable() {
            wake(&mut entry.reader);
        }
        if entry.tunnel.is_writable() {
            wake(&mut entry.writer);
        }
        if !entry.live && !entry.held {
            self.entries.remove(&stream);
        }
    }

    /// Moves what waits into the output, as far as windows and output allow, and gives up what is late.
    fn pump(&mut self, now: Instant) {
        while self.deadline().is_some_and(|until| until <= now) {
            if let Some((_, stream)) = self.ending.pop_front() {
                self.tunnel(stream, |tunnel| tunnel.late(now));
            }
        }
        self.output.extend(self.http2.output());
        while self.output.len() < OUTPUT_BYTES_TARGET {
            let Some(stream) = self.sending.pop_front() else { break };
            self.turn(stream);
            self.output.extend(self.http2.output());
        }
        if self.is_finished() && !self.said_goodbye {
            self.said_goodbye = true;
            self.http2.goaway();
            self.output.extend(self.http2.output());
        }
    }

    /// One stream sends a frame.
    fn turn(&mut self, stream: u32) {
        let Some(entry) = self.entries.get_mut(&stream) else { return };
        entry.place = Place::Nowhere;
        if !entry.live {
            return;
        }
        let waiting = entry.tunnel.outgoing();
        let count = waiting.len().min(self.http2.sendable_bytes(stream)).min(FRAME_BYTES_MAX);
        if count > 0 {
            match self.http2.send(stream, &waiting.bytes()[..count]) {
                Ok(()) => waiting.consume(count),
                Err(failure) => entry.tunnel.end(Err(failure)),
            }
            self.settle(stream);
        } else if !waiting.is_empty() {
            entry.place = Place::Stopped;
            self.stopped.push_back(stream);
        }
    }

    /// What is to be written next, once what was handed out before is.
    pub(super) fn output(&mut self, now: Instant) -> Vec<u8> {
        self.pump(now);
        std::mem::take(&mut self.output)
    }

    /// How much waits to be handed out.
    pub(super) fn output_bytes(&self) -> usize {
        self.output.len()
    }

    /// Whether [`Self::output`] would have something new.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || !self.sending.is_empty() || self.http2.has_output()
    }

    /// When [`Self::output`] is to be asked again even if nothing happened.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        while let Some((until, stream)) = self.ending.front() {
            if self.entries.get(stream).is_some_and(|entry| entry.live) {
                return Some(*until);
            }
            self.ending.pop_front();
        }
        None
    }

    /// Whether the connection has no further use.
    pub(super) fn is_finished(&self) -> bool {
        !self.wanted && self.live == 0
    }

    /// The connection is lost, or must be.
    pub(super) fn end(&mut self, failure: &Failure) {
        self.over.get_or_insert_with(|| failure.clone());
        self.wanted = false;
        let streams: Vec<u32> = self.entries.keys().copied().collect();
        for stream in streams {
            self.tunnel(stream, |tunnel| tunnel.end(Err(failure.clone())));
        }
    }
}

/// Header fields of a response, or its trailers.
fn head(tunnel: &mut Tunnel, fields: &[Field], end: bool) {
    match status::refusal(fields) {
        Some(failure) => tunnel.end(Err(failure)),
        None if end => tunnel.end_early(),
        None => {}
    }
}

fn keep(place: &mut Option<Waker>, wanted: bool, cx: &Context<'_>) {
    match place {
        Some(waker) if wanted => waker.clone_from(cx.waker()),
        _ => *place = wanted.then(|| cx.waker().clone()),
    }
}

fn wake(place: &mut Option<Waker>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use shiguredo_http2::frame::StreamId;
    use shiguredo_http2::{Connection, Event as Raw, HeaderField, Limits};

    use super::super::packet::data;
    use super::super::packet::tests::{close_rsp, dial_rsp};
    use super::{Request, Session};

    /// A session, and a server that answers what it is told to.
    struct Pair {
        session: Session,
        server: Connection,
        /// How many bytes came on each stream.
        received: std::collections::BTreeMap<u32, usize>,
    }

    impl Pair {
        fn new() -> Self {
            let request = Request { authority: "x".to_owned(), scheme: "http" };
            let mut server = Connection::server(Limits::default());
            server.initiate().unwrap();
            Self { session: Session::new(request).unwrap(), server, received: Default::default() }
        }

        fn exchange(&mut self) {
            loop {
                let output = self.session.output(Instant::now());
                self.server.feed(&output).unwrap();
                self.server.process().unwrap();
                while let Some(event) = self.server.poll_event() {
                    if let Raw::DataReceived { stream_id, data, .. } = event {
                        *self.received.entry(stream_id.as_u32()).or_default() += data.len();
                    }
                }
                match self.server.poll_output() {
                    Some(input) => self.session.receive(&input),
                    None => return,
                }
            }
        }

        /// Dials, and gets a good answer with this connection's ID.
        fn open(&mut self, connect_id: i64) -> u32 {
            let stream = self.session.dial(5, "h:1").unwrap();
            self.exchange();
            let id = StreamId::from_wire(stream);
            let head = vec![HeaderField::new(":status", "200").unwrap()];
            self.server.send_response(id, head, false).unwrap();
            self.say(stream, &dial_rsp(5, connect_id, ""));
            assert_eq!(self.session.answer(stream, &context()), Poll::Ready(Ok(())));
            stream
        }

        fn say(&mut self, stream: u32, message: &[u8]) {
            self.server.send_data(StreamId::from_wire(stream), message.to_vec(), false).unwrap();
            self.exchange();
        }

        /// Writes until nothing more is taken.
        fn fill(&mut self, stream: u32) {
            while self.session.write(stream, &[7; 16_384], &context()).is_ready() {}
        }
    }

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn streams_that_a_window_stopped_go_on_in_turns_when_there_is_room() {
        let mut pair = Pair::new();
        let streams = [pair.open(1), pair.open(2), pair.open(3)];
        for _ in 0..20 {
            streams.iter().for_each(|stream| pair.fill(*stream));
            pair.exchange();
        }
        let before = pair.received.clone();
        assert!(before.values().sum::<usize>() <= 65_535, "{before:?}");
        // Room for each, and none for all: nothing moves.
        for stream in streams {
            pair.server.send_window_update(StreamId::from_wire(stream), 1 << 20).unwrap();
        }
        pair.exchange();
        assert_eq!(pair.received, before);
        for _ in 0..30 {
            pair.server.send_window_update(StreamId::Connection, 10_000).unwrap();
            pair.exchange();
            streams.iter().for_each(|stream| pair.fill(*stream));
        }
        for (stream, received) in &pair.received {
            let share = received - before[stream];
            assert!((80_000..=120_000).contains(&share), "{:?} after {before:?}", pair.received);
        }
    }

    #[test]
    fn the_connection_ends_with_its_last_tunnel() {
        let mut pair = Pair::new();
        let stream = pair.open(1);
        pair.session.no_more_dials();
        pair.say(stream, &data(1, b"xy"));
        assert!(!pair.session.is_finished());
        pair.say(stream, &close_rsp(1, ""));
        assert!(pair.session.is_finished());
        // What came before the end is still there, and then the end is.
        let mut buf = [0; 9];
        assert_eq!(pair.session.read(stream, &mut buf, &context()), Poll::Ready(Ok(2)));
        assert_eq!(pair.session.read(stream, &mut buf, &context()), Poll::Ready(Ok(0)));
        pair.session.abandon(stream, Instant::now());
        assert!(pair.session.entries.is_empty());
    }

    #[test]
    fn a_tunnel_that_nobody_closes_for_us_is_given_up() {
        let mut pair = Pair::new();
        let stream = pair.open(1);
        let now = Instant::now();
        pair.session.abandon(stream, now);
        let until = pair.session.deadline().unwrap();
        assert_eq!(until - now, std::time::Duration::from_secs(10));
        pair.exchange();
        assert_eq!(pair.session.live, 1);
        pair.session.output(until);
        assert_eq!((pair.session.live, pair.session.deadline()), (0, None));
        assert!(pair.session.entries.is_empty());
    }
}
