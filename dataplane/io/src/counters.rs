//! Per-operation counters of a driver: plain integers, owned by its thread, read as snapshots.

/// What is counted apart. A kind that a driver does not have stays at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[allow(missing_docs, reason = "each name is its label")]
pub enum OpKind {
    AcceptMultishot,
    Connect,
    RecvMultishot,
    RecvSingle,
    Send,
    SendZeroCopy,
    ShutdownWrite,
    Watch,
    RecvDatagramsMultishot,
    SendDatagrams,
    SendDatagramsZeroCopy,
    Cancel,
    Close,
    Wake,
}

impl OpKind {
    /// All kinds, in the order of their values.
    pub const ALL: [Self; 14] = [
        Self::AcceptMultishot,
        Self::Connect,
        Self::RecvMultishot,
        Self::RecvSingle,
        Self::Send,
        Self::SendZeroCopy,
        Self::ShutdownWrite,
        Self::Watch,
        Self::RecvDatagramsMultishot,
        Self::SendDatagrams,
        Self::SendDatagramsZeroCopy,
        Self::Cancel,
        Self::Close,
        Self::Wake,
    ];

    /// The label used in metrics and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptMultishot => "accept_multishot",
            Self::Connect => "connect",
            Self::RecvMultishot => "recv_multishot",
            Self::RecvSingle => "recv_single",
            Self::Send => "send",
            Self::SendZeroCopy => "send_zero_copy",
            Self::ShutdownWrite => "shutdown_write",
            Self::Watch => "watch",
            Self::RecvDatagramsMultishot => "recv_datagrams_multishot",
            Self::SendDatagrams => "send_datagrams",
            Self::SendDatagramsZeroCopy => "send_datagrams_zero_copy",
            Self::Cancel => "cancel",
            Self::Close => "close",
            Self::Wake => "wake",
        }
    }
}

/// Totals since the driver's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations submitted, by [`OpKind`]. A multishot operation counts once each time it is armed.
    pub submitted: [u64; OpKind::ALL.len()],
    /// Completions delivered, by [`OpKind`].
    pub completed: [u64; OpKind::ALL.len()],
    /// Turns taken.
    pub turns: u64,
    /// System calls made (io_uring_enter, epoll_wait, recvmmsg, sendmsg, …).
    pub syscalls: u64,
    /// Receives that were filled into a provided-buffer slot.
    pub provided_buffer_receives: u64,
    /// Receives that ended because no slot was free.
    pub no_buffers: u64,
    /// Submissions refused because something was full.
    pub refused_full: u64,
    /// Datagrams received, after splitting what GRO merged.
    pub datagrams_received: u64,
    /// Datagram receives, as coalesced.
    pub datagram_trains_received: u64,
    /// Datagrams sent, as segments.
    pub datagrams_sent: u64,
    /// Sends that carried them.
    pub datagram_trains_sent: u64,
    /// Bytes received on stream sockets.
    pub stream_bytes_received: u64,
    /// Bytes sent on stream sockets.
    pub stream_bytes_sent: u64,
    /// Zero-copy sends of which the kernel reported that it copied after all.
    pub zero_copy_copied: u64,
    /// Completion-queue overflows reported by the kernel (`IORING_FEAT_NODROP`: late, not lost).
    pub completion_overflows: u64,
    /// Sockets currently in the table.
    pub sockets_open: u64,
}

impl Counters {
    /// Operations of this kind submitted.
    #[must_use]
    pub const fn submitted(&self, kind: OpKind) -> u64 {
        self.submitted[kind as usize]
    }

    /// Completions of this kind delivered.
    #[must_use]
    pub const fn completed(&self, kind: OpKind) -> u64 {
        self.completed[kind as usize]
    }
}
