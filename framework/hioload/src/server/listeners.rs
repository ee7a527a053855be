//! Listening sockets: bound, inherited, or taken over; and which shard accepts
//! from which.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use hioload_platform::hand_over::Passed;
use hioload_platform::inherit::{self, Inherited};
use hioload_platform::{ListenOptions, Listener};

use super::{Listeners, Server};
use crate::config::ListenerMode;
use crate::error::{ConfigError, Error, Result};
use crate::tls::TlsConfig;

/// Which of the sockets a process was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InheritedSocket {
    /// All that nothing before has asked for.
    All,
    /// Those of this name: `FileDescriptorName=` of a socket unit.
    Named(String),
    /// The one at this place, from 0.
    Nth(usize),
}

/// Where a server's listeners come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// An address to bind, as it was written.
    Address(String),
    Inherited(InheritedSocket),
}

/// One address, and all its sockets.
struct Place {
    addr: SocketAddr,
    tls: Option<TlsConfig>,
    listeners: Vec<Listener>,
}

/// Every socket of a server that is about to start, in the order of its
/// sources.
pub(super) struct Bound(Vec<Place>);

impl Bound {
    /// All sockets, before any shard starts: those of a predecessor where it
    /// has them, and then one per address, and for each shard where each
    /// accepts.
    pub(super) fn open(server: &Server, shards: usize, mut taken: Vec<Passed>) -> Result<Self> {
        let mut places = places(server)?;
        // A port that is named goes before any port.
        for any_port in [false, true] {
            for place in &mut places {
                if place.listeners.is_empty() && (place.addr.port() == 0) == any_port {
                    place.take(&mut taken)?;
                }
            }
        }
        for place in &mut places {
            if place.listeners.is_empty() {
                place.bind(shards, server.config.listener)?;
            }
        }
        for unasked in taken {
            let addr = local_addr(&unasked.listener)?;
            let tls = unasked.tls;
            tracing::info!(%addr, tls, "an address of the predecessor is given up");
        }
        if places.is_empty() && !server.client {
            return Err(ConfigError::NoAddress.into());
        }
        Ok(Self(places))
    }

    pub(super) fn addrs(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|place| place.addr).collect()
    }

    pub(super) fn tls_addrs(&self) -> Vec<SocketAddr> {
        let tls = self.0.iter().filter(|place| place.tls.is_some());
        tls.map(|place| place.addr).collect()
    }

    /// Descriptors of the same sockets, for a successor.
    pub(super) fn for_successor(&self) -> Result<Vec<Passed>> {
        let all = self.0.iter().flat_map(|place| {
            let tls = place.tls.is_some();
            place.listeners.iter().map(move |listener| (listener, tls))
        });
        all.map(|(listener, tls)| {
            let listener = listener.try_clone().map_err(|source| Error::System {
                call: "dup of a listener",
                source,
            })?;
            Ok(Passed { listener, tls })
        })
        .collect()
    }

    /// Each shard's listeners, and whether those that accept do so for all: an
    /// address has fewer sockets than there are shards.
    ///
    /// A socket never serves two shards. The kernel wakes one of those that wait
    /// at it, and it is always the same: of 2,000 connections to a socket that
    /// 4 shards accepted from, one shard got 1,999 (io_uring, Linux 6.18); with
    /// epoll they got 428 to 691. No socket is left out either: the kernel spreads connections
    /// over all that share a port, and nobody else would accept its part.
    pub(super) fn seat(self, shards: usize, mode: ListenerMode) -> (Vec<Listeners>, bool) {
        let mut seats: Vec<Listeners> = (0..shards).map(|_| Vec::new()).collect();
        let few = |place: &Place| place.listeners.len() < shards;
        let distribute = mode == ListenerMode::Distribute || self.0.iter().any(few);
        for place in self.0 {
            for (index, listener) in place.listeners.into_iter().enumerate() {
                seats[index % shards].push((listener, place.tls.clone()));
            }
        }
        (seats, distribute && shards > 1)
    }
}

impl Place {
    /// Takes all sockets that a predecessor has of this address, or of one port
    /// of it if any will do.
    fn take(&mut self, taken: &mut Vec<Passed>) -> Result<()> {
        let mut rest = Vec::with_capacity(taken.len());
        for passed in taken.drain(..) {
            let theirs = local_addr(&passed.listener)?;
            let same =
                theirs == self.addr || (self.addr.port() == 0 && theirs.ip() == self.addr.ip());
            if same && passed.tls == self.tls.is_some() {
                self.addr = theirs;
                self.listeners.push(passed.listener);
            } else {
                rest.push(passed);
            }
        }
        *taken = rest;
        Ok(())
    }

