//! Which HTTP proxy an agent goes through to its server over TCP: `HTTPS_PROXY` and `NO_PROXY`, as Go programs read
//! them (`golang.org/x/net/http/httpproxy`), Konnectivity's agent among them.
//!
//! The server is known beforehand, so the question is answered once, with the configuration. Deliberately absent:
//! `HTTP_PROXY` (an agent makes no plain requests), proxies over TLS or SOCKS, and looking names up: `NO_PROXY` is
//! about the host as it is written.

use std::net::IpAddr;

use adit_dataplane::carrier::egress_proxy::{EgressProxy, basic_authorization};
use rustls_pki_types::ServerName;

use super::values::Shown;
use super::without_brackets;

/// The port of a proxy that is given without one.
const PORT_DEFAULT: u16 = 80;

/// The proxy between here and `host` (an address without brackets, or a name) at `port`, by the environment, if any.
///
/// # Errors
/// The text to show: it names the variable, and says nothing of the credentials in it.
pub(crate) fn egress_proxy(
    environment: impl Fn(&str) -> Option<String>,
    host: &str,
    port: u16,
) -> Result<Option<EgressProxy>, String> {
    let first = |names: [&'static str; 2]| {
        names
            .into_iter()
            .find_map(|name| environment(name).filter(|value| !value.is_empty()).map(|value| (name, value)))
    };
    let Some((variable, proxy)) = first(["HTTPS_PROXY", "https_proxy"]) else { return Ok(None) };
    if let Some((_, exceptions)) = first(["NO_PROXY", "no_proxy"])
        && is_excepted(&exceptions, host, port)
    {
        return Ok(None);
    }
    if is_local(host) {
        return Ok(None);
    }
    parse(&proxy).map(Some).map_err(|text| format!("{variable}: {text}"))
}

/// What is never asked of a proxy: it would mean the proxy's own machine.
fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether an entry of `NO_PROXY` is about the host. What cannot be read is passed over, as by Go.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let (host, port) = (host.to_ascii_lowercase(), port.to_string());
    let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = network(&entry) {
            return ip.is_some_and(|ip| is_within(ip, network, bits));
        }
        let (name, its_port) = host_and_port(&entry).unwrap_or((&entry, ""));
        if !its_port.is_empty() && its_port != port {
            return false;
        }
        if let Ok(address) = name.parse::<IpAddr>() {
            return ip == Some(address.to_canonical());
        }
        // `.example.com` and `*.example.com` are about what is below it, `example.com` about itself, too.
        let name = if name.starts_with("*.") { &name[1..] } else { name };
        match name.strip_prefix('.') {
            Some(_) => host.ends_with(name),
            None if name.is_empty() => false,
            None => host == name || host.strip_suffix(name).is_some_and(|below| below.ends_with('.')),
        }
    })
}

/// An entry in CIDR notation: an address of the network and its prefix' length.
fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= bits_of(address))?;
    match address.to_canonical() {
        // An IPv4 network in IPv6 notation.
        IpAddr::V4(inner) if address.is_ipv6() && bits >= 96 => Some((IpAddr::V4(inner), bits - 96)),
        _ => Some((address, bits)),
    }
}

const fn bits_of(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { u32::BITS } else { u128::BITS }
}

fn is_within(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let host_bits = bits_of(ip) - bits.min(bits_of(ip));
    let prefix = |ip: IpAddr| number(ip).checked_shr(host_bits).unwrap_or(0);
    ip.is_ipv4() == network.is_ipv4() && prefix(ip) == prefix(network)
}

/// `host:port` or `[address]:port`, in parts, as Go's `net.SplitHostPort`; not an address that has colons itself.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if host.starts_with('[') && host.ends_with(']') {
        return Some((without_brackets(host), port));
    }
    (!host.contains([':', '[', ']'])).then_some((host, port))
}

