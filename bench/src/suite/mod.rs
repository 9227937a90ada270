//! The suite: systems under test, networks, and rounds in turn.
//!
//! A system is a small file ([`spec`]) with its command lines, so that anyone can add one. A network is one or two
//! namespaces of the suite's own ([`network`]). A [`schedule`] says in which order the cells of the matrix are
//! measured, and [`mod@run`] measures them: the system is started, `adit-bench load` runs against it as a process of
//! its own, and what it found is written down together with what only the suite knows ([`cell`], [`machine`],
//! [`facts`]).
//!
//! Deliberately absent: load, which is `crate::load`'s, and judging, which is the report's and the comparison's.

pub mod builtin;
pub mod cell;
pub mod facts;
pub mod machine;
pub mod network;
pub mod places;
pub mod process;
pub mod run;
pub mod schedule;
pub mod spec;
