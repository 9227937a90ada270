//! The server's port for agents: UDP for QUIC, and TCP of the same number for those whose network lets no UDP pass and
//! for Konnectivity's agents.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_io::net::OwnedSocket;

use crate::config::Bind;
use crate::udp::NotBound;
use crate::{tcp, udp};

/// Free UDP ports that are tried where any will do: the TCP port of the same number may be taken.
const TRIES: usize = 16;
/// How long a port that is taken is waited for: a process that was killed a moment ago may still have it, because the
/// kernel takes io_uring's sockets down behind the process's end.
const TAKEN_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two looks at it.
const TAKEN_PAUSE: Duration = Duration::from_millis(50);

/// What agents connect to, one of each for each shard, in shard order.
#[derive(Debug)]
pub(crate) struct AgentPort {
    /// For QUIC.
    pub(crate) udp: Vec<OwnedSocket>,
    /// For TLS over TCP.
    pub(crate) tcp: Vec<OwnedSocket>,
    /// Where.
    pub(crate) address: SocketAddr,
}

/// Binds both.
///
/// # Errors
/// The text to show.
pub(crate) async fn bind(at: &Bind, shards: u8) -> Result<AgentPort, String> {
    let until = Instant::now() + TAKEN_TIME_MAX;
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_once(at, shards).await {
            Ok(port) => return Ok(port),
            Err(error) if error.is_taken && at.port == 0 && tries < TRIES => {}
            Err(error) if error.is_taken && at.port != 0 && Instant::now() < until => {
                tokio::time::sleep(TAKEN_PAUSE).await;
            }
            Err(error) => return Err(error.text),
        }
    }
}

/// As [`bind`], once.
async fn bind_once(at: &Bind, shards: u8) -> Result<AgentPort, NotBound> {
    let (udp, address) = udp::bind_for_agents(at, shards).await?;
    let tcp = tcp::bind_agents(address, shards).map_err(|error| told(&error, address))?;
    Ok(AgentPort { udp, tcp, address })
}

fn told(error: &io::Error, address: SocketAddr) -> NotBound {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there: stop it, or choose an --agent-port that is free for both UDP and TCP"
        }
        io::ErrorKind::PermissionDenied => "choose a port above 1023, or allow this user to bind it",
        _ => "check --agent-bind-address",
    };
    let text = format!("--agent-port: cannot listen on TCP port {}: {error}: {remedy}", address.port());
    NotBound { text, is_taken: error.kind() == io::ErrorKind::AddrInUse }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::BindHost;

    fn at(port: u16) -> Bind {
        Bind { host: BindHost::parse("127.0.0.1").unwrap(), port }
    }

    #[tokio::test]
    async fn udp_and_tcp_have_one_number_for_every_shard() {
        for shards in [1, 2] {
            let port = bind(&at(0), shards).await.unwrap();
            assert_eq!((port.udp.len(), port.tcp.len()), (usize::from(shards), usize::from(shards)));
            for socket in port.udp.iter().chain(&port.tcp) {
                assert_eq!(socket.local_addr(), Some(port.address));
            }
        }
    }

    #[tokio::test]
    async fn a_tcp_port_that_another_listens_on_is_refused_with_the_remedy() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(&at(held.local_addr().unwrap().port()), 1).await.unwrap_err();
        assert!(error.contains("--agent-port") && error.contains("free for both UDP and TCP"), "{error}");
    }
}