/// The value of `HTTPS_PROXY`: `[http://][name[:password]@]host[:port]`, whatever follows.
fn parse(value: &str) -> Result<EgressProxy, String> {
    const SHAPE: &str = "write http://host:port, or http://name:password@host:port";
    let rest = match value.split_once("://") {
        None => value,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(
                "proxies are spoken to in the clear (what goes through is TLS to the server): write http:// \
                        and the proxy's port for that"
                    .to_owned(),
            );
        }
        // A scheme in its right place is no secret; anything else may be a piece of a password.
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+') => {
            return Err(format!("{}:// is no HTTP proxy: {SHAPE}", Shown(scheme)));
        }
        Some(_) => return Err(format!("this is no proxy's address: {SHAPE}")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    let (host, port) = match host_and_port(address) {
        Some((host, "")) => (host, PORT_DEFAULT),
        Some((host, port)) => match port.parse() {
            Ok(port) if port > 0 => (host, port),
            _ => return Err(format!("the proxy's port is not one of 1 to 65535: {SHAPE}")),
        },
        None => (without_brackets(address), PORT_DEFAULT),
    };
    let is_bare_ipv6 = host.contains(':') && !address.starts_with('[');
    if is_bare_ipv6 || ServerName::try_from(host).is_err() {
        return Err(format!("the proxy's host is neither an address nor a host name: {SHAPE}"));
    }
    let authorization = user
        .map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            match (unescape(name), unescape(password)) {
                // A colon in the name would begin the password at the proxy (RFC 7617 section 2).
                (Some(name), Some(password)) if !name.contains(':') => Ok(basic_authorization(&name, &password)),
                _ => Err("the name or the password cannot be read: write %XX for its special characters, %25 for %"
                    .to_owned()),
            }
        })
        .transpose()?;
    Ok(EgressProxy { host: host.to_owned(), port, authorization })
}

