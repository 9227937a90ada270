//! What figures and workloads are called, and which figures a workload is about.

use crate::compare::figures::{Better, better};

/// A workload in one sentence.
pub(super) fn workload(name: &str) -> &'static str {
    match name {
        "bulk-up" => {
            "Payload towards the target as fast as it goes. Counted are bytes that the target checked."
        }
        "bulk-down" => {
            "Payload from the target as fast as it goes. Counted are bytes that the client checked."
        }
        "bulk-both" => "Payload in both directions at once, checked at both ends.",
        "ping-pong" => "One small message there and back, again and again, on connections that stay open.",
        "dial" => "Connect, one byte there and back, close.",
        "idle" => "Connections that are open and silent: what each of them costs in memory.",
        "slow-reader" => {
            "Readers that stopped or trickle, beside round trips and new connections that must not notice."
        }
        "beside-bulk" => "Round trips beside one bulk transfer: what a busy tunnel does to a quiet one.",
        "cut-off" => "Transfers cut off together, and whether everything is well afterwards.",
        "churn" => "Connections that come and go.",
        "soak" => "Everything for a long time.",
        _ => "",
    }
}

/// The figures that a workload is about, the most telling first.
pub(super) fn headlines(workload: &str) -> &'static [&'static str] {
    match workload {
        "bulk-up" | "bulk-down" | "bulk-both" => &["bytes_per_second", "cpu_seconds_per_gb"],
        "ping-pong" => &[
            "ping_p50_seconds",
            "ping_p99_seconds",
            "cpu_seconds_per_1000_operations",
            "operations_per_second",
        ],
        "dial" => &[
            "operations_per_second",
            "dial_p99_seconds",
            "cpu_seconds_per_1000_operations",
            "resident_after_bytes",
        ],
        "churn" => &[
            "operations_per_second",
            "transfer_p99_seconds",
            "cpu_seconds_per_1000_operations",
            "resident_after_bytes",
        ],
        "idle" => &[
            "resident_per_idle_connection_bytes",
            "resident_at_rest_bytes",
            "resident_after_bytes",
            "idle_ping_p99_seconds",
        ],
        "slow-reader" => &[
            "ping_p99_seconds",
            "dial_p99_seconds",
            "ping_p99_ratio",
            "dial_p99_ratio",
            "resident_loaded_bytes",
        ],
        "beside-bulk" => &["ping_p99_seconds", "bytes_per_second", "ping_p99_ratio", "cpu_seconds_per_gb"],
        "cut-off" => {
            &["operations_per_second", "ping_p99_seconds", "dial_p99_seconds", "resident_after_bytes"]
        }
        _ => &[
            "ping_p99_seconds",
            "operations_per_second",
            "bytes_per_second",
            "cpu_seconds_per_1000_operations",
            "resident_after_bytes",
        ],
    }
}

/// A figure's name for people.
pub(super) fn figure(name: &str) -> String {
    let known = match name {
        "bytes_per_second" => "Throughput",
        "operations_per_second" => "Operations",
        "cpu_seconds_per_gb" => "CPU time per GB",
        "cpu_seconds_per_1000_operations" => "CPU time per 1,000 operations",
        "resident_at_rest_bytes" => "Memory at rest",
        "resident_loaded_bytes" => "Memory under load",
        "resident_after_bytes" => "Memory after close",
        "resident_per_idle_connection_bytes" => "Memory per idle connection",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let stem = name.strip_suffix("_seconds").or_else(|| name.strip_suffix("_bytes")).unwrap_or(name);
    let words: Vec<&str> = stem.split('_').map(word).collect();
    let text = words.join(" ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A part of a figure's name.
fn word(part: &str) -> &str {
    match part {
        "p999" => "p99.9",
        // Taken before whatever the workload disturbs it with.
        "without" => "undisturbed",
        _ => part,
    }
}

/// Which way is better, in words.
pub(super) fn way(name: &str) -> &'static str {
    match better(name) {
        Some(Better::Higher) => "higher is better",
        Some(Better::Lower) => "lower is better",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn names_read_well() {
        assert_eq!(figure("ping_p999_seconds"), "Ping p99.9");
        assert_eq!(figure("bytes_per_second"), "Throughput");
        assert_eq!(figure("ping_without_p99_seconds"), "Ping undisturbed p99");
        assert_eq!(figure("ping_p99_ratio"), "Ping p99 ratio");
        assert_eq!(figure(""), "");
    }
}
