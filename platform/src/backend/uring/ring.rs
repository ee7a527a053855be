//! The two queues: requests out, completions in, one kernel entry per wait.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use super::config::UringConfig;
use crate::clock::Nanos;
use crate::error::DriverError;

/// How long an entry into the kernel may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Run what is due and come back.
    No,
    /// Until a completion, or so many nanoseconds.
    For(Nanos),
    /// Until a completion.
    Forever,
}

/// The ring of one driver.
pub(super) struct Ring {
    io: IoUring,
    /// Requests that found the submission queue full and the kernel unwilling
    /// to take any. Bounded by what the callers may have in flight: a handful
    /// of operations per socket.
    backlog: VecDeque<Request>,
    no_iowait: bool,
    pub(super) in_flight: u64,
    pub(super) enters: u64,
    pub(super) completions: u64,
    pub(super) overflows: u64,
}

/// A request; a linked pair must reach the kernel in one submission.
struct Request {
    entry: squeue::Entry,
    linked: Option<squeue::Entry>,
}

/// Completions copied out of the shared queue at a time: a kilobyte on the
/// stack, enough to make the atomic accesses of a copy negligible.
pub(super) const CHUNK: usize = 64;

impl Ring {
    /// Sets the ring up for one thread: the caller's.
    pub(super) fn open(config: &UringConfig) -> io::Result<Self> {
        let mut completions = config.completions;
        let io = loop {
            match Self::build(config.entries, completions) {
                // A large completion queue is one large allocation.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOMEM)
                        && completions / 2 >= config.entries.saturating_mul(2) =>
                {
                    completions /= 2;
                }
                outcome => break outcome?,
            }
        };
        let no_iowait = io.params().is_feature_no_iowait();
        Ok(Self {
            io,
            backlog: VecDeque::new(),
            no_iowait,
            in_flight: 0,
            enters: 0,
            completions: 0,
            overflows: 0,
        })
    }

    fn build(entries: u32, completions: u32) -> io::Result<IoUring> {
        IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(completions)
            .dontfork()
            .build(entries)
    }

    pub(super) fn io(&self) -> &IoUring {
        &self.io
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor lives as long as `self.io`, which the
        // returned borrow keeps alive.
        unsafe { BorrowedFd::borrow_raw(self.io.as_raw_fd()) }
    }

