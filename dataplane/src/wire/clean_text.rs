//! Text from peers, made fit for logs, labels and answers.

use std::fmt::Write;

/// Puts text from a peer into a form that cannot forge a log line, a header or a terminal sequence: control
/// characters and characters that reorder or break lines become escapes (`\n`, `\u{1b}`), and text that would be
/// longer than `max_bytes` loses its middle to `...`, because error texts have their cause at the end.
///
/// The result is at most `max_bytes` long. Applying it again changes nothing.
#[must_use]
pub fn clean_text(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len().min(4 * max_bytes));
    for c in text.chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            c if is_plain(c) => clean.push(c),
            c => write!(clean, "\\u{{{:x}}}", u32::from(c)).expect("a String takes any text"),
        }
    }
    elide_middle(clean, max_bytes)
}

/// Cuts text to `max_bytes`, keeping two thirds of its start and one third of its end.
fn elide_middle(text: String, max_bytes: usize) -> String {
    const MARK: &str = "...";
    if text.len() <= max_bytes {
        return text;
    }
    let kept = max_bytes.saturating_sub(MARK.len());
    let mut tail_start = text.len() - kept / 3;
    while !text.is_char_boundary(tail_start) {
        tail_start += 1;
    }
    let mut head_end = kept - kept / 3;
    while !text.is_char_boundary(head_end) {
        head_end -= 1;
    }
    let mark = &MARK[..MARK.len().min(max_bytes)];
    format!("{}{mark}{}", &text[..head_end], &text[tail_start..])
}

/// Whether a character may stand as it is: no control character (general category Cc), none that changes the
/// direction of what follows (UAX 9), no line or paragraph separator, no byte order mark.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
