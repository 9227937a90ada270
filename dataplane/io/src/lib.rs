//! The kernel seam of adit: one completion-shaped contract, [`Driver`], between a shard and whatever moves its bytes.
//!
//! Everything above this crate is a function of (state, input, now); everything that talks to the kernel, and
//! every line of `unsafe`, is in here. There are two implementations for Linux, `uring` and `epoll`; the
//! simulator (`adit-sim`) is the third. All three pass one suite, `conformance`.
//!
//! # The contract
//!
//! Each rule has a case in the conformance suite that carries its name.
//!
//! * **R1** An operation owns what the kernel may touch (buffers, the socket) until its *final* completion.
//! * **R2** Each submitted operation gets exactly one final completion, after 0..n completions with
//!   [`Completion::more`] set. [`Driver::close`] is no operation and completes nothing.
//! * **R3** Order is promised only per socket and direction: bytes received on one socket arrive in order. At
//!   most one receive and at most one send may be outstanding on a stream socket.
//! * **R4** After [`Driver::cancel`] the final completion still arrives; it may report success.
//! * **R5** A [`Token`] is not used for a second operation while the first is outstanding. The caller sees to
//!   it (a generation in the token); a driver may check it.
//! * **R6** Dropping a driver ends the kernel's access to every buffer before any buffer is freed.
//! * **R7** What is in flight is bounded. A full driver refuses and hands the operation back ([`Refused`]);
//!   nothing is lost and the caller may try again after a turn.
//! * **R8** [`DriverChoice::Auto`] may fall back and says why; an explicit choice fails instead.
//! * **R9** A socket leaves a driver ([`Driver::release`]) only with no operation outstanding on it.
//! * **R10** Receive completions carry owned bytes, segment stride, ECN and addresses; sends carry buffers and
//!   segment size. No control message, descriptor or buffer id exists above this crate.
//!
//! What this crate deliberately does not know: QUIC, HTTP, tunnels, policy, or who its caller is.

mod buf;
#[cfg(feature = "conformance")]
pub mod conformance;
mod counters;
mod driver;
pub mod epoll;
mod error;
pub mod net;
mod op;
mod select;
pub mod table;
pub mod uring;

pub use counters::{Counters, OpKind};
pub use driver::{
    Capabilities, Close, DatagramDriver, Driver, DriverChoice, DriverKind, SlotUse, SocketId, Token, Wake,
};
pub use error::{OpError, Refusal, Refused, StartError};
pub use op::{Completion, DatagramOp, Datagrams, Ecn, Op, Outcome, PeerAddr, Shots, SlotSize, Transmit};
pub use select::{DriverConfig, ResourceLimits, Selected, select};
