//! Flag values in Go's spelling: durations (`time.ParseDuration`), booleans (`strconv.ParseBool`), lists (pflag's
//! `stringSlice`, without CSV's quotes); and how a value that is refused is shown.

use std::fmt;
use std::time::Duration;

use adit_dataplane::limits::SHOWN_CHARACTERS_MAX;

/// A value as it is shown in a text: between quotes, control characters escaped, and its beginning only where it is
/// long. What the texts of errors say of a value that somebody gave goes through here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_CHARACTERS_MAX) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// A duration as Go writes it: `1h0m0s`, `100ms`, `1.5s`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GoDuration(pub(crate) Duration);

impl std::str::FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid duration {} (write it like 30s, 1h0m0s or 100ms)", Shown(text));
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if text.starts_with('-') {
            return Err(format!("{}: a duration must not be negative", Shown(text)));
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let unit_bytes = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_bytes);
            let unit_nanos: u128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return Err(wrong()),
            };
            nanos = nanos.checked_add(scale(number, unit_nanos).ok_or_else(wrong)?).ok_or_else(wrong)?;
            rest = tail;
        }
        // Go's durations end at 2^63 ns, about 292 years.
        let nanos = i64::try_from(nanos).map_err(|_| wrong())?;
        Ok(Self(Duration::from_nanos(nanos.unsigned_abs())))
    }
}

/// `number` (digits with at most one point) times `unit_nanos`, rounded down.
fn scale(number: &str, unit_nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit_nanos)?;
    let mut place = unit_nanos;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(place.checked_mul(u128::from(digit - b'0'))?)?;
    }
    Some(nanos)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The items of a list flag (pflag's `stringSlice`): it may be given several times, each time with several items, apart
/// by commas. A flag that is given with nothing adds nothing.
pub(crate) fn list_items(values: &[String]) -> impl Iterator<Item = &str> {
    values.iter().filter(|value| !value.is_empty()).flat_map(|value| value.split(',')).map(str::trim)
}

/// Names of protocols (RFC 7301), as the log shows them.
pub(crate) fn protocol_names(names: &[Vec<u8>]) -> String {
    names.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(",")
}

/// `strconv.ParseBool`: what pflag accepts after `--flag=`.
///
/// # Errors
/// The text to show for anything else.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("1ns", 1),
            ("100ms", 100_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1h15m30.918s", 4_530_918_000_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("+5s", 5_000_000_000),
            ("0.000000001s", 1),
        ];
        for (text, nanos) in table {
            let GoDuration(duration) = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(duration, Duration::from_nanos(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "s", "-1s", "1d", "1.2.3s", "1 s", ".s", "9999999999h", "1s2", "٣s"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn booleans_read_as_pflag_reads_them() {
        assert_eq!(go_bool("T"), Ok(true));
        assert_eq!(go_bool("0"), Ok(false));
        assert!(go_bool("yes").is_err());
    }
}
