//! A ring that answers what arrives with as many bytes of its own.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};

use super::buffers::{Buffers, GROUP};

/// `IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST`, as the driver does.
const MULTISHOT: u16 = 1 << 1 | 1;
/// Buffers to receive into; plain ones, since bytes are not looked at.
const SLOTS: u16 = 2048;
const SLOT: usize = 16 << 10;

/// In the user data, beside the connection.
const RECEIVE: u64 = 1 << 32;
const LAST_SEND: u64 = 1 << 33;

#[derive(Clone, Copy)]
pub(super) struct Mode {
    pub(super) name: &'static str,
    /// Sockets in the ring's own table of descriptors.
    pub(super) direct: bool,
    /// `DEFER_TASKRUN` and `SINGLE_ISSUER`, or `COOP_TASKRUN`.
    pub(super) defer: bool,
    /// A kernel thread takes submissions.
    pub(super) sqpoll: bool,
    /// One receive for the life of a connection.
    pub(super) multishot: bool,
    pub(super) gather: Gather,
    pub(super) wait: Wait,
}

/// What is done until something arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Sleep,
    /// Enters the kernel again and again.
    Ask,
    /// Looks at the completion queue again and again.
    Look,
}

/// How the messages of a burst are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gather {
    /// Copied behind one another, one send.
    Copy,
    /// One send of the whole burst that the kernel need not copy.
    ZeroCopy,
    /// One `sendmsg` with a part for each.
    Vectored,
    /// A send for each, one after the other.
    Linked,
}

pub(super) struct Ring {
    pub(super) mode: Mode,
    io: IoUring,
    buffers: Buffers,
    sockets: Vec<TcpStream>,
    /// What one connection answers with: the parts of a burst, and behind them the
    /// place to copy them to.
    message: usize,
    burst: usize,
    answer: Vec<u8>,
    parts: Vec<libc::iovec>,
    header: Box<libc::msghdr>,
    received: Vec<usize>,
}