    /// Queues a request. It is never lost: a full queue is submitted first.
    ///
    /// # Safety
    /// Whatever the entry points to stays valid, and for the kernel's use
    /// only, until the request's last completion.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        self.queue(Request {
            entry,
            linked: None,
        });
    }

    /// Queues two linked requests: `first` carries the link flag.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    pub(super) unsafe fn push_linked(&mut self, first: squeue::Entry, second: squeue::Entry) {
        self.in_flight += 2;
        self.queue(Request {
            entry: first,
            linked: Some(second),
        });
    }

    /// A request's last completion was read.
    pub(super) fn finished(&mut self) {
        debug_assert!(self.in_flight > 0, "more completions than requests");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn queue(&mut self, request: Request) {
        if self.backlog.is_empty() && self.offer(&request) {
            return;
        }
        if self.backlog.is_empty() && self.submit().is_ok() && self.offer(&request) {
            return;
        }
        self.backlog.push_back(request);
    }

    fn offer(&mut self, request: &Request) -> bool {
        let mut queue = self.io.submission();
        let room = queue.capacity() - queue.len();
        if room < 1 + usize::from(request.linked.is_some()) {
            return false;
        }
        // SAFETY: whoever queued the request promised that what it points to
        // stays valid.
        let first = unsafe { queue.push(&request.entry) };
        let second = request.linked.as_ref().map(|entry| {
            // SAFETY: as above.
            unsafe { queue.push(entry) }
        });
        debug_assert!(first.is_ok() && second.is_none_or(|pushed| pushed.is_ok()));
        true
    }

    /// Moves what waits into the queue; whether some has to wait on.
    fn refill(&mut self) -> bool {
        while let Some(request) = self.backlog.pop_front() {
            if !self.offer(&request) {
                self.backlog.push_front(request);
                return true;
            }
        }
        false
    }

    /// Hands the queue to the kernel without looking at completions.
    fn submit(&mut self) -> io::Result<usize> {
        let queued = self.queued();
        self.enters += 1;
        // SAFETY: no argument is passed; the queue's entries were promised to
        // be valid when they were pushed.
        unsafe {
            self.io
                .submitter()
                .enter::<SubmitArgs<'_, '_>>(queued, 0, 0, None)
        }
    }

    fn queued(&mut self) -> u32 {
        u32::try_from(self.io.submission().len()).unwrap_or(u32::MAX)
    }

    /// Submits everything queued and runs or awaits completions.
    ///
    /// # Errors
    /// Those the ring can not survive.
    pub(super) fn enter(&mut self, block: Block) -> Result<(), DriverError> {
        let mut block = block;
        while self.refill() {
            if !matches!(self.submit(), Ok(1..)) {
                // The kernel takes nothing before completions are read.
                block = Block::No;
                break;
            }
        }
        if self.overflowed() {
            self.overflows += 1;
            block = Block::No;
        }
        let queued = self.queued();
        self.enters += 1;
        match self.wait(queued, block) {
            Ok(_) => Ok(()),
            Err(error) => self.survive(error),
        }
    }

    fn wait(&mut self, queued: u32, block: Block) -> io::Result<usize> {
        // With DEFER_TASKRUN completions appear only in an entry that asks for
        // events, so even one that does not wait asks.
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if self.no_iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        let nanos = if let Block::For(nanos) = block {
            nanos
        } else {
            0
        };
        let timeout = timespec(nanos);
        let mut args = SubmitArgs::new();
        if let Block::For(_) = block {
            args = args.timespec(&timeout);
        }
        let least = u32::from(block != Block::No);
        // SAFETY: `EXT_ARG` says that the argument is a `SubmitArgs`; it and
        // the timeout it points to outlive the call.
        unsafe {
            self.io
                .submitter()
                .enter(queued, least, flags.bits(), Some(&args))
        }
    }

    fn survive(&mut self, error: io::Error) -> Result<(), DriverError> {
        match error.raw_os_error() {
            // The time is up, a signal, or the kernel ran out of room and takes
            // nothing before completions are read, which the caller does next.
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            Some(libc::EBUSY) => {
                self.overflows += 1;
                Ok(())
            }
            // The kernel has no memory for a request just now. Completions that
            // are read free some; if there is none, yield rather than spin.
            Some(libc::EAGAIN) => {
                if !self.has_completions() {
                    std::thread::yield_now();
                }
                Ok(())
            }
            _ => Err(DriverError::system("io_uring_enter", error)),
        }
    }

    /// Whether the kernel holds completions the queue had no room for.
    fn overflowed(&mut self) -> bool {
        self.io.submission().cq_overflow()
    }

    /// Whether completions can be read without entering the kernel.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.io.completion().is_empty()
    }

    /// Takes up to `room` completions, at most [`CHUNK`].
    pub(super) fn take<'a>(
        &mut self,
        chunk: &'a mut [MaybeUninit<cqueue::Entry>; CHUNK],
        room: usize,
    ) -> &'a [cqueue::Entry] {
        let taken = self.io.completion().fill(&mut chunk[..room.min(CHUNK)]);
        self.completions += taken.len() as u64;
        taken
    }
}

/// Nanoseconds as the kernel takes them.
pub(super) fn timespec(nanos: Nanos) -> Timespec {
    const SECOND: Nanos = 1_000_000_000;
    let rest = (nanos % SECOND) as u32;
    Timespec::new().sec(nanos / SECOND).nsec(rest)
}
