//! The certificates in a bundle of CAs, as Konnectivity reads one (client-go's `ParseCertsPEM` over Go's
//! `encoding/pem`), so that a bundle that is good there is good here.
//!
//! Blocks of another kind, blocks with headers, blocks whose contents are not base64 and what is no whole block are
//! passed over. What a block with the label `CERTIFICATE` holds is the caller's to judge: one that holds no certificate
//! spoils the bundle. Certificates that are shown, and keys, are read strictly and elsewhere.

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// What the blocks labelled `CERTIFICATE` hold, in their order.
pub(super) fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some((block, behind)) = next_block(rest) {
        if block.label == b"CERTIFICATE" && !block.has_headers {
            found.push(block.contents);
        }
        rest = behind;
    }
    found
}

struct Block<'a> {
    label: &'a [u8],
    has_headers: bool,
    contents: Vec<u8>,
}

/// The first whole block, and what is behind it.
fn next_block(pem: &[u8]) -> Option<(Block<'_>, &[u8])> {
    let mut from = 0;
    loop {
        let end = from + find(&pem[from..], END)?;
        if let Some(found) = block_before(pem, from, end) {
            return Some(found);
        }
        from = end + END.len();
    }
}

/// The block that ends with the END line behind the line feed at `end`, if it is one, and what is behind it. `from` is
/// where the END line before it was.
fn block_before(pem: &[u8], from: usize, end: usize) -> Option<(Block<'_>, &[u8])> {
    // The last BEGIN line before it: one without an END line of its own is passed over.
    let before = &pem[from..end];
    let begin = before.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    if begin > 0 && before[begin - 1] != b'\n' {
        return None;
    }
    let (begin_line, mut at) = line(pem, from + begin + BEGIN.len());
    let label = begin_line.strip_suffix(DASHES)?;
    let mut has_headers = false;
    loop {
        let (header, behind) = line(pem, at);
        if !header.contains(&b':') {
            break;
        }
        (has_headers, at) = (true, behind);
    }
    if has_headers && end < at {
        return None;
    }
    let trailer = pem[end + END.len()..].strip_prefix(label)?.strip_prefix(DASHES)?;
    if !line(trailer, 0).0.is_empty() {
        return None;
    }
    // Where the block is empty, its lines share their line feed.
    let contents = decode_base64(pem.get(at..end).unwrap_or_default())?;
    let (_, behind) = line(pem, end + 1);
    Some((Block { label, has_headers, contents }, &pem[behind..]))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The line at `at`, without blanks at its end, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> (&[u8], usize) {
    let rest = &bytes[at..];
    let (line, next) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(feed) => (rest[..feed].strip_suffix(b"\r").unwrap_or(&rest[..feed]), at + feed + 1),
        None => (rest, bytes.len()),
    };
    let blanks = line.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    (&line[..line.len() - blanks], next)
}

/// Base64 with padding, blanks and line breaks passed over; bits of the last character that stand for nothing may be
/// set, as in Go.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut sextets, mut padding) = (0_u32, 0, 0);
    for byte in text.iter().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        let sextet = match byte {
            // Nothing is behind padding.
            _ if padding > 0 && *byte != b'=' => return None,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if sextets >= 2 => {
                padding += 1;
                0
            }
            _ => return None,
        };
        bits = bits << 6 | u32::from(sextet);
        sextets += 1;
        if sextets == 4 {
            bytes.extend(&bits.to_be_bytes()[1..4 - padding]);
            (bits, sextets) = (0, 0);
        }
    }
    (sextets == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nb25l\n-----END CERTIFICATE-----\n";
    const TWO: &str = "-----BEGIN CERTIFICATE-----\ndHdv\n-----END CERTIFICATE-----\n";

    fn texts(pem: &str) -> Vec<String> {
        certificates(pem.as_bytes()).into_iter().map(|der| String::from_utf8(der).unwrap()).collect()
    }

    #[test]
    fn whole_certificates_are_found_between_anything() {
        let crlf = format!("{ONE}{TWO}").replace('\n', "\r\n");
        let table = [
            format!("{ONE}{TWO}"),
            format!("# a comment\n{ONE}\n\nanother: one\n{TWO}tail"),
            crlf,
            format!("{ONE}{TWO}").trim_end().to_owned(),
            format!("{ONE}{TWO}").replace("b25l", " b2 \n\t5l \n"),
            format!("{ONE}{TWO}").replace("-----\n", "-----  \t\n"),
        ];
        for pem in table {
            assert_eq!(texts(&pem), ["one", "two"], "{pem}");
        }
    }

    #[test]
    fn blocks_of_another_kind_are_passed_over() {
        for label in ["PRIVATE KEY", "TRUSTED CERTIFICATE", "X509 CRL", "certificate", ""] {
            let other = ONE.replace("CERTIFICATE", label);
            assert_eq!(texts(&format!("{other}{TWO}")), ["two"], "{label}");
        }
    }

    #[test]
    fn blocks_with_headers_are_passed_over() {
        let other = ONE.replace("b25l", "Proc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nb25l");
        assert_eq!(texts(&format!("{other}{TWO}")), ["two"]);
    }

    #[test]
    fn blocks_that_are_not_base64_are_passed_over() {
        for wrong in ["b25", "b25l=", "b25l!", "b2=l", "====", "b25lb===", "b2==b25l", "b-_l"] {
            let other = ONE.replace("b25l", wrong);
            assert_eq!(texts(&format!("{other}{TWO}")), ["two"], "{wrong}");
        }
    }

    #[test]
    fn what_is_no_whole_block_is_passed_over() {
        let begin = "-----BEGIN CERTIFICATE-----\n";
        let table = [
            format!("{TWO}{begin}b25l\n"),
            format!("{TWO}{begin}"),
            format!("{TWO}{begin}b25l\n-----END CERT"),
            format!("{begin}b25l\n{TWO}"),
            format!("{TWO}{begin}b25l\n-----END PRIVATE KEY-----\n"),
            format!("-----END CERTIFICATE-----\n{TWO}"),
            format!("x{ONE}{TWO}"),
            ONE.replace("END CERTIFICATE-----", "END CERTIFICATE----- x") + TWO,
            ONE.replace('\n', " ") + "\n" + TWO,
        ];
        for pem in table {
            assert_eq!(texts(&pem), ["two"], "{pem}");
        }
        assert!(texts("").is_empty() && texts("no PEM at all\n").is_empty());
    }

    #[test]
    fn a_block_may_be_empty_and_its_last_bits_may_be_set() {
        assert_eq!(texts("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), [""]);
        assert_eq!(texts(&ONE.replace("b25l", "b25=")), ["on"]);
        assert_eq!(texts(&ONE.replace("b25l", "bw==")), ["o"]);
        assert_eq!(decode_base64(b"bx=="), Some(b"o".to_vec()));
    }
}
