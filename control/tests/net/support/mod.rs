//! What the namespace tests are made of.

pub(crate) mod flows;
pub(crate) mod needs;
pub(crate) mod netns;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod world;
