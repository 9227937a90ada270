//! The harness of the drivers that run on this machine's kernel: loopback sockets, free ports.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use socket2::{Domain, Socket, Type};

use super::Harness;
use crate::driver::{DatagramDriver, DriverKind, SocketId};
use crate::error::StartError;
use crate::net::{OwnedSocket, UdpOptions, bind_udp};
use crate::select::DriverConfig;

/// A [`Harness`] for a driver of [`OwnedSocket`]s: io_uring's if `URING`, else epoll's.
#[derive(Debug)]
pub struct Kernel<D, const URING: bool> {
    start: fn(&DriverConfig) -> Result<D, StartError>,
    /// Sockets that keep a port from being given to anybody else.
    held: RefCell<Vec<OwnedFd>>,
}

impl<D, const URING: bool> Kernel<D, URING> {
    /// `start` makes a driver of the given size.
    pub const fn new(start: fn(&DriverConfig) -> Result<D, StartError>) -> Self {
        Self { start, held: RefCell::new(Vec::new()) }
    }

    fn start(&self, config: DriverConfig) -> D {
        match (self.start)(&config.clamped()) {
            Ok(driver) => driver,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<D, const URING: bool> Harness for Kernel<D, URING>
where
    D: DatagramDriver<Socket = OwnedSocket>,
{
    type D = D;
    const KIND: DriverKind = if URING { DriverKind::Uring } else { DriverKind::Epoll };

    fn driver(&self) -> D {
        self.start(DriverConfig {
            ops_max: 1024,
            sockets_max: 256,
            small_slots: 64,
            large_slots: 64,
            datagram_slots: 64,
        })
    }

    fn small_driver(&self) -> D {
        self.start(DriverConfig {
            ops_max: 0,
            sockets_max: 0,
            small_slots: 0,
            large_slots: 0,
            datagram_slots: 0,
        })
    }

    fn stream_pair(&self, driver: &mut D) -> (SocketId, SocketId) {
        let (a, b) = UnixStream::pair().expect("a Unix pair");
        (adopt(driver, a), adopt(driver, b))
    }

    fn tcp_pair(&self, driver: &mut D) -> (SocketId, SocketId) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let a = TcpStream::connect(addr).expect("a listener");
        let (b, _) = listener.accept().expect("connected");
        (adopt(driver, a), adopt(driver, b))
    }

    fn listener(&self, driver: &mut D) -> (SocketId, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        (adopt(driver, listener), addr)
    }

    fn udp_pair(&self, driver: &mut D) -> ((SocketId, SocketAddr), (SocketId, SocketAddr)) {
        (bound(driver), bound(driver))
    }

    fn refusing_tcp_addr(&self, _driver: &mut D) -> SocketAddr {
        // Bound, so that nobody else gets the port, but not listening.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let addr = socket.local_addr().expect("bound").as_socket().expect("an internet address");
        self.held.borrow_mut().push(socket.into());
        addr
    }

    fn unreachable_udp_addr(&self, _driver: &mut D) -> SocketAddr {
        // Bound, so that nobody else gets the port, but connected elsewhere: datagrams of others find no socket.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let addr = socket.local_addr().expect("bound");
        socket.connect(addr).expect("to itself");
        self.held.borrow_mut().push(socket.into());
        addr
    }
}

fn bound<D: DatagramDriver<Socket = OwnedSocket>>(driver: &mut D) -> (SocketId, SocketAddr) {
    let options = UdpOptions { gro: true, receive_buffer_bytes: Some(1024 * 1024), ..UdpOptions::default() };
    let (socket, addr) = bind_udp(SocketAddr::from(([127, 0, 0, 1], 0)), &options).expect("a free port");
    (adopt(driver, socket), addr)
}

fn adopt<D: DatagramDriver<Socket = OwnedSocket>>(
    driver: &mut D,
    socket: impl Into<OwnedSocket>,
) -> SocketId {
    driver.adopt(socket.into()).expect("the table has room")
}
