//! Bounds of text from peers and of answers, with their relations proved at compile time.

use crate::limits::{MESSAGE_BYTES_MAX, REASON_PHRASE_BYTES_MAX};

/// Longest `host:port`: a name of 253 bytes with its final dot, a colon, five digits.
pub const TARGET_BYTES_MAX: usize = 260;
/// Longest text for people that is kept of what a peer says: errors, reasons, versions.
pub const PEER_TEXT_BYTES_MAX: usize = 320;
/// Longest `--agent-id` and `--server-id`.
pub const AGENT_ID_BYTES_MAX: usize = 256;
/// Longest id of a process's instance.
pub const INSTANCE_ID_BYTES_MAX: usize = 32;
/// Longest `--agent-identifiers`.
pub const IDENTIFIERS_BYTES_MAX: usize = 8 * 1024;
/// Most values in `--agent-identifiers`.
pub const IDENTIFIERS_MAX: usize = 256;
/// Longest name of a realm.
pub const REALM_BYTES_MAX: usize = 63;
/// Longest W3C `traceparent`; that of version 00 has 55 bytes.
pub const TRACEPARENT_BYTES_MAX: usize = 128;
/// Longest answer to a CONNECT, head and body: Go clients read more, but need not.
pub const ANSWER_BYTES_MAX: usize = 511;

const _: () = {
    // A dial's header fits a message; so does a Hello, with 6 KiB left for a token.
    assert!(TARGET_BYTES_MAX + TRACEPARENT_BYTES_MAX + REALM_BYTES_MAX + 64 < MESSAGE_BYTES_MAX);
    assert!(IDENTIFIERS_BYTES_MAX + AGENT_ID_BYTES_MAX + PEER_TEXT_BYTES_MAX + 6 * 1024 < MESSAGE_BYTES_MAX);
    // An error about the longest target still says what is wrong with it.
    assert!(PEER_TEXT_BYTES_MAX >= TARGET_BYTES_MAX + 32);
    assert!(REASON_PHRASE_BYTES_MAX + 128 < ANSWER_BYTES_MAX);
};
