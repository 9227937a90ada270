//! Certificates, keys and CAs from PEM files, checked before they are used: a wrong file is told apart here, with
//! its flag and the remedy, rather than as a handshake that fails somewhere else later.

use std::fs;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::Identity;

/// Largest PEM file that is read: a bundle of a thousand certificates fits.
const PEM_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Shown to agents, or to frontends over TCP.
    Server,
    /// Shown to the server.
    Client,
}

/// The provider that every TLS configuration of this program names.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads a certificate chain and its key, given as (flag, path), and checks that they belong together and that the
/// certificate is valid now and for this use.
///
/// # Errors
/// The text to show: it names the file, the flag and the remedy.
pub(crate) fn identity(cert: (&str, &str), key: (&str, &str), usage: Usage) -> Result<Identity, String> {
    let chain = certificates(cert.0, cert.1)?;
    let key_der = private_key(key.0, key.1)?;
    match CertifiedKey::from_der(chain.clone(), key_der.clone_key(), &provider()) {
        Ok(_) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            return Err(format!(
                "{}: the key in {} does not belong to the certificate in {} ({}): give the pair that was made together",
                key.0, key.1, cert.1, cert.0
            ));
        }
        Err(error) => {
            return Err(format!(
                "{}: the key in {} cannot be used ({error}): give an ECDSA P-256 or P-384, Ed25519 or RSA key",
                key.0, key.1
            ));
        }
    }
    check_validity(cert, &chain, usage)?;
    Ok(Identity { chain, key: key_der })
}

/// Reads the CAs of a bundle.
///
/// # Errors
/// As [`identity`].
pub(crate) fn roots(flag: &str, path: &str) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    for (number, certificate) in certificates(flag, path)?.into_iter().enumerate() {
        store.add(certificate).map_err(|error| {
            format!(
                "{flag}: certificate {} of {path} cannot be used as a CA ({error}): give the CA's own certificate",
                number + 1
            )
        })?;
    }
    Ok(Arc::new(store))
}

/// The file's bytes.
fn read(flag: &str, path: &str) -> Result<Vec<u8>, String> {
    if path.is_empty() {
        return Err(format!("{flag}: name a PEM file (adit certs makes a set to try out)"));
    }
    let told = |error: &io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the path and the volume it is mounted from",
            io::ErrorKind::PermissionDenied => "let the user that this program runs as read it",
            io::ErrorKind::IsADirectory => "name the file itself",
            _ => "check the path",
        };
        format!("{flag}: cannot read {path} ({error}): {remedy}")
    };
    let size = fs::metadata(path).map_err(|e| told(&e))?.len();
    if size > PEM_FILE_BYTES_MAX {
        return Err(format!("{flag}: {path} has {size} bytes, which no PEM bundle has: name the right file"));
    }
    fs::read(path).map_err(|e| told(&e))
}

/// At least one certificate.
fn certificates(flag: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(flag, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!(
            "{flag}: {path} holds no certificate: give a PEM file with a BEGIN CERTIFICATE line{}",
            if contains(&bytes, b"PRIVATE KEY-----") { " (this one holds a private key)" } else { "" }
        )),
        Err(error) => Err(format!("{flag}: {path} is not PEM ({error}): give the certificate in PEM form")),
    }
}

/// The first private key.
fn private_key(flag: &str, path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(flag, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let what = if contains(&bytes, b"BEGIN ENCRYPTED PRIVATE KEY") {
            "holds an encrypted key: decrypt it first".to_owned()
        } else if contains(&bytes, b"BEGIN CERTIFICATE") {
            "holds no private key but a certificate: give the key's file".to_owned()
        } else {
            format!("is not a PEM private key ({error}): give a file with a BEGIN PRIVATE KEY line")
        };
        format!("{flag}: {path} {what}")
    })
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Time and use of the leaf. Who signed it is the peer's to judge: the verifier gets the leaf itself as its only
/// root, and finds the leaf's own faults before it looks for an issuer.
fn check_validity(
    (flag, path): (&str, &str),
    chain: &[CertificateDer<'static>],
    usage: Usage,
) -> Result<(), String> {
    let (leaf, intermediates) = chain.split_first().expect("certificates() gives at least one");
    let mut own = RootCertStore::empty();
    own.add(leaf.clone()).map_err(|error| format!("{flag}: {path} holds no usable certificate ({error})"))?;
    let own = Arc::new(own);
    let now = UnixTime::now();
    let judged = match usage {
        Usage::Server => {
            let name = ServerName::try_from("localhost").expect("a valid name");
            WebPkiServerVerifier::builder_with_provider(own, provider())
                .build()
                .map_err(|error| format!("{flag}: {path}: {error}"))?
                .verify_server_cert(leaf, intermediates, &name, &[], now)
                .map(drop)
        }
        Usage::Client => WebPkiClientVerifier::builder_with_provider(own, provider())
            .build()
            .map_err(|error| format!("{flag}: {path}: {error}"))?
            .verify_client_cert(leaf, intermediates, now)
            .map(drop),
    };
    let Err(Error::InvalidCertificate(fault)) = judged else { return Ok(()) };
    match fault {
        CertificateError::Expired => Err(format!("{flag}: the certificate in {path} has expired: renew it")),
        CertificateError::ExpiredContext { not_after, .. } => Err(format!(
            "{flag}: the certificate in {path} expired {} ago: renew it",
            days(now.as_secs().saturating_sub(not_after.as_secs()))
        )),
        CertificateError::NotValidYet => {
            Err(format!("{flag}: the certificate in {path} is not valid yet: check this machine's clock"))
        }
        CertificateError::NotValidYetContext { not_before, .. } => Err(format!(
            "{flag}: the certificate in {path} becomes valid in {}: check this machine's clock",
            days(not_before.as_secs().saturating_sub(now.as_secs()))
        )),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Err(format!(
            "{flag}: the certificate in {path} is not made for this use: its extended key usage must include {}",
            match usage {
                Usage::Server => "serverAuth",
                Usage::Client => "clientAuth",
            }
        )),
        _ => Ok(()),
    }
}

/// A span of time for a person.
fn days(seconds: u64) -> String {
    match seconds {
        0..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A certificate that is valid between these hours from now, and its key, in files.
    fn pair(from_hours: i64, to_hours: i64) -> (tempfile::TempDir, String, String) {
        let at = |hours: i64| {
            let span = Duration::from_secs(hours.unsigned_abs() * 3600);
            if hours < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(from_hours).into(), at(to_hours).into());
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let cert = file("c", params.self_signed(&key).unwrap().pem());
        let key = file("k", key.serialize_pem());
        (dir, cert, key)
    }

    #[test]
    fn time_is_checked_before_anybody_connects() {
        for usage in [Usage::Server, Usage::Client] {
            let judge = |from, to| {
                let (_dir, cert, key) = pair(from, to);
                identity(("--cert", &cert), ("--key", &key), usage).map(drop)
            };
            assert_eq!(judge(-1, 1), Ok(()));
            let expired = judge(-48, -5).unwrap_err();
            assert!(expired.starts_with("--cert: the certificate in "), "{expired}");
            assert!(expired.ends_with("expired 5 hours ago: renew it"), "{expired}");
            let early = judge(72, 96).unwrap_err();
            assert!(early.contains("becomes valid in ") && early.contains("clock"), "{early}");
        }
    }

    #[test]
    fn spans_of_time_are_for_people() {
        assert_eq!(
            (days(120), days(7200), days(172_800)),
            ("2 minutes".into(), "2 hours".into(), "2 days".into())
        );
    }
}
