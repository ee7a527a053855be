//! What a receive costs with plain, bundled and incremental buffers.
//!
//! Each mode has a ring, 4 MiB of buffers and connections of its own. In turn,
//! each mode's connections are written to, all of them, then the ring reads
//! everything: the CPU time of that alone is counted. `recv_modes [ROUNDS]`.

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "a ring shared with the kernel; every block says what it relies on"
)]
#[path = "recv_modes/linux.rs"]
mod linux;

fn main() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    return linux::run();
    #[cfg(not(target_os = "linux"))]
    Err(std::io::ErrorKind::Unsupported.into())
}
