//! The agents that are connected, and what to tell an operator when one cannot be.

pub(crate) mod registry;
pub(crate) mod remedy;
