//! A dial that was answered, as the end of a tunnel uses it.

use adit_io::Close;
use bytes::Bytes;

use super::link::Link;
use crate::net::{SimNet, StreamError};
use crate::pipe::Readable;

/// See the module's documentation.
#[derive(Debug)]
pub struct Call {
    pub(super) link: Link,
    pub(super) script: u32,
    pub(super) connection: Option<u64>,
}

impl Call {
    /// The connection that carries it.
    #[must_use]
    pub const fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// Whether the client cut its connection.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.link.was_cut(self.script)
    }

    /// Whether everything that was written is HTTP/2's.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.link.has_sent(self.script)
    }

    /// What can be read now. CLOSE_RSP is the end.
    #[must_use]
    pub fn readable(&self) -> Readable {
        self.link.readable(self.script)
    }

    /// Reads up to `max` bytes and shows them; returns how many.
    pub fn read(&mut self, max: usize, take: impl FnMut(&[u8])) -> usize {
        self.link.read(self.script, max, take)
    }

    /// How many bytes can be written now.
    ///
    /// # Errors
    /// EPIPE when the call is closed or over.
    pub fn writable(&mut self) -> Result<usize, StreamError> {
        self.link.writable(self.script)
    }

    /// Writes bytes; no more than [`Self::writable`] said.
    pub fn write(&mut self, net: &mut SimNet, data: Bytes) {
        self.link.write(net, self.script, data);
    }

    /// Sends what can be sent.
    pub fn flush(&mut self, net: &mut SimNet) {
        self.link.pump(net, self.script);
    }

    /// Closes, with CLOSE_REQ behind what was written or by a reset of the stream. True when the server cannot take
    /// that for an end.
    pub fn close(self, net: &mut SimNet, how: Close) -> bool {
        self.link.close(net, self.script, how)
    }
}
