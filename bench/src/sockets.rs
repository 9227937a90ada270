//! TCP sockets with the congestion control that was asked for, set and not assumed: some machines default to BBR, and
//! a comparison under loss would compare that.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Connects, with Nagle's algorithm off (TCP_NODELAY of tcp(7)) and the congestion control (TCP_CONGESTION).
///
/// # Errors
/// What the system says of the last address tried; a congestion control that the kernel does not have or does not
/// allow is named, with where to see what it has.
pub async fn connect(at: &str, congestion_control: Option<&str>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{at} has no address"));
    for addr in lookup_host(at).await? {
        match connect_to(addr, congestion_control).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(addr: SocketAddr, congestion_control: Option<&str>) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(name) = congestion_control {
        set_congestion_control(&socket, name)?;
    }
    socket.set_nodelay(true)?;
    socket.connect(addr).await
}

/// Sets a TCP socket's congestion control; an accepted connection inherits its listener's.
///
/// # Errors
/// The kernel's refusal, with the name and the remedy.
pub fn set_congestion_control(socket: &impl std::os::fd::AsFd, name: &str) -> io::Result<()> {
    SockRef::from(socket).set_tcp_congestion(name.as_bytes()).map_err(|error| {
        let text = format!(
            "congestion control {name:?}: {error} (what this kernel allows stands in \
             /proc/sys/net/ipv4/tcp_allowed_congestion_control and tcp_available_congestion_control)"
        );
        io::Error::new(error.kind(), text)
    })
}

/// The congestion control that a TCP socket has.
///
/// # Errors
/// What the system says, for a socket that is not TCP's.
pub fn congestion_control(socket: &impl std::os::fd::AsFd) -> io::Result<String> {
    let name = SockRef::from(socket).tcp_congestion()?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// Raises the limit of open files (RLIMIT_NOFILE of getrlimit(2)) to what this process may have: a connection is a
/// descriptor. Where that is refused, dials will say so.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
