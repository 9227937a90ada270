//! A socket, or TLS on a socket, with the same few operations.
//!
//! TLS is rustls' own client, read one record at a time, as Go's reads: what lies behind a record stays in the socket.
//! A wire buffers no more than one record either way, so a reader that stopped stops the socket as well.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use adit_io::Close;
use bytes::{Bytes, BytesMut};
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use crate::net::{SimNet, SimSocket, StreamError};
use crate::pipe::{ECONNRESET, EPIPE, Readable};

/// Bytes of a TLS record's header.
const HEADER_BYTES: usize = 5;
/// Most payload that is given to TLS at once.
const WRITE_BYTES_MAX: usize = 16 * 1024;

struct Tls {
    conn: ClientConnection,
    /// A record that is not whole yet.
    record: Vec<u8>,
    /// Payload that was not read yet.
    payload: BytesMut,
    /// Ciphertext that the socket has not taken yet.
    unsent: Bytes,
    /// `close_notify` came: nothing follows.
    ended: bool,
    failed: Option<i32>,
    /// The socket's direction is ended once everything is sent.
    ending: bool,
}

/// See the module's documentation.
pub struct Wire {
    socket: SimSocket,
    tls: Option<Box<Tls>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Wire");
        shown.field("socket", &self.socket);
        if let Some(tls) = &self.tls {
            shown
                .field("handshaking", &tls.conn.is_handshaking())
                .field("payload", &tls.payload.len())
                .field("unsent", &tls.unsent.len())
                .field("ended", &tls.ended)
                .field("failed", &tls.failed);
        }
        shown.finish()
    }
}

impl Wire {
    /// A plain socket.
    #[must_use]
    pub const fn plain(socket: SimSocket) -> Self {
        Self { socket, tls: None }
    }

