//! Figures as people read them: three digits, the unit beside them, decimal prefixes (1 MB is 1,000,000 bytes), and
//! binary ones for memory, which comes in pages.

/// A whole number with its thousands apart.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with three digits at least, and no more places behind the point than those need.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    match size {
        _ if value == 0.0 => "0".to_owned(),
        _ if size >= 999.5 => {
            // Rounded, within what a count of anything here can be.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked: finite, positive"
            )]
            let whole = count(size.round() as u64);
            format!("{}{whole}", if value < 0.0 { "−" } else { "" })
        }
        _ if size >= 99.95 => format!("{value:.0}"),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.0995 => format!("{value:.2}"),
        _ if size >= 0.000_995 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// A number with the largest prefix that leaves at least one whole: the steps are unit and size, falling.
fn scaled(value: f64, steps: &[(f64, &str)]) -> String {
    let step = steps.iter().find(|(size, _)| value.abs() >= *size).or_else(|| steps.last());
    step.map_or_else(String::new, |(size, unit)| format!("{} {unit}", number(value / size)))
}

/// A time in nanoseconds.
#[must_use]
pub fn duration(nanoseconds: u64) -> String {
    seconds(nanoseconds as f64 / 1e9)
}

/// A time in seconds.
#[must_use]
pub fn seconds(value: f64) -> String {
    scaled(value, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")])
}

/// A rate of bytes.
#[must_use]
pub fn bytes_per_second(value: f64) -> String {
    scaled(value, &[(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")])
}

/// A rate of anything else.
#[must_use]
pub fn count_per_second(value: f64) -> String {
    format!("{}/s", number(value))
}

/// Memory.
#[must_use]
pub fn memory(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    scaled(bytes, &[(KIB * KIB * KIB, "GiB"), (KIB * KIB, "MiB"), (KIB, "KiB"), (1.0, "B")])
}

#[cfg(test)]
mod tests {
    use super::{bytes_per_second, count, count_per_second, duration, memory, number, seconds};

    #[test]
    fn figures_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(9.994), "9.99");
        assert_eq!(number(9.996), "10.0");
        assert_eq!(number(99.96), "100");
        assert_eq!(number(999.7), "1,000");
        assert_eq!(number(-1_500.0), "−1,500");
        assert_eq!(number(0.123), "0.12");
        assert_eq!(number(0.012_34), "0.0123");
        assert_eq!(number(f64::NAN), "–");
        assert_eq!(duration(0), "0 ns");
        assert_eq!(duration(81_000), "81.0 µs");
        assert_eq!(seconds(1.5), "1.50 s");
        assert_eq!(bytes_per_second(1.5e9), "1.50 GB/s");
        assert_eq!(count_per_second(12_345.0), "12,345/s");
        assert_eq!(memory(3.0 * 1024.0 * 1024.0), "3.00 MiB");
    }
}
