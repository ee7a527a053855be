//! D9: what forbids io_uring is named.

use std::collections::BTreeMap;

use hioload_platform::backend::uring::{UringConfig, UringDriver};
use hioload_platform::{DriverError, probe};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Runs in a process of its own, which the filter is for.
pub(crate) fn a_seccomp_filter_is_named() {
    assert!(probe::uring().is_ok(), "io_uring works before");
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("an architecture with seccomp");
    let denied = BTreeMap::from([(libc::SYS_io_uring_setup, vec![])]);
    let errno = libc::EPERM.cast_unsigned();
    let filter = SeccompFilter::new(
        denied,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        arch,
    )
    .expect("a filter of one rule");
    let program: BpfProgram = filter.try_into().expect("a small program");
    seccompiler::apply_filter_all_threads(&program).expect("a process may restrict itself");

    let cause = probe::uring().expect_err("io_uring is forbidden now");
    assert_eq!(cause.kind, probe::CauseKind::Seccomp);
    let cause = cause.line;
    assert!(
        cause.starts_with("io_uring is forbidden by seccomp ("),
        "{cause}"
    );
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(cause.contains(call), "{cause}");
    }
    match UringDriver::open(UringConfig::default()) {
        Err(DriverError::Unavailable {
            backend: "io_uring",
            cause: same,
        }) => {
            assert_eq!(same, cause);
        }
        other => panic!("{other:?}"),
    }
}
