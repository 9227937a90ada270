//! A realm's name.

use std::fmt;
use std::sync::Arc;

use crate::limits::REALM_BYTES_MAX;

/// A space of agents and targets of its own. There is one today, `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(Arc<str>);

/// Text that does not name a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a realm's name has 1 to {REALM_BYTES_MAX} of a-z, 0-9 and -")]
pub struct RealmError;

impl Realm {
    /// The realm with this name; the default one for an empty name.
    ///
    /// # Errors
    ///
    /// [`RealmError`].
    pub fn new(name: &str) -> Result<Self, RealmError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() {
            Ok(Self::default())
        } else if name.len() <= REALM_BYTES_MAX && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(RealmError)
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
