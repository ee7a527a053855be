//! The workspace's only backend selection.

pub mod sim;
#[cfg(target_os = "linux")]
pub mod uring;

#[cfg(not(target_os = "linux"))]
compile_error!("hioload runs on Linux with io_uring; no other backend exists yet");

/// The driver this build uses.
#[cfg(target_os = "linux")]
pub type Selected = uring::UringDriver;

/// Its configuration.
#[cfg(target_os = "linux")]
pub type SelectedConfig = uring::UringConfig;
