//! `host:port` and everything that only looks like it.

use std::net::ToSocketAddrs;

use proptest::prelude::*;

use crate::limits::TARGET_BYTES_MAX;
use crate::route::{Host, Target, TargetError};

#[test]
fn targets_that_are_understood() {
    let long_label = "a".repeat(63);
    let long_name = format!("{}.a", ["a".repeat(62).as_str(); 4].join("."));
    let absolute = format!("{long_name}.:65535");
    assert_eq!(absolute.len(), TARGET_BYTES_MAX);
    let table = [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[fd00::1]:10250", "[fd00::1]:10250"),
        ("[FD00:0:0::1]:1", "[fd00::1]:1"),
        ("[::ffff:10.0.0.1]:443", "[::ffff:10.0.0.1]:443"),
        ("[::]:65535", "[::]:65535"),
        ("node-1.example.com:10250", "node-1.example.com:10250"),
        ("Node_1.EXAMPLE.com.:10250", "node_1.example.com.:10250"),
        ("localhost:1", "localhost:1"),
        ("1a:80", "1a:80"),
        ("10.0.0.1.nip.io:80", "10.0.0.1.nip.io:80"),
        ("0xg:80", "0xg:80"),
        ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
        (&format!("{long_label}:1"), &format!("{long_label}:1")),
        (&absolute, &absolute),
    ];
    for (text, shown) in table {
        let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(target.to_string(), shown);
        assert_eq!(Target::parse(shown), Ok(target), "what is shown is read the same");
    }
}

#[test]
fn text_that_is_refused() {
    use TargetError as E;
    let long_label = format!("{}:1", "a".repeat(64));
    let long_name = format!("{}.aa:1", ["a".repeat(62).as_str(); 4].join("."));
    let table = [
        ("", E::MissingPort),
        ("10.0.0.1", E::MissingPort),
        ("10.0.0.1:", E::MissingPort),
        ("[fd00::1]", E::MissingPort),
        ("[fd00::1]443", E::MissingPort),
        (":80", E::MissingHost),
        (".:80", E::MissingHost),
        ("fd00::1:80", E::TooManyColons),
        ("::1", E::TooManyColons),
        ("http://a:80", E::TooManyColons),
        ("[fd00::1:80", E::Brackets),
        ("a[fd00::1]:80", E::Brackets),
        ("[10.0.0.1]:80", E::NotIpv6),
        ("[]:80", E::NotIpv6),
        ("[node]:80", E::NotIpv6),
        ("[[::1]]:80", E::MissingPort),
        ("[fe80::1%eth0]:80", E::Zone),
        ("[fe80::1%25eth0]:80", E::Zone),
        ("a:0", E::Port),
        ("a:080", E::Port),
        ("a:+80", E::Port),
        ("a:-80", E::Port),
        ("a:65536", E::Port),
        ("a:99999999999999999999", E::Port),
        ("a:http", E::Port),
        ("a: 80", E::Port),
        ("a:80 ", E::Port),
        ("a:80/", E::Port),
        ("a:８0", E::Port),
        ("user@a:80", E::Character),
        ("a/b:80", E::Character),
        ("a b:80", E::Character),
        ("a%2e:80", E::Character),
        ("bücher:80", E::Character),
        ("-a:80", E::Character),
        ("a-.b:80", E::Character),
        ("a..b:80", E::Character),
        (".a:80", E::Character),
        ("a..:80", E::Character),
        ("*:80", E::Character),
        ("a\0:80", E::Character),
        (&long_label, E::TooLong),
        (&long_name, E::TooLong),
    ];
    for (text, error) in table {
        assert_eq!(Target::parse(text), Err(error), "{text:?}");
    }
    assert_eq!(Target::parse(&"a".repeat(TARGET_BYTES_MAX + 1)), Err(E::TooLong));
}

/// 169.254.169.254 and 127.0.0.1 as inet_aton(3) would read them, and their like.
const NUMERIC: [&str; 20] = [
    "2852039166",
    "2130706433",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "0177.0.0.1",
    "0x7f.1",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "169.254.43518",
    "169.16689662",
    "169.254.0xa9fe",
    "0",
    "0x",
    "1.2.3.4.5",
    "1.2.3.999",
    "169.254.169.254.",
    "127.0.0.1.",
    "a.1",
];

#[test]
fn other_spellings_of_an_address_are_neither_addresses_nor_names() {
    for host in NUMERIC {
        assert_eq!(Target::parse(&format!("{host}:80")), Err(TargetError::Numeric), "{host}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_what_is_read_is_read_the_same_again(text in any::<String>()) {
        if let Ok(target) = Target::parse(&text) {
            prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn text_made_of_likely_parts_is_read_the_same_again(text in r"[\[\]0-9a-fx:.%-]{0,40}(:[0-9]{1,5})?") {
        if let Ok(target) = Target::parse(&text) {
            prop_assert_ne!(target.port, 0);
            prop_assert_eq!(Target::parse(&target.to_string()), Ok(target.clone()));
        }
    }

    /// The point of it all: what is called a name is nothing that the system's resolver takes for an address.
    #[test]
    fn a_name_is_never_an_address_to_the_resolver(
        text in "(0x|0X|0)?[0-9a-fA-F]{1,10}([.](0x)?[0-9a-fA-F]{0,4}){0,4}",
    ) {
        if let Ok(Target { host: Host::Name(name), .. }) = Target::parse(&format!("{text}:80")) {
            let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
            // inet_aton(3) needs every part to be a number in C's notation: one that is not, the last, is enough.
            let c_number = last.strip_prefix("0x").map_or_else(
                || last.bytes().all(|b| b.is_ascii_digit()),
                |hex| hex.bytes().all(|b| b.is_ascii_hexdigit()),
            );
            prop_assert!(!c_number, "{name}");
            prop_assert!(name.parse::<std::net::IpAddr>().is_err());
        }
    }
}

/// The same against the resolver itself, which answers for numeric text without asking anyone.
#[test]
fn the_system_resolver_reads_the_numeric_spellings_that_are_refused_here() {
    let read = NUMERIC.iter().filter(|host| (**host, 80).to_socket_addrs().is_ok()).count();
    assert!(read >= 10, "only {read} of them: the table no longer shows what this module is for");
}
