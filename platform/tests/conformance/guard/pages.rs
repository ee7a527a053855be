//! Pages of memory that may be touched or not.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(super) use unix::{allow, forbid, release, reserve};
#[cfg(windows)]
pub(super) use windows::{allow, forbid, release, reserve};
