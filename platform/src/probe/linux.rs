//! What io_uring's own probe says.

use super::{Cause, Feature, Report};
use crate::backend::uring;

pub(super) fn release() -> String {
    uring::probe::release()
}

pub(super) fn uring() -> Result<Vec<Feature>, Cause> {
    uring::probe::survey()
}

pub(super) fn backend(report: &Report) -> Option<&'static str> {
    report.uring.is_ok().then_some(uring::NAME)
}

#[cfg(test)]
mod tests {
    use super::super::CauseKind;
    use super::super::tests::example;
    use super::*;

    #[test]
    fn without_io_uring_there_is_no_backend() {
        let forbidden = Report {
            uring: Err(Cause {
                kind: CauseKind::Seccomp,
                line: "io_uring is forbidden by something".into(),
            }),
            ..example()
        };
        assert_eq!(forbidden.backend(), None);
    }
}
