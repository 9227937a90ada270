//! `--proxy-strategies`.

use std::fmt;

use super::beginning;

/// How candidates for a dial are found. Names and meaning are Konnectivity's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// `destHost`: the first agent, in the order in which they registered, with an `ipv4`, `ipv6` or `host`
    /// identifier that is the destination's host, letter for letter.
    DestHost,
    /// `defaultRoute`: any agent with the identifier `default-route=true`, evenly at random.
    DefaultRoute,
    /// `default`: any agent, evenly at random.
    Default,
}

/// Why a strategy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// The list has no entries.
    #[error("no strategy is named; known are destHost, defaultRoute and default")]
    Empty,
    /// A name that is not known; its beginning, where it is long.
    #[error("unknown strategy {0:?}; known are destHost, defaultRoute and default (case matters)")]
    Unknown(String),
}

impl Strategy {
    /// Reads `--proxy-strategies`: names between commas, in order of preference. As upstream, empty items are
    /// skipped, white space is not, and case matters.
    ///
    /// # Errors
    ///
    /// [`StrategyError`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, StrategyError> {
        let names = text.split(',').filter(|name| !name.is_empty());
        let known = [Self::DestHost, Self::DefaultRoute, Self::Default];
        let strategies: Result<Vec<_>, _> = names
            .map(|name| {
                let strategy = known.into_iter().find(|strategy| strategy.name() == name);
                strategy.ok_or_else(|| StrategyError::Unknown(beginning(name)))
            })
            .collect();
        strategies.and_then(|list| if list.is_empty() { Err(StrategyError::Empty) } else { Ok(list) })
    }

    /// As in the flag.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DestHost => "destHost",
            Self::DefaultRoute => "defaultRoute",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
