//! What a driver is sized to, and which of the two Linux drivers runs.
//!
//! Deliberately not in here: the drivers themselves, and anything that remembers a choice.

use crate::buf::SLOTS_MAX;
use crate::driver::{DriverChoice, DriverKind};
use crate::epoll::EpollDriver;
use crate::error::StartError;
use crate::uring;

/// What the process may use, as far as the drivers care: getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// `RLIMIT_MEMLOCK` in bytes. io_uring charges its rings to it, per *user*, unless the process has
    /// `CAP_IPC_LOCK`.
    pub memlock_bytes: u64,
    /// `RLIMIT_NOFILE`: one more than the largest descriptor.
    pub nofile: u64,
}

impl ResourceLimits {
    /// The soft limits of this process. A limit that cannot be read counts as a common small one.
    #[must_use]
    pub fn current() -> Self {
        Self {
            memlock_bytes: soft_limit(libc::RLIMIT_MEMLOCK).unwrap_or(64 * 1024),
            nofile: soft_limit(libc::RLIMIT_NOFILE).unwrap_or(1024),
        }
    }
}

impl ResourceLimits {
    /// One of `shards` equal shares: descriptors are divided, and so is locked memory beyond the eight shares that
    /// [`DriverConfig::sized_for`] leaves room for.
    #[must_use]
    pub fn share_of(self, shards: u8) -> Self {
        let shards = u64::from(shards.max(1));
        let reserved = DriverConfig::NOFILE_RESERVED;
        Self {
            memlock_bytes: self.memlock_bytes / shards.div_ceil(8),
            nofile: self.nofile.saturating_sub(reserved) / shards + reserved.min(self.nofile),
        }
    }
}

fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes one struct rlimit to the pointer, which is a live one of ours.
    let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (result == 0).then_some(limit.rlim_cur)
}

/// What a driver is sized to. Everything is allocated or reserved at its start; nothing grows later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// Operations in flight, at most (R7); [`Self::OPS_FLOOR`] to [`Self::OPS_MAX`].
    pub ops_max: usize,
    /// Sockets in the table, at most.
    pub sockets_max: usize,
    /// Stream receive slots of 4 KiB.
    pub small_slots: usize,
    /// Stream receive slots of 64 KiB.
    pub large_slots: usize,
    /// Datagram receive slots of 64 KiB and a header.
    pub datagram_slots: usize,
}

impl DriverConfig {
    /// Most operations in flight: the largest completion queue has 65,536 entries (io_uring_setup(2)), and one in
    /// sixteen is left for the driver's own.
    pub const OPS_MAX: usize = 61_440;
    /// Least operations in flight that a driver is built with.
    pub const OPS_FLOOR: usize = 480;
    /// Most sockets.
    pub const SOCKETS_MAX: usize = 65_536;
    /// Least sockets that a driver is built with.
    pub const SOCKETS_FLOOR: usize = 64;
    /// Least slots of each class that a driver is built with.
    pub const SLOTS_FLOOR: usize = 4;
    /// Descriptors left to the rest of the process.
    const NOFILE_RESERVED: u64 = 128;

    /// The size that suits a shard under these limits: shrunk where they are tight, never below the floors.
    ///
    /// An eighth of the locked memory is meant for one ring: the limit is shared by everything that runs as the
    /// same user, and a process has several shards.
    #[must_use]
    pub fn sized_for(limits: ResourceLimits) -> Self {
        let ring_bytes = limits.memlock_bytes / 8;
        let nofile = limits.nofile.saturating_sub(Self::NOFILE_RESERVED);
        let mut config = Self {
            ops_max: Self::OPS_MAX,
            sockets_max: usize::try_from(nofile).unwrap_or(usize::MAX),
            small_slots: 2048,
            large_slots: 256,
            datagram_slots: 256,
        };
        while config.locked_bytes() > ring_bytes && config.ops_max > Self::OPS_FLOOR {
            config.ops_max /= 2;
        }
        config.clamped()
    }

    /// Every figure within its floor and ceiling.
    #[must_use]
    pub fn clamped(self) -> Self {
        let slots = |count: usize| count.clamp(Self::SLOTS_FLOOR, SLOTS_MAX);
        Self {
            ops_max: self.ops_max.clamp(Self::OPS_FLOOR, Self::OPS_MAX),
            sockets_max: self.sockets_max.clamp(Self::SOCKETS_FLOOR, Self::SOCKETS_MAX),
            small_slots: slots(self.small_slots),
            large_slots: slots(self.large_slots),
            datagram_slots: slots(self.datagram_slots),
        }
    }

    /// Entries of the completion queue: a power of two, with a sixteenth beyond [`Self::ops_max`].
    pub(crate) const fn completion_entries(&self) -> usize {
        (self.ops_max + self.ops_max / 16).next_power_of_two()
    }

    /// Entries of the submission queue: what one turn may hand over without an extra system call.
    pub(crate) const fn submission_entries(&self) -> usize {
        let wanted = self.ops_max.next_power_of_two();
        if wanted > 2048 { 2048 } else { wanted }
    }

