//! Bad days: the real program in network namespaces that translate, lose, swallow and shrink what it sends.
//!
//! Every test has its own namespaces, runs on each driver, and keeps streams alive whose payload is checked by
//! position. They need root, `ip`, `nft` and `ethtool`; where one is missing every test is ignored with one line that
//! says which, except that in CI as root it fails.

mod egress_proxy;
mod flood;
mod killed;
mod mtu;
mod nat;
mod silence;
mod support;
/// What tests with processes share; not everything of it is wanted here.
#[allow(dead_code, reason = "shared with the tests on loopback, which use all of it")]
#[path = "../direct/support/mod.rs"]
mod tunnels;
mod udp_blocked;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use support::run::{Run, told};
use support::world::Case;

/// Tests at once, unless somebody says otherwise: most of the time they wait.
const AT_ONCE: usize = 6;

/// Names and functions of tests, `module::function`.
macro_rules! stories {
    ($($module:ident::$function:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($function)), |case| Box::pin($module::$function(case)))),*]
    };
}

const STORIES: &[(&str, Run)] = stories![
    killed::no_dial_fails_while_one_of_two_agents_is_killed,
    killed::idle_agents_believe_a_restarted_servers_reset,
    killed::busy_agents_are_back_soon_after_a_restart_of_the_server,
    killed::an_agent_outlives_its_server,
    silence::streams_survive_a_short_silence,
    silence::a_long_silence_resets_streams_and_the_agent_comes_back,
    silence::a_long_silence_towards_the_agent_resets_and_heals,
    silence::a_long_silence_from_the_agent_resets_and_heals,
    silence::streams_go_on_under_loss_each_way,
    flood::a_flood_of_handshakes_keeps_nobody_out_and_is_not_amplified,
    mtu::streams_survive_an_mtu_that_shrinks_and_grows,
    mtu::streams_survive_a_device_that_loses_its_offloads,
    mtu::streams_survive_a_device_that_is_full,
    nat::streams_survive_a_rebinding,
    nat::uploads_survive_a_rebinding,
    nat::streams_survive_a_changed_node_address,
    egress_proxy::an_agent_goes_through_the_proxy,
    egress_proxy::a_proxy_that_refuses_is_told_of,
    egress_proxy::no_proxy_goes_around_the_proxy,
    udp_blocked::dials_go_over_tcp_soon_and_no_tunnel_is_cut,
    udp_blocked::an_agent_that_starts_without_udp_moves_to_quic_and_cuts_nothing,
    udp_blocked::an_agent_that_is_to_use_quic_alone_stays_down_until_there_is_udp,
    udp_blocked::an_agent_that_is_to_use_tcp_alone_sends_no_datagram,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut trials = Vec::new();
    for &(name, run) in STORIES {
        for (io, shards) in [("uring", 1), ("epoll", 1), ("uring", 2), ("epoll", 2)] {
            let case = Case { io, shards };
            let name =
                format!("{name}_on_{io}_with_{}", if shards == 1 { "one_shard" } else { "two_shards" });
            trials.push(Trial::ignorable_test(name, move || told(run, case)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