    fn bind(&mut self, shards: usize, mode: ListenerMode) -> Result<()> {
        let reuse_port = mode == ListenerMode::ReusePort;
        let count = if reuse_port {
            check_free(self.addr)?;
            shards
        } else {
            1
        };
        for _ in 0..count {
            let listener = Listener::bind(&ListenOptions {
                reuse_port,
                ..ListenOptions::new(self.addr)
            })?;
            // With port 0 the first listener chooses for all.
            self.addr = local_addr(&listener)?;
            self.listeners.push(listener);
        }
        Ok(())
    }
}

/// The addresses of a server, with the sockets it was started with.
fn places(server: &Server) -> Result<Vec<Place>> {
    let mut places: Vec<Place> = Vec::new();
    let mut inheritance = None;
    for (source, tls) in &server.sources {
        let mut add = |addr: SocketAddr, listener: Option<Listener>| {
            let known = places.iter_mut().find(|place| {
                listener.is_some() && place.addr == addr && place.tls.is_some() == tls.is_some()
            });
            match known {
                Some(place) => place.listeners.extend(listener),
                None => places.push(Place {
                    addr,
                    tls: tls.clone(),
                    listeners: listener.into_iter().collect(),
                }),
            }
        };
        match source {
            Source::Address(text) => {
                let resolved = text.to_socket_addrs().map_err(|source| Error::Address {
                    addr: text.clone(),
                    source,
                })?;
                resolved.for_each(|addr| add(addr, None));
            }
            Source::Inherited(which) => {
                let sockets = match &mut inheritance {
                    Some(sockets) => sockets,
                    none => none.insert(Inheritance::take()?),
                };
                for listener in sockets.find(which)? {
                    add(local_addr(&listener)?, Some(listener));
                }
            }
        }
    }
    Ok(places)
}

/// The sockets this process was started with that nobody has asked for yet.
struct Inheritance {
    names: Vec<String>,
    sockets: Vec<Option<Inherited>>,
}

impl Inheritance {
    fn take() -> Result<Self> {
        let sockets = inherit::take()?;
        Ok(Self {
            names: sockets.iter().map(|socket| socket.name.clone()).collect(),
            sockets: sockets.into_iter().map(Some).collect(),
        })
    }

    fn find(&mut self, which: &InheritedSocket) -> Result<Vec<Listener>> {
        let mut found = Vec::new();
        for (index, place) in self.sockets.iter_mut().enumerate() {
            let fits = match which {
                InheritedSocket::All => true,
                InheritedSocket::Named(name) => self.names[index] == *name,
                InheritedSocket::Nth(nth) => index == *nth,
            };
            if fits && let Some(inherited) = place.take() {
                found.push(inherited.listener);
            }
        }
        if found.is_empty() {
            let asked = match which {
                InheritedSocket::All => "left".into(),
                InheritedSocket::Named(name) => format!("named {name:?}"),
                InheritedSocket::Nth(nth) => format!("number {nth}"),
            };
            let there = if self.names.is_empty() {
                "none".into()
            } else {
                self.names.join(", ")
            };
            return Err(Error::NotInherited { asked, there });
        }
        Ok(found)
    }
}

fn local_addr(listener: &Listener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|source| Error::System {
        call: "getsockname",
        source,
    })
}

/// How often a port is looked at that somebody has: for half a second.
const LOOKS: u32 = 25;

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The shards share a port, and the kernel would let another server of the
/// same user share it too: one started by mistake would silently take a
/// part of the connections. A listener that shares with nobody finds it.
///
/// A process that has ended may hold its port for a moment still: the kernel
/// takes an io_uring apart after its process is gone.
#[expect(clippy::disallowed_methods, reason = "no shard runs yet")]
fn check_free(addr: SocketAddr) -> Result<()> {
    if addr.port() == 0 {
        return Ok(());
    }
    let alone = ListenOptions {
        reuse_port: false,
        ..ListenOptions::new(addr)
    };
    let mut looks = 0;
    loop {
        looks += 1;
        match Listener::bind(&alone) {
            Ok(_free) => return Ok(()),
            Err(error) if error.source.kind() != ErrorKind::AddrInUse || looks == LOOKS => {
                return Err(error.into());
            }
            Err(_in_use) => std::thread::sleep(BETWEEN_LOOKS),
        }
    }
}
