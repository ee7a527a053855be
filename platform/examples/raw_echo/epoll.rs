//! One `epoll_wait`, one `read` and one `write` for what arrived.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::options::Options;

/// Events of one wait.
const BATCH: usize = 1024;

/// Names the listener; connections are named by their place.
const LISTENER: u64 = u64::MAX;

struct Peer {
    stream: TcpStream,
    /// What the socket did not take; nothing is read before it has.
    rest: Vec<u8>,
}

struct Server {
    epoll: Epoll,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener, options: &Options) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut server = Server {
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        peers: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; options.buffer],
    };
    let interest = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
    server.epoll.add(listener.as_fd(), interest)?;
    let mut events = vec![EpollEvent::empty(); BATCH];
    loop {
        let ready = server.epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            match usize::try_from(event.data()) {
                Ok(index) if event.data() != LISTENER => {
                    if server.turn(index).is_err() {
                        server.peers[index] = None;
                        server.free.push(index);
                    }
                }
                _ => server.accept(listener)?,
            }
        }
    }
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        // What ends the loop is that nobody waits, or that one has gone again.
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            let interest = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            self.epoll.add(stream.as_fd(), interest)?;
            self.peers[index] = Some(Peer {
                stream,
                rest: Vec::new(),
            });
        }
        Ok(())
    }

    /// Reads or writes once. An error is the end of the connection.
    fn turn(&mut self, index: usize) -> io::Result<()> {
        let Some(peer) = &mut self.peers[index] else {
            return Ok(());
        };
        if peer.rest.is_empty() {
            let read = peer.stream.read(&mut self.buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let written = accepted(peer.stream.write(&self.buffer[..read]))?;
            if written < read {
                peer.rest.extend_from_slice(&self.buffer[written..read]);
                self.wait_for(index, EpollFlags::EPOLLOUT)?;
            }
            return Ok(());
        }
        let written = accepted(peer.stream.write(&peer.rest))?;
        peer.rest.drain(..written);
        if peer.rest.is_empty() {
            self.wait_for(index, EpollFlags::EPOLLIN)?;
        }
        Ok(())
    }

    fn wait_for(&mut self, index: usize, what: EpollFlags) -> io::Result<()> {
        if let Some(peer) = &self.peers[index] {
            let mut interest = EpollEvent::new(what, index as u64);
            self.epoll.modify(peer.stream.as_fd(), &mut interest)?;
        }
        Ok(())
    }
}

/// How much a full socket took: nothing.
fn accepted(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}
