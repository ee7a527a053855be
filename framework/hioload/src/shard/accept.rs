//! A socket's first moment on its shard.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use hioload_platform::Token;
use hioload_protocol::handshake::Refusal;

use super::chain::{HttpStage, Stage, Transport};
use super::core::ShardCore;
use super::link::{Flags, Link};
use super::proxied::Proxied;
use super::slab::Entry;
use crate::app::App;

impl<A: App> ShardCore<A> {
    /// An accepted socket was attached: HTTP begins, with a deadline.
    pub(crate) fn accepted(
        &mut self,
        token: Token,
        peer: Option<SocketAddr>,
        transport: Transport,
    ) {
        let announced = self.cx.proxies.announce(peer);
        let transport = if announced {
            Proxied::before(transport)
        } else {
            transport
        };
        let stage = HttpStage {
            peer,
            ..HttpStage::default()
        };
        let stage = Stage::Http(Box::new(stage));
        let mut link = Link::new(token, transport, stage, self.cx.now);
        link.set_peer(peer);
        let deadline = self.cx.now.saturating_add(self.cx.rules.handshake_timeout);
        link.arm(deadline, &mut self.cx);
        link.touch(&mut self.cx);
        self.slab.insert(Entry {
            link,
            state: A::State::default(),
        });
        self.cx.metrics().accepted.add(1);
        self.cx.metrics().sockets.add(1);
        let open = self.sockets.fetch_add(1, Ordering::Relaxed) + 1;
        if open > self.cx.rules.max_connections || self.stopping.refuses() {
            self.refuse(token, &Refusal::Unavailable);
        }
        // Else once the proxy has said whose it is.
        if !announced {
            self.count_address(token);
        }
    }

    /// Counts a connection for its address, or refuses it. A proxy's own
    /// connections are those of many, and not counted.
    pub(super) fn count_address(&mut self, token: Token) {
        let most = self.cx.rules.max_per_address;
        let Some(Entry { link, .. }) = self.slab.get(token) else {
            return;
        };
        let Some(source) = link.source() else { return };
        let refused = matches!(link.stage, Stage::Draining);
        if most == 0 || refused || self.cx.proxies.trust(Some(source)) {
            return;
        }
        if self.cx.handle.addresses().enter(source.ip(), most) {
            link.set(Flags::COUNTED);
        } else {
            self.refuse(token, &Refusal::TooManyConnections);
        }
    }

    /// The connection is gone.
    pub(super) fn uncount_address(&self, link: &Link) {
        if link.is(Flags::COUNTED)
            && let Some(source) = link.source()
        {
            self.cx.handle.addresses().leave(source.ip());
        }
    }
}
