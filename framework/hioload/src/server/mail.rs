//! What other threads ask of the shards.

use std::any::TypeId;
use std::fmt;

use thiserror::Error;

use super::handle::{Handle, InboxFull};
use crate::app::{App, ConnRef, Message, Prepared, SendError, Tracked, Turn};
use crate::hub::HubId;
use crate::shard::{InboxEntry, Outbound, Task};

/// A task was not taken by a shard; it will not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PostError {
    /// The shard's inbox is full, or all its places are taken: the app is
    /// behind. Try again later, or drop it.
    #[error("the shard's inbox is full")]
    Full,
    /// The shard has ended.
    #[error("the server has stopped")]
    Stopped,
    /// The server has fewer shards.
    #[error("there is no shard {0}")]
    NoShard(usize),
    /// The server's app has another type than the task takes.
    #[error("the task is for another type of app than the server's")]
    WrongApp,
}

/// A place in a shard's inbox: what is posted with it is not refused. It is
/// for the results of work that was accepted. Dropping it gives the place back.
#[must_use = "the place is given back at once"]
pub struct Reservation {
    handle: Handle,
    shard: usize,
    used: bool,
}

impl Handle {
    /// Runs `task` on a shard, with its app, in its next turn; tasks of one
    /// thread run in their order. Never blocks.
    ///
    /// A task that panics ends the shard, as a callback does.
    ///
    /// # Errors
    /// [`PostError`]; the task is dropped.
    pub fn post<A, F>(&self, shard: usize, task: F) -> Result<(), PostError>
    where
        A: App,
        F: FnOnce(&mut A, &mut Turn<'_, A::State>) + Send + 'static,
    {
        self.check_shard(shard)?;
        self.check_app::<A>()?;
        self.push(shard, entry::<A>(Box::new(task)))
            .map_err(|_full| PostError::Full)
    }

    /// Takes a place in a shard's inbox, for a task that comes later. There
    /// are 131,072 in each, apart from those of [`post`](Self::post).
    ///
    /// # Errors
    /// [`PostError`]; no place was taken.
    pub fn reserve(&self, shard: usize) -> Result<Reservation, PostError> {
        self.check_shard(shard)?;
        if !self.inbox(shard).reserve() {
            return Err(PostError::Full);
        }
        Ok(Reservation {
            handle: self.clone(),
            shard,
            used: false,
        })
    }

    /// Sends each message to its connection, with one entry in the inbox of
    /// each shard instead of one per message. What is for one connection stays
    /// in order. One result each, in the order given.
    pub fn send_many<'m, M>(
        &self,
        messages: impl IntoIterator<Item = (ConnRef, M)>,
    ) -> Vec<Result<(), SendError>>
    where
        M: Into<Message<'m>>,
    {
        let mut batch = Batch::new(self.shards());
        for (to, message) in messages {
            let sent = to.check();
            let outbound = sent.map(|()| to.outbound(&Prepared::new(message), None));
            batch.add(&to, outbound);
        }
        batch.push(self)
    }

