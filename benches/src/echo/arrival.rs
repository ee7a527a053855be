//! What a client sends.

use hioload_protocol::{
    Connection, DeflateConfig, DeflateParams, Kind, Limits, MaskKeys, Resources, Role,
};

/// Masked messages, each with its own key, that arrive at once.
#[derive(Clone, Debug)]
pub struct Arrival {
    wire: Vec<u8>,
    kind: Kind,
    messages: usize,
    deflate: Option<DeflateParams>,
}

impl Arrival {
    /// So many messages of the same payload.
    #[must_use]
    pub fn new(kind: Kind, payload: &[u8], messages: usize) -> Self {
        Self::with(kind, payload, messages, None)
    }

    /// The same with permessage-deflate, each message compressed on its own: it
    /// can arrive again and again.
    #[must_use]
    pub fn compressed(kind: Kind, payload: &[u8], messages: usize) -> Self {
        let deflate = DeflateParams {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            ..DeflateParams::default()
        };
        Self::with(kind, payload, messages, Some(deflate))
    }

    fn with(kind: Kind, payload: &[u8], messages: usize, deflate: Option<DeflateParams>) -> Self {
        let mut arrival = Self {
            wire: Vec::new(),
            kind,
            messages,
            deflate,
        };
        let mut client = arrival.endpoint(Role::Client);
        let mut resources = resources(1);
        for _ in 0..messages {
            client
                .send(kind, payload, &mut resources, &mut arrival.wire)
                .expect("an open connection");
        }
        arrival
    }

    /// The bytes.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Messages in it.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// An end of the connection that this arrives on.
    pub(super) fn endpoint(&self, role: Role) -> Connection {
        match self.deflate {
            Some(agreed) => Connection::with_deflate(role, agreed),
            None => Connection::new(role),
        }
    }
}

/// What the connections of an endpoint share, with the defaults.
pub(super) fn resources(seed: u64) -> Resources {
    let masks = MaskKeys::from_seed(seed);
    Resources::new(Limits::default(), masks, DeflateConfig::default())
}
