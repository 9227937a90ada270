//! What the process may use runs out: descriptors, places for sockets, locked memory. What cannot be had is refused or
//! waits, the log says what to do, what runs is not disturbed, and when there is enough again all is as before.

mod descriptors;
mod memlock;
/// What tests with processes share; not everything of it is wanted here.
#[allow(dead_code, reason = "shared with the tests of whole tunnels, which use all of it")]
#[path = "../direct/support/mod.rs"]
mod support;
