//! `--proxy`: what it may say.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the system under test takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// A proxy on a Unix socket.
    Unix(PathBuf),
    /// A proxy on TCP, plain.
    Http(String),
    /// A proxy on TCP with TLS.
    Https(String),
    /// A port that leads to one target, whatever is behind it.
    Forward(String),
    /// Nothing between: the target itself.
    None,
}

/// Why a text is no [`Proxy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no proxy: {why}; say unix:PATH, https://HOST:PORT, http://HOST:PORT, forward:HOST:PORT or none"
)]
pub struct ProxyError {
    text: String,
    why: &'static str,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(at) => write!(f, "http://{at}"),
            Self::Https(at) => write!(f, "https://{at}"),
            Self::Forward(at) => write!(f, "forward:{at}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let wrong = |why| ProxyError { text: text.to_owned(), why };
        let at = |rest: &str| match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(rest.to_owned())
            }
            _ => Err(wrong("HOST:PORT is missing or malformed")),
        };
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(wrong("the path is empty"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if let Some(rest) = text.strip_prefix("https://") {
            return at(rest.trim_end_matches('/')).map(Self::Https);
        }
        if let Some(rest) = text.strip_prefix("http://") {
            return at(rest.trim_end_matches('/')).map(Self::Http);
        }
        match text.strip_prefix("forward:") {
            Some(rest) => at(rest).map(Self::Forward),
            None => Err(wrong("unknown kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Proxy;

    #[test]
    fn what_is_printed_is_what_is_read() {
        for text in ["unix:/run/a b.sock", "http://h:1", "https://[::1]:443", "forward:127.0.0.1:9", "none"] {
            assert_eq!(text.parse::<Proxy>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_proxy_is_said_with_what_would_be() {
        for text in
            ["", "unix:", "https://", "https://h", "https://h:0", "https://:1", "forward:h:x", "socks://h:1"]
        {
            let error = text.parse::<Proxy>().unwrap_err().to_string();
            assert!(error.contains("unix:PATH") && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
