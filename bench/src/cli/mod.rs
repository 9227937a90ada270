//! The program's verbs: what each takes on the command line, and what it calls.

pub mod baseline;
pub mod forwarder;
