//! The conformance suite: the rules of the crate's documentation as cases that every driver passes.
//!
//! A case is a function over a [`Harness`]. [`conformance!`](crate::conformance!) turns them into one `#[test]`
//! each. Both ends of every connection are in the same driver, and time passes only in its turns: a simulated
//! driver needs no threads and no real clock. What is not tested here: speed, and anything that only one driver
//! has.
//!
//! Cases whose name starts with the number of a rule prove that rule; the others are named after their theme.

pub mod allocations;
pub mod bounds;
pub mod cancel;
pub mod datagrams;
mod kernel;
pub mod listen;
pub mod order;
pub mod ownership;
mod rig;
pub mod sockets;
pub mod stream;
pub mod turn;
pub mod watch;
pub mod zero_copy;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::driver::{DatagramDriver, Driver, DriverKind, SocketId, Wake};
use crate::op::Completion;

pub use kernel::Kernel;
pub use rig::{Rig, pattern};

/// How the suite gets a driver and sockets in it.
pub trait Harness {
    /// The driver under test.
    type D: DatagramDriver;

    /// What [`crate::Capabilities::kind`] must say.
    const KIND: DriverKind;

    /// A driver of ordinary size: at least 1,000 operations, 64 sockets and 32 slots of each class.
    fn driver(&self) -> Self::D;

    /// As small a driver as there is: at most 1,000 operations and 64 slots of each class, so that cases can fill
    /// it. At least 100 operations, 16 sockets and 4 slots of each class.
    fn small_driver(&self) -> Self::D;

    /// Two connected stream sockets without addresses that see no reset (a Unix pair).
    fn stream_pair(&self, driver: &mut Self::D) -> (SocketId, SocketId);

    /// Two connected TCP sockets.
    fn tcp_pair(&self, driver: &mut Self::D) -> (SocketId, SocketId);

    /// A listening TCP socket and its address; its backlog holds at least 32 connections.
    fn listener(&self, driver: &mut Self::D) -> (SocketId, SocketAddr);

    /// Two UDP sockets that reach each other, with their addresses, as [`crate::net::bind_udp`] makes them.
    #[allow(clippy::type_complexity, reason = "two of the same")]
    fn udp_pair(&self, driver: &mut Self::D) -> ((SocketId, SocketAddr), (SocketId, SocketAddr));

    /// An address to which a connection is refused.
    fn refusing_tcp_addr(&self, driver: &mut Self::D) -> SocketAddr;

    /// An address that answers datagrams of [`Self::udp_pair`]'s sockets with ICMP port unreachable.
    fn unreachable_udp_addr(&self, driver: &mut Self::D) -> SocketAddr;

    /// Takes one turn. For worlds in which something else must move before the driver can.
    ///
    /// # Errors
    /// As [`crate::Driver::turn`].
    fn turn(
        &self,
        driver: &mut Self::D,
        deadline: Option<Instant>,
        max: usize,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        driver.turn(deadline, max, out)
    }

    /// Calls `wake` from another thread, soon; or, where there are no threads, at once.
    fn wake_from_elsewhere(&self, wake: Arc<dyn Wake>) {
        std::thread::spawn(move || wake.wake());
    }
}

