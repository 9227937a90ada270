//! Where and with what everything was taken: each thing once, and where it differs, for which network or system.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::record::Sample;

/// Values of one part that stand in the list; parts with more are folded below it.
const VALUES_MAX: usize = 3;
/// Longest value that stands in the list; parts with longer ones, such as command lines, are folded.
const VALUE_CHARS_MAX: usize = 60;

/// The list, and what differs too much to stand in it.
pub(super) fn stamps(samples: &[Sample]) -> Markup {
    let (short, long): (Vec<_>, Vec<_>) = all(samples).into_iter().partition(|(_, values)| {
        values.len() <= VALUES_MAX && values.iter().all(|(value, _)| value.chars().count() <= VALUE_CHARS_MAX)
    });
    html! {
        dl.stamps {
            @for (name, values) in short {
                div {
                    dt { (name) }
                    @for (value, places) in values {
                        dd {
                            @if !places.is_empty() { span.what { (places.join(", ")) ": " } }
                            (value)
                        }
                    }
                }
            }
        }
        @for (name, values) in long {
            details.stamp {
                summary { (name) " (" (values.len()) ")" }
                dl {
                    @for (value, places) in values {
                        dt { (places.join(", ")) }
                        dd { code { (value) } }
                    }
                }
            }
        }
    }
}

/// A value and where it holds; everywhere where that is empty.
type Value = (String, Vec<String>);

/// Every part of the stamps by name, those that every sample has first.
fn all(samples: &[Sample]) -> Vec<(String, Vec<Value>)> {
    type Part = (&'static str, fn(&Sample) -> String);
    let parts: [Part; 5] = [
        ("Kernel", |sample| sample.stamp.kernel.clone()),
        ("CPU", |sample| sample.stamp.cpu.clone()),
        ("Cores", |sample| sample.stamp.cores.to_string()),
        ("adit-bench", |sample| sample.stamp.version.clone()),
        ("Congestion control (TCP)", |sample| sample.stamp.congestion_control.clone()),
    ];
    let mut all: Vec<_> = parts
        .iter()
        .map(|(name, part)| ((*name).to_owned(), values(samples, |one| Some(part(one)))))
        .collect();
    let more: BTreeSet<&String> = samples.iter().flat_map(|sample| sample.stamp.more.keys()).collect();
    all.extend(
        more.into_iter()
            .map(|name| (name.clone(), values(samples, |sample| sample.stamp.more.get(name).cloned()))),
    );
    all.retain(|(_, values)| !values.is_empty());
    all
}

/// The different values of one part. They are told apart by network or by system if either alone decides, by the one
/// that takes fewer words if both do, and by both otherwise.
fn values(samples: &[Sample], part: impl Fn(&Sample) -> Option<String>) -> Vec<Value> {
    let found: Vec<(&Sample, String)> = samples
        .iter()
        .filter_map(|sample| Some((sample, part(sample)?)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let distinct: BTreeSet<&String> = found.iter().map(|(_, value)| value).collect();
    if distinct.len() == 1 && found.len() == samples.len() {
        return distinct.into_iter().map(|value| (value.clone(), Vec::new())).collect();
    }
    let network = |sample: &Sample| sample.network.clone();
    let system = |sample: &Sample| sample.system.clone();
    let both = |sample: &Sample| format!("{} on {}", sample.system, sample.network);
    let words = |values: &Vec<Value>| values.iter().map(|(_, places)| places.len()).sum::<usize>();
    let alone = [told_apart(&found, network), told_apart(&found, system)];
    alone.into_iter().flatten().min_by_key(words).unwrap_or_else(|| places(&found, both))
}

/// The values by place, if no place has two.
fn told_apart(found: &[(&Sample, String)], place: impl Fn(&Sample) -> String) -> Option<Vec<Value>> {
    let mut by_place = BTreeMap::<String, &String>::new();
    for (sample, value) in found {
        if *by_place.entry(place(sample)).or_insert(value) != value {
            return None;
        }
    }
    Some(places(found, place))
}

fn places(found: &[(&Sample, String)], place: impl Fn(&Sample) -> String) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for (sample, value) in found {
        let place = place(sample);
        match values.iter_mut().find(|(known, _)| known == value) {
            Some((_, places)) if places.contains(&place) => {}
            Some((_, places)) => places.push(place),
            None => values.push((value.clone(), vec![place])),
        }
    }
    values
}
