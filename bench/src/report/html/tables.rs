//! The tables: every figure beside its errors.

use maud::{Markup, html};

use super::group::{Cell, Group, Sorted, Spread};
use super::words;
use crate::compare::figures::{Better, better, show};
use crate::record::Sample;
use crate::report::text;

/// Figures of one workload that the overview shows.
const OVERVIEW_FIGURES: usize = 2;

/// The most telling figures of everything on one screen.
pub(super) fn overview(sorted: &Sorted<'_>) -> Markup {
    let systems = sorted.systems.len();
    let width = format!("min-width:{}rem;max-width:{}rem", 9 + 7 * systems, 11 + 18 * systems);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Overview" {
            table.overview style=(width) {
                thead {
                    tr {
                        th scope="col" { "Median of the rounds" }
                        @for (system, class) in &sorted.systems {
                            th scope="col" class=(class) { span.swatch {} (system) }
                        }
                    }
                }
                @for network in &sorted.networks {
                    tbody {
                        tr.network { th colspan=(systems + 1) scope="rowgroup" { (network) } }
                        @for (index, group) in sorted.of_network(network) {
                            @for (rank, figure) in group.headlines().iter().take(OVERVIEW_FIGURES).enumerate() {
                                (overview_row(sorted, group, (rank == 0).then_some(index), figure))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn overview_row(sorted: &Sorted<'_>, group: &Group<'_>, index: Option<usize>, figure: &str) -> Markup {
    let cells = || group.cells.iter().filter_map(|cell| Some((cell, cell.spread(figure)?)));
    let most = cells().map(|(_, spread)| spread.median).fold(0.0, f64::max);
    let arrow = match better(figure) {
        Some(Better::Higher) => "↑",
        Some(Better::Lower) => "↓",
        None => "",
    };
    html! {
        tr.more[index.is_none()] {
            th scope="row" {
                @if let Some(index) = index { a href={ "#" (group.anchor(index)) } { (group.workload) } }
                " " span.what { (words::figure(figure)) " " span title=(words::way(figure)) { (arrow) } }
            }
            @for (system, _) in &sorted.systems {
                @match cells().find(|(cell, _)| cell.system == *system) {
                    None => td.none { "–" },
                    Some((cell, spread)) => (overview_cell(cell, figure, spread, most)),
                }
            }
        }
    }
}

fn overview_cell(cell: &Cell<'_>, figure: &str, spread: Spread, most: f64) -> Markup {
    let range = format!("{} to {}", show(figure, spread.min), show(figure, spread.max));
    let width = format!("width:{}", percent(spread.median, most));
    html! {
        td class=(cell.class) title=(range) {
            span.v { (show(figure, spread.median)) }
            @if let Some(mark) = cell.mark() { span.bad { "⚠\u{a0}" (mark) } }
            span.track { span.bar.unclean[cell.mark().is_some()] style=(width) {} }
        }
    }
}

fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 { part / whole } else { 0.0 };
    format!("{:.1}%", (share * 100.0).clamp(0.5, 100.0))
}

/// Every figure of a group, with the errors first.
pub(super) fn figures(group: &Group<'_>) -> Markup {
    html! {
        details {
            summary { "All figures" }
            div.scroll tabindex="0" role="region" aria-label={ "All figures of " (group.workload) } {
                table {
                    thead {
                        tr {
                            th scope="col" { "Median (least – most)" }
                            @for cell in &group.cells {
                                th scope="col" class=(cell.class) { span.swatch {} (cell.system) }
                            }
                        }
                    }
                    tbody {
                        tr.errors {
                            th scope="row" { "Errors" }
                            @for cell in &group.cells { td { (errors(cell)) } }
                        }
                        tr {
                            th scope="row" { "Rounds" }
                            @for cell in &group.cells { td { (cell.samples.len()) } }
                        }
                        @for name in group.figure_names() {
                            tr {
                                th scope="row" { (words::figure(name)) " " span.what { (words::way(name)) } }
                                @for cell in &group.cells { (figure(cell, name)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn figure(cell: &Cell<'_>, name: &str) -> Markup {
    let Some(spread) = cell.spread(name) else { return html! { td.none { "–" } } };
    html! {
        td.unclean[cell.mark().is_some()] {
            (show(name, spread.median))
            @if spread.min < spread.max {
                " " span.what { "(" (show(name, spread.min)) " – " (show(name, spread.max)) ")" }
            }
        }
    }
}

/// A system's errors, by kind with their first words, or that there were none.
pub(super) fn errors(cell: &Cell<'_>) -> Markup {
    html! {
        @if let Some(mark) = cell.mark() {
            span.bad { "⚠\u{a0}" (mark) }
            @for (kind, error) in &cell.errors {
                div { (kind) " × " (text::count(error.count))
                    @if let Some(example) = error.examples.first() { ": " q { (example) } }
                }
            }
        } @else { span.good { "none" } }
    }
}

/// Every round of a group: what was counted, what went wrong, and what the instrument itself took.
pub(super) fn rounds(group: &Group<'_>) -> Markup {
    let columns = [
        "Round",
        "Errors",
        "Window",
        "Operations",
        "Verified up",
        "Verified down",
        "CPU watched",
        "CPU of the generator",
        "Begun late (p99)",
    ];
    html! {
        details {
            summary { "Every round" }
            div.scroll tabindex="0" role="region" aria-label={ "Every round of " (group.workload) } {
                table {
                    thead { tr { th scope="col" { "System" } @for name in columns { th scope="col" { (name) } } } }
                    tbody {
                        @for cell in &group.cells {
                            @for sample in &cell.samples { (round(cell, sample)) }
                        }
                    }
                }
            }
        }
    }
}

fn round(cell: &Cell<'_>, sample: &Sample) -> Markup {
    let errors: u64 = sample.errors.values().map(|error| error.count).sum();
    let bytes = |count: u64| format!("{} MB", text::number(count as f64 / 1e6));
    let late = sample.generator.lateness.as_ref();
    html! {
        tr.unclean[!sample.is_clean()] {
            th scope="row" class=(cell.class) { span.swatch {} (cell.system) }
            td { (sample.round) }
            td {
                @if errors > 0 { span.bad { "⚠\u{a0}" (text::count(errors)) } }
                @else if sample.is_clean() { span.good { "none" } }
                @else { span.bad { "⚠\u{a0}nothing measured" } }
            }
            td { (text::seconds(sample.window_seconds)) }
            td { (text::count(sample.operations)) }
            td { (bytes(sample.verified_up_bytes)) }
            td { (bytes(sample.verified_down_bytes)) }
            td { (sample.cpu_seconds().map_or_else(|| "–".to_owned(), text::seconds)) }
            td { (text::seconds(sample.generator.cpu_seconds)) }
            td { (late.map_or_else(|| "–".to_owned(), |late| text::duration(late.quantile(0.99)))) }
        }
    }
}
