//! Ports of loopback's for whoever needs a number before somebody listens there, or where nobody ever does.

use std::net::{Ipv4Addr, SocketAddr};

use rand::RngExt as _;
use socket2::{Domain, Socket, Type};

/// Below what Linux gives to those that ask for any port (`net.ipv4.ip_local_port_range`, from 32768 on): nobody gets
/// one of these by chance.
const UNASKED: std::ops::Range<u16> = 20_000..32_000;

/// A port that is kept from others: whoever connects is refused, and whoever asks for it by its number may listen there
/// over TCP.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    address: SocketAddr,
    _socket: Socket,
}

impl ReservedPort {
    /// A port of 127.0.0.1.
    pub(crate) fn new() -> Self {
        let mut rng = rand::rng();
        let reserved = (0..100).find_map(|_| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rng.random_range(UNASKED)));
            // Over UDP it is to be free as well.
            std::net::UdpSocket::bind(address).ok()?;
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            // Bound and no listener: others that say so may bind it as well.
            socket.set_reuse_address(true).expect("an option of every socket");
            socket.bind(&address.into()).ok()?;
            Some(Self { address, _socket: socket })
        });
        reserved.expect("one of a hundred ports is free")
    }

    /// Where it is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}
