//! The UDP socket: datagrams in, trains out, and what the kernel refuses of them.

use std::collections::VecDeque;

use adit_io::{DatagramDriver, DatagramOp, Datagrams, OpError, Outcome, Transmit};

use super::Shard;
use super::token::{Purpose, encode};
use crate::limits::{TRAIN_BYTES_MAX, TRAINS_IN_FLIGHT_MAX, ZERO_COPY_BYTES_MIN, ZERO_COPY_TRAINS_MAX};
use crate::stream::table::{Key, Table};

/// The UDP receive is the only one of its kind.
const RECV_KEY: Key = Key { index: 0, generation: 0 };

/// Trains on their way, and the buffers they travel in.
#[derive(Debug)]
pub(super) struct Trains {
    /// Handed to the driver and not completed.
    in_flight: Table<()>,
    /// Those whose buffer the kernel may still read after it has answered.
    zero_copy: usize,
    /// Empty buffers; never more than were in flight at once.
    pool: Vec<Vec<u8>>,
    /// Datagrams of trains that the kernel would not segment, one by one. Bounded: a train that is here is no
    /// longer in flight, and no new one is made while any is left.
    resend: VecDeque<Transmit>,
    receiving: bool,
}

impl Default for Trains {
    fn default() -> Self {
        Self {
            in_flight: Table::new(TRAINS_IN_FLIGHT_MAX),
            zero_copy: 0,
            pool: Vec::new(),
            resend: VecDeque::new(),
            receiving: false,
        }
    }
}

impl Trains {
    fn buffer(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_else(|| Vec::with_capacity(TRAIN_BYTES_MAX))
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() >= TRAIN_BYTES_MAX && self.pool.len() < TRAINS_IN_FLIGHT_MAX {
            buffer.clear();
            self.pool.push(buffer);
        }
    }

    /// Whether something waits for the driver to take it, of which no completion will remind anybody.
    pub(super) fn is_waiting_for_driver(&self) -> bool {
        !self.receiving || !self.resend.is_empty()
    }

    /// Trains handed to the driver and not completed.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// Errnos of a send; the same on every Linux architecture that adit runs on.
const EIO: i32 = 5;
const EINVAL: i32 = 22;

impl<D: DatagramDriver> Shard<D> {
    /// Keeps the receive armed.
    pub(super) fn arm_datagrams(&mut self) {
        if self.trains.receiving {
            return;
        }
        let op = DatagramOp::Recv { socket: self.udp };
        self.trains.receiving =
            self.driver.submit_datagrams(op, encode(Purpose::RecvDatagrams, RECV_KEY)).is_ok();
    }

    pub(super) fn on_datagrams(&mut self, more: bool, outcome: Outcome) {
        if !more {
            self.trains.receiving = false;
        }
        match outcome {
            Outcome::Datagrams(Ok(datagrams)) => self.receive(datagrams),
            Outcome::PeerUnreachable { peer, .. } => self.on_peer_unreachable(peer),
            // Out of slots, or an error that belongs to some earlier send: it is armed again.
            _ => {}
        }
    }

    fn receive(&mut self, datagrams: Datagrams) {
        let slots = self.driver.datagram_slots();
        self.quic.set_copy_received(slots.held * 2 > slots.total);
        self.quic.handle_datagrams(self.now, datagrams);
        while let Some(stray) = self.quic.poll_stray() {
            self.forward_stray(stray);
        }
    }

    /// Sends what QUIC has to send, as far as the driver takes it. Whether anything was sent.
    pub(super) fn send_datagrams(&mut self) -> bool {
        let mut sent = false;
        while self.trains.in_flight.len() < TRAINS_IN_FLIGHT_MAX {
            let transmit = match self.trains.resend.pop_front() {
                Some(transmit) => transmit,
                None => {
                    let buffer = self.trains.buffer();
                    match self.quic.poll_transmit(self.now, buffer) {
                        Ok(mut transmit) => {
                            transmit.zero_copy = self.config.zero_copy
                                && transmit.buffer.len() >= ZERO_COPY_BYTES_MIN
                                && self.trains.zero_copy < ZERO_COPY_TRAINS_MAX;
                            transmit
                        }
                        Err(buffer) => {
                            self.trains.recycle(buffer);
                            break;
                        }
                    }
                }
            };
            let Ok(key) = self.trains.in_flight.insert(()) else { break };
            let zero_copy = usize::from(transmit.zero_copy);
            let op = DatagramOp::Send { socket: self.udp, transmit };
            if let Err(refused) = self.driver.submit_datagrams(op, encode(Purpose::Train, key)) {
                self.trains.in_flight.remove(key);
                if let DatagramOp::Send { transmit, .. } = refused.value {
                    self.trains.resend.push_front(transmit);
                }
                break;
            }
            self.trains.zero_copy += zero_copy;
            sent = true;
        }
        sent
    }

    pub(super) fn on_train(&mut self, key: Key, more: bool, outcome: Outcome) {
        let (result, transmit) = match outcome {
            Outcome::DatagramsSent { result, transmit } => (result, transmit),
            Outcome::DatagramsReleased { transmit } => (Ok(()), Some(transmit)),
            _ => return,
        };
        if !more {
            self.trains.in_flight.remove(key);
        }
        #[cfg(feature = "defects")]
        if self.config.defect == Some(crate::config::Defect::BufferReusedEarly) {
            if more {
                self.trains.in_flight.remove(key);
            } else if transmit.as_ref().is_some_and(|transmit| transmit.zero_copy) {
                self.trains.zero_copy += 1;
            }
            self.trains.zero_copy -= usize::from(more);
        }
        let refused = matches!(result, Err(OpError::Os(EIO | EINVAL)));
        if let Some(transmit) = &transmit {
            self.trains.zero_copy -= usize::from(transmit.zero_copy);
        }
        match transmit {
            Some(transmit) if refused && transmit.segments() > 1 => self.send_one_by_one(transmit),
            Some(transmit) => {
                if result.is_err() {
                    self.stats.trains_dropped += 1;
                }
                self.trains.recycle(transmit.buffer);
            }
            None => {}
        }
    }

    /// The kernel does not segment for this socket (any more): no trains from now on, and this one in pieces.
    fn send_one_by_one(&mut self, transmit: Transmit) {
        self.stats.segmentation_refused += 1;
        self.quic.set_gso_segments_max(1);
        for datagram in transmit.buffer.chunks(transmit.segment_bytes) {
            self.trains.resend.push_back(Transmit {
                buffer: datagram.to_vec(),
                segment_bytes: datagram.len(),
                zero_copy: false,
                ..transmit
            });
        }
        self.trains.recycle(transmit.buffer);
    }
}
