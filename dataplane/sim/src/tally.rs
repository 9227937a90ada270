//! How often each family of faults really happened. A swarm requires that every family occurred: a fault that is
//! configured and never fires tests nothing.

/// A family of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
#[allow(missing_docs, reason = "each name is its label")]
pub enum Family {
    DatagramLost,
    DatagramDuplicated,
    DatagramReordered,
    DatagramCorrupted,
    DatagramAboveMtu,
    MtuShrunk,
    MtuGrown,
    QueueOverflow,
    Blackhole,
    NatRebind,
    AddressChanged,
    PortUnreachable,
    UnreachableForged,
    PendingErrorOnSend,
    EcnWrong,
    SubmissionRefused,
    ShortSend,
    ShortReceive,
    StreamReset,
    StreamTimedOut,
    StreamBrokenPipe,
    StreamNoMemory,
    AcceptError,
    ConnectRefused,
    ConnectBlackholed,
    MultishotEnded,
    SlotsExhausted,
    CancelLate,
    SuccessAfterCancel,
    CancelNotFound,
    NotificationLate,
    NotificationAtClose,
    SegmentationRefused,
    ReceivesMerged,
    DatagramSendError,
    DeadlineOvershot,
    WokenEarly,
    Descheduled,
    WakeDelayed,
    SocketIdReused,
    CompletionsReordered,
    AnswerLate,
    AnswerTwice,
    AnswerNever,
    MailboxFull,
    AgentRestart,
    ServerRestart,
    ServerDrain,
    Misdirected,
    WakeLost,
    DialHandedOver,
    DialHandedBack,
    HostileVisit,
    HostileThrownOut,
    CallsCut,
}

impl Family {
    /// All families, in the order of their values.
    pub const ALL: [Self; 55] = [
        Self::DatagramLost,
        Self::DatagramDuplicated,
        Self::DatagramReordered,
        Self::DatagramCorrupted,
        Self::DatagramAboveMtu,
        Self::MtuShrunk,
        Self::MtuGrown,
        Self::QueueOverflow,
        Self::Blackhole,
        Self::NatRebind,
        Self::AddressChanged,
        Self::PortUnreachable,
        Self::UnreachableForged,
        Self::PendingErrorOnSend,
        Self::EcnWrong,
        Self::SubmissionRefused,
        Self::ShortSend,
        Self::ShortReceive,
        Self::StreamReset,
        Self::StreamTimedOut,
        Self::StreamBrokenPipe,
        Self::StreamNoMemory,
        Self::AcceptError,
        Self::ConnectRefused,
        Self::ConnectBlackholed,
        Self::MultishotEnded,
        Self::SlotsExhausted,
        Self::CancelLate,
        Self::SuccessAfterCancel,
        Self::CancelNotFound,
        Self::NotificationLate,
        Self::NotificationAtClose,
        Self::SegmentationRefused,
        Self::ReceivesMerged,
        Self::DatagramSendError,
        Self::DeadlineOvershot,
        Self::WokenEarly,
        Self::Descheduled,
        Self::WakeDelayed,
        Self::SocketIdReused,
        Self::CompletionsReordered,
        Self::AnswerLate,
        Self::AnswerTwice,
        Self::AnswerNever,
        Self::MailboxFull,
        Self::AgentRestart,
        Self::ServerRestart,
        Self::ServerDrain,
        Self::Misdirected,
        Self::WakeLost,
        Self::DialHandedOver,
        Self::DialHandedBack,
        Self::HostileVisit,
        Self::HostileThrownOut,
        Self::CallsCut,
    ];
}

/// Occurrences per [`Family`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Family::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [0; Family::ALL.len()] }
    }
}

impl Tally {
    /// One more.
    pub const fn hit(&mut self, family: Family) {
        self.counts[family as usize] += 1;
    }

    /// How often so far.
    #[must_use]
    pub const fn count(&self, family: Family) -> u64 {
        self.counts[family as usize]
    }

    /// Adds another world's occurrences.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
            *sum += more;
        }
    }

    /// The families that never occurred.
    pub fn missing(&self) -> impl Iterator<Item = Family> + '_ {
        Family::ALL.into_iter().filter(|family| self.count(*family) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_family_at_its_own_place() {
        for (index, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family as usize, index, "{family:?}");
        }
        assert_eq!(Family::CallsCut as usize + 1, Family::ALL.len());
    }
}
