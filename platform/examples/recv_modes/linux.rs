//! The measurement.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

const POOL: usize = 4 << 20;

/// `IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST`, as the driver does.
const MULTISHOT: u16 = 1 << 1 | 1;
/// `IORING_RECVSEND_BUNDLE` (Linux 6.10).
const BUNDLE: u16 = 1 << 4;
const INCREMENTAL: u16 = 2;

#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    ioprio: u16,
    ring: u16,
    size: usize,
}

const MODES: [Mode; 4] = [
    mode("plain 16K", MULTISHOT, 0, 16 << 10),
    mode("bundle 16K", MULTISHOT | BUNDLE, 0, 16 << 10),
    mode("bundle 4K", MULTISHOT | BUNDLE, 0, 4 << 10),
    mode("incremental 64K", MULTISHOT, INCREMENTAL, 64 << 10),
];

const fn mode(name: &'static str, ioprio: u16, ring: u16, size: usize) -> Mode {
    Mode {
        name,
        ioprio,
        ring,
        size,
    }
}

/// One entry of the ring of buffers; the first one's last field is the tail.
#[repr(C)]
struct Posted {
    addr: u64,
    len: u32,
    buffer: u16,
    tail: u16,
}

/// A page, so that entries and buffers are aligned as the kernel wants.
#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; 4096]);

struct Reader {
    mode: Mode,
    io: IoUring,
    entries: Vec<Page>,
    memory: Vec<Page>,
    slots: u16,
    tail: u16,
    /// The next entry the kernel takes, and what it has filled of it.
    head: u16,
    filled: usize,
    held: u16,
    peers: Vec<(TcpStream, TcpStream)>,
    received: Vec<usize>,
    sent: usize,
}

#[derive(Default)]
struct Cost {
    nanos: u64,
    completions: u64,
    exhausted: u64,
    /// Most bytes of buffers held at once.
    held: usize,
}

impl Reader {
    fn open(mode: Mode, connections: usize) -> io::Result<Self> {
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(8192)
            .build(1024)?;
        let slots = u16::try_from(POOL / mode.size).expect("a ring has at most 32768");
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut peers = Vec::new();
        for _ in 0..connections {
            let peer = TcpStream::connect(listener.local_addr()?)?;
            peer.set_nodelay(true)?;
            peers.push((listener.accept()?.0, peer));
        }
        let mut reader = Self {
            mode,
            io,
            entries: vec![Page([0; 4096]); (usize::from(slots) * 16).div_ceil(4096)],
            memory: vec![Page([0; 4096]); POOL / 4096],
            slots,
            tail: 0,
            head: 0,
            filled: 0,
            held: slots,
            peers,
            received: vec![0; connections],
            sent: 0,
        };
        let addr = reader.entries.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: the entries live as long as the ring.
        unsafe {
            let submitter = reader.io.submitter();
            submitter.register_buf_ring_with_flags(addr, slots, 0, mode.ring)?;
        }
        reader.restock();
        for index in 0..connections {
            reader.arm(index)?;
        }
        reader.io.submit()?;
        Ok(reader)
    }