/// A part of a URL with its escapes (RFC 3986 section 2.1) replaced. `None` where one is none, or what comes of it is
/// no text or has control characters.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        if byte == b'%' {
            let digits = behind.get(..2)?;
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(byte);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of an environment with these variables.
    fn decided(variables: &[(&str, &str)], host: &str) -> Result<Option<EgressProxy>, String> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        egress_proxy(get, host, 8091)
    }

    fn excepted(list: &str, host: &str) -> bool {
        let through =
            decided(&[("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", list)], host).expect("a good environment");
        through.is_none()
    }

    #[test]
    fn the_environment_says_whether_there_is_one() {
        let name = |variables: &[(&str, &str)]| {
            decided(variables, "server.example").unwrap().map(|proxy| proxy.to_string())
        };
        assert_eq!(name(&[]), None);
        assert_eq!(name(&[("HTTPS_PROXY", "")]), None);
        assert_eq!(name(&[("HTTP_PROXY", "a:1"), ("ALL_PROXY", "a:1")]), None);
        assert_eq!(name(&[("https_proxy", "b:2")]).as_deref(), Some("b:2"));
        assert_eq!(name(&[("https_proxy", "b:2"), ("HTTPS_PROXY", "a:1")]).as_deref(), Some("a:1"));
        assert_eq!(name(&[("https_proxy", "b:2"), ("HTTPS_PROXY", "")]).as_deref(), Some("b:2"));
        assert_eq!(name(&[("HTTPS_PROXY", "a:1"), ("no_proxy", "example")]), None);
        assert_eq!(
            name(&[("HTTPS_PROXY", "a:1"), ("no_proxy", "example"), ("NO_PROXY", "other")]).as_deref(),
            Some("a:1")
        );
    }

    #[test]
    fn what_is_here_is_never_asked_of_a_proxy() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(excepted("", host), "{host}");
            // Nor is a wrong value in the way.
            assert_eq!(decided(&[("HTTPS_PROXY", "socks5://x:1")], host), Ok(None));
        }
        for host in ["::2", "local.localhost", "localhost.net", "128.0.0.1"] {
            assert!(!excepted("", host), "{host}");
        }
    }

    /// The rules that `httpproxy` documents for `NoProxy`, each with what it is about and what it is not.
    #[test]
    fn exceptions_are_read_as_go_reads_them() {
        let table: &[(&str, &[&str], &[&str])] = &[
            (
                "foo.example",
                &["foo.example", "bar.foo.example", "FOO.example"],
                &["barfoo.example", "example"],
            ),
            (".y.example", &["x.y.example"], &["y.example", "xy.example"]),
            ("*.y.example", &["x.y.example"], &["y.example"]),
            ("foo.example:8091", &["foo.example", "bar.foo.example"], &["barfoo.example"]),
            ("foo.example:443", &[], &["foo.example"]),
            ("foo.example:", &["foo.example"], &[]),
            ("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"], &["192.0.2.2", "x192.0.2.1"]),
            ("192.0.2.1:8091", &["192.0.2.1"], &[]),
            ("192.0.2.1:443", &[], &["192.0.2.1"]),
            ("10.0.0.0/30", &["10.0.0.0", "10.0.0.3", "::ffff:10.0.0.1"], &["10.0.0.4", "::a00:1", "x"]),
            ("10.9.9.9/0", &["192.0.2.1"], &["2001:db8::1"]),
            ("2001:db8::1", &["2001:db8::1", "2001:DB8:0::1"], &["2001:db8::2"]),
            ("[2001:db8::1]:8091", &["2001:db8::1"], &["2001:db8::2"]),
            ("[2001:db8::1]:443", &[], &["2001:db8::1"]),
            ("[2001:db8::1]", &[], &["2001:db8::1"]),
            ("2001:db8:a::45/64", &["2001:db8:a::123"], &["2001:db8:b::123", "10.0.0.1"]),
            ("::/0", &["2001:db8::1"], &["10.0.0.1"]),
            ("::ffff:10.0.0.0/104", &["10.200.0.1"], &["11.0.0.1"]),
            ("*", &["foo.example", "192.0.2.1", "2001:db8::1"], &[]),
            ("a, * ,b", &["foo.example"], &[]),
            (" foo.example , ,,bar.example", &["foo.example", "bar.example"], &["baz.example"]),
            (":1, 10.0.0.0/33, 10.0.0.1/x, [, ], :, .", &[], &["foo.example", "10.0.0.1"]),
        ];
        for (list, about, not_about) in table {
            for host in *about {
                assert!(excepted(list, host), "{list} is about {host}");
            }
            for host in *not_about {
                assert!(!excepted(list, host), "{list} is not about {host}");
            }
        }
    }

    #[test]
    fn a_proxys_address_has_many_spellings() {
        let table = [
            ("proxy.example:3128", "proxy.example", 3128, None),
            ("proxy.example", "proxy.example", 80, None),
            ("proxy", "proxy", 80, None),
            ("http://proxy.example", "proxy.example", 80, None),
            ("HTTP://proxy.example:8080/path?query#fragment", "proxy.example", 8080, None),
            ("http://192.0.2.1:1", "192.0.2.1", 1, None),
            ("http://[2001:db8::1]:3128/", "2001:db8::1", 3128, None),
            ("[2001:db8::1]", "2001:db8::1", 80, None),
            ("http://proxy:", "proxy", 80, None),
            ("http://Aladdin:open%20sesame@proxy:1", "proxy", 1, Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("Aladdin:open%20sesame@proxy", "proxy", 80, Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("http://user@proxy", "proxy", 80, Some("Basic dXNlcjo=")),
            ("http://a:b:c@d@proxy", "proxy", 80, Some("Basic YTpiOmNAZA==")),
        ];
        for (value, host, port, authorization) in table {
            let proxy = decided(&[("HTTPS_PROXY", value)], "server.example").unwrap().unwrap();
            assert_eq!((proxy.host.as_str(), proxy.port), (host, port), "{value}");
            assert_eq!(proxy.authorization.as_deref(), authorization, "{value}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_secrets() {
        let table = [
            ("https://name:secret@proxy:1", "write http://"),
            ("socks5://name:secret@proxy:1", "\"socks5\":// is no HTTP proxy"),
            ("name:secret://x@proxy:1", "no proxy's address"),
            ("http://name:secret@proxy:0", "port"),
            ("http://name:secret@proxy:65536", "port"),
            ("http://name:secret@proxy:x", "port"),
            ("http://name:secret@", "host"),
            ("http://name:secret@a b:1", "host"),
            ("http://name:secret@2001:db8::1", "host"),
            ("http://:1", "host"),
            ("http://", "host"),
            ("http://name:secret%zz@proxy", "%25 for %"),
            ("http://name:secret%0a@proxy", "%25 for %"),
            ("http://na%3ame:secret@proxy", "%25 for %"),
            ("http://name:secret%f@proxy", "%25 for %"),
            ("http://name:secret%ff@proxy", "%25 for %"),
        ];
        for (value, words) in table {
            let error = decided(&[("https_proxy", value)], "server.example").unwrap_err();
            assert!(error.starts_with("https_proxy: ") && error.contains(words), "{value}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
