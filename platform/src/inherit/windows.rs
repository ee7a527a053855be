//! Nobody starts a process with sockets.

use super::{InheritError, Inherited};

#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere the environment may be wrong"
)]
pub(super) fn announced() -> Result<Vec<String>, InheritError> {
    Ok(Vec::new())
}

pub(super) fn take() -> Result<Vec<Inherited>, InheritError> {
    Err(InheritError::Unsupported)
}
