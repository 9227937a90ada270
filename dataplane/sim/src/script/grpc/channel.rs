//! HTTP/2 on a wire.

use adit_dataplane::http2::Connection;
use adit_io::Close;
use bytes::Bytes;

use crate::net::SimNet;
use crate::pipe::Readable;
use crate::script::Wire;

/// Bytes of one read.
const READ_BYTES_MAX: usize = 16 * 1024;

/// What came of looking for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There was some.
    Something,
    /// There is none, or no room for it.
    Nothing,
    /// The wire has ended or broken.
    Gone,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Channel {
    wire: Wire,
    pub(crate) http2: Connection,
    /// What the wire has not taken yet.
    unsent: Bytes,
}

impl Channel {
    /// A client's.
    pub(crate) fn client(net: &SimNet, wire: Wire) -> Self {
        let http2 = Connection::client(net.clock().now()).expect("our own HTTP/2 begins");
        Self { wire, http2, unsent: Bytes::new() }
    }

    /// The connection below it.
    pub(crate) fn number(&self, net: &SimNet) -> Option<u64> {
        net.connection_of(self.wire.socket())
    }

    /// Gives HTTP/2 what can be read.
    pub(crate) fn receive(&mut self, net: &mut SimNet) -> Heard {
        if !self.http2.wants_input() {
            return Heard::Nothing;
        }
        match self.wire.readable(net) {
            Ok(Readable::Bytes(waiting)) => {
                let http2 = &mut self.http2;
                let max = waiting.min(READ_BYTES_MAX);
                self.wire.read(net, max, |piece| http2.receive(Bytes::copy_from_slice(piece)));
                Heard::Something
            }
            Ok(Readable::Nothing) => Heard::Nothing,
            Ok(Readable::End | Readable::Failed(_)) | Err(_) => Heard::Gone,
        }
    }

    /// Gives the wire what it takes of what HTTP/2 has to say.
    pub(crate) fn flush(&mut self, net: &mut SimNet) {
        loop {
            if self.unsent.is_empty() {
                self.unsent = self.http2.take_output();
            }
            if self.unsent.is_empty() {
                return self.wire.flush(net);
            }
            match self.wire.writable(net) {
                Ok(0) => return,
                Ok(room) => {
                    let piece = self.unsent.split_to(room.min(self.unsent.len()));
                    self.wire.write(net, piece);
                }
                // What the server said before can still be read.
                Err(_) => return self.unsent.clear(),
            }
        }
    }

    /// Whether the wire has taken everything.
    pub(crate) fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.http2.output_bytes() == 0 && self.wire.is_flushed()
    }

    /// Closes the wire.
    pub(crate) fn close(self, net: &mut SimNet, how: Close) {
        self.wire.close(net, how);
    }
}
