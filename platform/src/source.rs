//! Foreign event sources, to be watched by a driver.

use std::fmt;
use std::net::{TcpStream, UdpSocket};

use crate::backend::sim::SimSource;
use crate::error::DriverError;

#[cfg(unix)]
pub(crate) type Owned = std::os::fd::OwnedFd;
#[cfg(windows)]
pub(crate) type Owned = std::os::windows::io::OwnedSocket;

/// Something that becomes readable, for [`Driver::watch`](crate::Driver::watch):
/// a descriptor on Unix, a socket on Windows. It is closed when it is no longer
/// watched; keep a duplicate to read from.
pub struct Source(Kind);

enum Kind {
    /// The system's.
    System(Owned),
    /// Of a simulated machine, for the driver of that one.
    Simulated(SimSource),
}

impl Source {
    pub(crate) fn of_the_system(self) -> Result<Owned, DriverError> {
        match self.0 {
            Kind::System(owned) => Ok(owned),
            Kind::Simulated(_) => Err(DriverError::Foreign),
        }
    }

    pub(crate) fn simulated(self) -> Result<SimSource, DriverError> {
        match self.0 {
            Kind::Simulated(source) => Ok(source),
            Kind::System(_) => Err(DriverError::Foreign),
        }
    }
}

impl From<Owned> for Source {
    fn from(owned: Owned) -> Self {
        Self(Kind::System(owned))
    }
}

impl From<TcpStream> for Source {
    fn from(stream: TcpStream) -> Self {
        Self(Kind::System(stream.into()))
    }
}

impl From<UdpSocket> for Source {
    fn from(socket: UdpSocket) -> Self {
        Self(Kind::System(socket.into()))
    }
}

impl From<SimSource> for Source {
    fn from(source: SimSource) -> Self {
        Self(Kind::Simulated(source))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::System(owned) => f.debug_tuple("Source").field(owned).finish(),
            Kind::Simulated(source) => f.debug_tuple("Source").field(source).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sim::{Faults, SimNet};

    #[test]
    fn a_source_is_for_drivers_of_its_own_machine() {
        let (simulated, _signal) = SimNet::stepped(1, Faults::none()).source();
        let refused = Source::from(simulated).of_the_system();
        assert!(matches!(refused, Err(DriverError::Foreign)));
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let refused = Source::from(socket).simulated();
        assert!(matches!(refused, Err(DriverError::Foreign)));
    }
}
