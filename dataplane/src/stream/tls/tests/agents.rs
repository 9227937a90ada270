//! Agents and their server over TCP: who gets in, what is agreed on, and what each end is told. Floods are `server`'s
//! matter.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;

use super::pair::{Authority, Chosen, Identity, Listed, TLS12, TLS13, client, says, server_by_hand};
use crate::stream::tls::{
    ALPN_ADIT_H2, ALPN_H2, AgentProtocol, TlsMinVersion, TlsSession, agent_client_config, agent_port_config,
};

/// The agent whom the tests expect.
fn identity(authority: &Authority) -> Identity {
    authority.sign("agent-7", ExtendedKeyUsagePurpose::ClientAuth, 86_400)
}

fn agent_config(authority: &Authority, extra: &[&str]) -> Arc<ClientConfig> {
    let extra: Vec<String> = extra.iter().map(|&name| name.to_owned()).collect();
    agent_client_config(Some(identity(authority)), authority.roots(), &extra).unwrap()
}

/// An agent's end that has not heard anything yet.
pub(super) fn agent(authority: &Authority) -> TlsSession {
    let name = ServerName::try_from("localhost").unwrap();
    TlsSession::connect(agent_config(authority, &[]), name, None).unwrap()
}

fn port(authority: &Authority, min_version: TlsMinVersion) -> Arc<ServerConfig> {
    let (chain, key) = authority.sign("adit-server", ExtendedKeyUsagePurpose::ServerAuth, 86_400);
    agent_port_config(chain, key, Some(authority.roots()), min_version, None).unwrap()
}

