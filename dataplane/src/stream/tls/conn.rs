//! rustls' two ends of a connection, seen as one: what a step came to, and what it writes.

use bytes::{Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

/// Most payload of one record (RFC 8446 section 5.1).
const RECORD_PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// What a record adds to its payload, at most, with the suites in use: header, explicit nonce, content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// The end that this side is.
pub(super) enum Conn {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What a step came to.
pub(super) enum Step {
    /// So many records with payload were read.
    Read(usize),
    /// This is to be sent; nothing, where rustls had nothing to write after all.
    Write(Option<Bytes>),
    /// Nothing; there is more to do.
    Done,
    /// The peer has said that nothing follows.
    PeerClosed,
    /// More bytes are needed.
    Blocked,
    /// The session is over.
    Failed(Error),
}

impl Conn {
    /// What both ends have in common.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(conn) => conn,
            Self::Client(conn) => conn,
        }
    }

    /// One step over the records in `bytes`: how many bytes are to be taken off their front, and what it came to.
    pub(super) fn step(&mut self, bytes: &mut [u8], payload: &mut BytesMut) -> (usize, Step) {
        match self {
            Self::Server(conn) => step(conn.process_tls_records(bytes), payload),
            Self::Client(conn) => step(conn.process_tls_records(bytes), payload),
        }
    }

    /// Encrypts `batch`, of `payload_bytes`. `partial` is what was received and not used yet.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub(super) fn encrypt(
        &mut self,
        partial: &mut [u8],
        batch: &[Bytes],
        payload_bytes: usize,
    ) -> Result<Bytes, &'static str> {
        const CLOSED: Result<Bytes, &str> = Err("the session takes no payload");
        match self {
            Self::Server(conn) => match conn.process_tls_records(partial).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => encrypt(&mut traffic, batch, payload_bytes),
                _ => CLOSED,
            },
            Self::Client(conn) => match conn.process_tls_records(partial).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => encrypt(&mut traffic, batch, payload_bytes),
                _ => CLOSED,
            },
        }
    }

    /// The alert that says that nothing follows, where one can be sent.
    pub(super) fn close_notify(&mut self, partial: &mut [u8]) -> Option<Bytes> {
        match self {
            Self::Server(conn) => close_notify(conn.process_tls_records(partial)),
            Self::Client(conn) => close_notify(conn.process_tls_records(partial)),
        }
    }
}

fn step<Data>(status: UnbufferedStatus<'_, '_, Data>, payload: &mut BytesMut) -> (usize, Step) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut full = 0;
            while let Some(Ok(record)) = traffic.next_record() {
                discard += record.discard;
                full += 1;
                payload.extend_from_slice(record.payload);
            }
            Step::Read(full)
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            Step::Write(written(|space| data.encode(space).map_err(Into::into)))
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Step::Done
        }
        Ok(ConnectionState::PeerClosed) => Step::PeerClosed,
        // The rest cannot go on without more bytes; there is no early data, because none is accepted or sent.
        Ok(_) => Step::Blocked,
        Err(error) => Step::Failed(error),
    };
    (discard, step)
}

fn close_notify<Data>(status: UnbufferedStatus<'_, '_, Data>) -> Option<Bytes> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            written(|space| traffic.queue_close_notify(space).map_err(Into::into))
        }
        _ => None,
    }
}

/// Encrypts `batch` into one piece. Small pieces are put together: a record for each datagram of the stream would cost
/// the peer a read for each.
fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    batch: &[Bytes],
    payload_bytes: usize,
) -> Result<Bytes, &'static str> {
    let records = payload_bytes.div_ceil(RECORD_PAYLOAD_BYTES_MAX);
    let mut out = BytesMut::zeroed(payload_bytes + records * RECORD_OVERHEAD_BYTES);
    let mut filled = 0;
    let mut put = |record: &[u8]| {
        loop {
            match traffic.encrypt(record, &mut out[filled..]).map_err(Space::from) {
                Ok(count) => {
                    filled += count;
                    return Ok(());
                }
                // Something else goes first: an answer to a renewal of keys.
                Err(Space::Needs(bytes)) if filled + bytes > out.len() => out.resize(filled + bytes, 0),
                Err(_) => return Err("the session's keys are used up"),
            }
        }
    };
    let mut gathered = Vec::new();
    for piece in batch {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (next, after) = rest.split_at(rest.len().min(RECORD_PAYLOAD_BYTES_MAX - gathered.len()));
            rest = after;
            if next.len() == RECORD_PAYLOAD_BYTES_MAX {
                put(next)?;
                continue;
            }
            gathered.reserve_exact(payload_bytes.min(RECORD_PAYLOAD_BYTES_MAX) - gathered.len());
            gathered.extend_from_slice(next);
            if gathered.len() == RECORD_PAYLOAD_BYTES_MAX {
                put(&gathered)?;
                gathered.clear();
            }
        }
    }
    if !gathered.is_empty() {
        put(&gathered)?;
    }
    out.truncate(filled);
    Ok(out.freeze())
}

/// Why rustls did not write.
enum Space {
    /// It needs so many bytes.
    Needs(usize),
    /// It will not.
    Never,
}

impl From<EncodeError> for Space {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for Space {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}

/// What rustls writes when it is given the space it asks for; `None` when that is nothing.
fn written(mut write: impl FnMut(&mut [u8]) -> Result<usize, Space>) -> Option<Bytes> {
    let mut out = BytesMut::new();
    loop {
        match write(&mut out) {
            Ok(count) => {
                out.truncate(count);
                return (count > 0).then(|| out.freeze());
            }
            Err(Space::Needs(bytes)) if bytes > out.len() => out.resize(bytes, 0),
            Err(_) => return None,
        }
    }
}
