//! The offence the guard is for, by the kernel's hand.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::{IoUring, opcode, types};

use super::{LEN, caught, check_nothing_yet, fate};
use crate::guard::check;

#[test]
fn a_kernel_write_after_free_is_caught() {
    caught(fate(
        concat!(module_path!(), "::a_kernel_write_after_free_is_caught"),
        || {
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
        },
    ));
}
