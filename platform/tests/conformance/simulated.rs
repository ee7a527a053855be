//! The simulated network. Its time is moved by whoever waits.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use hioload_platform::ListenOptions;
use hioload_platform::backend::sim::{
    Faults, SimListener, SimNet, SimPeer, SimSignal, SimSocket, SimSource,
};

use crate::net::{Net, Peer, Signal};
use crate::os::loopback;
use crate::rig::PATIENCE;

/// Any will do: the suite is about promises that hold in every history.
const SEED: u64 = 1;

impl Net for SimNet {
    type Socket = SimSocket;
    type Listener = SimListener;
    type Source = SimSource;
    type Peer = Blocking;
    type Server = SimListener;
    type Signal = SimSignal;

    fn new() -> Self {
        Self::new(SEED, Faults::none())
    }

    fn bind(&self) -> (SimListener, SocketAddr) {
        self.serve(None)
    }

    fn serve(&self, addr: Option<SocketAddr>) -> (SimListener, SocketAddr) {
        let options = ListenOptions::new(addr.unwrap_or(loopback(0)));
        listen(self, &options)
    }

    fn serve_nobody(&self) -> (SimListener, SocketAddr) {
        let options = ListenOptions {
            backlog: 0,
            ..ListenOptions::new(loopback(0))
        };
        listen(self, &options)
    }

    fn accept(&self, server: &SimListener) -> (Blocking, SocketAddr) {
        let peer = block(self, || server.try_accept()).expect("a connection waits");
        let from = peer.peer_addr().expect("a connection has two ends");
        (Blocking::new(self, peer), from)
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<Blocking> {
        let peer = SimNet::connect(self, None, addr)?;
        block(self, || peer.try_connected())?;
        Ok(Blocking::new(self, peer))
    }

    fn pair(&self) -> (SimSocket, Blocking) {
        let (socket, peer) = SimNet::pair(self);
        (socket, Blocking::new(self, peer))
    }

    fn narrow(_socket: &SimSocket, peer: &Blocking) {
        peer.peer.set_window(4096);
    }

    fn remote_addr(socket: &SimSocket) -> Option<SocketAddr> {
        socket.peer_addr()
    }

    fn source(&self) -> (SimSource, SimSignal) {
        SimNet::source(self)
    }
}

fn listen(net: &SimNet, options: &ListenOptions) -> (SimListener, SocketAddr) {
    let listener = net.listen(options).expect("loopback can be bound");
    let addr = listener.local_addr();
    (listener, addr)
}

/// Tries again whenever something has happened.
fn block<T>(net: &SimNet, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !net.pass(PATIENCE) {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            outcome => return outcome,
        }
    }
}

/// A simulated peer that blocks.
pub(crate) struct Blocking {
    net: SimNet,
    peer: SimPeer,
    never: Cell<bool>,
}

impl Blocking {
    fn new(net: &SimNet, peer: SimPeer) -> Self {
        Self {
            net: net.clone(),
            peer,
            never: Cell::new(false),
        }
    }

    fn run<T>(&self, mut attempt: impl FnMut(&SimPeer) -> io::Result<T>) -> io::Result<T> {
        if self.never.get() {
            return attempt(&self.peer);
        }
        block(&self.net, || attempt(&self.peer))
    }
}

impl Read for Blocking {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.run(|peer| peer.try_read(into))
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.run(|peer| peer.try_write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Peer for Blocking {
    fn local_addr(&self) -> SocketAddr {
        self.peer.local_addr().expect("it has an end")
    }

    fn shutdown(&self) {
        self.peer.shutdown();
    }

    fn reset(self) {
        self.peer.reset();
    }

    fn never_block(&self) {
        self.never.set(true);
    }
}

impl Signal for SimSignal {
    fn signal(&mut self) {
        SimSignal::signal(self);
    }

    fn take(&mut self) {
        assert!(SimSignal::take(self), "something was said");
    }
}
