//! `--agent-identifiers`: a URL query that says what an agent stands for, read as Go's `url.ParseQuery` reads it,
//! because Konnectivity's agents and servers do.
//!
//! These are claims. Whether an agent may make them is control's to decide.

use std::str::FromStr;

use super::beginning;
use crate::limits::{IDENTIFIERS_BYTES_MAX, IDENTIFIERS_MAX};

/// What an agent says that it stands for. Values are not interpreted: Konnectivity compares them as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identifiers {
    /// `ipv4=`, repeatable.
    pub ipv4: Vec<String>,
    /// `ipv6=`, repeatable.
    pub ipv6: Vec<String>,
    /// `host=`, repeatable.
    pub host: Vec<String>,
    /// `cidr=`, repeatable. Used by no strategy, as upstream.
    pub cidr: Vec<String>,
    /// `default-route=`: its first value is true by Go's `strconv.ParseBool`.
    pub default_route: bool,
}

/// Why text is not a list of identifiers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifiersError {
    /// Longer than [`IDENTIFIERS_BYTES_MAX`], or more than [`IDENTIFIERS_MAX`] values.
    #[error("agent identifiers are too long")]
    TooLong,
    /// A `;`, which older software took for a separator (Go refuses it for that reason).
    #[error("invalid semicolon separator in agent identifiers")]
    Semicolon,
    /// `%` without two hexadecimal digits, or bytes that are not UTF-8; the beginning of the key or value.
    #[error("invalid URL escape in agent identifiers: {0:?}")]
    Escape(String),
    /// A key that nobody knows, or its beginning; only an agent's own flag is held to this.
    #[error("unknown agent identifier {0:?}; known are ipv4, ipv6, host, cidr and default-route")]
    UnknownKey(String),
}

impl Identifiers {
    /// The hosts that dials are for (`destHost`). An empty value, as a manifest's unset variable leaves one, names
    /// none.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let all = self.ipv4.iter().chain(&self.ipv6).chain(&self.host);
        all.map(String::as_str).filter(|host| !host.is_empty())
    }

    /// Reads what an agent sent. Keys that are not known are left out: a newer agent may have more.
    ///
    /// # Errors
    ///
    /// [`IdentifiersError`], [`IdentifiersError::UnknownKey`] excepted.
    pub fn parse(query: &str) -> Result<Self, IdentifiersError> {
        Ok(Self::parse_with_unknown(query)?.0)
    }

    /// Reads an agent's own flag.
    ///
    /// # Errors
    ///
    /// [`IdentifiersError`], also for a key that is not known.
    pub fn parse_strict(query: &str) -> Result<Self, IdentifiersError> {
        match Self::parse_with_unknown(query)? {
            (_, Some(key)) => Err(IdentifiersError::UnknownKey(beginning(&key))),
            (identifiers, None) => Ok(identifiers),
        }
    }

    /// The identifiers, and the first key that is not known.
    fn parse_with_unknown(query: &str) -> Result<(Self, Option<String>), IdentifiersError> {
        if query.len() > IDENTIFIERS_BYTES_MAX || query.split('&').count() > IDENTIFIERS_MAX {
            return Err(IdentifiersError::TooLong);
        }
        let mut identifiers = Self::default();
        let mut default_route = None;
        let mut unknown = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pair.contains(';') {
                return Err(IdentifiersError::Semicolon);
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unescape(key)?, unescape(value)?);
            match key.as_str() {
                "ipv4" => identifiers.ipv4.push(value),
                "ipv6" => identifiers.ipv6.push(value),
                "host" => identifiers.host.push(value),
                "cidr" => identifiers.cidr.push(value),
                // The first value counts, as Go's `url.Values.Get` has it.
                "default-route" => {
                    default_route.get_or_insert_with(|| parse_bool(&value));
                }
                _ => {
                    unknown.get_or_insert(key);
                }
            }
        }
        identifiers.default_route = default_route == Some(true);
        Ok((identifiers, unknown))
    }
}

impl FromStr for Identifiers {
    type Err = IdentifiersError;

    /// As [`Identifiers::parse_strict`].
    fn from_str(query: &str) -> Result<Self, IdentifiersError> {
        Self::parse_strict(query)
    }
}

/// Go's `strconv.ParseBool`, a bad value counting as false.
fn parse_bool(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True")
}

/// Go's `url.QueryUnescape`: `+` is a space, `%XY` a byte.
fn unescape(text: &str) -> Result<String, IdentifiersError> {
    let bad = || IdentifiersError::Escape(beginning(text));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or_else(bad);
                let value = digit()? << 4 | digit()?;
                u8::try_from(value).map_err(|_| bad())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}
