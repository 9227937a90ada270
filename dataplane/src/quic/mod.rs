//! quinn-proto, driven by hand.
