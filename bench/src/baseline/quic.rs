//! `quinn-baseline`: a forward port, one bidirectional QUIC stream per TCP connection, and an agent that dials out to
//! the server and connects each stream to the target.
//!
//! The server makes a certificate and writes it down; the agent trusts that one and no other. A stream begins with one
//! byte from the server, because quinn tells its peer of a stream with the first byte only, and a target may be the
//! one that speaks first.
//!
//! Cipher suites, windows and congestion control are quinn's and rustls' defaults; only the number of streams is not,
//! because the default of 100 would leave the 101st connection waiting for ever.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, RootCertStore};

use super::Failure;

/// The protocol's name in the handshake.
const ALPN: &[u8] = b"adit-bench-baseline";
/// The name in the server's certificate.
const SERVER_NAME: &str = "baseline";
/// Streams at once.
const STREAMS_MAX: u32 = 16_384;
/// quinn ends connections that are silent for 30 s.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// What a stream begins with.
const OPENING: [u8; 1] = [0];

/// What the server is told.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// TCP address whose connections are forwarded.
    pub listen: SocketAddr,
    /// UDP address for the agent.
    pub quic: SocketAddr,
    /// Where to write the certificate (PEM).
    pub cert_out: PathBuf,
}

/// What the agent is told.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The server's UDP address.
    pub server: SocketAddr,
    /// The server's certificate (PEM).
    pub cert: PathBuf,
    /// Where each stream is connected to.
    pub target: String,
}

/// Serves until its listener fails. Says `listening on ADDR` on standard output when it does.
///
/// # Errors
/// An address that cannot be bound, or a certificate that cannot be written.
pub async fn server(options: ServerOptions) -> Result<(), Failure> {
    let endpoint = Endpoint::server(server_config(&options.cert_out)?, options.quic)?;
    let listener = TcpListener::bind(options.listen).await?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    io::stdout().flush()?;
    let (newest, agent) = watch::channel(None);
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            match incoming.await {
                Ok(connection) => drop(newest.send_replace(Some(connection))),
                Err(error) => complain("an agent", &error),
            }
        }
    });
    loop {
        let (socket, _) = listener.accept().await?;
        let agent = agent.borrow().clone();
        tokio::spawn(async move {
            if let Err(error) = forward(socket, agent).await {
                complain("a connection", &error);
            }
        });
    }
}

/// Connects to the server and serves its streams until the connection ends. Says `connected` on standard output.
///
/// # Errors
/// No connection, or its end.
pub async fn agent(options: AgentOptions) -> Result<(), Failure> {
    let unspecified: SocketAddr =
        if options.server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let endpoint = Endpoint::client(unspecified)?;
    let connecting = endpoint.connect_with(client_config(&options.cert)?, options.server, SERVER_NAME)?;
    let connection = connecting.await?;
    writeln!(io::stdout(), "connected")?;
    io::stdout().flush()?;
    loop {
        let (send, receive) = connection.accept_bi().await?;
        let target = options.target.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(send, receive, &target).await {
                complain("a stream", &error);
            }
        });
    }
}

async fn forward(socket: TcpStream, agent: Option<Connection>) -> Result<(), Failure> {
    let agent = agent.ok_or("no agent is connected")?;
    let (mut send, receive) = agent.open_bi().await?;
    send.write_all(&OPENING).await?;
    splice(socket, send, receive).await
}

async fn serve(send: SendStream, mut receive: RecvStream, target: &str) -> Result<(), Failure> {
    receive.read_exact(&mut [0; OPENING.len()]).await?;
    splice(TcpStream::connect(target).await?, send, receive).await
}

async fn splice(mut socket: TcpStream, mut send: SendStream, mut receive: RecvStream) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let copied =
        tokio::io::copy_bidirectional(&mut socket, &mut tokio::io::join(&mut receive, &mut send)).await;
    if copied.is_err() {
        // Dropped, the stream would end as if all had been said. It may have ended already.
        let _ = send.reset(1u32.into());
    }
    copied?;
    Ok(())
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS_MAX.into()).keep_alive_interval(Some(KEEP_ALIVE));
    Arc::new(transport)
}

fn server_config(cert_out: &Path) -> Result<ServerConfig, Failure> {
    let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
    std::fs::write(cert_out, made.cert.pem()).map_err(|error| format!("{}: {error}", cert_out.display()))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

fn client_config(cert: &Path) -> Result<ClientConfig, Failure> {
    let certificate =
        CertificateDer::from_pem_file(cert).map_err(|error| format!("{}: {error}", cert.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

fn complain(about: &str, error: &dyn std::fmt::Display) {
    // Nothing is left to be told where this cannot be.
    let _ = writeln!(io::stderr(), "{about}: {error}");
}
