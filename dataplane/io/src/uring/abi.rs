//! Flags of io_uring that the `io-uring` crate does not give out. Source: include/uapi/linux/io_uring.h.

/// `IORING_RECVSEND_POLL_FIRST`: wait for readiness before the first attempt. Linux 5.19.
pub(super) const RECVSEND_POLL_FIRST: u16 = 1 << 0;
/// `IORING_RECV_MULTISHOT`. Linux 6.0.
pub(super) const RECV_MULTISHOT: u16 = 1 << 1;
/// `IORING_SEND_ZC_REPORT_USAGE`: the notification says whether the bytes were copied after all. Linux 6.2.
pub(super) const SEND_ZC_REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`, in the result of such a notification.
pub(super) const NOTIF_USAGE_ZC_COPIED: u32 = 1 << 31;
/// Bytes of `struct io_uring_recvmsg_out`, which stands before the name in a multishot recvmsg's buffer.
pub(super) const RECVMSG_OUT_BYTES: usize = 4 * size_of::<u32>();
