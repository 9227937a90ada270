//! How one end of a tunnel behaves, as plain data drawn from the seed.

use crate::rng::{Ppm, Prng, Span};

/// What an end does when it has sent everything. Where there is no half-close, whoever would end its direction waits
/// until the other has ended, or until told to come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finale {
    /// Ends its direction, keeps reading, and closes after the other's end.
    Fin,
    /// Ends its direction only after the other ended its own.
    FinAfterPeer,
    /// Closes, whatever may still come.
    Close,
    /// Closes once it has this many bytes.
    CloseAfter(u64),
    /// Resets (TCP), or closes with bytes unread where there are any (Unix).
    Reset,
    /// Stays open until told to come to an end.
    Hold,
}

/// When an end stops reading, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// After this many bytes.
    pub after_bytes: u64,
    /// For this long; `None`: until told to come to an end.
    pub for_ns: Option<u64>,
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Bytes that it sends.
    pub bytes: u64,
    /// Bytes of one write, at most.
    pub write_max: usize,
    /// Between writes.
    pub write_pause: Span,
    /// Before the first write.
    pub start_after: Span,
    /// Bytes of one read, at most.
    pub read_max: usize,
    /// Between reads.
    pub read_pause: Span,
    /// Whether it stops reading.
    pub stop: Option<Stop>,
    /// How it ends.
    pub finale: Finale,
}

impl Manners {
    /// Sends this many bytes as fast as they are taken, reads everything, and ends in order.
    #[must_use]
    pub const fn plain(bytes: u64) -> Self {
        Self {
            bytes,
            write_max: 32 * 1024,
            write_pause: Span::ZERO,
            start_after: Span::ZERO,
            read_max: 64 * 1024,
            read_pause: Span::ZERO,
            stop: None,
            finale: Finale::Fin,
        }
    }

    /// Draws one. `bytes_max` bounds what it sends.
    pub fn draw(rng: &mut Prng, bytes_max: u64) -> Self {
        let size_class = *rng.pick(&[0, 1, 100, 5_000, 40_000, bytes_max]);
        let mut manners = Self::plain(rng.between(0, size_class.min(bytes_max)));
        if rng.chance(Ppm::percent(20)) {
            // Trickles, but not for ever.
            manners.write_max = usize::try_from(1 + manners.bytes / 20).unwrap_or(usize::MAX);
            manners.write_pause = Span::millis(1, 60);
        }
        if rng.chance(Ppm::percent(15)) {
            manners.read_max = 4_096;
            manners.read_pause = Span::millis(0, 10);
        }
        if rng.chance(Ppm::percent(30)) {
            manners.start_after = Span::millis(0, 200);
        }
        if rng.chance(Ppm::percent(20)) {
            let for_ns = rng.chance(Ppm::percent(70)).then(|| rng.span(Span::millis(1, 3_000)));
            manners.stop = Some(Stop { after_bytes: rng.below(20_000), for_ns });
        }
        manners.finale = *rng.pick(&[
            Finale::Fin,
            Finale::Fin,
            Finale::Fin,
            Finale::FinAfterPeer,
            Finale::Close,
            Finale::Close,
            Finale::Reset,
            Finale::Hold,
        ]);
        manners
    }
}
