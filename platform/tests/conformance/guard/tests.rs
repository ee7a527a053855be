//! The allocator itself: each offence in a process of its own.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;

use io_uring::{IoUring, opcode, types};
use nix::libc;

use super::check;
use crate::process::child;

const LEN: usize = 10_000;

/// The signal that ends a process which runs `offence`, and its last words.
fn fate(name: &str, offence: fn()) -> Option<(Option<i32>, String)> {
    let path = format!("{}::{name}", module_path!());
    match child(&path) {
        None => {
            offence();
            None
        }
        Some(output) => Some((
            output.status.signal(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

fn caught(fate: Option<(Option<i32>, String)>) {
    if let Some((signal, text)) = fate {
        assert_eq!(signal, Some(libc::SIGABRT), "{text}");
        assert!(text.contains("after it was freed"), "{text}");
    }
}

fn killed(fate: Option<(Option<i32>, String)>) {
    if let Some((signal, text)) = fate {
        assert_eq!(signal, Some(libc::SIGSEGV), "{text}");
    }
}

fn freed() -> *mut u8 {
    let mut bytes = vec![1u8; LEN];
    bytes.as_mut_ptr()
}

#[test]
fn a_write_after_free_is_caught() {
    caught(fate("a_write_after_free_is_caught", || {
        let at = freed();
        check_nothing_yet();
        // SAFETY: none, and the allocator keeps it mapped: the offence.
        unsafe { at.wrapping_add(LEN / 2).write_volatile(0) };
        check();
    }));
}

#[test]
fn a_kernel_write_after_free_is_caught() {
    caught(fate("a_kernel_write_after_free_is_caught", || {
        let mut ring = IoUring::new(8).expect("io_uring is available");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let at = {
            let mut bytes = vec![1u8; LEN];
            let at = bytes.as_mut_ptr();
            let fd = types::Fd(ours.as_raw_fd());
            let len = u32::try_from(LEN).expect("a small length");
            let receive = opcode::Recv::new(fd, at, len).build();
            // SAFETY: none: the buffer does not outlive the receive, which
            // is the offence.
            unsafe { ring.submission().push(&receive) }.expect("an empty ring");
            ring.submit().expect("the ring works");
            at
        };
        check_nothing_yet();
        theirs.write_all(b"late").expect("the socket buffers");
        ring.submit_and_wait(1).expect("the ring works");
        let received = ring.completion().next().map(|entry| entry.result());
        assert_eq!(received, Some(4), "the kernel wrote to {at:?}");
        check();
    }));
}

#[test]
fn an_overrun_kills() {
    killed(fate("an_overrun_kills", || {
        let mut bytes = vec![1u8; LEN];
        let end = bytes.as_mut_ptr_range().end;
        // SAFETY: none: one past the end, the offence.
        unsafe { end.write_volatile(0) };
    }));
}

#[test]
fn a_read_after_the_check_kills() {
    killed(fate("a_read_after_the_check_kills", || {
        let at = freed();
        check();
        // SAFETY: none: freed long ago, the offence.
        unsafe { at.read_volatile() };
    }));
}

/// What was freed before the offence is as it was left: so the offence is
/// what the later check finds. Not `check`, which would seal it.
fn check_nothing_yet() {
    let quarantine = super::QUARANTINE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for body in quarantine.ring.iter().flatten() {
        body.verify();
    }
}