    fn arm(&mut self, index: usize) -> io::Result<()> {
        let fd = types::Fd(self.peers[index].0.as_raw_fd());
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0)
            .ioprio(self.mode.ioprio)
            .buf_group(0)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(index as u64);
        // SAFETY: it points to no memory; the buffers outlive the ring.
        while unsafe { self.io.submission().push(&entry) }.is_err() {
            self.io.submit()?;
        }
        Ok(())
    }

    /// Posts the buffers taken, in the order of their numbers.
    fn restock(&mut self) {
        let base = self.memory.as_mut_ptr().expose_provenance();
        let first = self.entries.as_mut_ptr().cast::<Posted>();
        for _ in 0..self.held {
            let slot = self.tail % self.slots;
            // SAFETY: there are `slots` entries; this one is ours until the
            // tail is published.
            let entry = unsafe { first.add(slot.into()) };
            let addr = (base + usize::from(slot) * self.mode.size) as u64;
            // SAFETY: as above.
            unsafe { (*entry).addr = addr };
            // SAFETY: as above.
            unsafe { (*entry).len = u32::try_from(self.mode.size).unwrap_or(u32::MAX) };
            // SAFETY: as above; the tail next to it is left alone.
            unsafe { (*entry).buffer = slot };
            self.tail = self.tail.wrapping_add(1);
        }
        self.held = 0;
        // SAFETY: the first entry exists; nothing is read.
        let tail = unsafe { &raw mut (*first).tail };
        // SAFETY: aligned, alive, and accessed only atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        tail.store(self.tail, Ordering::Release);
    }

    fn write(&mut self, len: usize) -> io::Result<()> {
        let bytes: Vec<u8> = (self.sent..self.sent + len).map(byte).collect();
        self.peers
            .iter_mut()
            .try_for_each(|(_, peer)| peer.write_all(&bytes))?;
        self.sent += len;
        Ok(())
    }

    /// Reads until every connection has everything.
    fn read(&mut self, cost: &mut Cost) -> io::Result<()> {
        let before = thread_nanos();
        // A busy turn: everyone has sent something.
        let mut awaited = self.received.len();
        let mut missing: usize = self.received.iter().map(|got| self.sent - got).sum();
        while missing > 0 {
            self.io.submit_and_wait(awaited)?;
            awaited = 1;
            let done: Vec<cqueue::Entry> = self.io.completion().collect();
            for entry in done {
                missing -= self.complete(&entry, cost)?;
            }
            let held = usize::from(self.held) * self.mode.size;
            cost.held = cost.held.max(held);
            self.restock();
        }
        cost.nanos += thread_nanos() - before;
        Ok(())
    }

    fn complete(&mut self, entry: &cqueue::Entry, cost: &mut Cost) -> io::Result<usize> {
        let index = usize::try_from(entry.user_data()).expect("an index");
        cost.completions += 1;
        if !cqueue::more(entry.flags()) {
            self.arm(index)?;
        }
        let Ok(len) = usize::try_from(entry.result()) else {
            cost.exhausted += 1;
            return Ok(0);
        };
        let buffer = cqueue::buffer_select(entry.flags()).expect("bytes are in a buffer");
        assert_eq!(buffer, self.head % self.slots, "{}", self.mode.name);
        let start = usize::from(buffer) * self.mode.size + self.filled;
        let end = self.filled + len;
        let taken = if self.mode.ring == INCREMENTAL {
            self.filled = end % self.mode.size;
            end / self.mode.size
        } else {
            end.div_ceil(self.mode.size)
        };
        self.check(index, start, len);
        let taken = u16::try_from(taken).expect("at most all");
        self.head = self.head.wrapping_add(taken);
        self.held += taken;
        Ok(len)
    }

    /// Touches every cache line, and finds reordered bytes.
    fn check(&mut self, index: usize, start: usize, len: usize) {
        let base = self.memory.as_ptr().cast::<u8>();
        for offset in (0..len).step_by(64) {
            let at = (start + offset) % POOL;
            // SAFETY: within the memory.
            let place = unsafe { base.add(at) };
            // SAFETY: the kernel has left the part that the completion named.
            let value = unsafe { place.read_volatile() };
            let wanted = byte(self.received[index] + offset);
            assert_eq!(value, wanted, "{}: out of order", self.mode.name);
        }
        self.received[index] += len;
    }
}

/// CPU time of this thread; what `getrusage` says is a timer tick's guess.
fn thread_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

/// The byte at a place of every stream.
fn byte(place: usize) -> u8 {
    u8::try_from(place % 251).expect("below 251")
}

fn measure(connections: usize, message: usize, burst: usize, rounds: usize) -> io::Result<()> {
    let mut readers = Vec::new();
    for mode in MODES {
        readers.push((
            Reader::open(mode, connections)?,
            Cost::default(),
            Vec::new(),
        ));
    }
    // The first rounds warm up.
    for round in 0..rounds + 5 {
        for (reader, cost, nanos) in &mut readers {
            reader.write(message * burst)?;
            let mut one = Cost::default();
            reader.read(&mut one)?;
            if round >= 5 {
                nanos.push(one.nanos / (connections * burst) as u64);
                cost.completions += one.completions;
                cost.exhausted += one.exhausted;
                cost.held = cost.held.max(one.held);
            }
        }
    }
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "{connections} connections, {burst} x {message} bytes each, {rounds} rounds"
    )?;
    let messages = (rounds * connections * burst) as f64;
    let mut plain = None;
    for (reader, cost, nanos) in &mut readers {
        nanos.sort_unstable();
        let at = |part: usize| nanos[(nanos.len() - 1) * part / 4];
        let first = *plain.get_or_insert(at(2));
        writeln!(
            stdout,
            "  {:16} {:6} ns/message ({}..{}), ratio {:.2}, completions {:.3}/message, exhausted \
             {:.3}/message, held at most {} KiB",
            reader.mode.name,
            at(2),
            at(1),
            at(3),
            at(2) as f64 / first as f64,
            cost.completions as f64 / messages,
            cost.exhausted as f64 / messages,
            cost.held >> 10,
        )?;
    }
    Ok(())
}

pub(super) fn run() -> io::Result<()> {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(101);
    for (connections, message, burst) in [
        (100, 128, 1),
        (1000, 128, 1),
        (100, 16 << 10, 1),
        (1000, 16 << 10, 1),
        (100, 16 << 10, 4),
    ] {
        measure(connections, message, burst, rounds)?;
    }
    Ok(())
}
