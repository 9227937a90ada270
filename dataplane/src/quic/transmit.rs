//! Trains out: the endpoint's own responses first, then connections in turn.

use std::time::Instant;

use adit_io::Transmit;

use super::Quic;
use super::endpoint::ecn;
use super::proof::Asking;
use crate::limits;

impl Quic {
    /// The next train to send, written into `buffer` (cleared first; its capacity is reused, 64 KiB suffice for any).
    /// Connections take turns of at most [`limits::TRAINS_PER_DRIVE_MAX`] trains.
    ///
    /// # Errors
    /// Gives the buffer back when nothing is to be sent now.
    pub fn poll_transmit(&mut self, now: Instant, mut buffer: Vec<u8>) -> Result<Transmit, Vec<u8>> {
        buffer.clear();
        if let Some(response) = self.responses.pop_front() {
            buffer.extend_from_slice(&response.bytes);
            return Ok(Transmit {
                segment_bytes: buffer.len(),
                buffer,
                peer: response.peer,
                local_ip: response.local_ip,
                ecn: None,
                zero_copy: false,
            });
        }
        while let Some(&id) = self.queues.dirty.front() {
            if self.queues.trains_of_first >= limits::TRAINS_PER_DRIVE_MAX {
                self.queues.end_turn();
                continue;
            }
            let Some(conn) = self.table.get_mut(id) else {
                self.queues.dirty.pop_front();
                self.queues.trains_of_first = 0;
                continue;
            };
            let segments = segments_max(self.gso_segments_max, conn.inner.current_mtu());
            let asked = conn.proof.asking(&conn.inner);
            let transmit = match asked {
                Asking::Useless => None,
                Asking::Freely | Asking::Watching(_) => conn.inner.poll_transmit(now, segments, &mut buffer),
            };
            if let Some(transmit) = transmit {
                self.queues.trains_of_first += 1;
                let passes = conn.proof.passes(&conn.inner, asked, &transmit);
                self.settle(now, id);
                if !passes {
                    self.counts.withheld += 1;
                    buffer.clear();
                    continue;
                }
                return Ok(Transmit {
                    segment_bytes: transmit.segment_size.unwrap_or(transmit.size),
                    buffer,
                    peer: transmit.destination,
                    local_ip: transmit.src_ip,
                    ecn: ecn(transmit.ecn),
                    zero_copy: false,
                });
            }
            conn.dirty = false;
            self.queues.dirty.pop_front();
            self.queues.trains_of_first = 0;
            self.settle(now, id);
        }
        Err(buffer)
    }

    /// Whether [`Self::poll_transmit`] may have something to send.
    #[must_use]
    pub fn has_transmits(&self) -> bool {
        !self.responses.is_empty() || !self.queues.dirty.is_empty()
    }

    /// Most datagrams in one train from now on; at least 1. The kernel may refuse segmentation at any time: then 1.
    pub fn set_gso_segments_max(&mut self, segments: usize) {
        self.gso_segments_max = segments.max(1);
    }
}

/// Datagrams of one train: as many as offload allows and one UDP payload holds.
fn segments_max(gso_segments_max: usize, mtu_bytes: u16) -> usize {
    gso_segments_max.min(limits::TRAIN_BYTES_MAX / usize::from(mtu_bytes)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_train_exceeds_a_udp_payload() {
        for mtu in limits::MTU_INITIAL..=limits::MTU_MAX {
            assert!(segments_max(64, mtu) * usize::from(mtu) <= limits::TRAIN_BYTES_MAX);
        }
        assert_eq!(segments_max(64, 1452), 45);
        assert_eq!(segments_max(1, 1452), 1);
        assert_eq!(segments_max(64, limits::MTU_MAX), 1);
    }
}
