//! The workspace's only backend selection.

mod batch;
pub mod sim;
mod slots;
#[cfg(target_os = "linux")]
pub mod uring;

#[cfg(not(any(target_os = "linux", windows)))]
compile_error!("hioload runs on Linux and Windows; no backend exists for this system yet");

/// The driver this build uses.
#[cfg(target_os = "linux")]
pub type Selected = uring::UringDriver;

/// Its configuration.
#[cfg(target_os = "linux")]
pub type SelectedConfig = uring::UringConfig;
