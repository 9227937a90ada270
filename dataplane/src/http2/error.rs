//! Error codes, and why a connection or a stream is over.

use std::fmt;

use crate::limits;

/// An error code of RST_STREAM and GOAWAY (RFC 9113 section 7). Any number may come.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The protocol was broken.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Whoever says it has a defect.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// A window was exceeded.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame came for a stream that its sender had ended.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame has a wrong length.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was not looked at, and may be tried again elsewhere.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is not needed any more.
    pub const CANCEL: Self = Self(0x8);
    /// A header block cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection behind a CONNECT broke.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// TLS is not good enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// Try HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The names of RFC 9113, by number.
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0).ok().and_then(|code| Self::NAMES.get(code)) {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a peer may do so many times in [`limits::HTTP2_BUDGET_WINDOW`], or in one header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Budget {
    /// Streams reset early, late, or by us because of what came.
    Resets,
    /// PING, acknowledgements included.
    Pings,
    /// SETTINGS, acknowledgements included.
    Settings,
    /// WINDOW_UPDATE.
    WindowUpdates,
    /// PRIORITY and PRIORITY_UPDATE.
    Priorities,
    /// Frames of unknown type.
    UnknownFrames,
    /// DATA that carries nothing and ends nothing.
    EmptyData,
    /// Header blocks of closed streams.
    StrayHeaders,
    /// GOAWAY.
    Goaways,
    /// CONTINUATION frames of one header block.
    Continuations,
    /// Encoded bytes of one header block.
    HeaderBlockBytes,
}

impl Budget {
    /// How many there are of them, for tables.
    pub(super) const COUNT: usize = 11;

    /// How much of it there is.
    #[must_use]
    pub const fn max(self) -> u32 {
        match self {
            Self::Resets => limits::HTTP2_RESETS_MAX,
            Self::Pings => limits::HTTP2_PINGS_MAX,
            Self::Settings => limits::HTTP2_SETTINGS_FRAMES_MAX,
            Self::WindowUpdates => limits::HTTP2_WINDOW_UPDATES_MAX,
            Self::Priorities => limits::HTTP2_PRIORITIES_MAX,
            Self::UnknownFrames => limits::HTTP2_UNKNOWN_FRAMES_MAX,
            Self::EmptyData => limits::HTTP2_EMPTY_DATA_MAX,
            Self::StrayHeaders => limits::HTTP2_STRAY_HEADERS_MAX,
            Self::Goaways => limits::HTTP2_GOAWAYS_MAX,
            Self::Continuations => limits::HTTP2_CONTINUATIONS_MAX,
            Self::HeaderBlockBytes => limits::HTTP2_HEADER_BLOCK_BYTES_MAX,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Resets => "streams reset before they were of use",
            Self::Pings => "PING frames",
            Self::Settings => "SETTINGS frames",
            Self::WindowUpdates => "WINDOW_UPDATE frames",
            Self::Priorities => "PRIORITY frames",
            Self::UnknownFrames => "frames of unknown type",
            Self::EmptyData => "DATA frames without payload",
            Self::StrayHeaders => "header blocks of closed streams",
            Self::Goaways => "GOAWAY frames",
            Self::Continuations => "CONTINUATION frames in one header block",
            Self::HeaderBlockBytes => "bytes in one header block",
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} {}", self.max(), self.what())?;
        match self {
            Self::Continuations | Self::HeaderBlockBytes => Ok(()),
            _ => write!(f, " in {} s", limits::HTTP2_BUDGET_WINDOW.as_secs()),
        }
    }
}

/// What a peer did not finish in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Late {
    /// The preface and its SETTINGS.
    Preface,
    /// The acknowledgement of our SETTINGS.
    SettingsAck,
    /// A header block.
    HeaderBlock,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, time) = match self {
            Self::Preface => ("preface and SETTINGS", limits::HTTP2_PREFACE_TIME_MAX),
            Self::SettingsAck => ("acknowledgement of SETTINGS", limits::HTTP2_SETTINGS_ACK_TIME_MAX),
            Self::HeaderBlock => ("end of a header block", limits::HTTP2_HEADER_BLOCK_TIME_MAX),
        };
        write!(f, "no {what} within {} s", time.as_secs())
    }
}

/// Why a connection cannot go on. All but [`ConnectionError::Internal`] are the peer's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The peer makes more work than it may.
    #[error("the HTTP/2 peer made too much work: {0}")]
    Flood(Budget),
    /// The peer kept us waiting.
    #[error("the HTTP/2 peer was too slow: {0}")]
    Late(Late),
    /// The peer broke the protocol.
    #[error("the HTTP/2 peer broke the protocol ({code}): {text}")]
    Protocol {
        /// What it was told.
        code: ErrorCode,
        /// What was wrong, made fit for a log.
        text: String,
    },
    /// This end has a defect.
    #[error("a defect in adit's HTTP/2, please report it: {0}")]
    Internal(String),
}

impl ConnectionError {
    /// The code of the GOAWAY that the peer is sent.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Flood(_) | Self::Late(Late::Preface | Late::HeaderBlock) => ErrorCode::ENHANCE_YOUR_CALM,
            Self::Late(Late::SettingsAck) => ErrorCode::SETTINGS_TIMEOUT,
            Self::Protocol { code, .. } => *code,
            Self::Internal(_) => ErrorCode::INTERNAL_ERROR,
        }
    }

    /// Whether the peer is at fault, and not this end.
    #[must_use]
    pub fn is_peers_fault(&self) -> bool {
        !matches!(self, Self::Internal(_))
    }
}

/// The stream of a command is over: it was reset or ended, or its connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the HTTP/2 stream is over")]
pub struct Gone;
