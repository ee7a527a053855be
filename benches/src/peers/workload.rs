//! What servers are asked to do.

use super::catalog::Peer;

/// A kind of load and its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// Its name on the command line and in tables.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) about: &'static str,
    /// The load itself.
    pub(crate) load: Load,
}

/// What the generator does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// Messages come back, in a closed loop.
    Echo(Echo),
    /// A closed loop first; then half of its rate, planned.
    Tail(Echo),
    /// One connection publishes to all others.
    Broadcast {
        /// All others.
        subscribers: u32,
        /// Publishes per second.
        rate: u32,
        /// With permessage-deflate.
        deflate: bool,
    },
    /// Connections open and close as fast as they can.
    Storm {
        /// Handshakes under way at the same time.
        at_once: usize,
    },
    /// Connections of which each is open and nothing else; once few, once many.
    Idle {
        /// The first time.
        few: u32,
        /// The second time.
        many: u32,
        /// Whether they are subscribed to a topic.
        subscribed: bool,
    },
}

/// Connections that each have their messages returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    /// How many.
    pub(crate) connections: u32,
    /// Bytes of a message.
    pub(crate) size: u32,
    /// Messages that each has under way.
    pub(crate) depth: u32,
    /// Over TLS.
    pub(crate) tls: bool,
}

impl Workload {
    /// Whether the peer can do it at all.
    pub(crate) fn fits(&self, peer: &Peer) -> bool {
        match self.load {
            Load::Echo(echo) | Load::Tail(echo) => !echo.tls || peer.tls,
            Load::Broadcast { deflate, .. } => peer.broadcast && (!deflate || peer.deflate),
            Load::Storm { .. } => true,
            Load::Idle { subscribed, .. } => !subscribed || peer.broadcast,
        }
    }
}

const fn echo(connections: u32, size: u32, depth: u32) -> Load {
    Load::Echo(Echo {
        connections,
        size,
        depth,
        tls: false,
    })
}

const fn broadcast(subscribers: u32, rate: u32, deflate: bool) -> Load {
    Load::Broadcast {
        subscribers,
        rate,
        deflate,
    }
}

const fn named(name: &'static str, about: &'static str, load: Load) -> Workload {
    Workload { name, about, load }
}

const SMALL: Echo = Echo {
    connections: 100,
    size: 20,
    depth: 1,
    tls: false,
};

/// All workloads; in a smoke run those of many connections have a tenth.
pub(crate) fn all(smoke: bool) -> Vec<Workload> {
    let mut workloads = echoes(if smoke { 1_000 } else { 10_000 });
    // As many deliveries per second to few as to many.
    workloads.extend(if smoke {
        broadcasts(1_000, 50)
    } else {
        broadcasts(10_000, 5)
    });
    workloads.extend(if smoke {
        connections(200, 1_000)
    } else {
        connections(2_000, 18_000)
    });
    workloads
}

fn echoes(many: u32) -> Vec<Workload> {
    let secure = Load::Echo(Echo { tls: true, ..SMALL });
    let small = Load::Echo(SMALL);
    vec![
        named("echo-20x100", "echo of 20 bytes, 100 connections", small),
        named(
            "echo-20x1000",
            "echo of 20 bytes, 1,000 connections",
            echo(1_000, 20, 1),
        ),
        named(
            "echo-20x10000",
            "echo of 20 bytes, 10,000 connections",
            echo(many, 20, 1),
        ),
        named(
            "echo-20x100-16deep",
            "echo of 20 bytes, 100 connections, 16 messages under way on each",
            echo(100, 20, 16),
        ),
        named(
            "echo-1k",
            "echo of 1 KiB, 100 connections",
            echo(100, 1 << 10, 1),
        ),
        named(
            "echo-16k",
            "echo of 16 KiB, 100 connections",
            echo(100, 16 << 10, 1),
        ),
        named(
            "echo-64k",
            "echo of 64 KiB, 100 connections",
            echo(100, 64 << 10, 1),
        ),
        named(
            "echo-1m",
            "echo of 1 MiB, 16 connections",
            echo(16, 1 << 20, 1),
        ),
        named(
            "echo-tls",
            "echo of 20 bytes over TLS, 100 connections",
            secure,
        ),
        named(
            "tail",
            "echo of 20 bytes, 100 connections, planned at half of the highest rate",
            Load::Tail(SMALL),
        ),
    ]
}

fn broadcasts(many: u32, rate: u32) -> Vec<Workload> {
    vec![
        named(
            "broadcast-1000",
            "100 bytes to 1,000 subscribers, 50,000 deliveries a second",
            broadcast(1_000, 50, false),
        ),
        named(
            "broadcast-10000",
            "100 bytes to 10,000 subscribers, 50,000 deliveries a second",
            broadcast(many, rate, false),
        ),
        named(
            "broadcast-1000-deflate",
            "as broadcast-1000, with permessage-deflate (of random bytes: its cost, not its gain)",
            broadcast(1_000, 50, true),
        ),
        named(
            "broadcast-10000-deflate",
            "as broadcast-10000, with permessage-deflate",
            broadcast(many, rate, true),
        ),
    ]
}

fn connections(few: u32, many: u32) -> Vec<Workload> {
    let idle = |subscribed| Load::Idle {
        few,
        many,
        subscribed,
    };
    vec![
        named(
            "storm",
            "connections opened and closed, 64 at once; per handshake",
            Load::Storm { at_once: 64 },
        ),
        named(
            "idle",
            "memory of 2,000 and of 18,000 open connections",
            idle(false),
        ),
        named(
            "idle-subscribed",
            "the same, each subscribed to one topic",
            idle(true),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::catalog;

    #[test]
    fn ours_does_everything_and_every_workload_has_another_peer() {
        let peers = catalog::all();
        for workload in all(false) {
            assert!(workload.fits(&peers[0]), "{}", workload.name);
            assert!(
                peers[1..].iter().any(|peer| workload.fits(peer)),
                "{}",
                workload.name
            );
        }
    }
}
