//! Placeholders: `{name}` in the texts of a system's file.
//!
//! | placeholder | is |
//! |---|---|
//! | `{dir}` | the system's folder for files, keys and sockets |
//! | `{near}`, `{far}` | the addresses of the load's side and of the target's |
//! | `{target}` | the target as `HOST:PORT` |
//! | `{port:NAME}` | a free port, the same wherever the name is the same |
//! | `{adit}`, `{adit-bench}` | the programs |
//!
//! A brace that begins no name stands for itself, so that configuration files need no escapes.

use std::collections::BTreeMap;

/// What can stand in a placeholder beside `port:NAME`.
pub const NAMES: &[&str] = &["dir", "near", "far", "target", "adit", "adit-bench"];

/// One piece of a text.
enum Piece<'a> {
    Text(&'a str),
    Place(&'a str),
}

/// A placeholder that nothing is known for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{{{0}}} is unknown; there are {{dir}}, {{near}}, {{far}}, {{target}}, {{adit}}, {{adit-bench}} and {{port:NAME}}"
)]
pub struct UnknownPlace(pub String);

/// Splits at placeholders.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|offset| at + offset) {
        let rest = &text[open + 1..];
        let end =
            rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == ':'));
        match end.filter(|&end| end > 0 && rest[end..].starts_with('}')) {
            Some(end) => {
                pieces.push(Piece::Text(&text[from..open]));
                pieces.push(Piece::Place(&rest[..end]));
                at = open + end + 2;
                from = at;
            }
            None => at = open + 1,
        }
    }
    pieces.push(Piece::Text(&text[from..]));
    pieces
}

/// The placeholders of a text that nothing could ever be known for.
#[must_use]
pub fn unknown(text: &str) -> Option<UnknownPlace> {
    let names = places(text);
    let bad = |name: &&str| !NAMES.contains(name) && port(name).is_none();
    names.into_iter().find(bad).map(|name| UnknownPlace(name.to_owned()))
}

/// The ports that a text names.
pub fn ports(text: &str) -> impl Iterator<Item = &str> {
    places(text).into_iter().filter_map(port)
}

fn places(text: &str) -> Vec<&str> {
    let place = |piece| match piece {
        Piece::Place(name) => Some(name),
        Piece::Text(_) => None,
    };
    pieces(text).into_iter().filter_map(place).collect()
}

fn port(name: &str) -> Option<&str> {
    name.strip_prefix("port:").filter(|name| !name.is_empty())
}

/// What placeholders stand for.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<String, String>);

impl Places {
    /// Sets one; the name is without braces: `near`, `port:front`.
    pub fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.insert(name.into(), value.to_string());
    }

    /// Puts values where placeholders are.
    ///
    /// # Errors
    /// The first placeholder without a value.
    pub fn fill(&self, text: &str) -> Result<String, UnknownPlace> {
        let mut filled = String::with_capacity(text.len());
        for piece in pieces(text) {
            filled.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Place(name) => self.0.get(name).ok_or_else(|| UnknownPlace(name.to_owned()))?,
            });
        }
        Ok(filled)
    }

    /// The same for every word of a command line.
    ///
    /// # Errors
    /// The first placeholder without a value.
    pub fn fill_all(&self, texts: &[String]) -> Result<Vec<String>, UnknownPlace> {
        texts.iter().map(|text| self.fill(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Places, UnknownPlace, ports, unknown};

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let mut places = Places::default();
        places.set("near", "10.0.0.1");
        places.set("port:front", 80);
        let filled = places.fill("bind {near}:{port:front} if { src {near} } {} ${A} {{near}");
        assert_eq!(filled.unwrap(), "bind 10.0.0.1:80 if { src 10.0.0.1 } {} ${A} {10.0.0.1");
        assert_eq!(places.fill("{far}"), Err(UnknownPlace("far".into())));
        assert_eq!(places.fill("no place").unwrap(), "no place");
    }

    #[test]
    fn what_can_never_be_filled_is_found_before_anything_is_started() {
        assert_eq!(unknown("{dir}/{near}{far}{target}{adit}{adit-bench}{port:a-1}"), None);
        assert_eq!(unknown("{dir}{nera}"), Some(UnknownPlace("nera".into())));
        assert_eq!(unknown("{port:}"), Some(UnknownPlace("port:".into())));
        let text = UnknownPlace("nera".into()).to_string();
        assert!(text.starts_with("{nera} is unknown; there are {dir}, {near}"), "{text}");
        assert_eq!(ports("{port:a}{near}{port:b}").collect::<Vec<_>>(), ["a", "b"]);
    }
}
