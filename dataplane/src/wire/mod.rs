//! `adit/1` on the wire: frames, stream headers, dial answers, control messages, close and reset codes.
//!
//! `docs/PROTOCOL.md` specifies all of it; each codec here cites its section. Everything is a pure function over
//! bytes. Deliberately absent: QUIC (`quic/`), what a tunnel does with its bytes (`stream/`), deadlines, and any
//! decision about whom to believe (control's).

mod clean_text;
mod codes;
mod control;
mod dial;
mod error;
mod error_text;
mod frame;
mod header;

#[cfg(test)]
pub(crate) mod tests;

pub use clean_text::clean_text;
pub use codes::{CloseCode, ResetCode};
pub use control::{ControlMessage, Drain, Hello, ServerCount, Token, Welcome};
pub use dial::{DialRequest, DialResponse, Network};
pub use error::WireError;
pub use error_text::{DialError, ErrorClass, status_for_text};
pub use frame::{FrameReader, LENGTH_PREFIX_BYTES, encode_frame};
pub use header::{Kind, StreamHeader};
