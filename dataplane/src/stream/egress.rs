//! The other half of a splice: stream → socket. Takes a batch from the stream, sends it whole, takes the next.
//!
//! As long as a send is outstanding nothing is read from the stream, so a reader that stopped costs one batch and
//! the stream's window, and nothing of anyone else's. Inputs are `on_*`; `want_*` says what is to be done next.

use adit_io::Op;
use bytes::{Buf, Bytes};

/// D15: bytes of the target that must not arrive together with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Nothing is held.
    No,
    /// The answer is being sent.
    Answering,
    /// The answer was sent; the frontend must be seen to have read it.
    Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    Submitted,
    Done,
}

/// Stream → socket.
#[derive(Debug)]
pub struct Egress {
    batch: Vec<Bytes>,
    held: Vec<Bytes>,
    reader_seen: bool,
    sending: bool,
    stream_ended: bool,
    shutdown: Shutdown,
    hold: Hold,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            batch: Vec::new(),
            held: Vec::new(),
            reader_seen: false,
            sending: false,
            stream_ended: false,
            shutdown: Shutdown::No,
            hold: Hold::No,
        }
    }
}

impl Egress {
    /// Puts an answer in front and holds what follows until [`Self::on_answer_read`].
    pub fn answer_and_hold(&mut self, answer: Bytes) {
        debug_assert!(self.batch.is_empty() && !self.sending);
        self.batch.push(answer);
        self.hold = Hold::Answering;
    }

    /// Puts a last answer in front; nothing follows it but the end.
    pub fn answer_and_end(&mut self, answer: Bytes) {
        self.end();
        self.batch.push(answer);
    }

    /// Drops what waits: nothing follows but the end.
    pub fn end(&mut self) {
        self.batch.clear();
        self.held.clear();
        self.hold = Hold::No;
        self.stream_ended = true;
    }

    /// Bytes that came behind a frame on the stream.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.hold == Hold::No { self.batch.push(bytes) } else { self.held.push(bytes) }
    }

    /// Whether the answer was sent and it is not known yet whether the frontend read it.
    #[must_use]
    pub fn is_waiting_for_reader(&self) -> bool {
        self.hold == Hold::Waiting
    }

    /// Whether an answer is still on its way to the frontend.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.hold != Hold::No
    }

    /// The frontend has read the answer (or sent a byte of its own, which proves the same).
    pub fn on_answer_read(&mut self) {
        match self.hold {
            Hold::Waiting => {
                self.hold = Hold::No;
                self.batch = std::mem::take(&mut self.held);
            }
            Hold::Answering => self.reader_seen = true,
            Hold::No => {}
        }
    }

    /// Where to put bytes of the stream now, empty; `None` while earlier ones are not sent or are held. Comes back with
    /// [`Self::on_read`].
    pub fn want_read(&mut self) -> Option<Vec<Bytes>> {
        let ready = self.batch.is_empty() && !self.sending && !self.stream_ended && self.hold == Hold::No;
        ready.then(|| std::mem::take(&mut self.batch))
    }

    /// What the stream had to say.
    pub fn on_read(&mut self, batch: Vec<Bytes>) {
        debug_assert!(self.batch.is_empty() && !self.sending, "nothing came meanwhile");
        self.batch = batch;
    }

    /// The stream has ended; nothing follows what is in the batch.
    pub fn on_stream_end(&mut self) {
        self.stream_ended = true;
    }

    /// What to send now. It counts as outstanding until [`Self::on_sent`].
    pub fn want_send(&mut self) -> Option<Vec<Bytes>> {
        if self.sending || self.batch.is_empty() || self.hold == Hold::Waiting {
            return None;
        }
        self.sending = true;
        let mut data = std::mem::take(&mut self.batch);
        if data.len() > Op::SEND_PIECES_MAX {
            self.batch = data.split_off(Op::SEND_PIECES_MAX);
        }
        Some(data)
    }

    /// A send took `sent_bytes` from the front of `data`; the rest goes out next. Empty storage is kept for reuse.
    pub fn on_sent(&mut self, sent_bytes: usize, mut data: Vec<Bytes>) {
        self.sending = false;
        let mut left = sent_bytes;
        let mut whole = 0;
        for piece in &mut data {
            if piece.len() > left {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            whole += 1;
        }
        data.drain(..whole);
        data.append(&mut self.batch);
        self.batch = data;
        if self.batch.is_empty() && self.hold == Hold::Answering {
            self.hold = Hold::Waiting;
            if self.reader_seen {
                self.on_answer_read();
            }
        }
    }

    /// Whether a send is outstanding: the socket may have stopped taking bytes.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.sending
    }

    /// Whether bytes taken from the stream have not been taken by the socket.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.sending || !self.batch.is_empty()
    }

    /// Whether bytes wait for the reader of the answer.
    #[must_use]
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the stream was read to its end.
    #[must_use]
    pub fn has_stream_ended(&self) -> bool {
        self.stream_ended
    }

    /// Whether the socket's sending direction is to be ended now.
    #[must_use]
    pub fn want_shutdown(&self) -> bool {
        self.stream_ended
            && self.batch.is_empty()
            && !self.sending
            && self.hold == Hold::No
            && self.held.is_empty()
            && self.shutdown == Shutdown::No
    }

    /// The end was submitted.
    pub fn on_shutdown_submitted(&mut self) {
        self.shutdown = Shutdown::Submitted;
    }

    /// The end was carried out.
    pub fn on_shutdown(&mut self) {
        self.shutdown = Shutdown::Done;
    }

    /// Whether the end was submitted or carried out.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.shutdown != Shutdown::No
    }

    /// Whether this half is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.shutdown == Shutdown::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(data: &[Bytes]) -> Vec<u8> {
        data.iter().flat_map(|piece| piece.iter().copied()).collect()
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        for sent in 0..=6 {
            let mut egress = Egress::default();
            egress.push(Bytes::from_static(b"abc"));
            egress.push(Bytes::from_static(b"def"));
            let data = egress.want_send().unwrap();
            assert!(egress.want_send().is_none() && egress.want_read().is_none());
            egress.on_sent(sent, data);
            match egress.want_send() {
                Some(rest) => assert_eq!(flat(&rest), b"abcdef"[sent..]),
                None => assert_eq!(sent, 6),
            }
        }
    }

    #[test]
    fn what_follows_an_answer_waits_for_its_reader() {
        let mut egress = Egress::default();
        egress.answer_and_hold(Bytes::from_static(b"200"));
        egress.push(Bytes::from_static(b"early"));
        let answer = egress.want_send().unwrap();
        assert_eq!(flat(&answer), b"200");
        egress.on_sent(3, answer);
        assert!(egress.is_waiting_for_reader() && egress.want_read().is_none());
        assert!(egress.want_send().is_none());
        egress.on_answer_read();
        assert_eq!(flat(&egress.want_send().unwrap()), b"early");
    }

    #[test]
    fn the_end_follows_the_last_byte() {
        let mut egress = Egress::default();
        egress.push(Bytes::from_static(b"abc"));
        egress.on_stream_end();
        assert!(!egress.want_shutdown());
        let data = egress.want_send().unwrap();
        assert!(!egress.want_shutdown());
        egress.on_sent(3, data);
        assert!(egress.want_shutdown());
        egress.on_shutdown_submitted();
        assert!(!egress.want_shutdown() && !egress.is_done());
        egress.on_shutdown();
        assert!(egress.is_done());
    }
}
