//! The drawings: SVG by hand, because its colours then are the page's own and follow light and dark.
//!
//! A drawing is 440 units wide and its letters 12 high, which stays readable at the width of a phone.

use maud::{Markup, html};

use super::group::{Cell, Group, Spread};
use super::scale::{Scale, at};
use super::words;
use crate::compare::figures::{median, show};
use crate::record::Latency;
use crate::report::text;

const WIDTH: f64 = 440.0;
/// One system's place in a bar chart: a line of text and the bar below it.
const ROW: f64 = 38.0;
/// A curve of fewer operations would be a handful of steps.
const CURVE_OPERATIONS: f64 = 10.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 428.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 214.0;
const HEIGHT: f64 = 250.0;

/// A figure of all systems: a bar to the median, a line from the least to the most, a dot for each round.
pub(super) fn bars(group: &Group<'_>, figure: &str) -> Markup {
    let rows: Vec<_> = group.cells.iter().filter_map(|cell| Some((cell, cell.spread(figure)?))).collect();
    let most = rows.iter().map(|(_, spread)| spread.max).fold(0.0, f64::max);
    let scale = Scale::linear(most, 0.0, WIDTH - 6.0);
    let height = ROW * rows.len() as f64;
    let told: Vec<String> = rows
        .iter()
        .map(|(cell, spread)| {
            let mark = cell.mark().unwrap_or_else(|| "no errors".to_owned());
            format!("{} {} ({mark})", cell.system, show(figure, spread.median))
        })
        .collect();
    let title = words::figure(figure);
    let alt = format!("{title}, {}: {}", words::way(figure), told.join(", "));
    html! {
        figure.card {
            figcaption { b { (title) } " " span.way { (words::way(figure)) } }
            svg viewBox={ "0 0 " (at(WIDTH)) " " (at(height)) } role="img" aria-label=(alt) {
                @for (index, (cell, spread)) in rows.iter().enumerate() {
                    (bar(cell, figure, *spread, scale, index as f64 * ROW))
                }
            }
        }
    }
}

fn bar(cell: &Cell<'_>, figure: &str, spread: Spread, scale: Scale, top: f64) -> Markup {
    let (text_at, bar_at, middle) = (top + 13.0, top + 19.0, top + 25.0);
    let tip = format!(
        "{}: median {}, least {}, most {}, {}",
        cell.system,
        show(figure, spread.median),
        show(figure, spread.min),
        show(figure, spread.max),
        cell.mark().unwrap_or_else(|| "no errors".to_owned()),
    );
    let (low, high) = (scale.place(spread.min), scale.place(spread.max));
    let values = cell.figures.get(figure).map(Vec::as_slice).unwrap_or_default();
    html! {
        g class=(cell.class) {
            title { (tip) }
            text.name x="0" y=(at(text_at)) { (cell.system) }
            text.value x=(at(WIDTH)) y=(at(text_at)) text-anchor="end" {
                @if let Some(mark) = cell.mark() { tspan.bad { "⚠\u{a0}" (mark) "  " } }
                (show(figure, spread.median))
            }
            rect.track x="0" y=(at(bar_at)) width=(at(WIDTH)) height="12" rx="2" {}
            rect.bar.unclean[cell.mark().is_some()] x="0" y=(at(bar_at)) width=(at(scale.place(spread.median).max(1.5)))
                height="12" rx="2" {}
            path.whisker d={
                "M" (at(low)) " " (at(middle)) "H" (at(high))
                "M" (at(low)) " " (at(middle - 4.0)) "v8M" (at(high)) " " (at(middle - 4.0)) "v8"
            } {}
            @for value in values {
                circle.dot cx=(at(scale.place(*value))) cy=(at(middle)) r="2.2" {}
            }
        }
    }
}

