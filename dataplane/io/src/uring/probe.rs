//! What io_uring must offer, found out by trying, and what to tell the operator when it does not.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use io_uring::{IoUring, Probe, opcode};

use super::UringDriver;
use crate::driver::{Driver, DriverKind};
use crate::error::StartError;
use crate::select::DriverConfig;

/// Where Linux keeps who may use io_uring (6.6 and later; Documentation/admin-guide/sysctl/kernel.rst).
const DISABLED_SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";
const RELEASE: &str = "/proc/sys/kernel/osrelease";
const REMEDY_KERNEL: &str = "run on Linux 6.1 or later, or use --io epoll";

/// Operations that the driver cannot do without.
const NEEDED: [(u8, &str); 10] = [
    (opcode::AcceptMulti::CODE, "accept"),
    (opcode::AsyncCancel::CODE, "async cancel"),
    (opcode::Close::CODE, "close"),
    (opcode::Connect::CODE, "connect"),
    (opcode::PollAdd::CODE, "poll"),
    (opcode::Read::CODE, "read"),
    (opcode::Recv::CODE, "recv"),
    (opcode::RecvMsg::CODE, "recvmsg"),
    (opcode::Send::CODE, "send"),
    (opcode::SendMsg::CODE, "sendmsg"),
];

/// At which step the start failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// io_uring_setup(2), or mapping what it made.
    Setup(io::Error),
    /// A feature flag is missing.
    Feature(&'static str),
    /// An operation is missing.
    Operation(&'static str),
    /// io_uring_register(2).
    Register(io::Error),
    /// eventfd(2).
    Eventfd(io::Error),
    /// io_uring_enter(2).
    Enter(io::Error),
}

impl Refusal {
    /// Whether smaller queues may help.
    pub(super) fn is_memory(&self) -> bool {
        match self {
            Self::Setup(error) | Self::Register(error) => error.raw_os_error() == Some(libc::ENOMEM),
            _ => false,
        }
    }

    pub(super) fn explain(&self) -> StartError {
        let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
        let release = read(RELEASE).unwrap_or_else(|| "of unknown release".to_owned());
        let (cause, remedy) = self.describe(read(DISABLED_SYSCTL).as_deref(), &release);
        StartError { kind: DriverKind::Uring, cause, remedy }
    }

    fn describe(&self, disabled: Option<&str>, release: &str) -> (String, String) {
        let (call, error) = match self {
            Self::Feature(name) => {
                return (format!("Linux {release} lacks {name}"), REMEDY_KERNEL.to_owned());
            }
            Self::Operation(name) => {
                return (
                    format!("io_uring of Linux {release} lacks the operation \"{name}\""),
                    REMEDY_KERNEL.to_owned(),
                );
            }
            Self::Setup(error) => ("io_uring_setup", error),
            Self::Register(error) => ("io_uring_register", error),
            Self::Eventfd(error) => ("eventfd", error),
            Self::Enter(error) => ("io_uring_enter", error),
        };
        let (why, remedy) = reason(error, disabled, release);
        (format!("{call}: {error} ({why})"), remedy)
    }
}

/// What stands behind an errno, and what helps.
fn reason(error: &io::Error, disabled: Option<&str>, release: &str) -> (String, String) {
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), Some("2")) => (
            "the sysctl kernel.io_uring_disabled is 2: off for everyone".to_owned(),
            "set kernel.io_uring_disabled to 0 on the node, or use --io epoll".to_owned(),
        ),
        (Some(libc::EPERM), Some("1")) => (
            "the sysctl kernel.io_uring_disabled is 1: only for the group of kernel.io_uring_group and for \
             CAP_SYS_ADMIN"
                .to_owned(),
            "run adit in the group of kernel.io_uring_group, set kernel.io_uring_disabled to 0, or use --io epoll"
                .to_owned(),
        ),
        (Some(libc::EPERM | libc::EACCES), _) => (
            "a seccomp filter or a security module denies it".to_owned(),
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or use \
             --io epoll"
                .to_owned(),
        ),
        (Some(libc::ENOSYS), _) => (
            format!("Linux {release} was built without io_uring or is too old, or a seccomp filter says so"),
            "run on Linux 6.1 or later and allow io_uring_setup, io_uring_enter and io_uring_register in the \
             container's seccomp profile, or use --io epoll"
                .to_owned(),
        ),
        (Some(libc::EINVAL), _) => (
            format!("Linux {release} does not know IORING_SETUP_DEFER_TASKRUN or provided-buffer rings"),
            REMEDY_KERNEL.to_owned(),
        ),
        (Some(libc::ENOMEM), _) => (
            "locked memory is short: RLIMIT_MEMLOCK is shared by all processes of this user".to_owned(),
            "raise RLIMIT_MEMLOCK (LimitMEMLOCK= in systemd, --ulimit memlock= in containers), or use --io epoll"
                .to_owned(),
        ),
        (Some(libc::EMFILE | libc::ENFILE), _) => (
            "no file descriptor is left".to_owned(),
            "raise RLIMIT_NOFILE (LimitNOFILE= in systemd) or fs.file-max".to_owned(),
        ),
        _ => ("unexpected".to_owned(), "use --io epoll".to_owned()),
    }
}

