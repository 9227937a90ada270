//! UDP: trains in, trains out, and the errors that arrive for them.
//!
//! A datagram that nobody took comes back as an ICMP message. With `IP_RECVERR` (ip(7)) it goes into the socket's
//! error queue, which names the peer, and becomes the socket's pending error, which fails the *next* send or
//! receive, whoever that is for. Hence:
//! * a receive that fails with such an error is armed again, and the queue is read;
//! * a send that does is repeated once, and the queue is read.
//!
//! Exactly one of the two meets each pending error, so nothing has to poll for POLLERR. The queue must be emptied
//! for another reason: as long as something is in it, the socket is "ready" and a receive without data spins.

use std::mem::size_of;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use io_uring::types::RecvMsgOut;
use io_uring::{cqueue, opcode};

use super::complete::{count_of, error_of, refuses_zero_copy, send_error_of};
use super::flight::{Flight, Work, ZeroCopy};
use super::key::FlightKey;
use super::message::{self, DatagramMessage, Stable};
use super::{DATAGRAM_GROUP, UringDriver, abi, fd};
use crate::counters::OpKind;
use crate::driver::{SocketId, Token};
use crate::error::{OpError, Refusal, Refused};
use crate::net::{addr, cmsg, error_queue};
use crate::op::{Completion, DatagramOp, Datagrams, Outcome, Transmit};

/// Room for the sender's address: a `struct sockaddr_in6` (28 bytes), up to the alignment of what follows.
const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>().next_multiple_of(8);
/// What stands before the payload in a slot.
const HEADER_BYTES: usize = abi::RECVMSG_OUT_BYTES + NAME_BYTES + cmsg::RECEIVE_CONTROL_BYTES;
/// A slot takes the largest train that the kernel merges (64 KiB), and what stands before it.
pub(super) const SLOT_BYTES: usize = HEADER_BYTES + 64 * 1024;
/// Reports taken off an error queue at once.
const REPORTS_AT_ONCE: usize = 64;

/// Tells the kernel how a slot is divided.
pub(super) fn receive_header() -> libc::msghdr {
    message::receive_header(NAME_BYTES, cmsg::RECEIVE_CONTROL_BYTES)
}

/// Errors that an ICMP message may have left on the socket (icmp_err_convert in net/ipv4/icmp.c, icmpv6_err_convert
/// in net/ipv6/icmp.c). `EBADFD` is how io_uring gives up on a socket that is ready without data: the error queue
/// was not empty.
const fn may_be_pending(result: i32) -> bool {
    matches!(
        -result,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EPROTO
            | libc::EACCES
            | libc::EMSGSIZE
            | libc::EBADFD
    )
}

impl UringDriver {
    pub(super) fn submit_datagram(
        &mut self,
        op: DatagramOp,
        token: Token,
    ) -> Result<(), Refused<DatagramOp>> {
        if self.is_full() {
            return Err(Refused { value: op, reason: Refusal::Full });
        }
        let (DatagramOp::Recv { socket } | DatagramOp::Send { socket, .. }) = op;
        if let Err(reason) = self.sockets.start_operation(socket) {
            return Err(Refused { value: op, reason });
        }
        match op {
            DatagramOp::Recv { .. } => {
                let key = self.flights.insert(Flight::new(token, socket, Work::RecvDatagrams));
                if let Some(entry) = self.sockets.get_mut(socket) {
                    entry.receive = Some(key);
                }
                self.report_errors(socket);
                self.arm_recv_datagrams(key, socket);
            }
            DatagramOp::Send { transmit, .. } => self.submit_train(socket, transmit, token),
        }
        Ok(())
    }

    fn arm_recv_datagrams(&mut self, key: FlightKey, socket: SocketId) {
        let group = self.provided[DATAGRAM_GROUP].group();
        let entry =
            opcode::RecvMsgMulti::new(self.fd_of(socket), self.receive_header.as_ptr(), group).build();
        // SAFETY: the header belongs to the driver and is never written to; slots come from the provided ring.
        unsafe { self.push_flight(OpKind::RecvDatagramsMultishot, key, entry) };
    }

    fn submit_train(&mut self, socket: SocketId, transmit: Transmit, token: Token) {
        let message = self.trains.pop().unwrap_or_else(|| Stable::new(DatagramMessage::new()));
        let zero_copy = if transmit.zero_copy && self.zero_copy { ZeroCopy::Asked } else { ZeroCopy::No };
        let work = Work::SendDatagrams { transmit, message, zero_copy, repeated: false };
        let key = self.flights.insert(Flight::new(token, socket, work));
        self.push_train(key);
    }