/// How long the slowest operations took: time over the share that was faster, whose distance to 100 % shrinks by a
/// factor of ten from mark to mark.
pub(super) fn percentiles(group: &Group<'_>, name: &str) -> Option<Markup> {
    let curves: Vec<(&Cell<'_>, Vec<(f64, f64)>)> = group
        .cells
        .iter()
        .filter_map(|cell| Some((cell, curve(cell.latencies.get(name)?))))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let points = || curves.iter().flat_map(|(_, points)| points);
    let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.1).fold(0.0, f64::max);
    let rarest = points().map(|point| point.0).fold(0.0, f64::max);
    if rarest < CURVE_OPERATIONS {
        return None;
    }
    let across = Scale::log(1.0, rarest, LEFT, RIGHT);
    // Four times the least holds a round value at least, however close together all times are.
    let up = Scale::log(least / 1.15, (most * 1.15).max(least * 4.0), BOTTOM, TOP);
    let marks = [
        (1.0, "0 %"),
        (2.0, "50 %"),
        (1e1, "90 %"),
        (1e2, "99 %"),
        (1e3, "99.9 %"),
        (1e4, "99.99 %"),
        (1e5, "99.999 %"),
    ];
    let marks = marks.iter().filter(|(place, _)| *place <= rarest && (*place != 2.0 || rarest < 2e3));
    let told = curves.iter().map(|(cell, _)| {
        let latency = cell.latencies.get(name);
        let quantile =
            |share| latency.map_or_else(String::new, |latency| text::duration(latency.quantile(share)));
        format!("{} p50 {}, p99 {}", cell.system, quantile(0.5), quantile(0.99))
    });
    let alt = format!("Percentiles of {name}: {}", told.collect::<Vec<_>>().join("; "));
    Some(html! {
        figure.card {
            figcaption { b { (words::figure(name)) ", percentiles" } " " span.way { "lower is better" } }
            svg viewBox={ "0 0 " (at(WIDTH)) " " (at(HEIGHT)) } role="img" aria-label=(alt) {
                (y_axis(up, text::seconds))
                @for (place, label) in marks {
                    (x_mark(across.place(*place), label))
                }
                text.axis x=(at(RIGHT)) y=(at(HEIGHT - 2.0)) text-anchor="end" {
                    "share of operations that were faster"
                }
                @for (cell, points) in &curves {
                    path class=(line_class(cell)) d=(path(points, across, up)) {
                        title { (cell.system) }
                    }
                }
            }
            (legend(curves.iter().map(|(cell, _)| *cell)))
        }
    })
}

/// Points of 1/(1-share) and seconds; the maximum is the last, at the share that one operation is.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    let histogram = latency.histogram();
    let rarest = histogram.len() as f64;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for step in histogram.iter_quantiles(5) {
        let left = 1.0 - step.quantile_iterated_to();
        let place = if left > 0.0 { left.recip().min(rarest) } else { rarest };
        points.push((place, step.value_iterated_to() as f64 / 1e9));
    }
    points
}

/// The course of the window: the median of all rounds as a line, between the least and the most.
pub(super) fn series(group: &Group<'_>) -> Option<Markup> {
    let has_bytes = group.cells.iter().any(|cell| rates(cell, true).iter().any(|slot| slot.max > 0.0));
    let bytes = has_bytes && group.headlines().contains(&"bytes_per_second");
    let courses: Vec<(&Cell<'_>, Vec<Spread>)> = group
        .cells
        .iter()
        .map(|cell| (cell, rates(cell, bytes)))
        .filter(|(_, slots)| slots.len() > 1)
        .collect();
    let most = courses.iter().flat_map(|(_, slots)| slots).map(|slot| slot.max).fold(0.0, f64::max);
    let longest =
        courses.iter().map(|(cell, slots)| slots.len() as f64 * slot_seconds(cell)).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let (across, up) = (Scale::linear(longest, LEFT, RIGHT), Scale::linear(most * 1.05, BOTTOM, TOP));
    let (title, shown): (_, fn(f64) -> String) =
        if bytes { ("Throughput", text::bytes_per_second) } else { ("Operations", text::count_per_second) };
    let systems: Vec<&str> = courses.iter().map(|(cell, _)| cell.system).collect();
    let alt = format!("{title} over time, median of all rounds, of {}", systems.join(", "));
    Some(html! {
        figure.card {
            figcaption { b { (title) " over time" } " " span.way { "median; shaded: all rounds" } }
            svg viewBox={ "0 0 " (at(WIDTH)) " " (at(HEIGHT)) } role="img" aria-label=(alt) {
                (y_axis(up, shown))
                @for tick in across.ticks() {
                    (x_mark(across.place(tick), &short(&format!("{tick:.2} "))))
                }
                text.axis x=(at(RIGHT)) y=(at(HEIGHT - 2.0)) text-anchor="end" { "seconds since the window began" }
                @for (cell, slots) in &courses {
                    path class={ "band " (cell.class) } d=(band(cell, slots, across, up)) {}
                }
                @for (cell, slots) in &courses {
                    path class=(line_class(cell)) d=(path(&middle(cell, slots), across, up)) { title { (cell.system) } }
                }
            }
            (legend(courses.iter().map(|(cell, _)| *cell)))
        }
    })
}

/// Least, median and most of each slot's rate over the rounds, as far as every round goes.
fn rates(cell: &Cell<'_>, bytes: bool) -> Vec<Spread> {
    let of = |sample: &'_ &crate::record::Sample| {
        let series = &sample.series;
        if bytes { series.bytes.clone() } else { series.operations.clone() }
    };
    let rounds: Vec<Vec<u64>> = cell.samples.iter().map(of).collect();
    let length = rounds.iter().map(Vec::len).min().unwrap_or_default();
    let seconds = slot_seconds(cell);
    (0..length)
        .map(|slot| {
            let values: Vec<f64> = rounds.iter().map(|round| round[slot] as f64 / seconds).collect();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            Spread { median: median(&values), min: least, max: values.iter().copied().fold(0.0, f64::max) }
        })
        .collect()
}