/// Checks a fresh ring. `Ok`: whether sends without a copy exist.
pub(super) fn check(ring: &IoUring) -> Result<bool, Refusal> {
    let params = ring.params();
    let features = [
        (params.is_feature_nodrop(), "IORING_FEAT_NODROP"),
        (params.is_feature_submit_stable(), "IORING_FEAT_SUBMIT_STABLE"),
        (params.is_feature_fast_poll(), "IORING_FEAT_FAST_POLL"),
        (params.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG"),
    ];
    if let Some((_, name)) = features.iter().find(|(there, _)| !there) {
        return Err(Refusal::Feature(name));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Refusal::Register)?;
    if let Some((_, name)) = NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(Refusal::Operation(name));
    }
    Ok(probe.is_supported(opcode::SendZc::CODE) && probe.is_supported(opcode::SendMsgZc::CODE))
}

/// Whether the io_uring driver works here: sets one up in the sizes of `config`, with few receive slots, lets it be
/// woken once, and takes it down. May be called from any thread.
///
/// # Errors
/// [`StartError`] with the cause and the remedy.
pub fn probe(config: &DriverConfig) -> Result<(), StartError> {
    let mut driver = UringDriver::new(&config.probe_sized())?;
    // A filter may allow the set-up and deny the use.
    driver.waker().wake();
    let deadline = Instant::now() + Duration::from_secs(1);
    driver.turn(Some(deadline), 1, &mut Vec::new()).map_err(|error| Refusal::Enter(error).explain())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(errno: i32, disabled: Option<&str>) -> (String, String) {
        Refusal::Setup(io::Error::from_raw_os_error(errno)).describe(disabled, "5.15.0")
    }

    #[test]
    fn every_refusal_names_cause_and_remedy() {
        for (errno, disabled, cause, remedy) in [
            (libc::EPERM, None, "seccomp", "seccomp profile"),
            (libc::EPERM, Some("0"), "seccomp", "seccomp profile"),
            (libc::EPERM, Some("1"), "io_uring_group", "io_uring_group"),
            (libc::EPERM, Some("2"), "off for everyone", "kernel.io_uring_disabled to 0"),
            (libc::ENOSYS, None, "5.15.0", "6.1"),
            (libc::EINVAL, None, "DEFER_TASKRUN", "6.1"),
            (libc::ENOMEM, None, "RLIMIT_MEMLOCK", "LimitMEMLOCK"),
            (libc::EMFILE, None, "descriptor", "RLIMIT_NOFILE"),
        ] {
            let (why, help) = setup(errno, disabled);
            assert!(why.starts_with("io_uring_setup: "), "{why}");
            assert!(why.contains(cause), "{errno}: {why}");
            assert!(help.contains(remedy), "{errno}: {help}");
            assert!(help.contains("--io epoll") || errno == libc::EMFILE, "{errno}: {help}");
        }
        let (why, help) = Refusal::Operation("recvmsg").describe(None, "5.4.0");
        assert_eq!(why, "io_uring of Linux 5.4.0 lacks the operation \"recvmsg\"");
        assert_eq!(help, REMEDY_KERNEL);
    }

    #[test]
    fn only_short_memory_is_worth_another_try() {
        assert!(Refusal::Setup(io::Error::from_raw_os_error(libc::ENOMEM)).is_memory());
        assert!(!Refusal::Setup(io::Error::from_raw_os_error(libc::EPERM)).is_memory());
        assert!(!Refusal::Feature("x").is_memory());
    }
}