/// Expands to one `#[test]` for each case. The argument is an expression that makes a [`Harness`]; it is evaluated
/// in every test.
#[macro_export]
macro_rules! conformance {
    ($harness:expr) => {
        $crate::conformance! { @cases $harness;
            ownership: r1_send_gives_its_pieces_back_untouched,
                r1_closed_socket_keeps_its_buffers_until_the_last_completion,
                r1_datagram_send_gives_its_train_back_untouched,
                r2_one_shot_receive_completes_once, r2_close_ends_every_operation_once,
                r2_close_completes_nothing_itself,
                r2_receive_after_the_end_of_the_stream_still_completes,
                r5_token_may_be_used_again_after_its_final_completion,
                r6_drop_with_everything_in_flight, r6_received_bytes_outlive_the_driver;
            order: r3_bytes_arrive_in_order, r3_vectored_send_keeps_the_order_of_its_pieces, r3_four_mebibytes_each_way,
                r3_four_mebibytes_each_way_over_tcp, r3_short_sends_lose_nothing, r3_one_shot_receives_in_order;
            cancel: r4_cancelled_accept, r4_cancelled_receive_one_shot, r4_cancelled_receive_many_shots,
                r4_cancelled_watch, r4_cancelled_datagram_receive, r4_cancelled_send_reports_exactly_what_went,
                r4_cancelled_connect_ends_once, r4_cancelled_shutdown_ends_once, r4_cancelled_datagram_send_ends_once,
                r4_cancel_racing_with_bytes_loses_none, r4_unknown_token_is_ignored, r4_cancelled_twice_ends_once,
                r4_cancel_leaves_the_other_direction_alone;
            bounds: r7_full_driver_hands_the_operation_back, r7_full_table_hands_the_socket_back,
                r7_receive_ends_when_every_slot_is_held_and_resumes, r7_one_shot_receive_without_a_slot_ends,
                r7_datagram_receive_ends_when_every_slot_is_held_and_resumes, slots_are_counted;
            sockets: r9_release_is_refused_while_an_operation_is_outstanding, r9_released_socket_keeps_its_unread_bytes,
                r9_released_listener_keeps_its_backlog, r9_release_after_cancel,
                stale_socket_is_refused, stale_socket_is_refused_for_datagrams, stale_id_never_reaches_the_next_socket,
                graceful_close_delivers_what_was_sent, graceful_close_delivers_what_was_sent_over_tcp,
                reset_is_seen_by_the_peer, close_ends_the_stream_even_with_a_receive_outstanding,
                close_twice_is_ignored;
            stream: end_of_stream_is_an_empty_final_receive, half_close_leaves_the_other_direction_open,
                half_close_over_tcp, send_to_a_closed_peer_fails, send_to_a_reset_peer_fails, send_after_shutdown_fails,
                bytes_before_a_reset_or_the_reset_but_nothing_else, unsent_bytes_count_what_the_peer_has_not_read,
                receive_waits_for_bytes, large_and_small_slots;
            listen: accept_of_many, connect_and_talk, connect_refused, accepted_before_accept_was_submitted,
                cancelled_accept_leaves_the_listener_usable, closed_listener_refuses,
                accept_goes_on_after_the_table_was_full;
            watch: watch_fires_when_the_peer_is_gone_and_not_before, watch_fires_on_reset, watch_consumes_nothing,
                watch_beside_a_send, watch_of_a_peer_that_is_already_gone;
            turn: r8_driver_says_what_it_is, deadline_passes, past_deadline_does_not_wait, now_never_goes_back,
                max_is_respected, unread_bytes_end_no_wait, bulk_leaves_others_their_turn, wake_ends_the_wait,
                wakes_coalesce_and_none_is_lost, counters_add_up, everything_at_once;
            datagrams: r10_train_arrives_with_its_stride, r10_ecn_is_carried, r10_local_address_is_reported,
                r10_sends_from_the_given_address, r10_single_datagrams_arrive_apart, r10_empty_datagram_ends_nothing,
                r10_trains_in_both_directions, unreachable_peer_is_reported,
                next_send_after_an_unreachable_peer_goes_out,
                largest_datagram_arrives;
            zero_copy: zero_copy_send_has_the_right_shape, zero_copy_train_has_the_right_shape,
                zero_copy_send_to_a_closed_peer_has_the_right_shape, closed_while_zero_copy_is_outstanding;
        }
    };
    (@cases $harness:expr; $($theme:ident: $($case:ident),+ $(,)?;)+) => {
        $(mod $theme {
            #[allow(unused_imports, reason = "the harness expression may need none of it")]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::conformance::$theme::$case(&$harness);
                }
            )+
        })+
    };
}

#[cfg(test)]
mod tests {
    /// A case that is written but not listed would prove nothing.
    #[test]
    fn every_case_is_listed() {
        let listed = include_str!("mod.rs");
        let mut cases = 0;
        for (theme, source) in [
            ("bounds", include_str!("bounds.rs")),
            ("cancel", include_str!("cancel.rs")),
            ("datagrams", include_str!("datagrams.rs")),
            ("listen", include_str!("listen.rs")),
            ("order", include_str!("order.rs")),
            ("ownership", include_str!("ownership.rs")),
            ("sockets", include_str!("sockets.rs")),
            ("stream", include_str!("stream.rs")),
            ("turn", include_str!("turn.rs")),
            ("watch", include_str!("watch.rs")),
            ("zero_copy", include_str!("zero_copy.rs")),
        ] {
            for line in source.lines() {
                let Some(rest) = line.strip_prefix("pub fn ") else { continue };
                let name = rest.split('<').next().unwrap_or(rest);
                let mentions =
                    listed.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| *word == name);
                assert_eq!(mentions.count(), 1, "{theme}::{name} is not in the list");
                cases += 1;
            }
        }
        assert!(cases > 60, "only {cases} cases were found");
    }
}
