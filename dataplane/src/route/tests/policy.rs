//! What may be dialed, in every spelling of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::route::{AllowRule, AllowRuleError, DenyReason, DestinationPolicy, SpecialAddress};

fn special(ip: IpAddr) -> Option<SpecialAddress> {
    match DestinationPolicy::Compat.check(ip, 443) {
        Ok(()) => None,
        Err(denied) => {
            assert_eq!((denied.ip, denied.port), (ip, 443));
            let DenyReason::Special(special) = denied.reason else { panic!("{denied}") };
            Some(special)
        }
    }
}

#[test]
fn compat_denies_what_is_special_and_nothing_else() {
    use SpecialAddress as S;
    let table = [
        ("10.0.0.1", None),
        ("127.0.0.1", None),
        ("127.255.255.254", None),
        ("::1", None),
        ("192.168.1.1", None),
        ("100.100.100.199", None),
        ("8.8.8.8", None),
        ("fd00::1", None),
        ("2001:db8::1", None),
        ("169.253.255.255", None),
        ("169.255.0.0", None),
        ("255.255.255.254", None),
        ("0.0.0.0", Some(S::Unspecified)),
        ("0.0.0.1", Some(S::Unspecified)),
        ("0.255.255.255", Some(S::Unspecified)),
        ("::", Some(S::Unspecified)),
        ("169.254.0.0", Some(S::LinkLocal)),
        ("169.254.169.253", Some(S::LinkLocal)),
        ("169.254.255.255", Some(S::LinkLocal)),
        ("fe80::1", Some(S::LinkLocal)),
        ("febf:ffff::1", Some(S::LinkLocal)),
        ("fec0::1", None),
        ("169.254.169.254", Some(S::Metadata)),
        ("100.100.100.200", Some(S::Metadata)),
        ("168.63.129.16", Some(S::Metadata)),
        ("192.0.0.192", Some(S::Metadata)),
        ("fd00:ec2::254", Some(S::Metadata)),
        ("fd20:ce::254", Some(S::Metadata)),
        ("fd00:ec2::253", None),
        ("224.0.0.1", Some(S::Multicast)),
        ("239.255.255.255", Some(S::Multicast)),
        ("ff02::1", Some(S::Multicast)),
        ("ff0e::1", Some(S::Multicast)),
        ("255.255.255.255", Some(S::Broadcast)),
    ];
    for (ip, expected) in table {
        assert_eq!(special(ip.parse().unwrap()), expected, "{ip}");
    }
}

