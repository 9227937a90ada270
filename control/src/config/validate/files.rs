//! Certificates, keys and CAs from PEM files, checked before they are used: a wrong file is told apart here, with
//! its flag and the remedy, rather than as a handshake that fails somewhere else later.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::bundle;
use crate::config::Identity;

/// Largest PEM file that is read: a bundle of a thousand certificates fits.
const PEM_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Longest path (limits.h: `PATH_MAX`, without the terminating zero).
pub(in crate::config) const PATH_BYTES_MAX: usize = 4095;

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
/// The text to show: it names the file, the flag and the remedy, and says nothing of what is in the file.
pub(crate) fn identity(cert: (&str, &str), key: (&str, &str), usage: Usage) -> Result<Identity, String> {
    let cert = PemFile::read(cert.0, cert.1)?;
    let key = PemFile::read(key.0, key.1)?;
    cert.identity(&key, usage, UnixTime::now())
}

/// Reads the CAs of a bundle.
///
/// # Errors
/// As [`identity`].
pub(crate) fn roots(flag: &str, path: &str) -> Result<Arc<RootCertStore>, String> {
    PemFile::read(flag, path)?.roots()
}

/// A file's bytes, and what to call it.
pub(in crate::config) struct PemFile<'a> {
    pub(in crate::config) flag: &'a str,
    pub(in crate::config) path: &'a str,
    pub(in crate::config) bytes: Vec<u8>,
}

impl<'a> PemFile<'a> {
    fn read(flag: &'a str, path: &'a str) -> Result<Self, String> {
        if path.is_empty() {
            return Err(format!("{flag}: name a PEM file (adit certs makes a set to try out)"));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(format!("{flag}: longer than {PATH_BYTES_MAX} bytes, the most a path can have"));
        }
        let mut bytes = Vec::new();
        // What is no regular file tells no size beforehand, and may not end.
        let whole =
            File::open(path).and_then(|file| file.take(PEM_FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match whole {
            Ok(read) if read as u64 > PEM_FILE_BYTES_MAX => Err(format!(
                "{flag}: {path} has more than {PEM_FILE_BYTES_MAX} bytes, which no PEM bundle has: name the right file"
            )),
            Ok(_) => Ok(Self { flag, path, bytes }),
            Err(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => "check the path and the volume it is mounted from",
                    io::ErrorKind::PermissionDenied => "let the user that this program runs as read it",
                    io::ErrorKind::IsADirectory => "name the file itself",
                    _ => "check the path",
                };
                Err(format!("{flag}: cannot read {path} ({error}): {remedy}"))
            }
        }
    }

    /// The chain in this file with the key in another, checked at `now`.
    pub(in crate::config) fn identity(
        &self,
        key: &PemFile<'_>,
        usage: Usage,
        now: UnixTime,
    ) -> Result<Identity, String> {
        let chain = self.certificates()?;
        let key_der = key.private_key()?;
        match CertifiedKey::from_der(chain.clone(), key_der.clone_key(), &provider()) {
            Ok(_) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(format!(
                    "{}: the key in {} does not belong to the certificate in {} ({}): give the pair that was made \
                     together",
                    key.flag, key.path, self.path, self.flag
                ));
            }
            Err(error) => {
                return Err(format!(
                    "{}: the key in {} cannot be used ({error}): give an ECDSA P-256 or P-384, Ed25519 or RSA key",
                    key.flag, key.path
                ));
            }
        }
        check_validity((self.flag, self.path), &chain, usage, now)?;
        Ok(Identity { chain, key: key_der })
    }

