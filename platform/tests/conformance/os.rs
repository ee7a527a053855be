//! The operating system's network, on loopback.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use hioload_platform::{ListenOptions, Listener, Socket};

use crate::net::{Net, Peer, Signal};
use crate::rig::PATIENCE;

#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
use windows as imp;

pub(crate) use imp::{Owned, is_inherited, violence};

/// What ended a process against its will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violence {
    /// Its own `abort`.
    Abort,
    /// An access to memory that is not there.
    Access,
}

#[derive(Clone, Copy)]
pub(crate) struct Os;

/// A listener, and the connections that fill its backlog.
pub(crate) struct Server {
    listener: TcpListener,
    _waiting: Vec<socket2::Socket>,
}

impl Net for Os {
    type Socket = Socket;
    type Listener = Listener;
    type Source = Owned;
    type Peer = TcpStream;
    type Server = Server;
    type Signal = Wire;

    fn new() -> Self {
        Self
    }

    fn bind(&self) -> (Listener, SocketAddr) {
        let listener =
            Listener::bind(&ListenOptions::new(loopback(0))).expect("loopback can be bound");
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        (listener, addr)
    }

    fn serve(&self, addr: Option<SocketAddr>) -> (Server, SocketAddr) {
        let listener =
            TcpListener::bind(addr.unwrap_or(loopback(0))).expect("loopback can be bound");
        served(listener, Vec::new())
    }

    fn serve_nobody(&self) -> (Server, SocketAddr) {
        let listener = tcp();
        listener
            .bind(&loopback(0).into())
            .expect("loopback can be bound");
        listener.listen(0).expect("a socket may listen");
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        // One more than the backlog fills it; the rest make sure.
        let fill = |_| {
            let client = tcp();
            client
                .set_nonblocking(true)
                .expect("a socket may be non-blocking");
            // EINPROGRESS, or connected at once.
            let _ = client.connect(&addr);
            client
        };
        let waiting = (0..4).map(fill).collect();
        served(listener.into(), waiting)
    }

    fn accept(&self, server: &Server) -> (TcpStream, SocketAddr) {
        server.listener.accept().expect("a connection waits")
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let peer = TcpStream::connect(addr)?;
        peer.set_read_timeout(Some(PATIENCE))?;
        Ok(peer)
    }

    fn pair(&self) -> (Socket, TcpStream) {
        let (server, addr) = self.serve(None);
        let peer = self.connect(addr).expect("the backlog has room");
        let (stream, _) = self.accept(&server);
        peer.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        (Socket::from(stream), peer)
    }

    fn narrow(socket: &Socket, _peer: &TcpStream) {
        socket2::SockRef::from(socket)
            .set_send_buffer_size(4096)
            .expect("a small buffer");
    }

    fn remote_addr(socket: &Socket) -> Option<SocketAddr> {
        socket.peer_addr().ok()
    }

    fn source(&self) -> (Owned, Wire) {
        let (reader, writer) = imp::wire();
        let watched = reader.try_clone().expect("a duplicate");
        (Owned::from(watched), Wire { reader, writer })
    }
}

impl Peer for TcpStream {
    fn local_addr(&self) -> SocketAddr {
        TcpStream::local_addr(self).expect("a connected socket has an address")
    }

    fn shutdown(&self) {
        TcpStream::shutdown(self, Shutdown::Write).expect("a half-close");
    }

    fn reset(self) {
        socket2::SockRef::from(&self)
            .set_linger(Some(Duration::ZERO))
            .expect("SO_LINGER can be set");
    }

    fn never_block(&self) {
        self.set_nonblocking(true)
            .expect("a socket may be non-blocking");
    }
}

/// One way, its reading end watched by a driver through a duplicate.
pub(crate) struct Wire {
    reader: imp::Reader,
    writer: imp::Writer,
}

impl Signal for Wire {
    fn signal(&mut self) {
        self.writer.write_all(b"!").expect("the wire has room");
    }

    fn take(&mut self) {
        self.reader
            .read_exact(&mut [0; 1])
            .expect("a byte is there");
    }
}

fn served(listener: TcpListener, waiting: Vec<socket2::Socket>) -> (Server, SocketAddr) {
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    let server = Server {
        listener,
        _waiting: waiting,
    };
    (server, addr)
}

fn tcp() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a TCP socket")
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
