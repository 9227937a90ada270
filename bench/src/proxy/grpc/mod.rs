//! GRPC mode of kube-apiserver's egress selector: each connection to the target is a `/ProxyService/Proxy` call.
//!
//! From the outside in: [`stream`] is what a workload holds; [`drive`] is the task that owns the socket; [`session`]
//! is one HTTP/2 connection with its tunnels, and [`tunnel`] one of these, by the rules of konnectivity-client;
//! [`http2`] speaks the protocol, and [`packet`], [`message`], [`frames`] are what its bytes mean. Only [`drive`],
//! [`stream`] and this file know of sockets and of the time.
//!
//! One connection per dial, as kube-apiserver does to date, or one connection for all, as its newest source does.
//!
//! Deliberately absent: waiting for the proxy's SETTINGS before the first dial (grpc-go does; a round trip on the
//! proxy's socket), keepalive (kube-apiserver configures none here), and retries.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{DialError, Stream};
use drive::Shared;
use failure::Failure;
use session::{Request, Session};
use stream::TunnelStream;

mod drive;
mod failure;
mod frames;
mod http2;
mod message;
mod packet;
mod queue;
mod session;
mod status;
mod stream;
mod tunnel;

/// What TLS has to agree on: grpc-go insists on it.
pub(super) const ALPN: &[u8] = b"h2";
/// How long DIAL_RSP may take: the backstop in konnectivity-client's DialContext.
const DIAL_TIME_MAX: Duration = Duration::from_secs(30);

/// Dials targets through one proxy in GRPC mode.
#[derive(Debug)]
pub(super) struct Client {
    request: Request,
    /// The connection that all dials share; `None` inside where there is none (any more).
    shared: Option<Mutex<Option<Arc<Shared>>>>,
}

impl Client {
    /// For a proxy on a Unix socket.
    pub(super) fn unix(path: &Path, reuse: bool) -> Self {
        Self::new(authority(&path.to_string_lossy()), "http", reuse)
    }

    /// For a proxy on TCP, `at` being `HOST:PORT`.
    pub(super) fn tcp(at: &str, tls: bool, reuse: bool) -> Self {
        Self::new(at.to_owned(), if tls { "https" } else { "http" }, reuse)
    }

    fn new(authority: String, scheme: &'static str, reuse: bool) -> Self {
        let request = Request { authority, scheme };
        Self { request, shared: reuse.then(Mutex::default) }
    }

    /// Makes one connection to the target; `connect` makes one to the proxy where it is needed.
    ///
    /// # Errors
    /// [`DialError`].
    pub(super) async fn dial<F>(
        &self,
        target: &str,
        connect: impl Fn() -> F,
    ) -> Result<Box<dyn Stream>, DialError>
    where
        F: Future<Output = Result<Box<dyn Stream>, DialError>>,
    {
        // As Go's Int63.
        let random = i64::from_ne_bytes(rand::random::<[u8; 8]>()) & i64::MAX;
        let tunnel = match &self.shared {
            Some(shared) => {
                let mut shared = shared.lock().await;
                let usable = shared.take().filter(|shared| shared.lock().is_usable());
                let usable = match usable {
                    Some(usable) => usable,
                    None => self.start(connect().await?)?,
                };
                let tunnel = TunnelStream::dial(&usable, random, target);
                *shared = Some(usable);
                tunnel?
            }
            None => {
                let own = self.start(connect().await?)?;
                let tunnel = TunnelStream::dial(&own, random, target);
                own.act(Session::no_more_dials);
                tunnel?
            }
        };
        match timeout(DIAL_TIME_MAX, tunnel.answer()).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(Failure::io(io::ErrorKind::TimedOut, "dial timeout: no DIAL_RSP in 30 s").into());
            }
        }
        Ok(Box::new(tunnel))
    }

    fn start(&self, stream: Box<dyn Stream>) -> Result<Arc<Shared>, Failure> {
        Ok(Shared::start(Session::new(self.request.clone())?, stream))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.as_mut().and_then(|shared| shared.get_mut().take()) {
            shared.act(Session::no_more_dials);
        }
    }
}

/// `:authority` of a Unix socket as grpc-go since 1.57 writes it (`encodeAuthority`), except for `@`: that stays there
/// and is encoded here, because what takes an authority apart, our own HTTP/2 library included, sees userinfo in it.
fn authority(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn authorities_are_those_of_grpc_go() {
        assert_eq!(authority("/run/x/d.sock"), "%2Frun%2Fx%2Fd.sock");
        assert_eq!(authority("/a b@c/ü"), "%2Fa%20b%40c%2F%C3%BC");
        assert_eq!(authority("konn.sock"), "konn.sock");
    }
}
