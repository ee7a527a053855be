//! What io_uring's own probe says.

use super::{Cause, Feature};
use crate::backend::uring;

pub(super) fn release() -> String {
    uring::probe::release()
}

pub(super) fn uring() -> Result<Vec<Feature>, Cause> {
    uring::probe::survey()
}
