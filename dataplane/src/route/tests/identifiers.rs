//! `--agent-identifiers`.

use proptest::prelude::*;

use crate::limits::{IDENTIFIERS_BYTES_MAX, IDENTIFIERS_MAX};
use crate::route::{Identifiers, IdentifiersError};

#[test]
fn identifiers_are_read_as_go_reads_a_query() {
    let parsed = Identifiers::parse(
        "ipv4=10.0.0.1&ipv4=10.0.0.2&ipv6=fd00%3A%3a1&host=node-1&cidr=10.0.0.0/8&default-route=true",
    );
    let expected = Identifiers {
        ipv4: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()],
        ipv6: vec!["fd00::1".to_owned()],
        host: vec!["node-1".to_owned()],
        cidr: vec!["10.0.0.0/8".to_owned()],
        default_route: true,
    };
    assert_eq!(parsed, Ok(expected));
    for empty in ["", "&", "&&&"] {
        assert_eq!(Identifiers::parse_strict(empty), Ok(Identifiers::default()), "{empty}");
    }
    let hosts =
        [("host", ""), ("host=", ""), ("host=a=b", "a=b"), ("h%6fst=a+b%2B", "a b+"), ("&host=%C3%A4&", "ä")];
    for (query, host) in hosts {
        assert_eq!(Identifiers::parse_strict(query).unwrap().host, [host], "{query}");
    }
}

#[test]
fn the_default_route_is_a_bool_of_go_and_its_first_value_counts() {
    for (value, expected) in [
        ("1", true),
        ("t", true),
        ("T", true),
        ("TRUE", true),
        ("true", true),
        ("True", true),
        ("0", false),
        ("false", false),
        ("yes", false),
        ("tRUE", false),
        ("", false),
        ("%74", true),
    ] {
        assert_eq!(
            Identifiers::parse(&format!("default-route={value}")).unwrap().default_route,
            expected,
            "{value}"
        );
    }
    assert!(Identifiers::parse("default-route=true&default-route=false").unwrap().default_route);
    assert!(!Identifiers::parse("default-route=bad&default-route=true").unwrap().default_route);
}

#[test]
fn queries_that_go_refuses_are_refused() {
    for query in ["host=a;host=b", ";", "host=a&;"] {
        assert_eq!(Identifiers::parse(query), Err(IdentifiersError::Semicolon), "{query}");
    }
    for query in ["host=%", "host=%2", "host=%zz", "%=a", "host=%+1", "host=%ff"] {
        assert!(matches!(Identifiers::parse(query), Err(IdentifiersError::Escape(_))), "{query}");
    }
    // A semicolon that is escaped is a semicolon in a value.
    assert_eq!(Identifiers::parse("host=a%3Bb").unwrap().host, ["a;b"]);
}

#[test]
fn a_key_that_is_not_known_is_an_error_in_the_agents_own_flag_only() {
    let query = "uid=7&host=node-1&Host=x";
    assert_eq!(Identifiers::parse(query).unwrap().host, ["node-1"]);
    assert_eq!(Identifiers::parse_strict(query), Err(IdentifiersError::UnknownKey("uid".to_owned())));
    assert_eq!("=x".parse::<Identifiers>(), Err(IdentifiersError::UnknownKey(String::new())));
}

#[test]
fn size_and_number_are_bounded() {
    let long = format!("host={}", "a".repeat(IDENTIFIERS_BYTES_MAX - 5));
    assert!(Identifiers::parse(&long).is_ok());
    assert_eq!(Identifiers::parse(&format!("{long}a")), Err(IdentifiersError::TooLong));
    let many = vec!["host=a"; IDENTIFIERS_MAX].join("&");
    assert_eq!(Identifiers::parse(&many).unwrap().host.len(), IDENTIFIERS_MAX);
    assert_eq!(Identifiers::parse(&format!("{many}&host=a")), Err(IdentifiersError::TooLong));
}

/// As Go's `url.QueryEscape` writes it.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b' ' => "+".to_owned(),
            b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn what_go_escapes_is_read_back(hosts in prop::collection::vec(any::<String>(), 0..5)) {
        let query = hosts.iter().map(|host| format!("host={}", escape(host))).collect::<Vec<_>>().join("&");
        prop_assert_eq!(Identifiers::parse_strict(&query).unwrap().host, hosts);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[a-z0-9%+&=;-]{0,60}") {
        if let Ok(strict) = Identifiers::parse_strict(&text) {
            prop_assert_eq!(Identifiers::parse(&text), Ok(strict));
        }
    }
}
