//! What a scripted end speaks through: a wire of its own, or one call in GRPC mode, with the same few operations.

use adit_io::Close;
use bytes::Bytes;

use super::grpc::Call;
use super::wire::Wire;
use crate::net::{SimNet, StreamError};
use crate::pipe::Readable;

/// See the module's documentation.
#[derive(Debug)]
pub enum Line {
    /// A socket, with or without TLS.
    Wire(Wire),
    /// A call.
    Call(Call),
}

impl Line {
    /// The connection that carries it.
    #[must_use]
    pub fn connection(&self, net: &SimNet) -> Option<u64> {
        match self {
            Self::Wire(wire) => net.connection_of(wire.socket()),
            Self::Call(call) => call.connection(),
        }
    }

    /// Whether one direction can end before the other.
    #[must_use]
    pub const fn has_half_close(&self) -> bool {
        matches!(self, Self::Wire(_))
    }

    /// Whether its own end cut it off, with everything else on the same connection.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        matches!(self, Self::Call(call) if call.was_cut())
    }

    /// Whether everything that was written, the end included, is on its way.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Wire(wire) => wire.is_flushed(),
            Self::Call(call) => call.is_flushed(),
        }
    }

    /// What can be read now.
    ///
    /// # Errors
    /// As [`SimNet::readable`].
    pub fn readable(&mut self, net: &mut SimNet) -> Result<Readable, StreamError> {
        match self {
            Self::Wire(wire) => wire.readable(net),
            Self::Call(call) => Ok(call.readable()),
        }
    }

    /// Reads up to `max` bytes and shows them; returns how many.
    pub fn read(&mut self, net: &mut SimNet, max: usize, take: impl FnMut(&[u8])) -> usize {
        match self {
            Self::Wire(wire) => wire.read(net, max, take),
            Self::Call(call) => call.read(max, take),
        }
    }

    /// How many bytes can be written now.
    ///
    /// # Errors
    /// As [`SimNet::writable`].
    pub fn writable(&mut self, net: &mut SimNet) -> Result<usize, StreamError> {
        match self {
            Self::Wire(wire) => wire.writable(net),
            Self::Call(call) => call.writable(),
        }
    }

    /// Writes bytes; no more than [`Self::writable`] said.
    pub fn write(&mut self, net: &mut SimNet, data: Bytes) {
        match self {
            Self::Wire(wire) => wire.write(net, data),
            Self::Call(call) => call.write(net, data),
        }
    }

    /// Sends what can be sent of what was written.
    pub fn flush(&mut self, net: &mut SimNet) {
        match self {
            Self::Wire(wire) => wire.flush(net),
            Self::Call(call) => call.flush(net),
        }
    }

    /// Ends the sending direction, once everything that was written is sent. Not for what has no half-close.
    ///
    /// # Errors
    /// As [`SimNet::shutdown_write`].
    pub fn shutdown_write(&mut self, net: &mut SimNet) -> Result<(), StreamError> {
        match self {
            Self::Wire(wire) => wire.shutdown_write(net),
            Self::Call(_) => unreachable!("a call is closed, or goes on"),
        }
    }

    /// Whether the end that was read is the connection's, as far as that can be told apart.
    pub fn is_gone(&self, net: &mut SimNet) -> bool {
        match self {
            Self::Wire(wire) => wire.is_gone(net),
            // CLOSE_RSP says the same whether the target ended or reset.
            Self::Call(_) => true,
        }
    }

    /// Closes. True when the peer cannot take that for an end.
    pub fn close(self, net: &mut SimNet, how: Close) -> bool {
        match self {
            Self::Wire(wire) => wire.close(net, how),
            Self::Call(call) => call.close(net, how),
        }
    }
}
