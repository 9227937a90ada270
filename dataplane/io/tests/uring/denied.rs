//! Kernels, filters and limits that are in the way: the refusal names the cause and the remedy. Filters belong to a
//! thread, so each case runs in one of its own.

use std::collections::BTreeMap;
use std::thread;

use adit_io::uring::{UringDriver, probe};
use adit_io::{DriverChoice, DriverConfig, DriverKind, select};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::SMALL;

/// Runs `body` in a thread in which these system calls fail with `errno`.
fn without<T: Send + 'static>(calls: &[i64], errno: i32, body: impl FnOnce() -> T + Send + 'static) -> T {
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let deny = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    thread::spawn(move || {
        seccompiler::apply_filter(&program).expect("anybody may filter themselves");
        body()
    })
    .join()
    .expect("the body passes")
}

#[test]
fn a_filter_that_denies_the_set_up_is_named() {
    let error = without(&[libc::SYS_io_uring_setup], libc::EPERM, || UringDriver::new(&SMALL).unwrap_err());
    assert_eq!(error.kind, DriverKind::Uring);
    let text = error.to_string();
    assert!(text.contains("io_uring_setup: Operation not permitted"), "{text}");
    assert!(text.contains("seccomp") && text.contains("--io epoll"), "{text}");
}

#[test]
fn a_filter_that_claims_an_old_kernel_is_named() {
    let error = without(&[libc::SYS_io_uring_setup], libc::ENOSYS, || probe(&SMALL).unwrap_err());
    assert!(error.cause.contains("without io_uring"), "{error}");
    assert!(error.remedy.contains("6.1"), "{error}");
}

#[test]
fn a_filter_that_denies_only_the_use_is_found_by_the_probe() {
    let error = without(&[libc::SYS_io_uring_enter], libc::EPERM, || probe(&SMALL).unwrap_err());
    assert!(error.cause.starts_with("io_uring_enter: "), "{error}");
    let error = without(&[libc::SYS_io_uring_register], libc::EPERM, || probe(&SMALL).unwrap_err());
    assert!(error.cause.starts_with("io_uring_register: "), "{error}");
}

#[test]
fn locked_memory_that_never_suffices_ends_the_search_for_a_size() {
    let error = without(&[libc::SYS_io_uring_setup], libc::ENOMEM, || {
        let config = DriverConfig { ops_max: DriverConfig::OPS_MAX, ..SMALL };
        UringDriver::new(&config).unwrap_err()
    });
    assert!(error.cause.contains("RLIMIT_MEMLOCK"), "{error}");
}

#[test]
fn r8_auto_falls_back_and_says_why_and_an_explicit_choice_fails() {
    let (auto, explicit, epoll) = without(&[libc::SYS_io_uring_setup], libc::EPERM, || {
        let selected = |choice| select(choice, &SMALL);
        (selected(DriverChoice::Auto), selected(DriverChoice::Uring), selected(DriverChoice::Epoll))
    });
    let auto = auto.expect("epoll is always there");
    assert_eq!(auto.kind, DriverKind::Epoll);
    let reason = auto.fallback.expect("a reason").to_string();
    assert!(reason.contains("seccomp"), "{reason}");
    assert_eq!(explicit.unwrap_err().kind, DriverKind::Uring);
    let epoll = epoll.expect("epoll is always there");
    assert_eq!(epoll.kind, DriverKind::Epoll);
    assert!(epoll.fallback.is_none(), "it was asked for");
}

#[test]
fn r8_auto_takes_io_uring_where_it_works() {
    for choice in [DriverChoice::Auto, DriverChoice::Uring] {
        let selected = select(choice, &SMALL).unwrap();
        assert_eq!(selected.kind, DriverKind::Uring);
        assert!(selected.fallback.is_none());
    }
}
