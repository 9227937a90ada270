//! What becomes of dials and connections, as the caller tells it, and what it is told in turn.

use crate::route::Target;

use super::super::status::Status;
use super::text;

/// A dial of one stream. Unlike the client's `random`, which may come again, no two dials of a stream have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialKey(pub(super) u64);

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Dial. The answer is [`super::Frontend::on_established`] or [`super::Frontend::on_dial_failed`], unless
    /// [`Event::Cancel`] comes first.
    Dial {
        /// Names the dial from now on.
        key: DialKey,
        /// The client's number for it: what a Go agent must be asked with.
        random: i64,
        /// Where to, as the client wrote it.
        address: String,
        /// The same, understood.
        target: Target,
    },
    /// The client does not want a dial any more. Its answer, if it comes all the same, is stale: what it opened must be
    /// closed (section 2.3, "DIAL_CLS from client").
    Cancel {
        /// Which.
        key: DialKey,
    },
    /// The client closes a connection, and everything that it sent was taken. The connection is to be closed, both
    /// ways, for there is no half-close; then [`super::Frontend::on_tunnel_ended`].
    Close {
        /// Which.
        connect_id: i64,
    },
    /// A connection is to be cut off at once, and is forgotten: nothing about it is to be told.
    Abort {
        /// Which.
        connect_id: i64,
    },
    /// Everything was sent: the call ends with this status.
    End(Status),
}

/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// There is no agent to choose.
    NoAgent,
    /// The agent could not be asked; why.
    NotAsked(String),
    /// The agent says no; its words.
    Refused(String),
    /// The agent closed the dial without an answer (DIAL_CLS).
    Closed,
    /// The agent was lost before it answered; how.
    AgentLost(String),
    /// No answer in time.
    TimedOut,
}

impl DialFailure {
    /// The value of the label `reason` of Konnectivity's `dial_failure_count` (section 6).
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoAgent => "no_agent",
            Self::Refused(_) => "error_response",
            Self::NotAsked(_) | Self::Closed | Self::AgentLost(_) => "backend_close",
            Self::TimedOut => "backend_dial_timeout",
        }
    }

    /// Whether nothing that the client sends afterwards is read: section 2.3, "stop".
    pub(super) const fn stops(&self) -> bool {
        matches!(self, Self::NoAgent | Self::NotAsked(_))
    }

    /// What DIAL_RSP says; `None` where DIAL_CLS is sent in its place.
    pub(super) fn text(self) -> Option<String> {
        Some(match self {
            Self::NoAgent => text::NO_AGENT.to_owned(),
            Self::NotAsked(text) | Self::Refused(text) => text,
            Self::AgentLost(how) => format!("{}{how}", text::AGENT_LOST),
            Self::TimedOut => text::DIAL_TIMED_OUT.to_owned(),
            Self::Closed => return None,
        })
    }
}

/// How a connection ended, towards the agent. The client is not told whether it was an end or a reset: an agent's
/// CLOSE_RSP has an empty error for both (section 3.5), and so has a server's when the agent is lost (section 2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// It is over: the target's end, a reset, the agent's loss, or a close that the client asked for.
    Closed,
    /// The same with an error to pass on: an old agent's own, or why a connection was cut off.
    Failed(String),
    /// The close that the client asked for could not be passed on.
    NotPassedOn,
}

/// What was passed over, because nobody is harmed by it: late packets, and packets of nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// A packet that no client sends, or of an unknown type.
    #[error("{0}, which is not for a server")]
    NotForServers(&'static str),
    /// A dial whose number is that of one that is under way; that one is answered.
    #[error("a second DIAL_REQ {0} before the first was answered")]
    DuplicateDial(i64),
    /// A cancel for a dial that is not under way: answered, cancelled before, or never made.
    #[error("DIAL_CLS {0} for no dial under way")]
    UnknownDial(i64),
    /// DATA for connection 0, which means none (section 2.2).
    #[error("DATA for connection 0")]
    NoConnection,
    /// DATA or CLOSE_REQ that crossed the end of its connection.
    #[error("a packet for connection {0}, which is closed")]
    Closed(i64),
}
