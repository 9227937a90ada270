//! GRPC mode against grpc-go: the double in `bench/tests/go` speaks `/ProxyService/Proxy` with konnectivity-client's
//! own types, dials real targets, and misbehaves where a target's name asks for it.
//!
//! Where Go is absent every test is ignored with one line that says so, except that in CI it fails.

mod certs;
mod double;
mod misbehaviour;
mod tunnels;
mod workloads;

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use double::{Carrier, Case};

/// Time that any test may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Tests at once, unless somebody says otherwise.
const AT_ONCE: usize = 4;

type Run = fn(Case) -> Pin<Box<dyn Future<Output = ()>>>;

/// Names and functions of tests, `module::function`.
macro_rules! stories {
    ($($module:ident::$function:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($function)), |case| Box::pin($module::$function(case)))),*]
    };
}

/// Over every carrier.
const EVERYWHERE: &[(&str, Run)] =
    stories![tunnels::payload_arrives_in_both_directions, tunnels::many_dials_at_once_succeed,];

/// Over a Unix socket.
const STORIES: &[(&str, Run)] = stories![
    tunnels::a_target_may_speak_first,
    tunnels::shutdown_closes_both_directions,
    tunnels::a_stopped_reader_stops_nobody_else,
    tunnels::a_stopped_target_stops_nobody_else,
    tunnels::the_authority_is_grpc_gos,
    misbehaviour::a_refusal_is_repeated_word_for_word,
    misbehaviour::a_dial_that_is_given_up_is_taken_back,
    misbehaviour::a_late_answer_is_an_answer,
    misbehaviour::an_answer_too_many_ends_the_tunnel,
    misbehaviour::packets_of_others_are_sent_back,
    misbehaviour::data_may_be_tiny_or_larger_than_every_window,
    misbehaviour::data_above_grpcs_limit_is_refused,
    misbehaviour::an_end_amid_the_payload_is_told_apart_from_a_good_one,
    misbehaviour::a_proxy_that_allows_few_streams_is_named,
    misbehaviour::a_proxy_that_says_goodbye_loses_no_tunnel_and_no_dial,
    misbehaviour::what_is_no_grpc_is_said_to_be_none,
    workloads::every_workload_is_clean,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut trials = Vec::new();
    for (stories, carriers) in
        [(EVERYWHERE, &[Carrier::Unix, Carrier::Tcp, Carrier::Mtls][..]), (STORIES, &[Carrier::Unix][..])]
    {
        for &(name, run) in stories {
            for &carrier in carriers {
                for reuse in [false, true] {
                    let case = Case { carrier, reuse };
                    let how = if reuse { "with_one_connection" } else { "with_a_connection_each" };
                    let name = format!("{name}_over_{}_{how}", carrier.name());
                    trials.push(Trial::ignorable_test(name, move || told(run, case)));
                }
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn told(run: Run, case: Case) -> Result<Completion, Failed> {
    match double::program() {
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => return Err(reason.into()),
        Err(reason) => return Ok(Completion::ignored_with(reason)),
        Ok(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(async { tokio::time::timeout(LIMIT, run(case)).await }) {
        Ok(()) => Ok(Completion::Completed),
        Err(_) => Err(format!("not done in {LIMIT:?}").into()),
    }
}
