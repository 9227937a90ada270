//! What only the io_uring driver has; what it shares with the others is in the conformance suite.

mod buffers;
mod datagrams;
mod denied;
mod ends;
mod turns;
mod zero_copy;

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use adit_io::net::OwnedSocket;
use adit_io::uring::UringDriver;
use adit_io::{Completion, Driver, DriverConfig, Op, Shots, SlotSize, SocketId, Token};

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

const SMALL: DriverConfig =
    DriverConfig { ops_max: 1024, sockets_max: 64, small_slots: 8, large_slots: 8, datagram_slots: 32 };

/// A driver, and what came out of it and was not asked for yet.
struct Bench {
    driver: UringDriver,
    arrived: Vec<Completion>,
    last_token: u64,
}

impl Bench {
    fn new() -> Self {
        Self::sized(&SMALL)
    }

    fn sized(config: &DriverConfig) -> Self {
        let driver = UringDriver::new(config).unwrap_or_else(|error| panic!("{error}"));
        Self { driver, arrived: Vec::new(), last_token: 0 }
    }

    fn token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn adopt(&mut self, socket: impl Into<OwnedSocket>) -> SocketId {
        self.driver.adopt(socket.into()).expect("room in the table")
    }

    fn submit(&mut self, op: Op) -> Token {
        let token = self.token();
        self.driver.submit(op, token).expect("room for an operation");
        token
    }

    fn recv(&mut self, socket: SocketId, shots: Shots) -> Token {
        self.submit(Op::Recv { socket, slot: SlotSize::Small, shots })
    }

    /// One turn that does not wait.
    fn poll(&mut self) {
        let now = Instant::now();
        self.driver.turn(Some(now), 64, &mut self.arrived).expect("the ring works");
    }

    /// Takes turns until `done` gives something.
    #[track_caller]
    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            assert!(Instant::now() < limit, "it does not come; there is {:?}", self.arrived);
            let deadline = Instant::now() + Duration::from_millis(50);
            self.driver.turn(Some(deadline), 64, &mut self.arrived).expect("the ring works");
        }
    }

    /// The next completion of this operation.
    #[track_caller]
    fn next(&mut self, token: Token) -> Completion {
        self.until(|bench| {
            let at = bench.arrived.iter().position(|completion| completion.token == token)?;
            Some(bench.arrived.remove(at))
        })
    }
}

/// A connected pair: in the driver, and outside.
fn tcp_pair(bench: &mut Bench) -> (SocketId, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let outside = TcpStream::connect(listener.local_addr().expect("bound")).expect("a listener");
    outside.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let (inside, _) = listener.accept().expect("connected");
    (bench.adopt(inside), outside)
}
