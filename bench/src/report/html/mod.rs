//! One HTML file that needs nothing else: no script, no font, no network (its Content-Security-Policy forbids them).
//!
//! Text from samples is escaped by `maud`; classes and places in drawings are made of numbers alone.

use std::time::{Duration, UNIX_EPOCH};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::record::Sample;
use crate::report::text::count;

mod charts;
mod group;
mod scale;
mod stamps;
mod tables;
mod words;

use group::{Group, Sorted, sort};

/// Forbids everything that is not in the file itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("style.css");

/// The document.
#[must_use]
pub fn html(title: &str, samples: &[Sample]) -> String {
    let sorted = sort(samples);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(title, samples, &sorted))
                main {
                    section {
                        h2 { "At a glance" }
                        (tables::overview(&sorted))
                    }
                    @for network in &sorted.networks {
                        section.network {
                            h2 { (network) }
                            @for (index, group) in sorted.of_network(network) {
                                (section(group, index))
                            }
                        }
                    }
                }
                (foot())
            }
        }
    };
    page.into_string()
}

fn head(title: &str, samples: &[Sample], sorted: &Sorted<'_>) -> Markup {
    let unclean = samples.iter().filter(|sample| !sample.is_clean()).count();
    let total = count(samples.len() as u64);
    let times = || samples.iter().map(|sample| sample.stamp.unix_seconds);
    let (first, last) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    let rounds = samples.iter().map(|sample| sample.round).max().unwrap_or_default();
    html! {
        header {
            h1 { (title) }
            p {
                (some(sorted.systems.len(), "system")) ", " (some(sorted.networks.len(), "network")) ", "
                (some(sorted.groups.len(), "measurement")) " in up to " (some(rounds as usize, "round")) ", "
                (period(first, last)) ". "
                @if samples.is_empty() { span.bad { "⚠\u{a0}No samples" } }
                @else if unclean == 0 { span.good { "✓\u{a0}All " (total) " samples without errors" } }
                @else { span.bad { "⚠\u{a0}" (count(unclean as u64)) " of " (total) " samples with errors" } }
            }
            (stamps::stamps(samples))
        }
    }
}

fn some(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// From when to when, e.g. `2026-11-26 22:40 to 23:10 UTC`.
fn period(first: u64, last: u64) -> String {
    let (first, last) = (utc(first), utc(last));
    let same_day = first.split(' ').next() == last.split(' ').next();
    let last = if same_day { last.split(' ').next_back().unwrap_or_default() } else { &last };
    format!("{first} to {last} UTC")
}

/// Date and time for people, e.g. `2026-11-26 22:40`.
fn utc(unix_seconds: u64) -> String {
    // The last second of the year 9999, which is the last that can be written.
    let time = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(253_402_300_799));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").get(..16).unwrap_or_default().to_owned()
}

fn section(group: &Group<'_>, index: usize) -> Markup {
    let mut latencies: Vec<&str> = Vec::new();
    for name in group.cells.iter().flat_map(|cell| cell.latencies.keys()) {
        if !latencies.contains(name) {
            latencies.push(name);
        }
    }
    let unclean: Vec<_> = group.cells.iter().filter(|cell| cell.mark().is_some()).collect();
    html! {
        article id=(group.anchor(index)) {
            h3 { (group.workload) " " span.what { "over " (group.network) } }
            p {
                (words::workload(group.workload)) " "
                @for (name, value) in group.settings { code { (name) "=" (value) } " " }
            }
            @if unclean.is_empty() {
                p.good { "✓ No errors" }
            } @else {
                @for cell in unclean { div.bad-box { b { (cell.system) } " " (tables::errors(cell)) } }
            }
            div.cards {
                @for figure in group.headlines() { (charts::bars(group, figure)) }
                @for name in latencies { @if let Some(curves) = charts::percentiles(group, name) { (curves) } }
                @if let Some(series) = charts::series(group) { (series) }
            }
            (tables::figures(group))
            (tables::rounds(group))
        }
    }
}

fn foot() -> Markup {
    html! {
        footer {
            h2 { "How to read this" }
            p {
                "Bars end at the median of the rounds; the line across is from the least to the most of them, and "
                "each dot is a round. Throughput counts bytes whose place in the payload was checked at the far end. "
                "Latencies count from the moment an operation was meant to begin, so waiting behind others is in "
                "them; curves and their quantiles hold the operations of all rounds. CPU and memory are those of the "
                "system under test alone. Figures of a system with errors are marked wherever they stand, and its "
                "bars are hollow."
            }
            p { "Made by adit-bench " (env!("CARGO_PKG_VERSION")) "." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::period;

    #[test]
    fn times_read_well() {
        assert_eq!(period(1_795_000_000, 1_795_000_700), "2026-11-18 11:06 to 11:18 UTC");
        assert_eq!(period(0, 86_400), "1970-01-01 00:00 to 1970-01-02 00:00 UTC");
        assert_eq!(period(0, u64::MAX), "1970-01-01 00:00 to 9999-12-31 23:59 UTC");
    }
}
