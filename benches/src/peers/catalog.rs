//! The servers.

/// The name of the one that the others are compared with.
pub(crate) const OURS: &str = "hioload";

/// A server that can be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its name on the command line and in tables.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) about: &'static str,
    /// How it is built and started.
    pub(crate) kind: Kind,
    /// Whether it sends a message to all other connections.
    pub(crate) broadcast: bool,
    /// Whether it has permessage-deflate.
    pub(crate) deflate: bool,
    /// Whether it has TLS.
    pub(crate) tls: bool,
}

/// How a peer is built and started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `hioload-server` on one shard.
    Hioload,
    /// The example `raw_echo` of hioload-platform, on this API.
    Raw(&'static str),
    /// A program of `benches/peers`.
    Rust {
        /// The feature of that package.
        feature: &'static str,
        /// The program.
        bin: &'static str,
        /// Whether it writes once for all messages that arrived together.
        batched: bool,
        /// Whether it knows no WebSocket and returns bytes.
        raw: bool,
    },
    /// `benches/peers/js/ws.mjs` on Node.js.
    Node,
    /// `benches/peers/js/bun.mjs` on Bun.
    Bun,
}

impl Peer {
    /// Whether it returns bytes and knows no messages.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.kind, Kind::Raw(_) | Kind::Rust { raw: true, .. })
    }
}

const ECHO: Peer = Peer {
    name: "",
    about: "",
    kind: Kind::Hioload,
    broadcast: false,
    deflate: false,
    tls: false,
};

/// A server on the crate of this name, flushing per message.
const fn rust(name: &'static str, bin: &'static str, about: &'static str) -> Peer {
    Peer {
        name,
        about,
        kind: Kind::Rust {
            feature: name,
            bin,
            batched: false,
            raw: false,
        },
        ..ECHO
    }
}

/// The same server, flushing per batch.
const fn batched(peer: Peer, name: &'static str) -> Peer {
    let Kind::Rust {
        feature, bin, raw, ..
    } = peer.kind
    else {
        panic!("only these have two ways to write");
    };
    Peer {
        name,
        about: "the same, written once for all messages that arrived together",
        kind: Kind::Rust {
            feature,
            bin,
            batched: true,
            raw,
        },
        ..peer
    }
}

const HIOLOAD: Peer = Peer {
    name: OURS,
    about: "hioload-server with one shard",
    kind: Kind::Hioload,
    broadcast: true,
    deflate: true,
    tls: true,
};

const RAW_URING: Peer = Peer {
    name: "raw-uring",
    about: "TCP on io_uring that returns bytes: the limit (broadcast: to all others)",
    kind: Kind::Raw("uring"),
    broadcast: true,
    ..ECHO
};

const RAW_EPOLL: Peer = Peer {
    name: "raw-epoll",
    about: "TCP on epoll that returns bytes",
    kind: Kind::Raw("epoll"),
    ..ECHO
};

const TOKIO_URING: Peer = Peer {
    name: "tokio-uring",
    about: "crate: TCP that returns bytes",
    kind: Kind::Rust {
        feature: "tokio-uring",
        bin: "tokio_uring",
        batched: false,
        raw: true,
    },
    ..ECHO
};

const BUN: Peer = Peer {
    name: "bun",
    about: "Bun.serve, with uWebSockets below",
    kind: Kind::Bun,
    ..HIOLOAD
};

const FASTWEBSOCKETS: Peer = Peer {
    tls: true,
    ..rust(
        "fastwebsockets",
        "fastwebsockets",
        "crate, on hyper and tokio's current-thread runtime",
    )
};

const YAWC: Peer = Peer {
    broadcast: true,
    deflate: true,
    tls: true,
    ..rust(
        "yawc",
        "yawc",
        "crate, on hyper and tokio's current-thread runtime",
    )
};

const TOKIO_TUNGSTENITE: Peer = Peer {
    broadcast: true,
    tls: true,
    ..rust(
        "tokio-tungstenite",
        "tokio_tungstenite",
        "crate, on tokio's current-thread runtime, one flush per message",
    )
};

const WS: Peer = Peer {
    name: "ws",
    about: "the ws package on Node.js",
    kind: Kind::Node,
    ..HIOLOAD
};

/// All peers, in the order of the table.
pub(crate) fn all() -> Vec<Peer> {
    vec![
        HIOLOAD,
        RAW_URING,
        RAW_EPOLL,
        TOKIO_URING,
        BUN,
        FASTWEBSOCKETS,
        batched(FASTWEBSOCKETS, "fastwebsockets-batched"),
        YAWC,
        batched(YAWC, "yawc-batched"),
        TOKIO_TUNGSTENITE,
        batched(TOKIO_TUNGSTENITE, "tokio-tungstenite-batched"),
        rust("compio-ws", "compio_ws", "crate, on compio (io_uring)"),
        rust(
            "glommio",
            "glommio",
            "async-tungstenite on glommio (io_uring)",
        ),
        WS,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_ours_is_first() {
        let mut names: Vec<&str> = all().iter().map(|peer| peer.name).collect();
        assert_eq!(names[0], OURS);
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