    /// Bytes that the kernel locks for one ring and its provided-buffer rings: 64 per submission entry and 4 for
    /// its index, 16 per completion and per provided buffer.
    pub(crate) const fn locked_bytes(&self) -> u64 {
        let slots = self.small_slots.next_power_of_two()
            + self.large_slots.next_power_of_two()
            + self.datagram_slots.next_power_of_two();
        (self.submission_entries() * 68 + (self.completion_entries() + slots) * 16) as u64
    }
}

/// The driver that was chosen.
#[derive(Debug)]
pub struct Selected {
    /// [`DriverKind::Uring`] or [`DriverKind::Epoll`].
    pub kind: DriverKind,
    /// Why it is not io_uring although that was tried ([`DriverChoice::Auto`] only): for the log and a metric.
    pub fallback: Option<StartError>,
}

/// Chooses a driver by trying (R8): sets one up as a shard would, with the same sizes, and takes it down again. May
/// be called from any thread; the driver that will run is made by its own shard's thread.
///
/// # Errors
/// [`StartError`] when an explicitly chosen driver cannot start. [`DriverChoice::Auto`] fails only if neither can.
pub fn select(choice: DriverChoice, config: &DriverConfig) -> Result<Selected, StartError> {
    match choice {
        DriverChoice::Uring => {
            uring::probe(config)?;
            Ok(Selected { kind: DriverKind::Uring, fallback: None })
        }
        DriverChoice::Epoll => {
            EpollDriver::new(&config.probe_sized())?;
            Ok(Selected { kind: DriverKind::Epoll, fallback: None })
        }
        DriverChoice::Auto => match uring::probe(config) {
            Ok(()) => Ok(Selected { kind: DriverKind::Uring, fallback: None }),
            Err(refusal) => {
                EpollDriver::new(&config.probe_sized())?;
                Ok(Selected { kind: DriverKind::Epoll, fallback: Some(refusal) })
            }
        },
    }
}

impl DriverConfig {
    /// The same without receive slots: what a trial needs no memory for.
    pub(crate) fn probe_sized(self) -> Self {
        Self { small_slots: 0, large_slots: 0, datagram_slots: 0, ..self }.clamped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_common_limit_of_eight_mebibytes_leaves_thirty_thousand_operations() {
        let config = DriverConfig::sized_for(ResourceLimits { memlock_bytes: 8 * MIB, nofile: 1_048_576 });
        assert_eq!(config.ops_max, 30_720);
        assert_eq!(config.completion_entries(), 32_768);
        assert_eq!(config.sockets_max, DriverConfig::SOCKETS_MAX);
        assert!(config.locked_bytes() <= MIB);
    }

    #[test]
    fn plenty_is_capped() {
        let config = DriverConfig::sized_for(ResourceLimits { memlock_bytes: u64::MAX, nofile: u64::MAX });
        assert_eq!(config.ops_max, DriverConfig::OPS_MAX);
        assert_eq!(config.completion_entries(), 65_536);
        assert_eq!(config.sockets_max, DriverConfig::SOCKETS_MAX);
    }

    #[test]
    fn nothing_at_all_still_gives_the_floors() {
        let config = DriverConfig::sized_for(ResourceLimits { memlock_bytes: 0, nofile: 0 });
        assert_eq!(config.ops_max, DriverConfig::OPS_FLOOR);
        assert_eq!(config.sockets_max, DriverConfig::SOCKETS_FLOOR);
        assert!(config.small_slots >= DriverConfig::SLOTS_FLOOR);
    }

    #[test]
    fn every_size_leaves_room_in_the_completion_queue() {
        for memlock_bytes in (0..24).map(|shift| 4096_u64 << shift) {
            let config = DriverConfig::sized_for(ResourceLimits { memlock_bytes, nofile: 1024 });
            assert!(config.ops_max + config.ops_max / 16 <= config.completion_entries());
            assert!((DriverConfig::OPS_FLOOR..=DriverConfig::OPS_MAX).contains(&config.ops_max));
        }
    }

    #[test]
    fn shards_share_what_the_process_has() {
        let limits = ResourceLimits { memlock_bytes: 8 * MIB, nofile: 10_128 };
        assert_eq!(limits.share_of(1), limits);
        let share = limits.share_of(4);
        assert_eq!((share.memlock_bytes, share.nofile), (8 * MIB, 2_628));
        assert_eq!(DriverConfig::sized_for(share).sockets_max, 2_500);
        assert_eq!(limits.share_of(32).memlock_bytes, 2 * MIB);
        assert!(
            DriverConfig::sized_for(ResourceLimits { memlock_bytes: 0, nofile: 0 }.share_of(32)).sockets_max
                > 0
        );
    }

    #[test]
    fn the_limits_of_this_process_can_be_read() {
        let limits = ResourceLimits::current();
        assert!(limits.nofile > 0);
    }
}