impl Ring {
    pub(super) fn open(
        mode: Mode,
        sockets: Vec<TcpStream>,
        message: usize,
        burst: usize,
    ) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(8192);
        if mode.defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        } else if mode.sqpoll {
            builder.setup_sqpoll(1);
        } else {
            builder.setup_coop_taskrun();
        }
        let io = builder.build(4096)?;
        if mode.direct {
            let table: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
            io.submitter().register_files(&table)?;
        }
        let buffers = Buffers::register(&io, SLOT, SLOTS)?;
        // SAFETY: all zeroes are a header without parts.
        let header = Box::new(unsafe { std::mem::zeroed() });
        let mut ring = Self {
            mode,
            io,
            buffers,
            received: vec![0; sockets.len()],
            sockets,
            message,
            burst,
            answer: vec![0xa5; message * burst * 2],
            parts: Vec::new(),
            header,
        };
        ring.describe_parts();
        for index in 0..ring.sockets.len() {
            ring.arm(index)?;
        }
        ring.io.submit()?;
        Ok(ring)
    }

    fn describe_parts(&mut self) {
        let parts = self.answer.chunks_exact_mut(self.message).take(self.burst);
        self.parts = parts
            .map(|part| libc::iovec {
                iov_base: part.as_mut_ptr().cast(),
                iov_len: part.len(),
            })
            .collect();
        self.header.msg_iov = self.parts.as_mut_ptr();
        self.header.msg_iovlen = self.parts.len();
    }

    /// Answers until every connection was sent `bytes`, and all is taken.
    pub(super) fn echo(&mut self, bytes: usize) -> io::Result<()> {
        let mut open = self.sockets.len();
        self.received.fill(0);
        // A busy turn: everyone has sent something.
        let mut awaited = open;
        while open > 0 {
            open -= self.turn(awaited, bytes)?;
            awaited = 1;
        }
        Ok(())
    }

    /// One turn; how many connections are done.
    fn turn(&mut self, awaited: usize, bytes: usize) -> io::Result<usize> {
        match self.mode.wait {
            Wait::Sleep => {
                self.io.submit_and_wait(awaited)?;
            }
            Wait::Ask => {
                while self.io.completion().is_empty() {
                    self.ask()?;
                }
            }
            Wait::Look => {
                self.io.submit()?;
                while self.io.completion().is_empty() {
                    std::hint::spin_loop();
                }
            }
        }
        let events: Vec<cqueue::Entry> = self.io.completion().collect();
        let mut done = 0;
        for event in events {
            done += usize::from(self.complete(&event, bytes)?);
        }
        self.buffers.publish();
        Ok(done)
    }

    /// Submits, and has what is there completed.
    fn ask(&mut self) -> io::Result<usize> {
        let queued = u32::try_from(self.io.submission().len()).expect("entries");
        let submitter = self.io.submitter();
        // SAFETY: without an argument nothing is read but the queue.
        unsafe { submitter.enter::<()>(queued, 0, EnterFlags::GETEVENTS.bits(), None) }
    }

    /// Whether that was the last send of a connection.
    fn complete(&mut self, event: &cqueue::Entry, bytes: usize) -> io::Result<bool> {
        let data = event.user_data();
        let index = usize::try_from(data & 0xffff_ffff).expect("an index");
        if data & RECEIVE == 0 {
            let sent = data & LAST_SEND != 0 && !cqueue::notif(event.flags());
            assert!(event.result() >= 0, "a send failed: {}", event.result());
            return Ok(sent);
        }
        if !cqueue::more(event.flags()) {
            self.arm(index)?;
        }
        let Ok(len) = usize::try_from(event.result()) else {
            return Ok(false);
        };
        if let Some(buffer) = cqueue::buffer_select(event.flags()) {
            self.buffers.taken(buffer, 0);
        }
        self.received[index] += len;
        if self.received[index] >= bytes {
            self.received[index] -= bytes;
            self.answer(index)?;
        }
        Ok(false)
    }

    fn answer(&mut self, index: usize) -> io::Result<()> {
        let whole = self.message * self.burst;
        match self.mode.gather {
            Gather::Copy => {
                self.answer.copy_within(..whole, whole);
                let start = self.answer[whole..].as_ptr();
                self.send(index, start, whole, LAST_SEND, squeue::Flags::empty())
            }
            Gather::Linked => {
                for part in 0..self.burst {
                    let last = part + 1 == self.burst;
                    let (data, flags) = if last {
                        (LAST_SEND, squeue::Flags::empty())
                    } else {
                        (0, squeue::Flags::IO_LINK)
                    };
                    let start = self.answer[part * self.message..].as_ptr();
                    self.send(index, start, self.message, data, flags)?;
                }
                Ok(())
            }
            Gather::Vectored => {
                let header = &raw const *self.header;
                let flags = MSG_WAITALL.cast_unsigned();
                let entry = if self.mode.direct {
                    opcode::SendMsg::new(fixed(index), header).flags(flags)
                } else {
                    opcode::SendMsg::new(self.fd(index), header).flags(flags)
                };
                self.push(&entry.build().user_data(index as u64 | LAST_SEND))
            }
            Gather::ZeroCopy => {
                let (start, len) = (self.answer.as_ptr(), len_of(whole));
                let entry = if self.mode.direct {
                    opcode::SendZc::new(fixed(index), start, len).flags(MSG_WAITALL)
                } else {
                    opcode::SendZc::new(self.fd(index), start, len).flags(MSG_WAITALL)
                };
                self.push(&entry.build().user_data(index as u64 | LAST_SEND))
            }
        }
    }

    fn send(
        &mut self,
        index: usize,
        start: *const u8,
        len: usize,
        data: u64,
        flags: squeue::Flags,
    ) -> io::Result<()> {
        let len = len_of(len);
        let entry = if self.mode.direct {
            opcode::Send::new(fixed(index), start, len).flags(MSG_WAITALL)
        } else {
            opcode::Send::new(self.fd(index), start, len).flags(MSG_WAITALL)
        };
        self.push(&entry.build().flags(flags).user_data(index as u64 | data))
    }

    fn arm(&mut self, index: usize) -> io::Result<()> {
        let (none, len) = (std::ptr::null_mut(), 0);
        let ioprio = if self.mode.multishot { MULTISHOT } else { 0 };
        let entry = if self.mode.direct {
            opcode::Recv::new(fixed(index), none, len)
                .ioprio(ioprio)
                .buf_group(GROUP)
                .build()
        } else {
            opcode::Recv::new(self.fd(index), none, len)
                .ioprio(ioprio)
                .buf_group(GROUP)
                .build()
        };
        self.push(
            &entry
                .flags(squeue::Flags::BUFFER_SELECT)
                .user_data(index as u64 | RECEIVE),
        )
    }

    fn fd(&self, index: usize) -> types::Fd {
        types::Fd(self.sockets[index].as_raw_fd())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what it points to, the answer and its header, is neither moved nor
        // dropped before the ring.
        while unsafe { self.io.submission().push(entry) }.is_err() {
            self.io.submit()?;
        }
        Ok(())
    }
}

/// All of it, or an error: short sends are not what is measured.
const MSG_WAITALL: i32 = libc::MSG_WAITALL;

fn fixed(index: usize) -> types::Fixed {
    types::Fixed(len_of(index))
}

fn len_of(len: usize) -> u32 {
    u32::try_from(len).expect("below 4 GiB")
}

impl Ring {
    /// CPU time of this thread and, where the kernel polls for this ring, of
    /// what polls: one of another ring spins on for a moment, and is not counted.
    pub(super) fn cpu_nanos(&self) -> u64 {
        let polling = if self.mode.sqpoll {
            polling_nanos()
        } else {
            None
        };
        thread_nanos() + polling.unwrap_or(0)
    }
}

fn thread_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

fn polling_nanos() -> Option<u64> {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task").ok()? {
        let task = task.ok()?.path();
        if fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("iou-sqp")) {
            let stat = fs::read_to_string(task.join("schedstat")).ok()?;
            nanos += stat.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    Some(nanos)
}
