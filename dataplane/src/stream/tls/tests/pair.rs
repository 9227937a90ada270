//! A session and a rustls client, joined by two byte queues.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ED25519,
};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::stream::tls::{TlsFailure, TlsMinVersion, TlsSession, frontend_config};

/// Names of protocols that one end lists, and the one that is chosen.
pub(super) type Listed = &'static [&'static [u8]];
pub(super) type Chosen = Option<&'static [u8]>;

pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A CA.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::called("the test's CA")
    }

    pub(super) fn called(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate for `name`, valid from an hour ago for so many seconds (less than 3600: expired).
    pub(super) fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose, seconds: u64) -> Identity {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let from = SystemTime::now() - Duration::from_secs(3600);
        (params.not_before, params.not_after) = (from.into(), (from + Duration::from_secs(seconds)).into());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// The client whom the tests expect.
    pub(super) fn client(&self) -> Identity {
        self.sign("kube-apiserver", ExtendedKeyUsagePurpose::ClientAuth, 86_400)
    }
}

/// A configuration of the server, with the client's CA.
pub(super) fn server(authority: &Authority, min_version: TlsMinVersion) -> Arc<ServerConfig> {
    let (chain, key) = authority.sign("adit-server", ExtendedKeyUsagePurpose::ServerAuth, 86_400);
    frontend_config(chain, key, authority.roots(), min_version, None).unwrap()
}

pub(super) const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub(super) const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A configuration of a client.
pub(super) fn client(
    authority: &Authority,
    identity: Option<Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(authority.roots(), Arc::clone(&provider))
        .build()
        .unwrap();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_webpki_verifier(verifier);
    match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
    }
}

/// A configuration of a server that is not adit: it need not ask for a certificate, and speaks what it likes.
pub(super) fn server_by_hand(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> ServerConfig {
    let (chain, key) = authority.sign("a Go server", ExtendedKeyUsagePurpose::ServerAuth, 86_400);
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("AES_128"));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
}

/// The ciphertext that a session has to send, sent whole.
pub(super) fn says(session: &mut TlsSession) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(data) = session.want_send() {
        data.iter().for_each(|piece| bytes.extend_from_slice(piece));
        let all = data.iter().map(Bytes::len).sum();
        session.on_sent(all, data);
    }
    bytes
}

/// Both ends.
pub(super) struct Pair {
    pub(super) client: ClientConnection,
    pub(super) session: TlsSession,
    /// What the session has received.
    pub(super) heard: Vec<u8>,
    pub(super) established: usize,
    pub(super) ended: usize,
    client_heard: Vec<u8>,
    client_ended: bool,
}

impl Pair {
    pub(super) fn new(server: &Arc<ServerConfig>, client: ClientConfig) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            client: ClientConnection::new(Arc::new(client), name).unwrap(),
            session: TlsSession::accept(Arc::clone(server), None).unwrap(),
            heard: Vec::new(),
            established: 0,
            ended: 0,
            client_heard: Vec::new(),
            client_ended: false,
        }
    }

    /// Both ends that trust each other, past their handshake.
    pub(super) fn established(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let authority = Authority::new();
        let config = server(&authority, TlsMinVersion::Tls12);
        let mut pair = Self::new(&config, client(&authority, Some(authority.client()), versions));
        pair.run(usize::MAX).unwrap();
        assert!(pair.session.was_established());
        pair
    }

    /// The ciphertext that the client has to send.
    pub(super) fn client_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Gives the session ciphertext as one receive.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<(), TlsFailure> {
        let received = self.session.on_ciphertext(BytesMut::from(bytes))?;
        self.heard.extend_from_slice(&received.payload);
        self.established += usize::from(received.established);
        self.ended += usize::from(received.ended);
        Ok(())
    }

    /// The ciphertext that the session has to send, sent whole.
    pub(super) fn session_says(&mut self) -> Vec<u8> {
        says(&mut self.session)
    }

    /// Gives the client ciphertext; what it makes of it.
    pub(super) fn tell_client(&mut self, mut bytes: &[u8]) -> Result<(), rustls::Error> {
        while !bytes.is_empty() {
            if self.client.read_tls(&mut bytes).unwrap() == 0 {
                break;
            }
            self.client.process_new_packets()?;
            // `WouldBlock` when there is no more for now; the end when `close_notify` came.
            self.client_ended = self.client.reader().read_to_end(&mut self.client_heard).is_ok();
        }
        Ok(())
    }

    /// Lets both talk until neither has anything to say; the client's bytes arrive in receives of `fragment`.
    pub(super) fn run(&mut self, fragment: usize) -> Result<(), TlsFailure> {
        loop {
            let said = self.client_says();
            for piece in said.chunks(fragment.min(said.len().max(1))) {
                self.hear(piece)?;
            }
            let answer = self.session_says();
            if said.is_empty() && answer.is_empty() {
                return Ok(());
            }
            self.tell_client(&answer).expect("the client is content");
        }
    }

    /// Sends payload from the session; the records that come of it.
    pub(super) fn say(&mut self, batch: Vec<Bytes>) -> Vec<u8> {
        assert!(self.session.may_seal());
        self.session.seal(batch).unwrap();
        self.session_says()
    }

    /// What the client has heard since it was asked last, and whether `close_notify` came.
    pub(super) fn client_reads(&mut self) -> (Vec<u8>, bool) {
        (std::mem::take(&mut self.client_heard), self.client_ended)
    }

    pub(super) fn client_writes(&mut self, bytes: &[u8]) {
        self.client.set_buffer_limit(None);
        self.client.writer().write_all(bytes).unwrap();
    }
}

/// The records in ciphertext: their types and lengths, headers included.
pub(super) fn records(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    while let Some(header) = bytes.first_chunk::<5>() {
        let len = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
        records.push((header[0], len));
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "no piece of a record is left");
    records
}