    /// As [`send_many`](Self::send_many), and tells what becomes of each.
    pub fn send_many_tracked<'m, M>(
        &self,
        messages: impl IntoIterator<Item = (ConnRef, M)>,
    ) -> Vec<Result<Tracked, SendError>>
    where
        M: Into<Message<'m>>,
    {
        let mut batch = Batch::new(self.shards());
        let mut handles = Vec::new();
        for (to, message) in messages {
            let (tracked, completion) = Tracked::new();
            handles.push(tracked);
            let sent = to.check();
            let outbound = sent.map(|()| to.outbound(&Prepared::new(message), Some(completion)));
            batch.add(&to, outbound);
        }
        let sent = batch.push(self).into_iter().zip(handles);
        sent.map(|(sent, tracked)| sent.map(|()| tracked)).collect()
    }

    /// Publishes each message to its topic, as [`publish`](Self::publish); one
    /// result each, in the order given. What one call publishes stays in order.
    pub fn publish_many<'m, T, M>(
        &self,
        messages: impl IntoIterator<Item = (T, M)>,
    ) -> Vec<Result<(), InboxFull>>
    where
        T: AsRef<str>,
        M: Into<Message<'m>>,
    {
        self.publish_many_in(HubId::DEFAULT, messages)
    }

    pub(crate) fn publish_many_in<'m, T, M>(
        &self,
        hub: HubId,
        messages: impl IntoIterator<Item = (T, M)>,
    ) -> Vec<Result<(), InboxFull>>
    where
        T: AsRef<str>,
        M: Into<Message<'m>>,
    {
        let mut wakes = 0;
        let publish = |(topic, message): (T, M)| {
            self.publish_unwoken(hub, topic.as_ref(), message.into(), &mut wakes)
        };
        let results = messages.into_iter().map(publish).collect();
        self.wake_all(wakes);
        results
    }

    /// Hands an entry to a shard and wakes it.
    pub(crate) fn push(&self, shard: usize, entry: InboxEntry) -> Result<(), SendError> {
        if self.has_ended(shard) {
            return Err(SendError::Stopped);
        }
        let pushed = self.inbox(shard).push(entry);
        // Also when it is full: the shard may have gone to sleep over it.
        self.wake(shard);
        pushed.map_err(|_full| SendError::Full)
    }

    fn check_shard(&self, shard: usize) -> Result<(), PostError> {
        if shard >= self.shards() {
            return Err(PostError::NoShard(shard));
        }
        if self.has_ended(shard) {
            return Err(PostError::Stopped);
        }
        Ok(())
    }

    fn check_app<A: App>(&self) -> Result<(), PostError> {
        if self.app() == Some(TypeId::of::<A>()) {
            Ok(())
        } else {
            Err(PostError::WrongApp)
        }
    }
}

impl Reservation {
    /// As [`Handle::post`], and not refused for want of room.
    ///
    /// # Errors
    /// [`PostError::Stopped`] and [`PostError::WrongApp`].
    pub fn post<A, F>(mut self, task: F) -> Result<(), PostError>
    where
        A: App,
        F: FnOnce(&mut A, &mut Turn<'_, A::State>) + Send + 'static,
    {
        self.handle.check_app::<A>()?;
        self.keep(entry::<A>(Box::new(task)))
    }

    /// Puts an entry in its place.
    pub(crate) fn keep(&mut self, entry: InboxEntry) -> Result<(), PostError> {
        self.handle.check_shard(self.shard)?;
        self.used = true;
        self.handle.inbox(self.shard).keep(entry);
        self.handle.wake(self.shard);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.used {
            self.handle.inbox(self.shard).release();
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

fn entry<A: App>(task: Task<A>) -> InboxEntry {
    InboxEntry::Post(Box::new(task))
}

/// Messages on their way to one shard each, and what is known of all of them.
struct Batch {
    shards: Vec<Vec<Outbound>>,
    results: Vec<Result<usize, SendError>>,
}

impl Batch {
    fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Vec::new()).collect(),
            results: Vec::new(),
        }
    }

    fn add(&mut self, to: &ConnRef, outbound: Result<Outbound, SendError>) {
        self.results.push(outbound.and_then(|outbound| {
            // A reference of a server with more shards than this one.
            let shard = self.shards.get_mut(to.shard());
            shard.ok_or(SendError::Stopped)?.push(outbound);
            Ok(to.shard())
        }));
    }

    fn push(self, handle: &Handle) -> Vec<Result<(), SendError>> {
        let push = |(shard, messages): (usize, Vec<Outbound>)| {
            if messages.is_empty() {
                Ok(())
            } else {
                handle.push(shard, InboxEntry::Send(messages))
            }
        };
        let pushed: Vec<_> = self.shards.into_iter().enumerate().map(push).collect();
        let results = self.results.into_iter();
        results.map(|shard| pushed[shard?]).collect()
    }
}
