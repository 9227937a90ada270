//! What a system says of itself that belongs beside its figures: words of its log, values of its metrics. Pure.

/// The word behind a text, up to white space, a quotation mark or a comma; at the text's first occurrence.
#[must_use]
pub fn word_after(log: &str, after: &str) -> Option<String> {
    let (_, rest) = log.split_once(after)?;
    let word = rest.split(|c: char| c.is_whitespace() || c == '"' || c == ',').next()?;
    (!word.is_empty()).then(|| word.to_owned())
}

/// A value of metrics in Prometheus' text format: the smallest of this name, or where there is something to divide by,
/// the quotient of the sums.
#[must_use]
pub fn metric(text: &str, value: &str, per: Option<&str>) -> Option<String> {
    let found = match per {
        None => values(text, value).reduce(f64::min)?,
        Some(per) => {
            let divisor: f64 = values(text, per).sum();
            if divisor == 0.0 {
                return None;
            }
            (values(text, value).sum::<f64>() / divisor * 100.0).round() / 100.0
        }
    };
    Some(found.to_string())
}

fn values(text: &str, name: &str) -> impl Iterator<Item = f64> {
    let value = move |line: &str| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest,
        };
        rest.strip_prefix(' ')?.split(' ').next()?.parse().ok()
    };
    text.lines().filter_map(value)
}

#[cfg(test)]
mod tests {
    use super::{metric, word_after};

    #[test]
    fn a_word_ends_where_a_reader_would_end_it() {
        let log =
            "INFO shard started shard=0 driver=\"uring\"\nINFO shard started shard=1 driver=\"epoll\"\n";
        assert_eq!(word_after(log, "driver=\"").as_deref(), Some("uring"));
        assert_eq!(word_after("mtu 1500, up", "mtu ").as_deref(), Some("1500"));
        assert_eq!((word_after(log, "mtu"), word_after("driver=", "driver=")), (None, None));
    }

    #[test]
    fn metrics_are_read_by_their_whole_name() {
        let text = "# HELP a_total a\na_total{shard=\"0\"} 30\na_total{shard=\"1\"} 31\na_total_more 5\n\
                    b_total 4\nmtu{extreme=\"min\"} 1452\nmtu{extreme=\"max\"} 65468\n";
        assert_eq!(metric(text, "mtu", None).as_deref(), Some("1452"));
        assert_eq!(metric(text, "a_total", Some("b_total")).as_deref(), Some("15.25"));
        assert_eq!((metric(text, "a", None), metric(text, "a_total", Some("none"))), (None, None));
    }
}
