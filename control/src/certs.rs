//! `adit certs`: a throw-away CA with certificates for server, agent and frontend, for trying things out.
//!
//! Not a PKI: no revocation, no renewal, the CA's key lies beside the rest. ECDSA P-256, so that everything that
//! speaks TLS can use them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::config::cli::CertsFlags;
use crate::config::values::Shown;

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertsError {
    /// A file is in the way.
    #[error("{} exists: give another --out, or --force to replace what is there", .0.display())]
    Exists(PathBuf),
    /// `--host` is neither an address nor a host name.
    #[error("--host {} is neither an address nor a host name", Shown(.0))]
    Host(String),
    /// A file could not be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Making a key or certificate failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    /// The certificate.
    pub(crate) certificate: String,
    /// Its private key (PKCS #8).
    pub(crate) key: String,
}

/// A CA that signs.
pub(crate) struct Authority {
    /// The CA's own pair.
    pub(crate) pair: Pair,
    issuer: Issuer<'static, KeyPair>,
    valid: Duration,
}

/// Who a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A TLS server.
    Server,
    /// A TLS client.
    Client,
}

impl Authority {
    /// A new CA, valid (as everything that it signs) from an hour ago, for clocks that differ, until `valid` from now.
    ///
    /// # Errors
    /// [`CertsError::Make`].
    pub(crate) fn new(name: &str, valid: Duration) -> Result<Self, CertsError> {
        let mut params = params(name, valid)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let pair = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok(Self { pair, issuer: Issuer::new(params, key), valid })
    }

    /// A certificate for `name`, with these hosts and addresses as alternative names.
    ///
    /// # Errors
    /// [`CertsError::Make`], [`CertsError::Host`].
    pub(crate) fn sign(&self, name: &str, purpose: Purpose, hosts: &[&str]) -> Result<Pair, CertsError> {
        let mut params = params(name, self.valid)?;
        for host in hosts {
            params.subject_alt_names.push(san(host)?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(name: &str, valid: Duration) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + valid).into();
    Ok(params)
}

pub(crate) fn san(host: &str) -> Result<SanType, CertsError> {
    let wrong = || CertsError::Host(host.to_owned());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let plausible = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'*' | b'_'));
    if !plausible {
        return Err(wrong());
    }
    Ok(SanType::DnsName(host.try_into().map_err(|_| wrong())?))
}

/// Names that every server certificate made here carries.
pub(crate) const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes the set and tells the files that were written.
///
/// # Errors
/// [`CertsError`]; without `--force` nothing is written when any of the files exists.
pub(crate) fn write_set(flags: &CertsFlags) -> Result<Vec<PathBuf>, CertsError> {
    let authority =
        Authority::new("adit throw-away CA", Duration::from_secs(u64::from(flags.days) * 86_400))?;
    let mut hosts: Vec<&str> = LOCAL_NAMES.to_vec();
    hosts.extend(flags.hosts.iter().map(String::as_str).filter(|h| !LOCAL_NAMES.contains(h)));
    let set = [
        ("server", authority.sign("adit-server", Purpose::Server, &hosts)?),
        ("agent", authority.sign("adit-agent", Purpose::Client, &[])?),
        ("frontend", authority.sign("adit-frontend", Purpose::Client, &[])?),
        ("ca", authority.pair.clone()),
    ];
    let dir = flags.out.as_path();
    fs::create_dir_all(dir).map_err(|error| CertsError::Write { path: dir.to_owned(), error })?;
    let files: Vec<(PathBuf, &str, u32)> = set
        .iter()
        .flat_map(|(name, pair)| {
            [
                (dir.join(format!("{name}.crt")), pair.certificate.as_str(), 0o644),
                (dir.join(format!("{name}.key")), pair.key.as_str(), 0o600),
            ]
        })
        .collect();
    if !flags.force
        && let Some((path, ..)) = files.iter().find(|(path, ..)| path.symlink_metadata().is_ok())
    {
        return Err(CertsError::Exists(path.clone()));
    }
    for (path, text, mode) in &files {
        write_new(path, text, *mode)?;
    }
    Ok(files.into_iter().map(|(path, ..)| path).collect())
}

/// Writes a file that did not exist (what was there is removed first, so that its mode does not stay).
pub(crate) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let told = |error| CertsError::Write { path: path.to_owned(), error };
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(told(error)),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(told)?;
    file.write_all(text.as_bytes()).map_err(told)
}