/// A Go agent, which offers what it is told to.
fn go_agent(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Arc<ClientConfig> {
    let mut config = client(authority, Some(identity(authority)), versions);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Both ends, joined.
struct Ends {
    agent: TlsSession,
    server: TlsSession,
    agent_heard: BytesMut,
    server_heard: BytesMut,
    /// How each failed, if it did.
    agent_failure: Option<String>,
    server_failure: Option<String>,
}

impl Ends {
    fn new(server: Arc<ServerConfig>, agent: Arc<ClientConfig>, name: &'static str) -> Self {
        Self {
            agent: TlsSession::connect(agent, ServerName::try_from(name).unwrap(), None).unwrap(),
            server: TlsSession::accept(server, None).unwrap(),
            agent_heard: BytesMut::new(),
            server_heard: BytesMut::new(),
            agent_failure: None,
            server_failure: None,
        }
    }

    /// Ends that have talked.
    fn met(server: Arc<ServerConfig>, agent: Arc<ClientConfig>) -> Self {
        let mut ends = Self::new(server, agent, "localhost");
        ends.run(usize::MAX);
        ends
    }

    /// Lets both talk, in receives of `fragment`, until neither has anything to say.
    fn run(&mut self, fragment: usize) {
        loop {
            let (up, down) = (says(&mut self.agent), says(&mut self.server));
            if up.is_empty() && down.is_empty() {
                return;
            }
            hear(&mut self.server, &up, fragment, &mut self.server_heard, &mut self.server_failure);
            hear(&mut self.agent, &down, fragment, &mut self.agent_heard, &mut self.agent_failure);
        }
    }

    fn are_established(&self) -> bool {
        self.agent.was_established()
            && self.server.was_established()
            && self.agent_failure.is_none()
            && self.server_failure.is_none()
    }
}

fn hear(
    session: &mut TlsSession,
    bytes: &[u8],
    fragment: usize,
    heard: &mut BytesMut,
    failure: &mut Option<String>,
) {
    for piece in bytes.chunks(fragment) {
        match session.on_ciphertext(piece.into()) {
            Ok(received) => heard.unsplit(received.payload),
            Err(error) => *failure = Some(error.to_string()),
        }
    }
}

#[test]
fn adit_and_adit_agree_on_adit() {
    let authority = Authority::new();
    for fragment in [1, 7, 100, 5000] {
        let mut ends =
            Ends::new(port(&authority, TlsMinVersion::Tls12), agent_config(&authority, &[]), "localhost");
        assert!(ends.agent.has_unsent() && !ends.agent.has_heard(), "a client begins");
        assert!(!ends.agent.may_seal() && ends.agent.peer_certificates().is_empty());
        ends.run(fragment);
        assert!(ends.are_established());
        assert_eq!((ends.agent.alpn(), ends.server.alpn()), (Some(ALPN_ADIT_H2), Some(ALPN_ADIT_H2)));
        assert_eq!(ends.server.client().unwrap().to_string(), "agent-7 (localhost)");
        assert!(ends.agent.client().is_none(), "the client is the agent itself");
        assert_eq!((ends.agent.held_bytes(), ends.server.held_bytes()), (0, 0));
    }
}

#[test]
fn each_end_sees_the_others_certificates() {
    let authority = Authority::new();
    let (server_chain, key) = authority.sign("adit-server", ExtendedKeyUsagePurpose::ServerAuth, 86_400);
    let server =
        agent_port_config(server_chain.clone(), key, Some(authority.roots()), TlsMinVersion::Tls12, None)
            .unwrap();
    let (agent_chain, key) = identity(&authority);
    let agent = agent_client_config(Some((agent_chain.clone(), key)), authority.roots(), &[]).unwrap();
    let ends = Ends::met(server, agent);
    assert_eq!(ends.agent.peer_certificates(), [server_chain[0].to_vec()]);
    assert_eq!(ends.server.peer_certificates(), [agent_chain[0].to_vec()]);
}

#[test]
fn payload_goes_both_ways_to_its_end() {
    let authority = Authority::new();
    let go = |versions| server_by_hand(&authority, versions, &[ALPN_H2]).into();
    for server in [port(&authority, TlsMinVersion::Tls13), go(TLS13), go(TLS12)] {
        let mut ends = Ends::met(server, agent_config(&authority, &[]));
        let (up, down) = (vec![1; 100_000], vec![2; 70_000]);
        ends.agent.seal(vec![Bytes::from(up.clone())]).unwrap();
        ends.server.seal(vec![Bytes::from(down.clone())]).unwrap();
        ends.run(1460);
        assert!(ends.server_heard == up && ends.agent_heard == down);
        ends.agent.close();
        ends.run(usize::MAX);
        assert!(ends.server.has_peer_ended() && !ends.agent.has_peer_ended());
        ends.server.close();
        ends.run(usize::MAX);
        assert!(ends.agent.has_peer_ended() && ends.are_established());
    }
}

#[test]
fn extra_protocols_are_offered_first() {
    let authority = Authority::new();
    let offered = |extra: &[&str]| agent_config(&authority, extra).alpn_protocols.clone();
    assert_eq!(offered(&[]), [ALPN_ADIT_H2, ALPN_H2]);
    assert_eq!(offered(&["x", "y"]), [&b"x"[..], b"y", ALPN_ADIT_H2, ALPN_H2]);
    assert_eq!(offered(&["h2", "x"]), [&b"h2"[..], b"x", ALPN_ADIT_H2], "none twice");
}

#[test]
fn the_servers_answer_decides_what_the_agent_speaks() {
    let authority = Authority::new();
    let table: [(Listed, Chosen, AgentProtocol); 5] = [
        (&[ALPN_ADIT_H2, ALPN_H2], Some(ALPN_ADIT_H2), AgentProtocol::AditH2),
        (&[ALPN_H2], Some(ALPN_H2), AgentProtocol::Grpc),
        (&[b"other", ALPN_H2], Some(ALPN_H2), AgentProtocol::Grpc),
        (&[b"extra"], Some(b"extra"), AgentProtocol::Grpc),
        (&[], None, AgentProtocol::Grpc),
    ];
    for (protocols, chosen, spoken) in table {
        let server = server_by_hand(&authority, TLS13, protocols).into();
        let ends = Ends::met(server, agent_config(&authority, &["extra"]));
        assert!(ends.are_established(), "{protocols:?}");
        assert_eq!((ends.agent.alpn(), AgentProtocol::of(ends.agent.alpn())), (chosen, spoken));
    }
    // The oldest that Go's servers speak by default.
    let old = Ends::met(server_by_hand(&authority, TLS12, &[ALPN_H2]).into(), agent_config(&authority, &[]));
    assert!(old.are_established());
    assert_eq!(old.agent.alpn(), Some(ALPN_H2));
    // And one that speaks something else entirely.
    let stranger =
        Ends::met(server_by_hand(&authority, TLS13, &[b"h3"]).into(), agent_config(&authority, &[]));
    assert!(stranger.agent_failure.unwrap().contains("NoApplicationProtocol"));
}

#[test]
fn agents_of_any_age_are_served() {
    let authority = Authority::new();
    let table: [(Listed, Chosen, AgentProtocol); 4] = [
        (&[ALPN_H2], Some(ALPN_H2), AgentProtocol::Grpc),
        (&[b"extra", ALPN_H2], Some(ALPN_H2), AgentProtocol::Grpc),
        (&[ALPN_H2, ALPN_ADIT_H2], Some(ALPN_ADIT_H2), AgentProtocol::AditH2),
        (&[], None, AgentProtocol::Grpc),
    ];
    for (protocols, chosen, spoken) in table {
        for versions in [TLS13, TLS12] {
            let agent = go_agent(&authority, versions, protocols);
            let ends = Ends::met(port(&authority, TlsMinVersion::Tls12), agent);
            if spoken == AgentProtocol::AditH2 && versions == TLS12 {
                continue;
            }
            assert!(ends.are_established(), "{protocols:?} {:?}", ends.server_failure);
            assert_eq!((ends.server.alpn(), AgentProtocol::of(ends.server.alpn())), (chosen, spoken));
        }
    }
    for strange in [&b"http/1.1"[..], b"adit/1"] {
        let agent = go_agent(&authority, TLS13, &[strange]);
        let ends = Ends::met(port(&authority, TlsMinVersion::Tls12), agent);
        assert!(ends.server_failure.is_some());
        assert!(ends.agent_failure.unwrap().contains("NoApplicationProtocol"));
    }
    let agent = go_agent(&authority, TLS12, &[ALPN_H2]);
    let ends = Ends::met(port(&authority, TlsMinVersion::Tls13), agent);
    assert!(ends.agent_failure.unwrap().contains("ProtocolVersion"), "the operator's choice");
}

#[test]
fn adit_speaks_nothing_before_tls_1_3_with_its_own_kind() {
    let authority = Authority::new();
    let text = "adit speaks TLS 1.3 with its own kind";
    let mut ends =
        Ends::met(port(&authority, TlsMinVersion::Tls12), go_agent(&authority, TLS12, &[ALPN_ADIT_H2]));
    // Both ends hold to it, whichever notices first.
    for failure in [&ends.server_failure, &ends.agent_failure] {
        assert!(failure.as_ref().unwrap().contains(text), "{failure:?}");
    }
    assert!(!ends.server.was_established() && !ends.server.may_seal() && ends.server.has_failed());
    assert!(ends.server.alpn().is_none() && ends.server.client().is_none());
    ends.server.close();
    assert!(!ends.server.has_unsent(), "close_notify was said");
    let server = server_by_hand(&authority, TLS12, &[ALPN_ADIT_H2]).into();
    let ends = Ends::met(server, agent_config(&authority, &[]));
    assert!(ends.agent_failure.unwrap().contains(text) && !ends.agent.was_established());
}

#[test]
fn an_agent_believes_only_its_server() {
    let authority = Authority::new();
    let foreign = Authority::called("another CA");
    let (chain, key) = authority.sign("adit-server", ExtendedKeyUsagePurpose::ServerAuth, 1800);
    let expired = agent_port_config(chain, key, Some(authority.roots()), TlsMinVersion::Tls12, None).unwrap();
    let good = || port(&authority, TlsMinVersion::Tls12);
    let table = [
        (good(), "server.example", "not valid for name", "alert: BadCertificate"),
        (good(), "127.0.0.1", "not valid for name", "alert: BadCertificate"),
        (port(&foreign, TlsMinVersion::Tls12), "localhost", "UnknownIssuer", "alert: UnknownCA"),
        (expired, "localhost", "expired", "alert: CertificateExpired"),
        (
            server_by_hand(&foreign, TLS12, &[ALPN_H2]).into(),
            "localhost",
            "UnknownIssuer",
            "alert: UnknownCA",
        ),
    ];
    for (server, name, reason, told) in table {
        let mut ends = Ends::new(server, agent_config(&authority, &[]), name);
        ends.run(usize::MAX);
        let (reasons, tolds) = (ends.agent_failure.unwrap(), ends.server_failure.unwrap());
        assert!(reasons.contains(reason), "{reasons}");
        assert!(tolds.contains(told), "{tolds}");
        assert!(!ends.agent.was_established() && !ends.agent.may_seal());
        assert!(ends.agent.peer_certificates().is_empty());
    }
}

#[test]
fn a_server_takes_no_agent_without_a_good_certificate() {
    let authority = Authority::new();
    let foreign = identity(&Authority::called("another CA"));
    let expired = authority.sign("agent-7", ExtendedKeyUsagePurpose::ClientAuth, 1800);
    for versions in [TLS13, TLS12] {
        let table = [
            (None, "peer sent no certificates", "alert: CertificateRequired"),
            (Some((foreign.0.clone(), foreign.1.clone_key())), "UnknownIssuer", "alert: UnknownCA"),
            (Some((expired.0.clone(), expired.1.clone_key())), "expired", "alert: CertificateExpired"),
        ];
        for (identity, reason, told) in table {
            let agent = Arc::new(client(&authority, identity, versions));
            let ends = Ends::met(port(&authority, TlsMinVersion::Tls12), agent);
            let (reasons, tolds) = (ends.server_failure.unwrap(), ends.agent_failure.unwrap());
            assert!(reasons.contains(reason), "{reasons}");
            // In TLS 1.3 the agent's end is established by then, and hears of it all the same.
            assert!(tolds.contains(told), "{tolds}");
            assert!(!ends.server.was_established() && ends.server.peer_certificates().is_empty());
        }
    }
}
