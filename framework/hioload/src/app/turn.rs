//! A turn of the shard as a callback sees it that is about no connection.

use std::fmt;
use std::sync::Arc;

use hioload_platform::{Nanos, Token};

use super::{Conn, Message, PublishOutcome};
use crate::client::{Dial, DialsFull};
use crate::hub::{HubId, TurnHub};
use crate::shard::{Connections, Context};
use crate::source::{EventSource, RegisterError, SourceId};
use crate::timer::{Timer, TimersFull};

/// The shard, during a callback. Reaches all of its connections; what it
/// queues leaves at the end of the turn.
pub struct Turn<'a, S> {
    pub(crate) slab: &'a mut dyn Connections<S>,
    pub(crate) cx: &'a mut Context,
}

/// Names a connection of a shard for as long as it lives; a later connection
/// never has the same one (not before 2^28 others in its place).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(crate) Token);

impl<S> Turn<'_, S> {
    /// A connection of this shard and its state; `None` when it has ended. An
    /// [upload](super::App::upload) is one from its head to its answer.
    pub fn conn(&mut self, id: ConnId) -> Option<(Conn<'_>, &mut S)> {
        let (link, state) = self.slab.find(id.0)?;
        let cx = &mut *self.cx;
        link.is_reachable().then_some((Conn { link, cx }, state))
    }

    /// A hub of the server: see [`hub`](crate::hub).
    ///
    /// # Panics
    /// When the id is that of another server with more hubs.
    pub fn hub(&mut self, hub: HubId) -> TurnHub<'_> {
        assert!(self.cx.has_hub(hub), "a hub of this server");
        TurnHub { hub, cx: self.cx }
    }

    /// Sends a message to all subscribers of a topic of the default hub; as
    /// [`TurnHub::publish`].
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> PublishOutcome {
        self.hub(HubId::DEFAULT).publish(topic, message)
    }

    /// Dials; the app hears of the outcome, with this key.
    ///
    /// # Errors
    /// [`DialsFull`]; nothing was dialled.
    pub fn connect(&mut self, dial: &Arc<Dial>, key: u64) -> Result<(), DialsFull> {
        self.cx.connect(dial, key)
    }

    /// Calls [`App::timer`](super::App::timer) with this key after `delay`
    /// nanoseconds: the timer that reaches the app itself, and allocates
    /// nothing. How exact it is, see [`Scheduler`](crate::timer::Scheduler).
    ///
    /// # Errors
    /// [`TimersFull`]; nothing is scheduled.
    pub fn schedule(&mut self, delay: Nanos, key: u64) -> Result<Timer, TimersFull> {
        self.cx.schedule(delay, key)
    }

    /// Cancels a timer; `false` if it has fired for the last time or was
    /// cancelled. One that repeats may cancel itself.
    pub fn cancel(&mut self, timer: Timer) -> bool {
        self.cx.agenda.cancel(timer)
    }

    /// Has the shard watch an event source; [`App::events`](super::App::events)
    /// hears of it. See [`source`](crate::source).
    ///
    /// # Errors
    /// [`RegisterError`]; the source is dropped.
    pub fn register(&mut self, source: impl Into<EventSource>) -> Result<SourceId, RegisterError> {
        let Context {
            sources,
            handle,
            shard,
            owner,
            ..
        } = &mut *self.cx;
        sources.register(source.into(), *owner, handle, *shard)
    }

    /// Watches a source no longer, and closes its descriptor; `false` when it
    /// was unregistered before.
    pub fn unregister(&mut self, source: SourceId) -> bool {
        self.cx.sources.unregister(source)
    }

    /// The time of this turn: nanoseconds of the server's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.cx.now
    }

    /// Which shard this is, from 0.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.cx.shard
    }

    /// Asks all shards to stop, as [`Handle::stop`](crate::Handle::stop).
    pub fn stop_server(&mut self) {
        self.cx.stop_asked = true;
    }
}

impl<S> fmt::Debug for Turn<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("shard", &self.cx.shard)
            .field("now", &self.cx.now)
            .finish_non_exhaustive()
    }
}
