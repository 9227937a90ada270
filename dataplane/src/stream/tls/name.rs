//! Who a frontend proved to be: the names in a client certificate that rustls has verified.

use std::fmt;

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::limits::{FRONTEND_NAME_BYTES_MAX, FRONTEND_NAMES_MAX};
use crate::wire::clean_text;

/// The names of a client certificate, fit for logs; see [`FRONTEND_NAME_BYTES_MAX`] and [`FRONTEND_NAMES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientName {
    /// The subject's last common name: who Kubernetes takes its bearer for. Empty where there is none.
    pub common_name: String,
    /// DNS names and URIs of the alternative names, in this order.
    pub alternative_names: Vec<String>,
}

impl ClientName {
    /// The names in a certificate. One that is not a version 3 certificate names nobody; rustls accepts none.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Self::default() };
        let clean = |name: &str| clean_text(name, FRONTEND_NAME_BYTES_MAX);
        Self {
            common_name: common_name(certificate.subject()).map(|name| clean(&name)).unwrap_or_default(),
            alternative_names: certificate
                .valid_dns_names()
                .chain(certificate.valid_uri_names())
                .take(FRONTEND_NAMES_MAX)
                .map(clean)
                .collect(),
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.alternative_names.join(", ");
        match (self.common_name.as_str(), names.as_str()) {
            ("", "") => f.write_str("a certificate without a name"),
            ("", names) => f.write_str(names),
            (name, "") => f.write_str(name),
            (name, names) => write!(f, "{name} ({names})"),
        }
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `id-at-commonName`, 2.5.4.3 (RFC 5280 appendix A.1), as its DER contents.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `UTF8String`, `PrintableString`, `IA5String`: all read as UTF-8. Others have been deprecated since RFC 3280.
const STRINGS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The last common name of a `Name` (RFC 5280 section 4.1.2.4), given without its outer tag. The last is the one that
/// Go's `pkix.Name` shows.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = None;
    let mut relative = subject;
    while let Some((SET, mut attributes)) = element(&mut relative) {
        while let Some((SEQUENCE, mut attribute)) = element(&mut attributes) {
            let kind = element(&mut attribute);
            let value = element(&mut attribute);
            if let (Some((OBJECT_IDENTIFIER, COMMON_NAME)), Some((tag, text))) = (kind, value)
                && STRINGS.contains(&tag)
            {
                found = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    found
}

/// Takes one element off the front of DER: its tag and contents. `None` at the end and for anything that is not DER
/// with a tag of one byte and a length below 64 KiB.
fn element<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (len, start) = match **der {
        [_, len @ 0..=0x7f, ..] => (usize::from(len), 2),
        [_, 0x81, len, ..] => (usize::from(len), 3),
        [_, 0x82, high, low, ..] => (usize::from(u16::from_be_bytes([high, low])), 4),
        _ => return None,
    };
    let contents = der.get(start..start + len)?;
    let tag = der[0];
    *der = &der[start + len..];
    Some((tag, contents))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, SanType};

    use super::*;

    fn certificate(names: &[(DnType, &str)], alternatives: Vec<SanType>) -> ClientName {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.subject_alt_names = alternatives;
        ClientName::of(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn the_common_name_is_found_among_other_attributes() {
        let name = certificate(
            &[
                (DnType::OrganizationName, "system:masters"),
                (DnType::CommonName, "kube-apiserver-kubelet-client"),
                (DnType::CountryName, "DE"),
            ],
            Vec::new(),
        );
        assert_eq!(name.common_name, "kube-apiserver-kubelet-client");
        assert_eq!(name.to_string(), "kube-apiserver-kubelet-client");
    }

    #[test]
    fn alternative_names_follow_it() {
        let name = certificate(
            &[(DnType::CommonName, "x")],
            vec![
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::URI("spiffe://cluster/kube-apiserver".try_into().unwrap()),
            ],
        );
        assert_eq!(name.to_string(), "x (a.example, spiffe://cluster/kube-apiserver)");
        assert_eq!(certificate(&[], Vec::new()).to_string(), "a certificate without a name");
    }

    #[test]
    fn names_are_bounded_and_cannot_forge_a_line() {
        let long = "a".repeat(10_000);
        let many = (0..100).map(|n| SanType::DnsName(format!("h{n}.example").try_into().unwrap())).collect();
        let name = certificate(&[(DnType::CommonName, &long)], many);
        assert!(name.common_name.len() <= FRONTEND_NAME_BYTES_MAX);
        assert_eq!(name.alternative_names.len(), FRONTEND_NAMES_MAX);
        let name = certificate(&[(DnType::CommonName, "a\nb\u{1b}[31m")], Vec::new());
        assert_eq!(name.common_name, "a\\nb\\u{1b}[31m");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = common_name(&bytes);
            let _ = ClientName::of(&CertificateDer::from(bytes));
        }
    }
}
