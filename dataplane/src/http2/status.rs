//! How a gRPC call's end is written into header fields (gRPC's "PROTOCOL-HTTP2.md", Responses).

use std::fmt::Write;

use crate::limits::HTTP2_STATUS_MESSAGE_BYTES_MAX;

/// `grpc-message`: percent-encoded where a field's value could not hold it, and cut where it is too long.
///
/// gRPC asks for the encoding of what is not printable ASCII, and of `%`. A blank at either end is encoded as well: a
/// field's value must not have one there (RFC 9113 section 8.2.1).
pub(super) fn encode_message(message: &str) -> String {
    let mut end = message.len().min(HTTP2_STATUS_MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let bytes = &message.as_bytes()[..end];
    let mut encoded = String::with_capacity(bytes.len());
    for (index, &byte) in bytes.iter().enumerate() {
        let at_an_end = index == 0 || index + 1 == bytes.len();
        match byte {
            b' ' if !at_an_end => encoded.push(' '),
            b'!'..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("a String takes any text"),
        }
    }
    encoded
}

/// What `grpc-message` says: the reverse, which leaves alone what is not encoded as it should be.
pub(super) fn decode_message(encoded: &[u8]) -> String {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%'
            && let [high, low, behind @ ..] = rest
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            decoded.push(high << 4 | low);
            rest = behind;
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{HTTP2_STATUS_MESSAGE_BYTES_MAX, decode_message, encode_message};

    #[test]
    fn a_message_that_is_badly_encoded_is_shown_as_it_came() {
        for (encoded, message) in
            [("a%2", "a%2"), ("100%", "100%"), ("%zz%41", "%zzA"), ("%C3%A9 %e9", "é \u{fffd}")]
        {
            assert_eq!(decode_message(encoded.as_bytes()), message);
        }
    }

    #[test]
    fn a_message_is_encoded_as_grpc_does() {
        assert_eq!(encode_message(""), "");
        assert_eq!(encode_message("no agent: 100% gone"), "no agent: 100%25 gone");
        assert_eq!(encode_message("a\r\nb\t\u{7f}é"), "a%0D%0Ab%09%7F%C3%A9");
        assert_eq!(encode_message(" a "), "%20a%20");
        assert_eq!(encode_message(" "), "%20");
    }

    proptest! {
        #[test]
        fn a_message_comes_out_as_it_went_in_up_to_its_longest(message in "\\PC{0,700}") {
            let decoded = decode_message(encode_message(&message).as_bytes());
            prop_assert!(message.starts_with(&decoded));
            prop_assert!(decoded.len() == message.len() || decoded.len() + 4 > HTTP2_STATUS_MESSAGE_BYTES_MAX);
            prop_assert!(decoded.len() <= HTTP2_STATUS_MESSAGE_BYTES_MAX);
        }
    }
}
