//! The first bytes of a TLS frontend, up to what a client says before it has heard anything. What it may say later is
//! encrypted, and is the session's own tests' matter.

use std::sync::{Arc, LazyLock};

use adit_dataplane::stream::tls::{TlsMinVersion, TlsSession, frontend_config};
use adit_fuzz::Fate;
use rcgen::{CertificateParams, KeyPair};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;

/// Headers of records and messages, extensions, and versions.
pub(crate) const RECORDS: &[&str] = &[
    "\x16\x03\x01",
    "\x14\x03\x03\0\x01\x01",
    "\x15\x03\x03\0\x02\x01\0",
    "\x17\x03\x03\0\x01",
    "\x01\0\0",
    "\x03\x03",
    "\x03\x04",
    "\x13\x01",
    "\0\x2b\0\x03\x02\x03\x04",
    "\0\x10\0\x0b\0\x09\x08http/1.1",
    "\0\x33",
    "\0\x29",
    "\0\x2a\0\0",
    "\0\0\0\0",
];

static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a CA");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    frontend_config(vec![certificate], key, roots.into(), TlsMinVersion::Tls12, None)
        .expect("a configuration")
});

/// Longest input that is also given byte by byte.
const SINGLES_BYTES_MAX: usize = 2048;

/// Taken where the server answers with its flight, refused with a reason; and that does not depend on how the bytes
/// arrive.
pub(crate) fn client_hello(input: &[u8]) -> Fate {
    let whole = hear([input]);
    let (start, end) = input.split_at(input.len() / 2);
    assert_eq!(hear([start, end]), whole, "in halves");
    if input.len() <= SINGLES_BYTES_MAX {
        assert_eq!(hear(input.chunks(1)), whole, "byte by byte");
    }
    whole
}

fn hear<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Fate {
    let mut session = TlsSession::accept(CONFIG.clone(), None).expect("a session");
    let mut answers = false;
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        match session.on_ciphertext(piece.into()) {
            Ok(received) => {
                assert!(received.payload.is_empty() && !received.established, "nobody proved anything")
            }
            Err(failure) => {
                let text = failure.to_string();
                assert!(text.len() <= 1000 && !text.chars().any(char::is_control), "{text:?}");
                assert!(session.has_failed());
                return Fate::Refused;
            }
        }
        while let Some(data) = session.want_send() {
            answers = true;
            session.on_sent(data.iter().map(bytes::Bytes::len).sum(), data);
        }
    }
    if answers { Fate::Taken } else { Fate::Partial }
}
