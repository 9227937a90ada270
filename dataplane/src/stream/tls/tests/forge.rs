//! Records that no TLS library writes: an established peer's keys, taken from rustls, and records made by hand.

use std::fmt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use rustls::{
    ConnectionTrafficSecrets, ExtractedSecrets, KeyLog, ServerConnection, SupportedProtocolVersion,
};

use super::agents::agent;
use super::pair::{Authority, Pair, TLS13, client, says, server, server_by_hand};
use crate::stream::tls::{ALPN_H2, TlsMinVersion, TlsSession};

/// Content types of records (RFC 8446 section 5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Hears the secret that TLS 1.3 derives one end's keys from.
struct Secret {
    label: &'static str,
    secret: Mutex<Vec<u8>>,
}

impl Secret {
    fn of(label: &'static str) -> Arc<Self> {
        Arc::new(Self { label, secret: Mutex::default() })
    }

    fn heard(&self, versions: &[&'static SupportedProtocolVersion]) -> Option<Vec<u8>> {
        (versions == TLS13).then(|| self.secret.lock().unwrap().clone())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == self.label {
            secret.clone_into(&mut self.secret.lock().unwrap());
        }
    }
}

/// Writes a peer's records with AES-128-GCM.
pub(super) struct Forge {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    /// TLS 1.3 alone: what the next keys are derived from.
    secret: Option<Vec<u8>>,
}

impl Forge {
    /// An established session, and who writes its client's records from now on, in the client's place.
    pub(super) fn established(versions: &[&'static SupportedProtocolVersion]) -> (Pair, Self) {
        let authority = Authority::new();
        let config = server(&authority, TlsMinVersion::Tls12);
        let secret = Secret::of("CLIENT_TRAFFIC_SECRET_0");
        let mut settings = client(&authority, Some(authority.client()), versions);
        settings.enable_secret_extraction = true;
        settings.key_log = Arc::<Secret>::clone(&secret);
        let mut pair = Pair::new(&config, settings);
        pair.run(usize::MAX).unwrap();
        assert!(pair.session.was_established());
        let nobody = Pair::new(&config, client(&authority, None, versions)).client;
        let secrets = std::mem::replace(&mut pair.client, nobody).dangerous_extract_secrets().unwrap();
        (pair, Self::new(secrets, secret.heard(versions)))
    }

    /// An agent's session, established, and who writes its server's records from now on, in the server's place.
    pub(super) fn of_server(versions: &[&'static SupportedProtocolVersion]) -> (TlsSession, Self) {
        let authority = Authority::new();
        let secret = Secret::of("SERVER_TRAFFIC_SECRET_0");
        let mut settings = server_by_hand(&authority, versions, &[ALPN_H2]);
        // They would be counted; `server` makes its own.
        settings.send_tls13_tickets = 0;
        settings.enable_secret_extraction = true;
        settings.key_log = Arc::<Secret>::clone(&secret);
        let mut server = ServerConnection::new(Arc::new(settings)).unwrap();
        let mut session = agent(&authority);
        loop {
            let said = says(&mut session);
            let mut rest = &said[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut answer = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answer).unwrap();
            }
            if said.is_empty() && answer.is_empty() {
                break;
            }
            session.on_ciphertext(answer[..].into()).unwrap();
        }
        assert!(session.was_established());
        let secrets = server.dangerous_extract_secrets().unwrap();
        (session, Self::new(secrets, secret.heard(versions)))
    }

    fn new(secrets: ExtractedSecrets, secret: Option<Vec<u8>>) -> Self {
        let (sequence, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else {
            panic!("AES-128 is what both ends choose")
        };
        let iv = iv.as_ref().try_into().unwrap();
        Self { key: aead(key.as_ref()), iv, sequence, secret }
    }

    /// A record that the session will be able to decrypt, whatever is in it.
    pub(super) fn record(&mut self, content_type: u8, payload: &[u8]) -> Vec<u8> {
        let sequence = self.sequence.to_be_bytes();
        self.sequence += 1;
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(sequence).for_each(|(byte, of_sequence)| *byte ^= of_sequence);
        let mut sealed = payload.to_vec();
        let seal = |authenticated: &[u8], sealed: &mut Vec<u8>| {
            let unique = Nonce::assume_unique_for_key(nonce);
            self.key.seal_in_place_append_tag(unique, Aad::from(authenticated), sealed).unwrap();
        };
        if self.secret.is_some() {
            // RFC 8446 section 5.2: the type is inside, and the header is what is authenticated.
            sealed.push(content_type);
            let header = header(APPLICATION_DATA, sealed.len() + AES_128_GCM.tag_len());
            seal(&header, &mut sealed);
            [&header[..], &sealed].concat()
        } else {
            // RFC 5246 section 6.2.3.3, and RFC 5288 section 3: a part of the nonce goes before the ciphertext.
            seal(&[&sequence[..], &header(content_type, sealed.len())].concat(), &mut sealed);
            [&header(content_type, 8 + sealed.len())[..], &nonce[4..], &sealed].concat()
        }
    }

    /// A renewal of the peer's keys that asks for the session's (RFC 8446 sections 4.6.3 and 7.2).
    pub(super) fn key_update(&mut self) -> Vec<u8> {
        let record = self.record(HANDSHAKE, &[24, 0, 0, 1, 1]);
        let secret = expand(self.secret.as_ref().expect("TLS 1.3"), "traffic upd", 32);
        self.key = aead(&expand(&secret, "key", 16));
        self.iv = expand(&secret, "iv", 12).try_into().unwrap();
        (self.secret, self.sequence) = (Some(secret), 0);
        record
    }
}

fn aead(key: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).unwrap())
}

/// A record's header, TLS 1.2 in name as RFC 8446 section 5.1 wants it.
fn header(content_type: u8, len: usize) -> [u8; 5] {
    let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
    [content_type, 3, 3, high, low]
}

/// HKDF-Expand-Label without context (RFC 8446 section 7.1), of the suite with SHA-256.
fn expand(secret: &[u8], label: &str, len: usize) -> Vec<u8> {
    struct Bytes(usize);
    impl KeyType for Bytes {
        fn len(&self) -> usize {
            self.0
        }
    }
    let label = format!("tls13 {label}");
    let (short_len, label_len) = (u8::try_from(len).unwrap(), u8::try_from(label.len()).unwrap());
    let info: [&[u8]; 4] = [&[0, short_len], &[label_len], label.as_bytes(), &[0]];
    let mut out = vec![0; len];
    let prk = Prk::new_less_safe(HKDF_SHA256, secret);
    prk.expand(&info, Bytes(len)).unwrap().fill(&mut out).unwrap();
    out
}
