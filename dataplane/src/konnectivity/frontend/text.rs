//! Error texts that clients, their tests and their users know: Konnectivity's, letter by letter, and where it has none,
//! adit's own.

/// Nothing to choose from (section 2.3).
pub const NO_AGENT: &str = "No agent available";
/// No answer of the agent in time (section 2.3).
pub const DIAL_TIMED_OUT: &str = "timed out waiting for backend dial";
/// DATA before any dial (section 2.3).
pub const DATA_BEFORE_DIAL: &str = "backend not initialized";
/// CLOSE_REQ before any dial (section 2.3).
pub const CLOSE_BEFORE_DIAL: &str = "backend uninitialized";
/// CLOSE_REQ that could not be passed on (section 2.3).
pub const CLOSE_NOT_PASSED_ON: &str = "CLOSE_REQ to backend failed";
/// DATA for two connections on one stream (section 2.2).
pub const MISMATCHED: &str = "mismatched connection IDs";
/// DATA for a connection that never was; the agent's words (section 3.5).
pub const DATA_UNKNOWN: &str = "unrecognized connectID";
/// CLOSE_REQ for a connection that never was; the agent's words (section 3.5).
pub const CLOSE_UNKNOWN: &str = "Unknown connectID";
/// What stands before the reason why an agent was lost while it dialed. Konnectivity says so in HTTP CONNECT mode
/// (section 2.4) and leaves the dial pending in this one.
pub const AGENT_LOST: &str = "Backend context error: ";
/// No new dials (adit's own).
pub const DRAINING: &str = "the server is draining";
