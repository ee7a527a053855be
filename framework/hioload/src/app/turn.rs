//! A turn of the shard as a callback sees it that is about no connection.

use std::fmt;
use std::sync::Arc;

use hioload_platform::{Nanos, Token};

use super::Conn;
use crate::client::{Dial, DialsFull};
use crate::shard::{Context, Entry, Slab};
use crate::timer::TimerId;

/// The shard, during a callback. Reaches all of its connections; what it
/// queues leaves at the end of the turn.
pub struct Turn<'a, S> {
    pub(crate) slab: &'a mut Slab<S>,
    pub(crate) cx: &'a mut Context,
}

/// Names a connection of a shard for as long as it lives; a later connection
/// never has the same one (not before 2^28 others in its place).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(crate) Token);

impl<S> Turn<'_, S> {
    /// A connection of this shard and its state; `None` when it has ended.
    pub fn conn(&mut self, id: ConnId) -> Option<(Conn<'_>, &mut S)> {
        let Entry { link, state } = self.slab.get(id.0)?;
        let cx = &mut *self.cx;
        link.is_open().then_some((Conn { link, cx }, state))
    }

    /// Dials; the app hears of the outcome, with this key.
    ///
    /// # Errors
    /// [`DialsFull`]; nothing was dialled.
    pub fn connect(&mut self, dial: &Arc<Dial>, key: u64) -> Result<(), DialsFull> {
        self.cx.connect(dial, key)
    }

    /// Calls [`App::timer`](super::App::timer) with this key after `delay`
    /// nanoseconds; never early, and late by at most a tick of 1024
    /// nanoseconds and what the turn before takes.
    pub fn schedule(&mut self, delay: Nanos, key: u64) -> TimerId {
        self.cx.schedule(delay, key)
    }

    /// Cancels a timer; `false` if it has fired.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.cx.scheduler.cancel(timer).is_some()
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
