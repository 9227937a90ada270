//! From the reason that a connection ended to what the operator can do about it. The reasons are texts of QUIC and
//! TLS (rustls's certificate errors, RFC 8446 alerts); one that is not known here has no remedy, and is shown as is.

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The server's operator, about an agent.
    Server,
    /// The agent's operator, about the server.
    Agent,
}

/// (words of which any must occur, remedy at the server, remedy at the agent).
const TABLE: &[(&[&str], &str, &str)] = &[
    (
        &["not valid for name", "NotValidForName"],
        "the agent asked for another name: its --proxy-server-host must be among the names in --cluster-cert",
        "the server's certificate does not carry the name in --proxy-server-host: add it to the certificate, or use \
         a name that it carries",
    ),
    (
        &["expired", "Expired"],
        "renew the agent's certificate (or --cluster-cert, if it is the agent that refuses), and check both clocks",
        "renew the server's certificate (or --agent-cert, if it is the server that refuses), and check both clocks",
    ),
    (
        &["not valid yet", "NotValidYet"],
        "check the clocks of this machine and of the agent's",
        "check the clocks of this machine and of the server's",
    ),
    (
        &[
            "UnknownIssuer",
            "UnknownCA",
            "unknown issuer",
            "unknown CA",
            "BadSignature",
            "BadCertificate",
            "DecryptError",
        ],
        "the agent's certificate was signed by a CA that is not in --cluster-ca-cert, or the agent's --ca-cert does \
         not hold the CA of --cluster-cert",
        "the server's certificate was signed by a CA that is not in --ca-cert, or the server's --cluster-ca-cert does \
         not hold the CA of --agent-cert",
    ),
    (
        &["CertificateRequired", "certificate required", "NoCertificatesPresented", "no certificates"],
        "start the agent with --agent-cert and --agent-key",
        "give --agent-cert and --agent-key",
    ),
    (
        &["no token:"],
        "start the agent with --service-account-token-path: this server knows agents by tokens",
        "give --service-account-token-path: this server knows agents by tokens",
    ),
    (
        &["the token could not be reviewed", "did not review the token", "said nothing of the token"],
        "check that the API in --kubeconfig answers, and that its user may create tokenreviews (ClusterRole \
         system:auth-delegator)",
        "the server cannot ask the Kubernetes API about tokens: its log says why",
    ),
    (
        &["the token is not for the audience"],
        "let the agent's token be projected for --authentication-audience",
        "let the token be projected for the server's --authentication-audience (serviceAccountToken.audience)",
    ),
    (
        &["the token is of", "the token was not authenticated"],
        "give the agent a token of the service account in --agent-namespace and --agent-service-account that has not \
         expired",
        "give --service-account-token-path a token of the service account that the server's \
         --agent-service-account names; kubelet renews a projected one",
    ),
    (
        &["InvalidPurpose", "UnsupportedCertificate"],
        "the agent's certificate needs clientAuth, the server's serverAuth as extended key usage",
        "the agent's certificate needs clientAuth, the server's serverAuth as extended key usage",
    ),
    (
        &["NoApplicationProtocol", "application protocol", "any known protocol"],
        "whoever connected speaks no protocol of agents (adit/1 in QUIC, adit-h2/1 or h2 in TLS over TCP): find out \
         what it is",
        "whoever answers at --proxy-server-host speaks no protocol of servers (adit/1 in QUIC, adit-h2/1 or h2 in TLS \
         over TCP): check host and port, and what a load balancer before it lets pass",
    ),
    (
        &["TLS 1.3 with its own kind"],
        "something between the agent and this server ends TLS, and speaks an older version: let TLS pass unchanged",
        "something between this agent and the server ends TLS, and speaks an older version: let TLS pass unchanged",
    ),
    (
        &["incompatible", "ProtocolVersion", "HandshakeFailure"],
        "no TLS version and suite in common: check --tls-min-version and --cipher-suites, or upgrade the agent",
        "no TLS version and suite in common: check the server's --tls-min-version and --cipher-suites, or upgrade it",
    ),
    (
        &["corrupt message"],
        "whoever connected does not speak TLS: if nobody of yours has this address, block it in front of --agent-port",
        "whoever answers at --proxy-server-host does not speak TLS: check host and port, and HTTPS_PROXY",
    ),
    (
        &["protocol error"],
        "what came is not what an adit agent sends: compare the versions of both programs; if nobody of yours has \
         this address, block it in front of --agent-port",
        "whoever answers at --proxy-server-host is no adit server, or one of a version that does not fit: check host \
         and port, and compare the versions of both programs",
    ),
    (
        &["no Hello in time"],
        "it proved who it is and then did not say so: compare the versions of both programs; with an agent of \
         adit's, look for UDP that is lost on the way to --agent-port",
        "if it does not come back: check that UDP passes both ways, and compare the versions of both programs",
    ),
    (
        &["timed out", "no answer", "unreachable", "refused"],
        "if it does not come back: check that the agent runs and that UDP reaches this server's --agent-port",
        "check that the server runs and that UDP to --proxy-server-port passes every firewall and load balancer",
    ),
];

/// What to do about `reason`, if anything is known.
pub(crate) fn remedy(side: Side, reason: &str) -> Option<&'static str> {
    let (_, server, agent) =
        TABLE.iter().find(|(words, ..)| words.iter().any(|word| reason.contains(word)))?;
    Some(match side {
        Side::Server => server,
        Side::Agent => agent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_have_remedies() {
        let expired =
            "invalid peer certificate: certificate expired: verification time 5, but not valid after 4";
        assert!(remedy(Side::Server, expired).unwrap().contains("renew the agent's certificate"));
        let name = "invalid peer certificate: certificate not valid for name \"a.b\"; certificate is only valid for x";
        assert!(remedy(Side::Agent, name).unwrap().contains("--proxy-server-host"));
        let ca =
            "aborted by peer: the cryptographic handshake failed: error 48: received fatal alert: UnknownCA";
        assert!(remedy(Side::Agent, ca).unwrap().contains("--cluster-ca-cert"));
        let forged = "protocol error: detected an error with protocol compliance: authentication failed";
        assert!(remedy(Side::Server, forged).unwrap().contains("--agent-port"));
        let alert = "received fatal alert: NoApplicationProtocol";
        assert!(remedy(Side::Agent, alert).unwrap().contains("adit-h2/1"));
        let version = "peer is incompatible: Tls13RequiredForQuic";
        assert!(remedy(Side::Server, version).unwrap().contains("--tls-min-version"));
        let downgraded = "adit speaks TLS 1.3 with its own kind, and a version before it was agreed on";
        assert!(remedy(Side::Agent, downgraded).unwrap().contains("pass unchanged"));
        let plain = "received corrupt message of type InvalidContentType";
        assert!(remedy(Side::Agent, plain).unwrap().contains("HTTPS_PROXY"));
        assert_eq!(remedy(Side::Agent, "closed by peer: draining"), None);
    }
}
