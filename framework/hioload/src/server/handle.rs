//! What other threads hold of a server.

use std::any::TypeId;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hioload_platform::clock::nanos;
use hioload_platform::{Nanos, Wake};

use super::hand_over::Kept;
use crate::app::{App, Message};
use crate::client::Dial;
use crate::config::{Config, Rules};
use crate::control::{Control, DebugState, ReloadError, Reloaded};
use crate::error::Error;
use crate::hub::{
    Encoded, HandleHub, HashSeed, Hub, HubId, Hubs, Publication, Request, SharedHub, is_topic,
};
use crate::metrics::Metrics;
use crate::offload::{Pool, Seats};
use crate::shard::turn::{Stop, StopRequest};
use crate::shard::{Addresses, ContextParts, Dialling, Inbox, InboxEntry, Owned, Owner, ShardCore};

/// Stops a server, publishes to it and reads its counters, from any thread.
/// Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// What all shards share: nothing that a message touches but the inboxes.
struct Shared {
    inboxes: Arc<[Inbox]>,
    hubs: Hubs,
    metrics: Metrics,
    sockets: Arc<AtomicUsize>,
    addresses: Addresses,
    stop: AtomicU8,
    /// The longest drain asked for; `NO_TIME`: what is configured.
    within: AtomicU64,
    /// For a successor, until the server stops.
    kept: Mutex<Option<Kept>>,
    wakers: OnceLock<Box<[WakeShard]>>,
    offload: OnceLock<Pool>,
    control: Control,
    /// The type of the shards' app.
    app: OnceLock<TypeId>,
}