fn slot_seconds(cell: &Cell<'_>) -> f64 {
    let every_ms = cell.samples.first().map_or(0, |sample| sample.series.every_ms);
    f64::from(every_ms.max(1)) / 1e3
}

/// Each slot's median at its middle.
fn middle(cell: &Cell<'_>, slots: &[Spread]) -> Vec<(f64, f64)> {
    let seconds = slot_seconds(cell);
    (0..).zip(slots).map(|(index, slot)| ((f64::from(index) + 0.5) * seconds, slot.median)).collect()
}

fn band(cell: &Cell<'_>, slots: &[Spread], across: Scale, up: Scale) -> String {
    let places = middle(cell, slots);
    let upper = places.iter().zip(slots).map(|(place, slot)| (place.0, slot.max));
    let lower = places.iter().zip(slots).rev().map(|(place, slot)| (place.0, slot.min));
    path(&upper.chain(lower).collect::<Vec<_>>(), across, up) + "Z"
}

fn path(points: &[(f64, f64)], across: Scale, up: Scale) -> String {
    let mut path = String::new();
    for (x, y) in points {
        path.push(if path.is_empty() { 'M' } else { 'L' });
        path += &format!("{} {}", at(across.place(*x)), at(up.place(*y)));
    }
    path
}

/// A round value as it stands at an axis: `2.00 GB/s` is `2 GB/s` there, and `0.50` is `0.5`.
fn short(value: &str) -> String {
    let end = value.find(|c: char| !c.is_ascii_digit() && !".,".contains(c)).unwrap_or(value.len());
    let (digits, unit) = value.split_at(end);
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{unit}")
}

/// A line's classes; one that had errors is pale.
fn line_class(cell: &Cell<'_>) -> String {
    format!("line {}{}", cell.class, if cell.mark().is_some() { " unclean" } else { "" })
}

fn y_axis(scale: Scale, shown: fn(f64) -> String) -> Markup {
    html! {
        @for tick in scale.ticks() {
            @let y = scale.place(tick);
            path.grid d={ "M" (at(LEFT)) " " (at(y)) "H" (at(RIGHT)) } {}
            text.axis x=(at(LEFT - 6.0)) y=(at(y + 4.0)) text-anchor="end" { (short(&shown(tick))) }
        }
    }
}

fn x_mark(x: f64, label: &str) -> Markup {
    // The outermost labels would leave the drawing if they stood in the middle.
    let anchor = if x > RIGHT - 14.0 { "end" } else { "middle" };
    html! {
        path.grid d={ "M" (at(x)) " " (at(TOP)) "V" (at(BOTTOM)) } {}
        text.axis x=(at(x)) y=(at(BOTTOM + 16.0)) text-anchor=(anchor) { (label) }
    }
}

/// Which line is whose, with a mark for those that had errors.
fn legend<'a, 'b: 'a>(cells: impl Iterator<Item = &'a Cell<'b>>) -> Markup {
    html! {
        ul.legend {
            @for cell in cells {
                li class=(cell.class) {
                    svg.key viewBox="0 0 22 8" aria-hidden="true" { path.line d="M1 4H21" {} }
                    (cell.system)
                    @if let Some(mark) = cell.mark() { " " span.bad { "⚠\u{a0}" (mark) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{curve, short};
    use crate::record::Latency;

    #[test]
    fn round_values_stand_without_their_zeros() {
        for (value, shown) in [
            ("2.00 GB/s", "2 GB/s"),
            ("500 ms", "500 ms"),
            ("0.50", "0.5"),
            ("5.00/s", "5/s"),
            ("4,000/s", "4,000/s"),
            ("0", "0"),
        ] {
            assert_eq!(short(value), shown);
        }
    }

    #[test]
    fn a_curve_rises_to_the_maximum_at_the_share_of_one_operation() {
        let mut latency = Latency::default();
        (1..=1_000).for_each(|time| latency.record(time * 1_000));
        let points = curve(&latency);
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        let (rarest, most) = points[points.len() - 1];
        assert_eq!(rarest, 1_000.0);
        assert!((most - 1e-3).abs() < 1e-6, "{most}");
    }
}