    /// Hands a train in the table to the kernel, for the first time or again.
    fn push_train(&mut self, key: FlightKey) {
        let flight = self.flights.get_mut(key);
        let socket = self.sockets.get_even_closing(flight.socket).expect("an operation keeps its socket");
        let Work::SendDatagrams { transmit, message, zero_copy, .. } = &mut flight.work else {
            unreachable!("only trains are sent")
        };
        let header = message.get_mut().point_at(transmit, socket.family);
        let target = fd(&socket.socket);
        let flags = libc::MSG_NOSIGNAL.cast_unsigned();
        let (kind, entry) = if *zero_copy == ZeroCopy::Asked {
            let entry = opcode::SendMsgZc::new(target, header).flags(flags);
            (OpKind::SendDatagramsZeroCopy, entry.ioprio(abi::SEND_ZC_REPORT_USAGE).build())
        } else {
            (OpKind::SendDatagrams, opcode::SendMsg::new(target, header).flags(flags).build())
        };
        // SAFETY: the train's buffer and the message are in the table, and do not move with it.
        unsafe { self.push_flight(kind, key, entry) };
    }

    pub(super) fn complete_recv_datagrams(
        &mut self,
        key: FlightKey,
        socket: SocketId,
        entry: &cqueue::Entry,
    ) {
        let more = cqueue::more(entry.flags());
        let result = entry.result();
        let ending = self.is_ending(key);
        let received = match (cqueue::buffer_select(entry.flags()), result) {
            (Some(id), 1..) => {
                let slot = self.provided[DATAGRAM_GROUP].lend(id, count_of(result));
                self.counters.provided_buffer_receives += 1;
                self.parse(slot).map(Ok)
            }
            (id, _) => {
                if let Some(id) = id {
                    self.provided[DATAGRAM_GROUP].return_unused(id);
                }
                if may_be_pending(result) { None } else { Some(Err(error_of(result.min(-1)))) }
            }
        };
        let Some(received) = received else {
            // Either an error of some datagram that was sent, or something that is no datagram.
            if result < 0 {
                self.report_errors(socket);
            }
            if more {
                return;
            }
            if !ending {
                return self.arm_recv_datagrams(key, socket);
            }
            return self.end_recv_datagrams(key, socket, Err(OpError::Cancelled));
        };
        if received == Err(OpError::NoBuffers) {
            // Not yet, if only the ring was empty.
            if self.provided[DATAGRAM_GROUP].refill() && !ending {
                return self.arm_recv_datagrams(key, socket);
            }
            self.counters.no_buffers += 1;
        }
        if more {
            let outcome = Outcome::Datagrams(received);
            return self.finish_or_go_on(OpKind::RecvDatagramsMultishot, key, true, outcome);
        }
        self.end_recv_datagrams(key, socket, received);
    }

    fn end_recv_datagrams(&mut self, key: FlightKey, socket: SocketId, received: Result<Datagrams, OpError>) {
        if let Some(entry) = self.sockets.get_even_closing_mut(socket)
            && entry.receive == Some(key)
        {
            entry.receive = None;
        }
        self.finish_or_go_on(OpKind::RecvDatagramsMultishot, key, false, Outcome::Datagrams(received));
    }

    /// Takes a filled slot apart: `struct io_uring_recvmsg_out`, name, control data, payload. `None` when there is
    /// nothing in it for the caller. An empty datagram is such a case, and it also ends the kernel's multishot
    /// receive: anybody may send one, so it must not end ours.
    fn parse(&mut self, slot: BytesMut) -> Option<Datagrams> {
        let datagrams = take_apart(slot)?;
        self.counters.datagram_trains_received += 1;
        self.counters.datagrams_received += datagrams.data.len().div_ceil(datagrams.stride).max(1) as u64;
        Some(datagrams)
    }

    pub(super) fn complete_send_datagrams(
        &mut self,
        key: FlightKey,
        socket: SocketId,
        entry: &cqueue::Entry,
    ) {
        let (result, flags) = (entry.result(), entry.flags());
        if cqueue::notif(flags) {
            return self.complete_train_notification(key, result);
        }
        let more = cqueue::more(flags);
        let ending = self.is_ending(key);
        if result < 0 {
            self.report_errors(socket);
        }
        let Work::SendDatagrams { transmit, zero_copy, repeated, .. } = &mut self.flights.get_mut(key).work
        else {
            return;
        };
        let kind =
            if *zero_copy == ZeroCopy::No { OpKind::SendDatagrams } else { OpKind::SendDatagramsZeroCopy };
        let segments = transmit.segments() as u64;
        let refused = *zero_copy == ZeroCopy::Asked && refuses_zero_copy(result);
        let repeat = may_be_pending(result) && !*repeated;
        if (refused || repeat) && !ending {
            *repeated = repeat || *repeated;
            if refused {
                self.zero_copy = false;
            }
            // A repetition goes with a copy: the notification of the first attempt is then never confused with it.
            *zero_copy = if more { ZeroCopy::SendAgain } else { ZeroCopy::No };
            if !more {
                self.push_train(key);
            }
            return;
        }
        let sent = if result < 0 { Err(send_error_of(result)) } else { Ok(()) };
        if sent.is_ok() {
            self.counters.datagram_trains_sent += 1;
            self.counters.datagrams_sent += segments;
        }
        if more {
            *zero_copy = ZeroCopy::Notifying;
            let outcome = Outcome::DatagramsSent { result: sent, transmit: None };
            return self.finish_or_go_on(kind, key, true, outcome);
        }
        self.end_train(kind, key, |train| Outcome::DatagramsSent { result: sent, transmit: Some(train) });
    }

