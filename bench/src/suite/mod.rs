//! The suite: systems under test, networks, and rounds in turn.
//!
//! A system is a small file ([`spec`]) with its command lines, so that anyone can add one. A [`schedule`] says in which
//! order the cells of the matrix are measured.
//!
//! Deliberately absent: load, which is `crate::load`'s, and judging, which is the report's and the comparison's.

pub mod builtin;
pub mod places;
pub mod schedule;
pub mod spec;
