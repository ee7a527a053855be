//! One kernel entry for all that arrived: receives and accepts go on by
//! themselves, sends read the buffers that the kernel filled.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;

use hioload_platform::limits::Limits;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::buffers::{Buffers, GROUP, Piece};
use crate::options::Options;

/// Requests of one kernel entry. Their memory, and that of completions, counts
/// against the limit of locked memory.
const REQUESTS: u32 = 1024;

/// Completions that may wait: one for each of 10,000 connections of a fan-out.
const COMPLETIONS: u32 = 1 << 14;

/// The most connections, if the limit of open files allows as many.
const CONNECTIONS: u64 = 1 << 15;

const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const CLOSE: u64 = 4 << 32;

/// One connection, by its place in the kernel's table of direct descriptors.
#[derive(Default)]
struct Peer {
    /// Whether the place is taken: from the accept to the request to close.
    taken: bool,
    /// Whether bytes are received and sent.
    open: bool,
    receiving: bool,
    /// What the send in flight reads.
    sending: Option<Piece>,
    /// What goes after it; at most every buffer once.
    queue: VecDeque<Piece>,
}

struct Server {
    /// Dropped before the buffers that its requests read and fill.
    io: IoUring,
    buffers: Buffers,
    listener: types::Fd,
    accepting: bool,
    fan_out: bool,
    peers: Vec<Peer>,
    open: u32,
    /// Connections whose receive ended because there was no buffer.
    starved: Vec<u32>,
}

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener, options: &Options) -> io::Result<()> {
    let io = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(COMPLETIONS)
        .build(REQUESTS)?;
    let allowed = Limits::read().nofile.map_or(1024, |limit| limit.soft);
    let table = u32::try_from(allowed.min(CONNECTIONS)).unwrap_or(1024);
    io.submitter().register_files_sparse(table)?;
    let buffers = Buffers::register(&io, options.buffer, options.buffers)?;
    let mut server = Server {
        io,
        buffers,
        listener: types::Fd(listener.as_raw_fd()),
        accepting: false,
        fan_out: options.fan_out,
        peers: Vec::new(),
        open: 0,
        starved: Vec::new(),
    };
    let mut done = Vec::new();
    loop {
        server.accept()?;
        server.io.submit_and_wait(1)?;
        done.extend(server.io.completion());
        for entry in done.drain(..) {
            server.complete(&entry)?;
        }
        server.buffers.publish();
        server.feed()?;
    }
}