/// Every way in which an IPv6 address can lead to an IPv4 address.
fn spellings(ip: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let v6 = |segments: [u16; 8]| Ipv6Addr::from(segments);
    vec![
        ip.to_ipv6_mapped(),
        ip.to_ipv6_compatible(),
        v6([0, 0, 0, 0, 0xffff, 0, high, low]),
        v6([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
        v6([0x2002, high, low, 0, 0, 0, 0, 1]),
        v6([0x2002, high, low, 0xffff, 1, 2, 3, 4]),
        v6([0x2001, 0, high, low, 0, 0, 0xf5ff, 0xfffe]),
        v6([0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low]),
        v6([0xfd00, 1, 2, 3, 0, 0x5efe, high, low]),
        v6([0xfd00, 1, 2, 3, 0x200, 0x5efe, high, low]),
        v6([0x2002, 0x0808, 0x0808, 0, 0, 0x5efe, high, low]),
    ]
}

#[test]
fn a_special_address_is_special_in_every_spelling() {
    for ip in ["169.254.169.254", "169.254.1.1", "100.100.100.200", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
    {
        let ip: Ipv4Addr = ip.parse().unwrap();
        let expected = special(IpAddr::V4(ip));
        assert!(expected.is_some());
        for spelling in spellings(ip) {
            assert_eq!(special(IpAddr::V6(spelling)), expected, "{spelling}");
        }
    }
    for ip in ["10.0.0.1", "127.0.0.1"] {
        for spelling in spellings(ip.parse().unwrap()) {
            assert_eq!(special(IpAddr::V6(spelling)), None, "{spelling}");
        }
    }
}

#[test]
fn a_local_translator_may_keep_the_address_in_four_places() {
    // RFC 6052 section 2.2, for 169.254.169.254 behind prefixes of 48, 56, 64 and 96 bits.
    for ip in [
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00::",
        "64:ff9b:1::a9fe:a9fe",
    ] {
        assert_eq!(special(ip.parse().unwrap()), Some(SpecialAddress::Metadata), "{ip}");
    }
    assert_eq!(special("64:ff9b:1::a00:1".parse().unwrap()), None);
}

fn allow(rules: &[&str]) -> DestinationPolicy {
    DestinationPolicy::Allow(rules.iter().map(|rule| rule.parse().unwrap()).collect())
}

#[test]
fn a_list_allows_what_it_names_and_nothing_else() {
    let policy = allow(&["10.0.0.0/8", "192.168.1.7:10250", "[fd00::/8]:1-1023", "2001:db8::1"]);
    let table = [
        ("10.255.0.1", 1, true),
        ("::ffff:10.255.0.1", 1, true),
        ("11.0.0.1", 1, false),
        ("192.168.1.7", 10250, true),
        ("192.168.1.7", 10251, false),
        ("192.168.1.8", 10250, false),
        ("fd12::1", 1023, true),
        ("fd12::1", 1024, false),
        ("2001:db8::1", 65535, true),
        ("2001:db8::2", 65535, false),
        ("127.0.0.1", 80, false),
    ];
    for (ip, port, allowed) in table {
        let result = policy.check(ip.parse().unwrap(), port);
        assert_eq!(result.is_ok(), allowed, "{ip}:{port}");
        if let Err(denied) = result {
            assert_eq!(denied.reason, DenyReason::NoRule);
        }
    }
    assert!(allow(&[]).check("10.0.0.1".parse().unwrap(), 80).is_err());
}

#[test]
fn a_wide_rule_does_not_open_what_is_special() {
    let wide = allow(&["0.0.0.0/0", "::/0", "169.254.0.0/16"]);
    assert!(wide.check("8.8.8.8".parse().unwrap(), 80).is_ok());
    assert!(wide.check("2001:db8::1".parse().unwrap(), 80).is_ok());
    for ip in
        ["169.254.169.254", "169.254.20.10", "::ffff:169.254.169.254", "fe80::1", "::", "0.0.0.0", "ff02::1"]
    {
        assert!(wide.check(ip.parse().unwrap(), 80).is_err(), "{ip}");
    }
    let exact = allow(&["169.254.20.10:53", "0.0.0.0", "224.0.0.1", "255.255.255.255"]);
    assert!(exact.check("169.254.20.10".parse().unwrap(), 53).is_ok());
    for (ip, port) in [
        ("169.254.20.10", 54),
        ("169.254.20.11", 53),
        ("0.0.0.0", 1),
        ("224.0.0.1", 1),
        ("255.255.255.255", 1),
    ] {
        assert!(exact.check(ip.parse().unwrap(), port).is_err(), "{ip}:{port}");
    }
}

#[test]
fn rules_that_are_refused() {
    let parse = |text: &str| text.parse::<AllowRule>();
    for text in [
        "",
        "node",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/",
        "10.0.0/8",
        "fd00::/129",
        "[fd00::1",
        "[fd00::1]80",
        "[a]:1",
    ] {
        assert!(matches!(parse(text), Err(AllowRuleError::Network(_))), "{text}");
    }
    for text in ["10.0.0.1/8", "fd00::1/8", "10.0.0.0/0"] {
        assert!(matches!(parse(text), Err(AllowRuleError::HostBits(_))), "{text}");
    }
    for text in
        ["10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:2-1", "10.0.0.1:+1", "10.0.0.1:1-", "[::1]:a"]
    {
        assert!(matches!(parse(text), Err(AllowRuleError::Ports(_))), "{text}");
    }
}

proptest! {
    #[test]
    fn every_spelling_of_every_address_is_judged_as_the_address(ip: u32) {
        let ip = Ipv4Addr::from(ip);
        for spelling in spellings(ip) {
            // ::0.0.0.1 is ::1, the loopback address, and not IPv4-compatible.
            if !spelling.is_loopback() {
                prop_assert_eq!(special(IpAddr::V6(spelling)), special(IpAddr::V4(ip)), "{}", spelling);
            }
        }
    }

    #[test]
    fn a_rule_contains_its_network_and_not_its_neighbour(ip: u32, bits in 1u8..=32) {
        let mask = u32::MAX << (32 - u32::from(bits));
        let network = ip & mask;
        let rule: AllowRule = format!("{}/{bits}", Ipv4Addr::from(network)).parse().unwrap();
        prop_assert!(rule.contains(IpAddr::V4(ip.into()), 1));
        prop_assert!(rule.contains(IpAddr::V4((network | !mask).into()), 1));
        let neighbour = network ^ (1 << (32 - u32::from(bits)));
        prop_assert!(!rule.contains(IpAddr::V4(neighbour.into()), 1));
    }

    #[test]
    fn arbitrary_text_never_panics_as_a_rule(text in r"[\[\]0-9a-f:./-]{0,30}") {
        let _ = text.parse::<AllowRule>();
    }
}
