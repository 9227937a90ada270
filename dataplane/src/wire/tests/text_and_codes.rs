//! Text from peers; close and reset codes.

use std::collections::HashSet;

use proptest::prelude::*;

use crate::wire::{CloseCode, ResetCode, clean_text};

#[test]
fn text_is_escaped_and_cut_in_the_middle() {
    let table = [
        ("node-1", 100, "node-1"),
        ("größe ✓", 100, "größe ✓"),
        ("a\nb\r\tc\0", 100, "a\\nb\\r\\tc\\u{0}"),
        ("\x1b[31mred", 100, "\\u{1b}[31mred"),
        ("\u{85}\u{9b}", 100, "\\u{85}\\u{9b}"),
        ("user\u{202e}gpj.exe", 100, "user\\u{202e}gpj.exe"),
        ("line\u{2028}break\u{feff}", 100, "line\\u{2028}break\\u{feff}"),
        ("0123456789abcdef", 15, "01234567...cdef"),
        ("0123456789abcdef", 16, "0123456789abcdef"),
        ("äääääääääää", 10, "ää...ä"),
        ("abcdef", 3, "..."),
        ("abcdef", 1, "."),
        ("abcdef", 0, ""),
    ];
    for (text, max_bytes, clean) in table {
        assert_eq!(clean_text(text, max_bytes), clean, "{text:?}");
    }
}

#[test]
fn codes_are_distinct_and_survive_the_wire() {
    let mut seen = HashSet::new();
    for code in CloseCode::ALL {
        assert_eq!(CloseCode::from_code(code.code().into()), Some(code));
        assert!(seen.insert(code.code()) && !code.text().is_empty());
    }
    for code in ResetCode::ALL {
        assert_eq!(ResetCode::from_code(code.code().into()), Some(code));
        assert!(seen.insert(code.code()) && !code.text().is_empty());
    }
    assert_eq!(CloseCode::from_code(u64::MAX), None);
    assert_eq!(ResetCode::from_code(0), None);
}

proptest! {
    #[test]
    fn clean_text_is_short_plain_and_stays_as_it_is(text in any::<String>(), max_bytes in 0usize..64) {
        let clean = clean_text(&text, max_bytes);
        prop_assert!(clean.len() <= max_bytes);
        let reorders = '\u{2028}'..='\u{202e}';
        prop_assert!(!clean.chars().any(|c| c.is_control() || reorders.contains(&c)));
        prop_assert_eq!(clean_text(&clean, max_bytes), clean);
    }
}
