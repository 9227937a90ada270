//! Certificates for one test: a CA, the proxy's, and a client's.

use std::path::{Path, PathBuf};

use adit_bench::proxy::Files;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Where they are.
pub(crate) struct Certs {
    pub(crate) ca: PathBuf,
    pub(crate) proxy_cert: PathBuf,
    pub(crate) proxy_key: PathBuf,
    pub(crate) client: Files,
}

/// Makes them in this folder.
pub(crate) fn make(folder: &Path) -> Certs {
    let write = |name: &str, pem: String| {
        let path = folder.join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = write("ca.pem", params.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(params, ca_key);
    let leaf = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (write(&format!("{name}.pem"), leaf.pem()), write(&format!("{name}-key.pem"), key.serialize_pem()))
    };
    let (proxy_cert, proxy_key) = leaf("127.0.0.1");
    let (cert, key) = leaf("client");
    Certs { client: Files { cacert: ca.clone(), cert, key }, ca, proxy_cert, proxy_key }
}