    fn complete_train_notification(&mut self, key: FlightKey, result: i32) {
        self.note_usage(result);
        let ending = self.is_ending(key);
        let Work::SendDatagrams { zero_copy, .. } = &mut self.flights.get_mut(key).work else { return };
        if *zero_copy != ZeroCopy::SendAgain {
            return self.end_train(OpKind::SendDatagramsZeroCopy, key, |transmit| {
                Outcome::DatagramsReleased { transmit }
            });
        }
        *zero_copy = ZeroCopy::No;
        if ending {
            let result = Err(OpError::Cancelled);
            self.end_train(OpKind::SendDatagrams, key, |train| Outcome::DatagramsSent {
                result,
                transmit: Some(train),
            });
        } else {
            self.push_train(key);
        }
    }

    fn end_train(&mut self, kind: OpKind, key: FlightKey, outcome: impl FnOnce(Transmit) -> Outcome) {
        let flight = self.end_flight(key);
        let Work::SendDatagrams { transmit, message, .. } = flight.work else { unreachable!("a train") };
        self.trains.push(message);
        self.deliver(kind, Completion { token: flight.token, more: false, outcome: outcome(transmit) });
    }

    /// Empties the error queue, bounded, and tells the receive about peers that were not reached. Without a receive
    /// there is nobody to tell.
    fn report_errors(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.get_even_closing(socket) else { return };
        let mut reports: Vec<(SocketAddr, i32)> = Vec::new();
        while reports.len() < REPORTS_AT_ONCE {
            self.counters.syscalls += 1;
            match error_queue::next_unreachable(entry.socket.as_fd()) {
                Ok(Some(report)) => reports.push(report),
                // An error here is another pending one, which the next operation meets.
                Ok(None) | Err(_) => break,
            }
        }
        let Some(receive) = entry.receive else { return };
        for (peer, errno) in reports {
            let outcome = Outcome::PeerUnreachable { peer, error: OpError::Os(errno) };
            self.finish_or_go_on(OpKind::RecvDatagramsMultishot, receive, true, outcome);
        }
    }
}

fn take_apart(mut slot: BytesMut) -> Option<Datagrams> {
    let header = receive_header();
    let out = RecvMsgOut::parse(&slot, &header).ok()?;
    let peer = addr::decode(out.name_data())?;
    let info = cmsg::decode(out.control_data());
    let length = out.payload_data().len();
    if length == 0 {
        return None;
    }
    slot.advance(HEADER_BYTES);
    slot.truncate(length);
    let stride = info.stride.unwrap_or(length).min(length).max(1);
    Some(Datagrams { data: slot, stride, peer, local_ip: info.local_ip, ecn: info.ecn })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::addr::{Family, RawAddr};

    /// A slot as the kernel fills it for a datagram without control data.
    fn filled(peer: SocketAddr, payload: &[u8]) -> BytesMut {
        let name = RawAddr::encode(peer, Family::of(&peer));
        let mut slot = BytesMut::new();
        let length = u32::try_from(payload.len()).unwrap();
        for field in [name.len(), 0, length, 0] {
            slot.extend_from_slice(&field.to_ne_bytes());
        }
        // SAFETY: the address is `len` bytes long.
        let name = unsafe { std::slice::from_raw_parts(name.as_ptr().cast::<u8>(), name.len() as usize) };
        slot.extend_from_slice(name);
        slot.resize(HEADER_BYTES, 0);
        slot.extend_from_slice(payload);
        slot
    }

    #[test]
    fn the_payload_is_what_remains_of_a_slot() {
        for peer in ["192.0.2.7:4433", "[2001:db8::7]:4433"] {
            let peer = peer.parse().unwrap();
            let slot = filled(peer, b"datagram");
            let payload = slot[HEADER_BYTES..].as_ptr();
            let datagrams = take_apart(slot).unwrap();
            assert_eq!(&datagrams.data[..], b"datagram");
            assert_eq!(datagrams.data.as_ptr(), payload, "nothing was copied");
            assert_eq!((datagrams.peer, datagrams.stride), (peer, 8));
        }
    }

    #[test]
    fn an_empty_datagram_is_passed_over() {
        assert_eq!(take_apart(filled("192.0.2.7:1".parse().unwrap(), b"")), None);
    }

    #[test]
    fn what_is_short_or_nameless_is_no_datagram() {
        let mut slot = filled("192.0.2.7:1".parse().unwrap(), b"x");
        slot.truncate(HEADER_BYTES - 1);
        assert_eq!(take_apart(slot), None);
        assert_eq!(take_apart(BytesMut::zeroed(HEADER_BYTES + 10)), None);
    }

    #[test]
    fn only_errors_can_be_pending() {
        assert!(may_be_pending(-libc::ECONNREFUSED));
        assert!(!may_be_pending(-libc::ECANCELED));
        assert!(!may_be_pending(-libc::ENOBUFS));
        assert!(!may_be_pending(libc::ECONNREFUSED));
    }
}
