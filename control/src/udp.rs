//! The UDP sockets of the tunnel's own traffic: where they are bound, how large datagrams may get on them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_dataplane::limits::{MTU_INITIAL, MTU_MAX};
use adit_dataplane::quic::SHARD_BITS;
use adit_io::net::{OwnedSocket, UdpOptions, bind_udp, mtu, steer_to_shards};

use crate::config::{Bind, BindHost};

/// Buffer to ask the kernel for: a few trains of 64 KiB for each of many connections. What it grants is up to
/// `net.core.rmem_max` and `wmem_max`.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Granted less than this (as the kernel counts, twice the payload), bulk transfers suffer.
const BUFFER_BYTES_ENOUGH: usize = 1024 * 1024;

const OPTIONS: UdpOptions = UdpOptions {
    reuse_port: false,
    receive_buffer_bytes: Some(BUFFER_BYTES),
    send_buffer_bytes: Some(BUFFER_BYTES),
    gro: true,
};

/// One of several sockets on one address.
const SHARED: UdpOptions = UdpOptions { reuse_port: true, ..OPTIONS };

/// Why a port could not be had.
#[derive(Debug)]
pub(crate) struct NotBound {
    /// The text to show.
    pub(crate) text: String,
    /// Somebody else has it.
    pub(crate) is_taken: bool,
}

/// Binds the server's sockets for agents, one for each shard, in shard order, on one address.
///
/// # Errors
/// [`NotBound`].
pub(crate) async fn bind_for_agents(
    at: &Bind,
    shards: u8,
) -> Result<(Vec<OwnedSocket>, SocketAddr), NotBound> {
    let told = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "choose another --agent-port, or 0 for any free one",
            io::ErrorKind::AddrNotAvailable => "name an address of this host as --agent-bind-address",
            _ => "check --agent-bind-address",
        };
        let text = format!("--agent-port: cannot listen on UDP port {}: {error}: {remedy}", at.port);
        NotBound { text, is_taken: error.kind() == io::ErrorKind::AddrInUse }
    };
    let bound = match &at.host {
        BindHost::All => bind_all(at.port).map_err(told)?,
        BindHost::Ip(ip) => bind_udp(SocketAddr::new(*ip, at.port), &OPTIONS).map_err(told)?,
        BindHost::Name(name) => {
            let mut found = tokio::net::lookup_host((name.as_str(), at.port)).await.map_err(told)?;
            let address = found.next().ok_or_else(|| told(io::ErrorKind::AddrNotAvailable.into()))?;
            bind_udp(address, &OPTIONS).map_err(told)?
        }
    };
    check_buffer(&bound.0);
    let (alone, address) = bound;
    if shards == 1 {
        return Ok((vec![alone], address));
    }
    // A port that others may share would let a second server in unseen; the first socket showed that it is free.
    drop(alone);
    let sockets = (0..shards)
        .map(|_| bind_udp(address, &SHARED).map(|(socket, _)| socket))
        .collect::<io::Result<Vec<_>>>()
        .map_err(told)?;
    steer_to_shards(&sockets[0], shards, SHARD_BITS).map_err(|error| {
        let text = format!(
            "--shards {shards}: the kernel does not steer datagrams to shards (SO_ATTACH_REUSEPORT_CBPF): {error}: \
             use --shards 1"
        );
        NotBound { text, is_taken: false }
    })?;
    Ok((sockets, address))
}

/// Binds the agent's socket: any port, both families where the host has both.
///
/// # Errors
/// The text to show.
pub(crate) fn bind_for_servers() -> Result<OwnedSocket, String> {
    let (socket, _) = bind_all(0).map_err(|error| format!("cannot open a UDP socket: {error}"))?;
    check_buffer(&socket);
    Ok(socket)
}

/// Every address of both families, or IPv4 alone where there is no IPv6.
fn bind_all(port: u16) -> io::Result<(OwnedSocket, SocketAddr)> {
    match bind_udp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), &OPTIONS) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind_udp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), &OPTIONS)
        }
        bound => bound,
    }
}

fn check_buffer(socket: &OwnedSocket) {
    if let Ok(granted) = socket.receive_buffer_bytes()
        && granted < BUFFER_BYTES_ENOUGH
    {
        tracing::warn!(
            granted_bytes = granted,
            remedy = "sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608",
            "the kernel grants a small UDP receive buffer; bulk transfers may lose packets"
        );
    }
}

/// The largest UDP payload of a server: of the interfaces it listens on, capped by `--mtu-max`.
pub(crate) fn server_mtu(local: IpAddr, cap: Option<u16>) -> u16 {
    within(mtu::listen_payload_bytes(local), cap)
}

/// The largest UDP payload of an agent: of the interface towards the server, or where it is not known yet of any.
pub(crate) fn agent_mtu(server: Option<SocketAddr>, cap: Option<u16>) -> u16 {
    let any = || mtu::listen_payload_bytes(Ipv4Addr::UNSPECIFIED.into());
    within(server.map_or_else(any, |address| mtu::egress_payload_bytes(address).or_else(|_| any())), cap)
}

fn within(found: io::Result<u16>, cap: Option<u16>) -> u16 {
    found.unwrap_or(MTU_INITIAL).min(cap.unwrap_or(MTU_MAX)).clamp(MTU_INITIAL, MTU_MAX)
}
