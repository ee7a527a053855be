//! What Docker's default profile does to io_uring.

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Forbids this thread, and what it becomes, to set up a ring: the call fails
/// with `EPERM`. Every other call is allowed.
pub(crate) fn forbid_io_uring() {
    let action = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rules = [(libc::SYS_io_uring_setup, Vec::new())]
        .into_iter()
        .collect();
    let arch = std::env::consts::ARCH
        .try_into()
        .expect("seccomp knows this architecture");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("a filter");
    let program = BpfProgram::try_from(filter).expect("a program");
    seccompiler::apply_filter(&program).expect("a thread may forbid itself calls");
}
