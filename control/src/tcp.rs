//! The TCP sockets on which frontends, and agents over TCP, are accepted: one for each shard, all on one port.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use adit_io::net::OwnedSocket;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::{Bind, BindHost};

/// Connections that may wait to be accepted, for each shard; the kernel's `net.core.somaxconn` may say less.
const BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether the peer is still there. A tunnel whose frontend vanished without a
/// word, or has finished sending and gone, is found out by nothing else.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Between such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered ones after which the connection is broken.
const KEEPALIVE_RETRIES: u32 = 3;

/// Binds and listens, once for each shard; the kernel spreads connections over them (`SO_REUSEPORT`, socket(7)). Port
/// 0 is any free one, the same for all.
///
/// # Errors
/// The text to show: it names the flag and the remedy.
pub(crate) async fn bind_frontends(at: &Bind, shards: u8) -> Result<(Vec<OwnedSocket>, SocketAddr), String> {
    let told = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or choose another --server-port"
            }
            io::ErrorKind::AddrNotAvailable => "name an address of this host as --server-bind-address",
            io::ErrorKind::PermissionDenied => "choose a port above 1023, or allow this user to bind it",
            _ => "check --server-bind-address",
        };
        format!("--server-port: cannot listen on TCP port {}: {error}: {remedy}", at.port)
    };
    let bound = match &at.host {
        BindHost::All => match bind_all((Ipv6Addr::UNSPECIFIED, at.port).into(), shards) {
            // No IPv6 here.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                bind_all((Ipv4Addr::UNSPECIFIED, at.port).into(), shards)
            }
            bound => bound,
        },
        BindHost::Ip(ip) => bind_all(SocketAddr::new(*ip, at.port), shards),
        BindHost::Name(name) => {
            let mut found = tokio::net::lookup_host((name.as_str(), at.port)).await.map_err(told)?;
            let address = found.next().ok_or_else(|| told(io::ErrorKind::AddrNotAvailable.into()))?;
            bind_all(address, shards)
        }
    };
    bound.map_err(told)
}

/// Binds and listens where agents' datagrams come to, too, once for each shard.
///
/// # Errors
/// As the kernel says; [`io::ErrorKind::AddrInUse`] where the TCP port of that number is somebody else's.
pub(crate) fn bind_agents(at: SocketAddr, shards: u8) -> io::Result<Vec<OwnedSocket>> {
    bind_all(at, shards).map(|(sockets, _)| sockets)
}

fn bind_all(at: SocketAddr, shards: u8) -> io::Result<(Vec<OwnedSocket>, SocketAddr)> {
    // Another process of this user could share the port, and get a part of the frontends, without anybody noticing. A
    // socket that does not agree to share is refused then.
    let first = bind(at, false)?;
    let address = TcpListener::from(first.try_clone()?).local_addr()?;
    if shards <= 1 {
        return Ok((vec![listening(first)?], address));
    }
    drop(first);
    let sockets = (0..shards).map(|_| listening(bind(address, true)?)).collect::<io::Result<_>>()?;
    Ok((sockets, address))
}

fn bind(at: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    // A restart must not wait for the connections of the process before (TIME_WAIT).
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<OwnedSocket> {
    // Accepted sockets inherit it (tcp(7): options of the listening socket).
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.listen(BACKLOG)?;
    Ok(OwnedSocket::from(TcpListener::from(socket)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    fn at(port: u16) -> Bind {
        Bind { host: BindHost::parse("127.0.0.1").unwrap(), port }
    }

    #[tokio::test]
    async fn every_shard_has_a_socket_on_the_same_free_port() {
        let (sockets, address) = bind_frontends(&at(0), 3).await.unwrap();
        assert_ne!(address.port(), 0);
        assert_eq!(sockets.len(), 3);
        for socket in &sockets {
            assert_eq!(socket.local_addr(), Some(address));
        }
    }

    #[tokio::test]
    async fn a_port_that_another_listens_on_is_refused_even_if_it_would_share() {
        for shards in [1, 2] {
            let (_held, address) = bind_frontends(&at(0), 2).await.unwrap();
            let error = bind_frontends(&at(address.port()), shards).await.unwrap_err();
            assert!(error.contains("--server-port") && error.contains("another process"), "{error}");
        }
    }

    #[tokio::test]
    async fn accepted_sockets_are_asked_whether_they_are_still_there() {
        let (mut sockets, address) = bind_frontends(&at(0), 1).await.unwrap();
        let listener = TcpListener::try_from(sockets.remove(0)).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
    }
}
