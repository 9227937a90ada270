//! Who an agent says that it is: the metadata of `/AgentService/Connect` (section 3.1).
//!
//! Deliberately absent: whether that is true (control's), and HTTP/2's own rules about header fields.

use std::fmt;

use crate::limits::{AGENT_ID_BYTES_MAX, AGENT_TOKEN_BYTES_MAX};
use crate::route::{Identifiers, IdentifiersError};
use crate::wire::clean_text;

/// Key of an agent's id. Keys are lower case on the wire (section 0.5).
const AGENT_ID: &str = "agentid";
/// Key of what it stands for.
const IDENTIFIERS: &str = "agentidentifiers";
/// Key of its token.
const AUTHORIZATION: &str = "authorization";
/// The keys of a server's id and of the count of servers, in this order.
pub const SERVER_KEYS: [&str; 2] = ["serverid", "servercount"];

/// What an agent says when it connects.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentMetadata {
    /// Its id; may be empty.
    pub agent_id: String,
    /// What it stands for; nothing where it does not say.
    pub identifiers: Identifiers,
    /// The same as it came, a URL query.
    pub identifiers_text: String,
    /// Its credentials, whole, as often as they came.
    authorization: Vec<String>,
}

impl fmt::Debug for AgentMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the token.
        f.debug_struct("AgentMetadata")
            .field("agent_id", &self.agent_id)
            .field("identifiers", &self.identifiers)
            .field("authorization", &self.authorization.len())
            .finish()
    }
}

/// Why metadata are none of an agent's. The agent's fault, each; the call ends with UNKNOWN (section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A key that must come once.
    #[error("expected one {key} in the metadata, got {count}")]
    Count {
        /// Which.
        key: &'static str,
        /// How often it came.
        count: usize,
    },
    /// A value longer than its limit.
    #[error("{key} of {bytes} bytes in the metadata; {max} are the most")]
    TooLong {
        /// Of which key.
        key: &'static str,
        /// Its length.
        bytes: usize,
        /// Its limit.
        max: usize,
    },
    /// A value that is not UTF-8, or with characters that could forge a line of a log.
    #[error("{0} in the metadata is not plain text")]
    NotText(&'static str),
    /// Identifiers that cannot be read.
    #[error(transparent)]
    Identifiers(#[from] IdentifiersError),
    /// Credentials of another kind.
    #[error("authorization in the metadata does not begin with \"Bearer \"")]
    NotBearer,
}

impl AgentMetadata {
    /// The keys that mean something, in lower case.
    /// Id, identifiers, credentials, in this order.
    pub const KEYS: [&str; 3] = [AGENT_ID, IDENTIFIERS, AUTHORIZATION];

    /// What stands before a token.
    pub const BEARER: &str = "Bearer ";

    /// Reads the header fields of a call, keys in lower case. Keys that are none of [`Self::KEYS`] are passed over.
    ///
    /// # Errors
    ///
    /// [`MetadataError`], [`MetadataError::NotBearer`] excepted.
    pub fn read<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, MetadataError> {
        let (mut ids, mut identifiers, mut authorization) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in fields {
            match key {
                AGENT_ID => ids.push(text(AGENT_ID, value, AGENT_ID_BYTES_MAX)?),
                // Their own limit is checked where they are parsed.
                IDENTIFIERS => identifiers.push(text(IDENTIFIERS, value, usize::MAX)?),
                AUTHORIZATION => authorization.push(text(AUTHORIZATION, value, AGENT_TOKEN_BYTES_MAX)?),
                _ => {}
            }
        }
        let [agent_id] = &ids[..] else {
            return Err(MetadataError::Count { key: AGENT_ID, count: ids.len() });
        };
        let identifiers_text = match &identifiers[..] {
            [] => String::new(),
            [one] => one.clone(),
            many => return Err(MetadataError::Count { key: IDENTIFIERS, count: many.len() }),
        };
        let identifiers = Identifiers::parse(&identifiers_text)?;
        Ok(Self { agent_id: agent_id.clone(), identifiers, identifiers_text, authorization })
    }

    /// The token, where one is asked for (section 3.3).
    ///
    /// # Errors
    ///
    /// [`MetadataError::Count`] unless it came once, [`MetadataError::NotBearer`].
    pub fn token(&self) -> Result<&str, MetadataError> {
        match &self.authorization[..] {
            [one] => one.strip_prefix(Self::BEARER).ok_or(MetadataError::NotBearer),
            many => Err(MetadataError::Count { key: AUTHORIZATION, count: many.len() }),
        }
    }
}

fn text(key: &'static str, value: &[u8], max: usize) -> Result<String, MetadataError> {
    if value.len() > max {
        return Err(MetadataError::TooLong { key, bytes: value.len(), max });
    }
    match std::str::from_utf8(value) {
        Ok(text) if clean_text(text, text.len()) == text => Ok(text.to_owned()),
        _ => Err(MetadataError::NotText(key)),
    }
}

/// The server's own metadata: what its response headers must carry, at once, since an agent waits for them without a
/// limit (sections 0.4 and 3.1). A count of 0 means 1 to an agent.
#[must_use]
pub fn server_metadata(server_id: &str, server_count: u32) -> [(&'static str, String); 2] {
    let [id, count] = SERVER_KEYS;
    [(id, server_id.to_owned()), (count, server_count.to_string())]
}
