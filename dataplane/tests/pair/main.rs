//! A server's shard and an agent's shard on real sockets, without control: this test plays it.
//!
//! Every case runs on each kernel driver.

mod readers;
mod stand;
mod stopped;
mod streams;
mod tls;
mod tls_abuse;

use adit_io::DriverConfig;
use adit_io::epoll::EpollDriver;
use adit_io::uring::UringDriver;

fn uring(config: &DriverConfig) -> UringDriver {
    UringDriver::new(config).expect("io_uring works here")
}

fn epoll(config: &DriverConfig) -> EpollDriver {
    EpollDriver::new(config).expect("epoll works everywhere")
}

/// One test of each case for each driver, named after both.
macro_rules! on_each_driver {
    ($($module:ident::$case:ident),* $(,)?) => {
        mod on_uring {
            $(#[test] fn $case() { super::$module::$case(super::uring); })*
        }
        mod on_epoll {
            $(#[test] fn $case() { super::$module::$case(super::epoll); })*
        }
    };
}

on_each_driver![
    streams::bytes_both_ways_and_half_close,
    streams::refusals_carry_the_reason,
    streams::a_target_may_speak_first,
    streams::the_last_words_of_a_target_that_stops_reading_arrive,
    stopped::one_stopped_reader_costs_only_itself,
    stopped::a_hundred_stopped_readers_cost_only_themselves,
    stopped::a_thousand_stopped_readers_cost_only_themselves,
    stopped::stopped_readers_leave_receive_slots_to_others,
    tls::bytes_both_ways_over_tls_and_half_close,
    tls::a_target_may_end_first_over_tls,
    tls::the_answer_has_a_record_of_its_own,
    tls::the_end_of_tcp_alone_is_a_reset,
    tls::a_targets_reset_is_no_orderly_end,
    tls::a_forged_record_ends_the_tunnel_and_nothing_else,
    tls::stopped_readers_over_tls_cost_only_themselves,
    tls::whoever_is_not_believed_is_told_and_gone,
    tls::handshakes_are_bounded_in_number_and_time,
    tls_abuse::strangers_and_floods_disturb_nobody_else,
    tls_abuse::a_trickled_client_hello_ends_in_time,
];
