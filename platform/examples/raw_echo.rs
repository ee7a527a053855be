//! What a TCP server cannot be cheaper than: it returns the bytes it gets, to
//! who sent them (`echo`) or to all others (`broadcast`), on one thread, and
//! knows no messages.
//!
//! `raw_echo uring|epoll echo|broadcast [--listen ADDR] [--buffer BYTES]
//! [--buffers N]`; it prints `listening on ADDRESS`. A buffer is what one read
//! takes at most; with io_uring there are N of them for all connections. Tuned
//! to the load by who starts it, since it is to be the limit.

#[cfg(target_os = "linux")]
#[path = "raw_echo/buffers.rs"]
#[expect(
    unsafe_code,
    reason = "memory shared with the kernel; every block says what it relies on"
)]
mod buffers;
#[cfg(target_os = "linux")]
#[path = "raw_echo/epoll.rs"]
mod epoll;
#[cfg(target_os = "linux")]
#[path = "raw_echo/options.rs"]
mod options;
#[cfg(target_os = "linux")]
#[path = "raw_echo/uring.rs"]
#[expect(
    unsafe_code,
    reason = "requests to the kernel; every block says what it relies on"
)]
mod uring;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write as _;

    let options = options::Options::parse(std::env::args().skip(1))?;
    let listener = options.listen()?;
    let addr = listener.local_addr()?;
    writeln!(std::io::stdout().lock(), "listening on {addr}")?;
    match options.api {
        options::Api::Uring => uring::serve(&listener, &options)?,
        options::Api::Epoll => epoll::serve(&listener, &options)?,
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
