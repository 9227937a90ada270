//! Frontends over TCP whose TLS fails: from the reason to what the operator can do about it.
//!
//! The reasons are rustls' texts and the shard's own; one that is not known here has no remedy, and is shown as is.

/// (words of which any must occur, remedy).
const TABLE: &[(&[&str], &str)] = &[
    (
        &["expired", "Expired"],
        "renew kube-apiserver's client certificate (or --server-cert, if it is kube-apiserver that refuses), and check \
         both clocks",
    ),
    (&["not valid yet", "NotValidYet"], "check the clocks of this machine and of kube-apiserver's"),
    (
        &["UnknownIssuer", "UnknownCA", "BadSignature", "BadCertificate"],
        "the client's certificate was signed by a CA that is not in --server-ca-cert, or its caBundle does not hold \
         the CA of --server-cert",
    ),
    (
        &["sent no certificates", "CertificateRequired"],
        "give kube-apiserver clientCert and clientKey in tlsConfig of its egress selector configuration",
    ),
    (
        &["InvalidPurpose", "UnsupportedCertificate", "extended key usage"],
        "the client's certificate needs clientAuth, --server-cert serverAuth as extended key usage",
    ),
    (
        &["any known protocol", "NoApplicationProtocol"],
        "whoever connected speaks neither HTTP/1.1 nor HTTP/2: find out what it is, kube-apiserver speaks one of them",
    ),
    (
        &["incompatible", "ProtocolVersion", "HandshakeFailure"],
        "no TLS version and suite in common: check --tls-min-version and --cipher-suites, or upgrade the client",
    ),
    (
        &["peer misbehaved", "without payload"],
        "kube-apiserver does nothing of the kind: find out what else connects from this address, and whether it should \
         have a certificate for it",
    ),
    (
        &["corrupt message"],
        "whoever connected does not speak TLS: write https:// in the client's configuration",
    ),
    (
        &["during the handshake", "did not end within"],
        "if it is kube-apiserver: check its caBundle, and that --server-cert carries the name in its url",
    ),
    (
        &["without close_notify"],
        "the client was killed, or something between it and this server cut the connection",
    ),
];

/// What to do about `reason`, if anything is known.
pub(crate) fn remedy(reason: &str) -> Option<&'static str> {
    TABLE.iter().find(|(words, _)| words.iter().any(|word| reason.contains(word))).map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_remedies() {
        let table = [
            ("peer sent no certificates", "clientCert"),
            ("invalid peer certificate: UnknownIssuer", "--server-ca-cert"),
            ("received fatal alert: UnknownCA", "caBundle"),
            ("invalid peer certificate: certificate expired: verification time 5", "renew"),
            ("peer misbehaved: TooManyRenegotiationRequests", "certificate"),
            ("more than 64 records without payload (empty, renewals of keys, warnings)", "certificate"),
            ("received corrupt message of type InvalidContentType", "https://"),
            ("peer doesn't support any known protocol", "HTTP/2"),
            ("peer is incompatible: Tls12NotOfferedOrEnabled", "--tls-min-version"),
            ("the handshake did not end within 10 s", "caBundle"),
            ("the client reset the connection during the handshake", "caBundle"),
        ];
        for (reason, word) in table {
            assert!(remedy(reason).is_some_and(|remedy| remedy.contains(word)), "{reason}");
        }
        assert_eq!(remedy("cannot decrypt peer's message"), None);
    }
}
