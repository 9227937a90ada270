//! What a response's fields and trailers say about a call: HTTP's status and gRPC's.

use super::failure::Failure;
use super::http2::Field;

/// Longest text of a peer that is repeated in an error.
const TEXT_BYTES_MAX: usize = 300;

/// Why the call failed, if these fields say that it did.
pub(super) fn refusal(fields: &[Field]) -> Option<Failure> {
    let value = |name: &[u8]| {
        let field = fields.iter().find(|(found, _)| found == name);
        field.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    match value(b":status").as_deref() {
        None | Some("200") => {}
        // Informational: the response is still to come.
        Some(status) if status.starts_with('1') => {}
        Some(status) => {
            return Some(Failure::malformed(format!("HTTP status {status}: no gRPC service there")));
        }
    }
    match value(b"grpc-status").as_deref() {
        None | Some("0") => None,
        Some(status) => {
            let message = value(b"grpc-message").unwrap_or_default();
            Some(Failure::refused(format!("grpc-status {status}: {}", decode(&message))))
        }
    }
}

/// Undoes the percent-encoding of `grpc-message`; what is none stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, later)) = rest.split_first() {
        let hex = later.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &later[2..];
            }
            None => {
                bytes.push(first);
                rest = later;
            }
        }
    }
    bytes.truncate(TEXT_BYTES_MAX);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{decode, refusal};

    fn of(fields: &[(&str, &str)]) -> Option<String> {
        let fields: Vec<_> =
            fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        refusal(&fields).map(|failure| failure.to_string())
    }

    #[test]
    fn statuses_are_read() {
        assert_eq!(of(&[(":status", "200"), ("content-type", "application/grpc")]), None);
        assert_eq!(of(&[("grpc-status", "0")]), None);
        let said = of(&[(":status", "200"), ("grpc-status", "14"), ("grpc-message", "no%20agent%3a x")]);
        assert_eq!(said.as_deref(), Some("grpc-status 14: no agent: x"));
        assert_eq!(of(&[(":status", "404")]).as_deref(), Some("HTTP status 404: no gRPC service there"));
    }

    #[test]
    fn what_is_no_percent_encoding_stays() {
        assert_eq!(decode("100% %zz %4"), "100% %zz %4");
        assert_eq!(decode("%E2%82%AC"), "€");
        assert_eq!(decode(&"x".repeat(1000)).len(), 300);
    }
}
