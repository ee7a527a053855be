//! What other threads hold of a server.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hioload_platform::{Nanos, Wake};

use crate::app::{App, Message};
use crate::client::Dial;
use crate::config::Rules;
use crate::hub::{Encoded, HashSeed, Interest};
use crate::metrics::Metrics;
use crate::shard::turn::{Stop, StopRequest};
use crate::shard::{ContextParts, Dialling, Inbox, InboxEntry, ShardCore};

/// Stops a server, publishes to it and reads its counters, from any thread.
/// Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// What all shards share: nothing that a message touches but the inboxes.
struct Shared {
    inboxes: Arc<[Inbox]>,
    interest: Interest,
    metrics: Metrics,
    sockets: Arc<AtomicUsize>,
    stop: AtomicU8,
    wakers: OnceLock<Box<[WakeShard]>>,
}

type WakeShard = Box<dyn Fn() + Send + Sync>;

/// The shard an app instance is made for.
#[derive(Clone, Debug)]
pub struct Shard {
    index: usize,
    handle: Handle,
}

impl Shard {
    pub(crate) fn new(index: usize, handle: Handle) -> Self {
        Self { index, handle }
    }

    /// Its connections, topics and timers, without a driver yet.
    pub(crate) fn core<A: App>(
        &self,
        app: A,
        rules: Rules,
        mask_seed: u64,
        now: Nanos,
    ) -> ShardCore<A> {
        let shared = self.handle.shared();
        let parts = ContextParts {
            shard: self.index,
            now,
            rules,
            mask_seed,
            interest: shared.interest.clone(),
            inboxes: Arc::clone(&shared.inboxes),
            metrics: shared.metrics.clone(),
        };
        ShardCore::new(app, parts, Arc::clone(&shared.sockets))
    }

    /// Which one, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// A handle of the server.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// A publish found a shard's inbox full. Shards before it in order may have
/// got the message; publish again later, or drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shard's inbox is full")]
pub struct InboxFull;

impl Handle {
    /// A handle of a server that is about to start; `room`: entries of each
    /// shard's inbox.
    pub(crate) fn new(shards: usize, seed: HashSeed, room: usize) -> Self {
        Self(Arc::new(Shared {
            inboxes: (0..shards).map(|_| Inbox::new(shards, room)).collect(),
            interest: Interest::new(seed),
            metrics: Metrics::new(shards),
            sockets: Arc::new(AtomicUsize::new(0)),
            stop: AtomicU8::new(StopRequest::None as u8),
            wakers: OnceLock::new(),
        }))
    }

    fn shared(&self) -> &Shared {
        &self.0
    }

    /// Asks for a graceful stop and returns at once.
    pub fn stop(&self) {
        self.request(StopRequest::Graceful);
    }

    /// Asks to cut all connections and stop.
    pub fn stop_now(&self) {
        self.request(StopRequest::Forced);
    }

    /// The counters of all shards.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.metrics.clone()
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.0.inboxes.len()
    }

    /// Publishes to all subscribers of a topic on all shards.
    ///
    /// # Errors
    /// [`InboxFull`]; never blocks.
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), InboxFull> {
        let message = message.into();
        let shards = self.0.interest.shards(self.0.interest.hash(topic));
        let interested = || (0..self.shards()).filter(|shard| shards & (1 << shard) != 0);
        if interested().next().is_none() {
            return Ok(());
        }
        let encoded = Encoded::new(message);
        let topic: Arc<str> = topic.into();
        for shard in interested() {
            let entry = InboxEntry::Publish {
                topic: Arc::clone(&topic),
                encoded: encoded.clone(),
            };
            self.0.inboxes[shard].push(entry).map_err(|_| InboxFull)?;
            self.wake(shard);
        }
        Ok(())
    }

    /// Dials on a shard; its app hears of the outcome, with this key.
    ///
    /// # Errors
    /// [`InboxFull`]; nothing was dialled.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn connect(&self, shard: usize, dial: &Arc<Dial>, key: u64) -> Result<(), InboxFull> {
        let dial = Arc::clone(dial);
        self.0.inboxes[shard]
            .push(InboxEntry::Dial(Dialling { dial, key }))
            .map_err(|_full| InboxFull)?;
        self.wake(shard);
        Ok(())
    }

    /// Connections counted against `max_connections`.
    pub(crate) fn sockets(&self) -> usize {
        self.0.sockets.load(Ordering::Relaxed)
    }

    pub(crate) fn interest(&self) -> &Interest {
        &self.0.interest
    }

    pub(crate) fn set_wakers<W: Wake>(&self, wakers: &[W]) {
        let boxed = |waker: &W| {
            let waker = waker.clone();
            Box::new(move || waker.wake()) as WakeShard
        };
        // Set once, by the start.
        let _first = self.0.wakers.set(wakers.iter().map(boxed).collect());
    }

    fn request(&self, request: StopRequest) {
        self.0.stop.fetch_max(request as u8, Ordering::SeqCst);
        (0..self.shards()).for_each(|shard| self.wake(shard));
    }

    fn wake(&self, shard: usize) {
        if let Some(wakers) = self.0.wakers.get() {
            wakers[shard]();
        }
    }
}

impl Stop for Handle {
    fn requested(&self) -> StopRequest {
        match self.0.stop.load(Ordering::SeqCst) {
            0 => StopRequest::None,
            1 => StopRequest::Graceful,
            _ => StopRequest::Forced,
        }
    }

    fn ask(&self) {
        self.stop();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("shards", &self.shards())
            .finish_non_exhaustive()
    }
}
