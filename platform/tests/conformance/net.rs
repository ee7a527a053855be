//! What the tests need of a network: the far side of everything a driver does.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// A network with sockets for the driver and peers for the test.
pub(crate) trait Net: Clone + Send + 'static {
    type Socket: Send + Debug + 'static;
    type Listener: Send + 'static;
    type Source: Into<hioload_platform::Source>;
    type Peer: Peer;
    /// A listener past the driver.
    type Server;
    /// Says something through a source. Dropping it hangs up.
    type Signal: Signal;

    fn new() -> Self;

    /// A listener for the driver, on a free loopback port.
    fn bind(&self) -> (Self::Listener, SocketAddr);

    /// A listener past the driver; `None`: on a free loopback port.
    fn serve(&self, addr: Option<SocketAddr>) -> (Self::Server, SocketAddr);

    /// A listener that answers nobody.
    fn serve_nobody(&self) -> (Self::Server, SocketAddr);

    /// The next connection to a server past the driver, and where it is from.
    fn accept(&self, server: &Self::Server) -> (Self::Peer, SocketAddr);

    fn connect(&self, addr: SocketAddr) -> io::Result<Self::Peer>;

    /// Two ends of one connection, made past the driver.
    fn pair(&self) -> (Self::Socket, Self::Peer);

    /// Lets the two ends of a connection buffer little.
    fn narrow(socket: &Self::Socket, peer: &Self::Peer);

    fn remote_addr(socket: &Self::Socket) -> Option<SocketAddr>;

    fn source(&self) -> (Self::Source, Self::Signal);
}

/// The test's end of a connection. It blocks, for a bounded time, unless told
/// not to.
pub(crate) trait Peer: Read + Write + Send + 'static {
    fn local_addr(&self) -> SocketAddr;

    /// Ends the sending direction.
    fn shutdown(&self);

    /// Closes with a reset instead of an orderly end.
    fn reset(self);

    /// Reads and writes fail with `WouldBlock` from now on.
    fn never_block(&self);
}

/// The far side of a watched source.
pub(crate) trait Signal {
    /// Makes the source readable.
    fn signal(&mut self);

    /// Reads what one `signal` said.
    fn take(&mut self);
}
