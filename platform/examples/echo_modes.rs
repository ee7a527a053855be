//! What an echo costs with each way that `io_uring` offers to receive and send.
//!
//! Each mode has a ring and connections of its own, and the modes take turns.
//! `echo_modes [ROUNDS [rings|sends|gathers|latency]]` prints CPU time per message, of the ring's thread and of
//! the kernel's polling thread where there is one, and how long one message takes
//! there and back with each way to wait for it. Bytes are only counted: this
//! measures the kernel.

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "a ring shared with the kernel; every block says what it relies on"
)]
#[path = "echo_modes/linux.rs"]
mod linux;

fn main() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    return linux::run();
    #[cfg(not(target_os = "linux"))]
    Err(std::io::ErrorKind::Unsupported.into())
}
