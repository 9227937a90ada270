//! The Prometheus text exposition format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats):
//! families with help and type, samples with escaped labels. Nothing more than adit exports.

use std::fmt::{Display, Write as _};

/// The format's media type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
}

/// A document being written.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family; its samples follow at once.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        self.head(name, if kind == Kind::Counter { "counter" } else { "gauge" }, help);
        Family { text: self, name: name.to_owned() }
    }

    /// A histogram without labels: `counts` are per bucket, not cumulative, and have one more than `bounds`.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        debug_assert_eq!(bounds.len() + 1, counts.len());
        self.head(name, "histogram", help);
        let mut total = 0;
        for (bound, count) in bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]).zip(counts) {
            total += count;
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{bound}\"}} {total}");
        }
        let _ = writeln!(self.0, "{name}_sum {sum}\n{name}_count {total}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// The document.
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut Text,
    name: String,
}

impl Family<'_> {
    /// Adds a sample.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let out = &mut self.text.0;
        out.push_str(&self.name);
        for (number, (name, label)) in labels.iter().enumerate() {
            let _ = write!(out, "{}{name}=\"", if number == 0 { '{' } else { ',' });
            escape(out, label);
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
        self
    }
}

/// Escapes a label's value: backslash, quote and line feed.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_prometheus() {
        let mut text = Text::default();
        text.family("adit_a", Kind::Gauge, "What a is.")
            .sample(&[], 1)
            .sample(&[("x", "a\"b\\c\nd"), ("y", "")], 2.5);
        text.family("adit_b_total", Kind::Counter, "What b is.").sample(&[("op", "send")], 3);
        text.histogram("adit_d_seconds", "What d is.", &[0.5, 1.0], &[1, 0, 2], 7.25);
        let want = "\
# HELP adit_a What a is.
# TYPE adit_a gauge
adit_a 1
adit_a{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 2.5
# HELP adit_b_total What b is.
# TYPE adit_b_total counter
adit_b_total{op=\"send\"} 3
# HELP adit_d_seconds What d is.
# TYPE adit_d_seconds histogram
adit_d_seconds_bucket{le=\"0.5\"} 1
adit_d_seconds_bucket{le=\"1\"} 1
adit_d_seconds_bucket{le=\"+Inf\"} 3
adit_d_seconds_sum 7.25
adit_d_seconds_count 3
";
        assert_eq!(text.into_string(), want);
    }
}
