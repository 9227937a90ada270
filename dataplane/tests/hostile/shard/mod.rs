//! Hostile peers of a whole shard on real sockets, on each kernel driver: those that hold up, and those that want the
//! memory that datagrams arrive in.

mod hello;
mod running;
mod slots;

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
    hello::who_says_no_hello_is_told_and_gone_in_time,
    slots::gaps_of_an_agent_pin_half_of_the_receive_slots_and_no_more,
    slots::gaps_of_a_server_pin_half_of_the_receive_slots_and_no_more,
];
