//! What an agent says when it connects, and what it must not say (section 3.1).

use crate::konnectivity::{AgentMetadata, MetadataError, server_metadata};
use crate::limits::{AGENT_ID_BYTES_MAX, AGENT_TOKEN_BYTES_MAX};

fn read(fields: &[(&str, &str)]) -> Result<AgentMetadata, MetadataError> {
    AgentMetadata::read(fields.iter().map(|(key, value)| (*key, value.as_bytes())))
}

#[test]
fn an_agents_metadata_are_its_id_its_identifiers_and_its_token() {
    let metadata = read(&[
        ("user-agent", "grpc-go/1.80.0"),
        ("agentid", "node-1"),
        ("agentidentifiers", "ipv4=10.0.0.1&host=node-1&default-route=true&future=1"),
        ("authorization", "Bearer secret"),
    ])
    .unwrap();
    assert_eq!(metadata.agent_id, "node-1");
    assert_eq!(metadata.identifiers.hosts().collect::<Vec<_>>(), ["10.0.0.1", "node-1"]);
    assert!(metadata.identifiers.default_route);
    assert_eq!(metadata.token(), Ok("secret"));
    assert!(!format!("{metadata:?}").contains("secret"));
}

#[test]
fn an_id_may_be_empty_and_identifiers_may_be_missing() {
    let metadata = read(&[("agentid", "")]).unwrap();
    assert_eq!((metadata.agent_id.as_str(), metadata.identifiers), ("", Default::default()));
    assert!(read(&[("agentid", "a"), ("agentidentifiers", "")]).is_ok());
    assert!(AgentMetadata::KEYS.iter().all(|key| !key.bytes().any(|byte| byte.is_ascii_uppercase())));
}

#[test]
fn metadata_that_break_a_rule_are_refused_with_the_reason() {
    let long = "x".repeat(AGENT_TOKEN_BYTES_MAX + 1);
    for (fields, error) in [
        (vec![], "expected one agentid in the metadata, got 0"),
        (vec![("agentid", "a"), ("agentid", "a")], "expected one agentid in the metadata, got 2"),
        (
            vec![("agentid", "a"), ("agentidentifiers", ""), ("agentidentifiers", "")],
            "expected one agentidentifiers in the metadata, got 2",
        ),
        (
            vec![("agentid", "a"), ("agentidentifiers", "host=%zz")],
            "invalid URL escape in agent identifiers: \"%zz\"",
        ),
        (
            vec![("agentid", &long[..=AGENT_ID_BYTES_MAX])],
            "agentid of 257 bytes in the metadata; 256 are the most",
        ),
        (vec![("agentid", "a\u{7f}")], "agentid in the metadata is not plain text"),
        (
            vec![("agentid", "a"), ("authorization", &long)],
            "authorization of 6145 bytes in the metadata; 6144 are the most",
        ),
    ] {
        assert_eq!(read(&fields).unwrap_err().to_string(), error);
    }
    let not_utf8 = AgentMetadata::read([("agentid", &b"\xff"[..])]);
    assert_eq!(not_utf8, Err(MetadataError::NotText("agentid")));
}

#[test]
fn a_token_is_one_bearer_token() {
    let token = |values: &[&str]| {
        let mut fields = vec![("agentid", "a")];
        fields.extend(values.iter().map(|value| ("authorization", *value)));
        read(&fields).unwrap().token().map(str::to_owned)
    };
    assert_eq!(token(&["Bearer x"]), Ok("x".to_owned()));
    assert_eq!(token(&["Basic x"]), Err(MetadataError::NotBearer));
    for values in [&[][..], &["Bearer x", "Bearer y"]] {
        let count = values.len();
        assert_eq!(token(values), Err(MetadataError::Count { key: "authorization", count }));
    }
}

#[test]
fn the_server_says_who_it_is_and_how_many_there_are() {
    let said = server_metadata("server-1", 3);
    assert_eq!(said, [("serverid", "server-1".to_owned()), ("servercount", "3".to_owned())]);
}