impl Server {
    fn complete(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        let tag = entry.user_data();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the place is the lower half"
        )]
        let place = tag as u32;
        match tag & !u64::from(u32::MAX) {
            ACCEPT => {
                self.accepting = cqueue::more(entry.flags());
                if let Ok(place) = u32::try_from(entry.result()) {
                    self.accepted(place)?;
                }
                Ok(())
            }
            RECEIVE => self.received(place, entry),
            SEND => self.sent(place, entry.result()),
            // A place is free in the table: accepting may go on.
            _ => Ok(()),
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: it points to buffers, which outlive the ring, or to nothing.
        while unsafe { self.io.submission().push(entry) }.is_err() {
            self.io.submit()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        if self.accepting {
            return Ok(());
        }
        self.accepting = true;
        let accept = opcode::AcceptMulti::new(self.listener).allocate_file_index(true);
        self.push(&accept.build().user_data(ACCEPT))
    }

    fn accepted(&mut self, place: u32) -> io::Result<()> {
        if self.peers.len() <= place as usize {
            self.peers.resize_with(place as usize + 1, Peer::default);
        }
        let peer = &mut self.peers[place as usize];
        peer.taken = true;
        peer.open = true;
        self.open += 1;
        self.receive(place)
    }

    fn receive(&mut self, place: u32) -> io::Result<()> {
        self.peers[place as usize].receiving = true;
        let receive = opcode::RecvMulti::new(types::Fixed(place), GROUP);
        self.push(&receive.build().user_data(RECEIVE | u64::from(place)))
    }

    /// Lets connections receive again that had no buffer.
    fn feed(&mut self) -> io::Result<()> {
        if !self.starved.is_empty() && self.buffers.any() {
            for place in std::mem::take(&mut self.starved) {
                self.receive(place)?;
            }
        }
        Ok(())
    }

    fn received(&mut self, place: u32, entry: &cqueue::Entry) -> io::Result<()> {
        let more = cqueue::more(entry.flags());
        self.peers[place as usize].receiving = more;
        match u32::try_from(entry.result()) {
            Ok(len @ 1..) => {
                let Some(buffer) = cqueue::buffer_select(entry.flags()) else {
                    return Err(io::Error::other("bytes without a buffer"));
                };
                self.pass_on(place, Piece { buffer, len })?;
                if !more && self.peers[place as usize].open {
                    self.receive(place)?;
                }
            }
            Err(_) if entry.result() == -libc::ENOBUFS => {
                if !more {
                    self.peers[place as usize].receiving = true;
                    self.starved.push(place);
                }
            }
            _ => return self.end(place),
        }
        self.reap(place)
    }

    fn pass_on(&mut self, from: u32, piece: Piece) -> io::Result<()> {
        if !self.fan_out {
            let open = self.peers[from as usize].open;
            self.buffers.taken(piece.buffer, open.into());
            return if open {
                self.forward(from, piece)
            } else {
                Ok(())
            };
        }
        let others = self.open - u32::from(self.peers[from as usize].open);
        self.buffers.taken(piece.buffer, others);
        for place in 0..u32::try_from(self.peers.len()).unwrap_or(u32::MAX) {
            if place != from && self.peers[place as usize].open {
                self.forward(place, piece)?;
            }
        }
        Ok(())
    }

    fn forward(&mut self, place: u32, piece: Piece) -> io::Result<()> {
        let peer = &mut self.peers[place as usize];
        if peer.sending.is_some() {
            peer.queue.push_back(piece);
            return Ok(());
        }
        peer.sending = Some(piece);
        let bytes = self.buffers.bytes(piece.buffer);
        let send = opcode::Send::new(types::Fixed(place), bytes, piece.len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL);
        self.push(&send.build().user_data(SEND | u64::from(place)))
    }

    fn sent(&mut self, place: u32, result: i32) -> io::Result<()> {
        let peer = &mut self.peers[place as usize];
        let Some(piece) = peer.sending.take() else {
            return Err(io::Error::other("the end of a send that was not begun"));
        };
        self.buffers.release(piece.buffer);
        // With MSG_WAITALL the kernel sends all or fails.
        if u32::try_from(result) != Ok(piece.len) {
            self.end(place)?;
        } else if let Some(next) = peer.queue.pop_front() {
            self.forward(place, next)?;
        }
        self.reap(place)
    }

    /// The connection ended: nothing more is sent.
    fn end(&mut self, place: u32) -> io::Result<()> {
        let peer = &mut self.peers[place as usize];
        if peer.open {
            peer.open = false;
            self.open -= 1;
            for piece in std::mem::take(&mut peer.queue) {
                self.buffers.release(piece.buffer);
            }
            // Not a shutdown, which a worker of the kernel would do later, maybe
            // to the next connection at this place.
            let in_flight = [
                peer.receiving.then_some(RECEIVE),
                peer.sending.map(|_| SEND),
            ];
            for what in in_flight.into_iter().flatten() {
                let cancel = opcode::AsyncCancel::new(what | u64::from(place));
                self.push(&cancel.build().user_data(CLOSE | u64::from(place)))?;
            }
        }
        self.reap(place)
    }

    /// Closes an ended connection of which nothing is in flight any more.
    fn reap(&mut self, place: u32) -> io::Result<()> {
        let peer = &mut self.peers[place as usize];
        if !peer.taken || peer.open || peer.receiving || peer.sending.is_some() {
            return Ok(());
        }
        peer.taken = false;
        let close = opcode::Close::new(types::Fixed(place));
        self.push(&close.build().user_data(CLOSE | u64::from(place)))
    }
}