    /// TLS as the client of `name`.
    ///
    /// # Panics
    /// When the configuration or the name cannot be used: the world makes both.
    pub fn tls(
        net: &mut SimNet,
        socket: SimSocket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Self {
        let conn = ClientConnection::new(config, name).expect("the world's configuration is valid");
        let tls = Tls {
            conn,
            record: Vec::new(),
            payload: BytesMut::new(),
            unsent: Bytes::new(),
            ended: false,
            failed: None,
            ending: false,
        };
        let mut wire = Self { socket, tls: Some(Box::new(tls)) };
        wire.flush(net);
        wire
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> SimSocket {
        self.socket
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the socket has everything that was written, the end included.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.unsent.is_empty() && !tls.ending)
    }

    /// What can be read now.
    ///
    /// # Errors
    /// As [`SimNet::readable`].
    pub fn readable(&mut self, net: &mut SimNet) -> Result<Readable, StreamError> {
        if self.tls.is_none() {
            return net.readable(self.socket);
        }
        loop {
            let Some(tls) = &self.tls else { return Ok(Readable::Nothing) };
            if !tls.payload.is_empty() {
                return Ok(Readable::Bytes(tls.payload.len()));
            }
            if let Some(errno) = tls.failed {
                return Ok(Readable::Failed(errno));
            }
            if tls.ended {
                return Ok(Readable::End);
            }
            match net.readable(self.socket)? {
                Readable::Bytes(_) => self.read_record(net),
                Readable::Nothing => return Ok(Readable::Nothing),
                // The end of TCP alone is a truncation.
                Readable::End => self.fail(ECONNRESET),
                Readable::Failed(errno) => self.fail(errno),
            }
        }
    }

    fn fail(&mut self, errno: i32) {
        if let Some(tls) = &mut self.tls {
            tls.failed = Some(errno);
        }
    }

    /// Takes what the present record lacks, not a byte more.
    fn read_record(&mut self, net: &mut SimNet) {
        let Some(tls) = &mut self.tls else { return };
        let lacks = match tls.record.first_chunk::<HEADER_BYTES>() {
            None => HEADER_BYTES - tls.record.len(),
            Some(header) => {
                HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])) - tls.record.len()
            }
        };
        let record = &mut tls.record;
        net.read(self.socket, lacks, |piece| record.extend_from_slice(piece));
        let whole = tls.record.first_chunk::<HEADER_BYTES>().is_some_and(|header| {
            tls.record.len() == HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]))
        });
        if !whole {
            return;
        }
        let record = std::mem::take(&mut tls.record);
        let mut rest = &record[..];
        while !rest.is_empty() && tls.failed.is_none() {
            let taken = tls.conn.read_tls(&mut rest).unwrap_or(0);
            if taken == 0 || tls.conn.process_new_packets().is_err() {
                // An alert, or nonsense.
                tls.failed = Some(ECONNRESET);
            }
        }
        let mut payload = Vec::new();
        // `WouldBlock` when there is no more for now.
        tls.ended = tls.conn.reader().read_to_end(&mut payload).is_ok();
        tls.payload.extend_from_slice(&payload);
        self.flush(net);
    }

    /// Reads up to `max` bytes and shows them; returns how many.
    pub fn read(&mut self, net: &mut SimNet, max: usize, mut take: impl FnMut(&[u8])) -> usize {
        let Some(tls) = &mut self.tls else { return net.read(self.socket, max, take) };
        let read = max.min(tls.payload.len());
        take(&tls.payload.split_to(read));
        read
    }

    /// How many bytes can be written now.
    ///
    /// # Errors
    /// As [`SimNet::writable`].
    pub fn writable(&mut self, net: &mut SimNet) -> Result<usize, StreamError> {
        if self.tls.is_none() {
            return net.writable(self.socket);
        }
        if self.is_handshaking() {
            // Its other half is in what can be read.
            self.readable(net)?;
        }
        self.flush(net);
        let Some(tls) = &self.tls else { return Ok(0) };
        if tls.failed.is_some() || tls.ending {
            return Err(StreamError(EPIPE));
        }
        let room = net.writable(self.socket)?;
        if tls.conn.is_handshaking() || !tls.unsent.is_empty() {
            return Ok(0);
        }
        Ok(room.min(WRITE_BYTES_MAX))
    }

    fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.conn.is_handshaking())
    }

    /// Writes bytes; no more than [`Self::writable`] said.
    pub fn write(&mut self, net: &mut SimNet, data: Bytes) {
        let Some(tls) = &mut self.tls else { return net.write(self.socket, data) };
        tls.conn.writer().write_all(&data).expect("a buffer that is flushed has room");
        self.flush(net);
    }

    /// Gives the socket what it takes of what TLS has to say.
    pub fn flush(&mut self, net: &mut SimNet) {
        let Some(tls) = &mut self.tls else { return };
        loop {
            if tls.unsent.is_empty() {
                let mut said = Vec::new();
                while tls.conn.wants_write() && tls.conn.write_tls(&mut said).is_ok() {}
                tls.unsent = Bytes::from(said);
            }
            if tls.unsent.is_empty() {
                break;
            }
            match net.writable(self.socket) {
                Ok(0) => return,
                Ok(room) => {
                    let piece = tls.unsent.split_to(room.min(tls.unsent.len()));
                    net.write(self.socket, piece);
                }
                Err(_) => {
                    // Nobody takes it any more; what the peer said before can still be read.
                    tls.unsent.clear();
                    tls.ending = false;
                    return;
                }
            }
        }
        if std::mem::take(&mut tls.ending) {
            // It may have failed meanwhile, which is seen elsewhere.
            let _ = net.shutdown_write(self.socket);
        }
    }

    /// Ends the sending direction, once everything that was written is sent.
    ///
    /// # Errors
    /// As [`SimNet::shutdown_write`].
    pub fn shutdown_write(&mut self, net: &mut SimNet) -> Result<(), StreamError> {
        let Some(tls) = &mut self.tls else { return net.shutdown_write(self.socket) };
        net.writable(self.socket)?;
        tls.conn.send_close_notify();
        tls.ending = true;
        self.flush(net);
        Ok(())
    }

    /// Whether the connection is gone as far as reading can tell; with TLS `close_notify` tells it all.
    pub fn is_gone(&self, net: &mut SimNet) -> bool {
        self.tls.is_none() && net.is_gone(self.socket)
    }

    /// Closes. True when the peer cannot take that for an end: bytes were left unread, or could not be sent any more.
    /// With TLS a `close_notify` that the socket took is an end, whatever was left unread; what comes behind it (the
    /// reset of a socket that was closed too early) may still overtake it.
    pub fn close(mut self, net: &mut SimNet, how: Close) -> bool {
        let mut said = false;
        if let Some(tls) = &mut self.tls
            && how == Close::Graceful
            && tls.failed.is_none()
            && !tls.conn.is_handshaking()
        {
            tls.conn.send_close_notify();
            self.flush(net);
            said = net.writable(self.socket).is_ok() && self.is_flushed();
        }
        let unread = matches!(net.readable(self.socket), Ok(Readable::Bytes(_)));
        let destroys = unread || !self.is_flushed() || (how == Close::Reset && net.is_tcp(self.socket));
        net.close(self.socket, how);
        destroys && !said
    }
}