const NO_TIME: u64 = u64::MAX;

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
    ///
    /// # Errors
    /// The app cannot serve.
    pub(crate) fn core<A: App>(
        &self,
        app: A,
        rules: Rules,
        mask_seed: u64,
        now: Nanos,
    ) -> Result<ShardCore<A>, Error> {
        app.check().map_err(Error::App)?;
        // All shards' apps are made by one function, so they have one type.
        let _same = self.handle.0.app.set(TypeId::of::<A>());
        let parts = ContextParts {
            shard: self.index,
            now,
            rules,
            mask_seed,
            handle: self.handle.clone(),
        };
        let mut core = ShardCore::new(app, parts);
        core.restore().map_err(Error::Restore)?;
        Ok(core)
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
    pub(crate) fn new(
        shards: usize,
        hubs: &[Hub],
        seed: &HashSeed,
        room: usize,
        control: Control,
    ) -> Self {
        Self(Arc::new(Shared {
            inboxes: (0..shards).map(|_| Inbox::new(shards, room)).collect(),
            hubs: Hubs::new(hubs, shards, seed),
            metrics: Metrics::new(shards),
            sockets: Arc::new(AtomicUsize::new(0)),
            addresses: Addresses::new(seed),
            stop: AtomicU8::new(StopRequest::None as u8),
            within: AtomicU64::new(NO_TIME),
            kept: Mutex::new(None),
            wakers: OnceLock::new(),
            offload: OnceLock::new(),
            control,
            app: OnceLock::new(),
        }))
    }

    /// Asks for a graceful stop and returns at once: connections are closed in
    /// waves ([`Config::drain_waves`](crate::Config::drain_waves)) and end
    /// within [`Config::drain_timeout`](crate::Config::drain_timeout).
    pub fn stop(&self) {
        self.request(StopRequest::Graceful);
    }

    /// As [`stop`](Self::stop), but connections end within `deadline` from
    /// when their shard hears of it. Asked several times, also while the server
    /// stops already, the shortest counts; [`stop_now`](Self::stop_now) is one
    /// of nothing.
    pub fn stop_within(&self, deadline: Duration) {
        self.0.within.fetch_min(nanos(deadline), Ordering::SeqCst);
        self.stop();
    }

    /// Asks to cut all connections and stop.
    pub fn stop_now(&self) {
        self.request(StopRequest::Forced);
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.0.control.config()
    }

    /// Replaces the configuration, as a whole or not at all, and returns once
    /// it is in force; shards take it over in their next turn. What it means
    /// for connections that are there already is told in
    /// [`control`](crate::control). Certificates are not read again.
    ///
    /// Blocks while hooks run: not for callbacks of an app.
    ///
    /// # Errors
    /// [`ReloadError`]; everything is as it was.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let reloaded = self.0.control.reload(config.into())?;
        self.wake_everybody();
        Ok(reloaded)
    }

    /// Reads again what the server was started from, as SIGHUP does:
    /// certificates, and the configuration if there is a source of it
    /// ([`Server::reload_from`](crate::Server::reload_from)).
    ///
    /// # Errors
    /// As [`reload`](Self::reload), and when something can not be read.
    pub fn reread(&self) -> Result<Reloaded, ReloadError> {
        let reloaded = self.0.control.reread()?;
        self.wake_everybody();
        Ok(reloaded)
    }

    /// Asks all shards for their state and waits for the answers, `within` at
    /// most; a shard that has not answered by then is marked. The shards do not
    /// wait, but each looks at all its connections for it.
    ///
    /// Not for callbacks of an app, whose own shard could not answer:
    /// [`DebugEndpoint`](crate::control::DebugEndpoint) does not wait.
    #[must_use]
    pub fn debug_state(&self, within: Duration) -> DebugState {
        let question = self.0.control.ask();
        self.wake_everybody();
        let running = (0..self.shards()).filter(|&shard| !self.has_ended(shard));
        self.0.control.collect(question, running, within)
    }

    /// The answers to the question before, for who cannot wait.
    pub(crate) fn poll_debug_state(&self) -> Option<DebugState> {
        let (state, asked) = self.0.control.poll();
        if asked {
            self.wake_everybody();
        }
        state
    }

    /// The counters of all shards.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.metrics.clone()
    }

    /// The pool that runs offloaded work.
    #[must_use]
    pub fn offload(&self) -> Pool {
        let alone = || Pool::new(1, Config::default().offload_queue, Seats::anywhere(1));
        self.0.offload.get_or_init(alone).clone()
    }

    /// Gives the pool, before any shard starts; the first call counts.
    pub(crate) fn set_offload(&self, pool: Pool) {
        self.0.metrics.set_offload(pool.clone());
        let _first = self.0.offload.set(pool);
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.0.inboxes.len()
    }

    /// Finds a hub by its name: once, its id costs nothing. The empty name is
    /// that of the default hub.
    #[must_use]
    pub fn hub_id(&self, name: &str) -> Option<HubId> {
        self.0.hubs.find(name)
    }

    /// A hub: see [`hub`](crate::hub).
    ///
    /// # Panics
    /// When the id is that of another server with more hubs.
    #[must_use]
    pub fn hub(&self, hub: HubId) -> HandleHub {
        self.0.hubs.get(hub);
        HandleHub::new(hub, self.clone())
    }

    /// Publishes to all subscribers of a topic of the default hub; as
    /// [`HandleHub::publish`].
    ///
    /// # Errors
    /// [`InboxFull`]; never blocks.
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), InboxFull> {
        self.publish_in(HubId::DEFAULT, topic, message.into())
    }

    pub(crate) fn publish_in(
        &self,
        hub: HubId,
        topic: &str,
        message: Message<'_>,
    ) -> Result<(), InboxFull> {
        let mut wakes = 0;
        let published = self.publish_unwoken(hub, topic, message, &mut wakes);
        self.wake_all(wakes);
        published
    }

    /// Notes the shards to wake in `wakes`.
    pub(crate) fn publish_unwoken(
        &self,
        hub: HubId,
        topic: &str,
        message: Message<'_>,
        wakes: &mut u64,
    ) -> Result<(), InboxFull> {
        let shared = self.0.hubs.get(hub);
        if !is_topic(topic) {
            return Ok(());
        }
        let publication = || Publication {
            hub,
            topic: topic.into(),
            encoded: Encoded::new(message),
            place: None,
            except: None,
        };
        if shared.options.is_ordered() {
            let home = shared.home(topic);
            *wakes |= 1 << home;
            return self.ask_home(home, || Request::Publish(publication()));
        }
        let shards = shared.interest.shards(topic, shared.interest.hash(topic));
        if shards == 0 {
            return Ok(());
        }
        let publication = Arc::new(publication());
        for shard in (0..self.shards()).filter(|shard| shards & (1 << shard) != 0) {
            *wakes |= 1 << shard;
            let entry = InboxEntry::Publish(Arc::clone(&publication));
            self.0.inboxes[shard].push(entry).map_err(|_| InboxFull)?;
        }
        Ok(())
    }

    pub(crate) fn clear_retained(&self, hub: HubId, topic: &str) -> Result<(), InboxFull> {
        let home = self.0.hubs.get(hub).home(topic);
        let topic = topic.into();
        let asked = self.ask_home(home, || Request::Clear { hub, topic });
        self.wake(home);
        asked
    }

    /// The home is not woken.
    fn ask_home(&self, home: usize, request: impl FnOnce() -> Request) -> Result<(), InboxFull> {
        if self.0.inboxes[home].is_behind() {
            return Err(InboxFull);
        }
        let entry = InboxEntry::Home(Box::new(request()));
        self.0.inboxes[home].push(entry).map_err(|_| InboxFull)
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
        let owner = Owner::default();
        let key = Owned { key, owner };
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

    pub(crate) fn hubs(&self) -> &Hubs {
        &self.0.hubs
    }

    /// Buckets of all hubs in which a shard is marked as interested.
    pub(crate) fn marked(&self) -> usize {
        let marked = |hub: &SharedHub| hub.interest.marked();
        self.0.hubs.iter().map(marked).sum()
    }

    /// Topics with subscribers, of all hubs.
    pub(crate) fn counted_topics(&self) -> usize {
        self.0.hubs.iter().map(SharedHub::topics).sum()
    }

    pub(crate) fn set_wakers<W: Wake>(&self, wakers: &[W]) {
        let boxed = |waker: &W| {
            let waker = waker.clone();
            Box::new(move || waker.wake()) as WakeShard
        };
        // Set once, by the start.
        let _first = self.0.wakers.set(wakers.iter().map(boxed).collect());
    }

    /// Keeps listeners for a successor.
    pub(super) fn keep(&self, kept: Kept) {
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        // A shard that failed meanwhile has asked for the stop before.
        if self.requested() != StopRequest::None {
            self.forget();
        }
    }

    /// What is kept, unless the server stops.
    pub(super) fn kept<T>(&self, look: impl FnOnce(&Kept) -> T) -> Option<T> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().map(look)
    }

    /// A socket listens as long as anybody keeps it.
    fn forget(&self) {
        let kept = self
            .0
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(kept);
    }

    /// A successor accepts, or will.
    pub(super) fn handed_over(&self, within: Option<Duration>) {
        if let Some(within) = within {
            self.0.within.fetch_min(nanos(within), Ordering::SeqCst);
        }
        self.request(StopRequest::HandedOver);
    }

    fn request(&self, request: StopRequest) {
        // Before the shards close theirs.
        self.forget();
        // Who stops one way does not begin another; it can only be cut. A shard
        // that has ended asks too, while others have yet to hear what for.
        let stop = &self.0.stop;
        if request == StopRequest::Forced {
            stop.store(request as u8, Ordering::SeqCst);
        } else {
            let none = StopRequest::None as u8;
            let (now, seen) = (request as u8, Ordering::SeqCst);
            let _earlier = stop.compare_exchange(none, now, seen, seen);
        }
        self.wake_everybody();
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.control
    }

    fn wake_everybody(&self) {
        (0..self.shards()).for_each(|shard| self.wake(shard));
    }

    /// The connections of each address.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.0.addresses
    }

    /// The count that [`sockets`](Self::sockets) reads.
    pub(crate) fn socket_count(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0.sockets)
    }

    pub(crate) fn inboxes(&self) -> Arc<[Inbox]> {
        Arc::clone(&self.0.inboxes)
    }

    pub(super) fn inbox(&self, shard: usize) -> &Inbox {
        &self.0.inboxes[shard]
    }

    pub(super) fn app(&self) -> Option<TypeId> {
        self.0.app.get().copied()
    }

    /// A shard has ended: who still asks it for something is told.
    pub(crate) fn end(&self, shard: usize) {
        self.0.inboxes[shard].end();
        if (0..self.shards()).all(|shard| self.has_ended(shard)) {
            self.offload().close();
        }
    }

    pub(crate) fn has_ended(&self, shard: usize) -> bool {
        self.0.inboxes[shard].has_ended()
    }

    /// Hands a shard what is not to be refused and takes no place.
    pub(crate) fn notify(&self, shard: usize, entry: InboxEntry) {
        self.inbox(shard).keep(entry);
        self.wake(shard);
    }

    pub(super) fn wake_all(&self, shards: u64) {
        let wake = |shard: &usize| shards & (1 << shard) != 0;
        (0..self.shards())
            .filter(wake)
            .for_each(|shard| self.wake(shard));
    }

    pub(super) fn wake(&self, shard: usize) {
        if let Some(wakers) = self.0.wakers.get() {
            wakers[shard]();
        }
    }
}

impl Stop for Handle {
    fn requested(&self) -> StopRequest {
        match self.0.stop.load(Ordering::SeqCst) {
            0 => StopRequest::None,
            1 => StopRequest::HandedOver,
            2 => StopRequest::Graceful,
            _ => StopRequest::Forced,
        }
    }

    fn within(&self) -> Option<Nanos> {
        match self.0.within.load(Ordering::SeqCst) {
            NO_TIME => None,
            within => Some(within),
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
