//! Before the transport: what a trusted proxy says of the client.

use hioload_platform::Token;
use hioload_protocol::proxy::{self, Header, ProxyError};

use super::chain::{Layer, Transport};
use super::core::ShardCore;
use super::link::Link;
use super::slab::Entry;
use crate::app::App;

/// A connection whose PROXY header has not arrived. Nothing is sent before.
#[derive(Debug)]
pub(crate) struct Proxied {
    /// The part that has; bounded by [`proxy::MAX_HEADER`] and one receive.
    partial: Vec<u8>,
    /// What carries the bytes after it.
    then: Transport,
}

impl Proxied {
    pub(super) fn before(then: Transport) -> Transport {
        let partial = Vec::new();
        Transport::proxied(Self { partial, then })
    }
}

impl<A: App> ShardCore<A> {
    /// Bytes of a header, or after it the client's, arrived.
    pub(super) fn received_proxied(&mut self, token: Token, bytes: &mut [u8]) {
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        let Some(Layer::Proxied(proxied)) = link.transport.layer_mut() else {
            return;
        };
        let before = proxied.partial.len();
        let parsed = if before == 0 {
            proxy::parse(bytes)
        } else {
            // One header and no more of what follows it.
            let room = (proxy::MAX_HEADER - before).min(bytes.len());
            proxied.partial.extend_from_slice(&bytes[..room]);
            proxy::parse(&proxied.partial)
        };
        match parsed {
            Ok(None) => {
                if before == 0 {
                    proxied.partial.extend_from_slice(bytes);
                }
            }
            Ok(Some(Header { len, client })) => {
                link.transport = std::mem::take(&mut proxied.then);
                if client.is_some() {
                    link.set_peer(client);
                }
                // What was queued may leave.
                link.touch(&mut self.cx);
                self.count_address(token);
                let rest = len.saturating_sub(before).min(bytes.len());
                if rest < bytes.len() {
                    self.arrived(token, &mut bytes[rest..]);
                }
            }
            Err(error) => self.proxy_failed(token, error),
        }
    }

    /// What comes can not be understood: the connection ends without a word.
    fn proxy_failed(&mut self, token: Token, error: ProxyError) {
        self.cx.metrics().proxy_failed(error);
        let peer = self.slab.get(token).and_then(|entry| entry.link.peer());
        tracing::debug!(?token, ?peer, %error, "closed: a trusted proxy is to send a PROXY header");
        self.lost(token);
    }

    /// No header in time; `false` when none was expected.
    pub(super) fn proxy_timeout(&mut self, token: Token) -> bool {
        let waits = self
            .slab
            .get(token)
            .is_some_and(|entry| entry.link.is_proxied());
        if waits {
            self.proxy_failed(token, ProxyError::Timeout);
        }
        waits
    }
}

impl Link {
    pub(super) fn is_proxied(&self) -> bool {
        matches!(self.transport.layer(), Some(Layer::Proxied(_)))
    }
}