    /// Every certificate of a bundle, as a CA. What in it is no certificate is passed over, see [`bundle`]; where
    /// nothing is left, what is wrong with it is told as of a certificate's file.
    pub(in crate::config) fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        let found = bundle::certificates(&self.bytes);
        if found.is_empty() {
            self.certificates()?;
            return Err(format!(
                "{}: {} holds no certificate in PEM form: give a file with a whole BEGIN CERTIFICATE block",
                self.flag, self.path
            ));
        }
        let mut store = RootCertStore::empty();
        for (number, certificate) in found.into_iter().enumerate() {
            store.add(certificate.into()).map_err(|error| {
                format!(
                    "{}: certificate {} of {} cannot be used as a CA ({error}): give the CA's own certificate",
                    self.flag,
                    number + 1,
                    self.path
                )
            })?;
        }
        Ok(Arc::new(store))
    }

    /// At least one certificate.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let Self { flag, path, bytes } = self;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(format!(
                "{flag}: {path} holds no certificate: give a PEM file with a BEGIN CERTIFICATE line{}",
                if contains(bytes, b"PRIVATE KEY-----") { " (this one holds a private key)" } else { "" }
            )),
            Err(error) => Err(format!(
                "{flag}: {path} is not PEM ({}): give the certificate in PEM form",
                what_is_wrong(&error)
            )),
        }
    }

    /// The first private key.
    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let Self { flag, path, bytes } = self;
        PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
            let what = if contains(bytes, b"BEGIN ENCRYPTED PRIVATE KEY") {
                "holds an encrypted key: decrypt it first".to_owned()
            } else if contains(bytes, b"BEGIN CERTIFICATE") {
                "holds no private key but a certificate: give the key's file".to_owned()
            } else {
                format!(
                    "is not a PEM private key ({}): give a file with a BEGIN PRIVATE KEY line",
                    what_is_wrong(&error)
                )
            };
            format!("{flag}: {path} {what}")
        })
    }
}

/// An error in words of our own: the library's repeat the line, which may be the whole of a key whose line breaks were
/// lost.
const fn what_is_wrong(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::IllegalSectionStart { .. } => {
            "a BEGIN line does not end in -----: are its line breaks lost?"
        }
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line: are its line breaks lost?",
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        pem::Error::NoItemsFound => "it has no such BEGIN line",
        _ => "it cannot be read",
    }
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
    now: UnixTime,
) -> Result<(), String> {
    let (leaf, intermediates) = chain.split_first().expect("certificates() gives at least one");
    let mut own = RootCertStore::empty();
    own.add(leaf.clone()).map_err(|error| format!("{flag}: {path} holds no usable certificate ({error})"))?;
    let own = Arc::new(own);
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
    use std::fs;
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
    fn a_key_whose_line_breaks_were_lost_is_not_shown() {
        let (_dir, cert, key) = pair(-1, 1);
        let text = fs::read_to_string(&key).unwrap().replace('\n', " ");
        fs::write(&key, &text).unwrap();
        let error = identity(("--cert", &cert), ("--key", &key), Usage::Server).map(drop).unwrap_err();
        assert!(error.starts_with("--key: ") && error.contains("are its line breaks lost?"), "{error}");
        assert!(error.len() < 200 + key.len(), "{error}");
    }

    #[test]
    fn what_does_not_end_is_not_read_for_ever() {
        let error = roots("--ca", "/dev/zero").map(drop).unwrap_err();
        assert!(error.starts_with("--ca: /dev/zero has more than 4194304 bytes"), "{error}");
    }

    /// Konnectivity's rules: a block that is no certificate spoils the bundle, everything else is passed over.
    #[test]
    fn a_bundle_is_read_as_konnectivity_reads_it() {
        let (_dir, cert, key) = pair(-1, 1);
        let (cert, key) = (fs::read_to_string(cert).unwrap(), fs::read_to_string(key).unwrap());
        let count = |text: String| {
            let file = PemFile { flag: "--ca-cert", path: "/ca.crt", bytes: text.into_bytes() };
            file.roots().map(|roots| roots.len())
        };
        let bad_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        let truncated = cert.split_once("-----END").unwrap().0;
        assert_eq!(count(format!("{cert}{cert}")), Ok(2));
        assert_eq!(count(format!("{key}{cert}")), Ok(1), "another kind");
        assert_eq!(count(format!("{cert}{truncated}")), Ok(1), "truncated");
        assert_eq!(count(format!("{bad_base64}{cert}")), Ok(1), "not base64");
        let malformed = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n";
        let error = count(format!("{cert}{malformed}")).unwrap_err();
        assert!(error.starts_with("--ca-cert: certificate 2 of /ca.crt cannot be used as a CA"), "{error}");
        for (nothing, words) in [
            (key, "this one holds a private key"),
            (truncated.to_owned(), "no END line"),
            (bad_base64.to_owned(), "not base64"),
            (cert.replacen("-----\n", "-----\nA: b\n\n", 1), "--ca-cert: /ca.crt"),
            (String::new(), "BEGIN CERTIFICATE"),
        ] {
            let error = count(nothing).unwrap_err();
            assert!(error.contains(words), "{error}");
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
