//! A socket's first moment on its shard.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use hioload_platform::Token;
use hioload_protocol::handshake::Refusal;

use super::chain::{HttpStage, Stage, Transport};
use super::core::ShardCore;
use super::link::Link;
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
        let stage = HttpStage {
            partial: Vec::new(),
            peer,
        };
        let stage = Stage::Http(Box::new(stage));
        let mut link = Link::new(token, transport, stage, self.cx.now);
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
        if open > self.cx.rules.max_connections || self.stopping.is_stopping() {
            self.refuse(token, &Refusal::Unavailable);
        }
    }
}
