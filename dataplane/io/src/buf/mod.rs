//! Memory for receives: pools of equally long slots that are lent to the caller and recycled without a copy.
//!
//! Nothing in here knows the kernel: `uring` hands the slots to a provided-buffer ring, `epoll` reads into them.

mod slots;

pub(crate) use slots::{SLOTS_MAX, SlotIndex, SlotPool};
