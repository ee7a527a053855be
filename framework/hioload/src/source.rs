//! Event sources of the app's own, watched by its shard.
//!
//! A source is a descriptor that becomes readable (a pipe, a UDP socket, an
//! eventfd, the connection of another library), or a [`queue`] that threads
//! push into. [`Turn::register`](crate::Turn::register) has the shard watch it,
//! and [`App::events`](crate::App::events) hears of all that have something in
//! one turn together.
//!
//! From another thread, register with a task that
//! [`Handle::post`](crate::Handle::post) takes to the shard.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
pub use hioload_platform::Source as Descriptor;
use thiserror::Error;

use crate::server::Handle;
use crate::shard::{InboxEntry, Owner};

/// Names a registered source of a shard, until it is unregistered; a later one
/// never has the same name (not before 2^32 others in its place).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
    pub(crate) owner: Owner,
}

/// What happened to a registered source.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceEvent {
    /// It has something. Read a descriptor until it would block: it is told of
    /// again when something new comes, not while something is left. A queue is
    /// told of in every turn in which it is not empty.
    Ready(SourceId),
    /// The driver could not watch it, and it is unregistered.
    Failed(SourceId, io::Error),
}

impl SourceEvent {
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Ready(id) | Self::Failed(id, _) => id.owner,
        }
    }
}

/// A source was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The shard watches 4,096 already.
    #[error("the shard watches as many sources as it can, 4096; unregister some")]
    TooMany,
    /// A queue is registered once in its life.
    #[error("the queue is registered already")]
    Registered,
}

/// A bounded queue from any thread to a shard: what is pushed wakes the shard,
/// at most once until the app has looked.
///
/// # Panics
/// When `room` is zero.
#[must_use]
pub fn queue<T: Send + 'static>(room: usize) -> (QueueSender<T>, Queue<T>) {
    let shared = Arc::new(Shared {
        items: ArrayQueue::new(room),
        told: AtomicBool::new(false),
        target: OnceLock::new(),
    });
    (QueueSender(Arc::clone(&shared)), Queue(shared))
}

/// The end that is pushed to. Cheap to clone.
pub struct QueueSender<T>(Arc<Shared<T>>);

/// The end that the app keeps, to [`pop`](Self::pop) from when it is told.
pub struct Queue<T>(Arc<Shared<T>>);

struct Shared<T> {
    items: ArrayQueue<T>,
    /// The shard was told, and has not looked yet.
    told: AtomicBool,
    target: OnceLock<Target>,
}

struct Target {
    handle: Handle,
    shard: usize,
    id: SourceId,
}

impl<T> QueueSender<T> {
    /// Pushes, and wakes the shard if it was not told yet. Never blocks.
    ///
    /// # Errors
    /// The item, when the queue is full.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.0.items.push(item)?;
        self.0.tell();
        Ok(())
    }
}

impl<T> Queue<T> {
    /// Takes the oldest item; `None` when the queue is empty.
    pub fn pop(&mut self) -> Option<T> {
        self.0.items.pop()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.items.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.items.is_empty()
    }
}

impl<T> Shared<T> {
    fn tell(&self) {
        // Before it is registered nobody is told; the registration looks.
        let Some(target) = self.target.get() else {
            return;
        };
        if !self.told.swap(true, Ordering::SeqCst) {
            target
                .handle
                .notify(target.shard, InboxEntry::SourceReady(target.id));
        }
    }
}

/// What a shard knows of a queue.
pub(crate) trait Watched: Send + Sync {
    /// Names the shard to tell; `false` when there is one already.
    fn watch(&self, handle: Handle, shard: usize, id: SourceId) -> bool;
    /// The app is about to look; what is pushed from now on is told anew.
    fn look(&self);
    fn has_more(&self) -> bool;
}

impl<T: Send> Watched for Shared<T> {
    fn watch(&self, handle: Handle, shard: usize, id: SourceId) -> bool {
        self.target.set(Target { handle, shard, id }).is_ok()
    }

    fn look(&self) {
        self.told.store(false, Ordering::SeqCst);
    }

    fn has_more(&self) -> bool {
        !self.items.is_empty()
    }
}

/// Something to register: a [`Descriptor`] (from an `OwnedFd`, a `TcpStream`, a
/// `UdpSocket`) or a reference to a [`Queue`].
#[derive(Debug)]
pub struct EventSource(pub(crate) Kind);

pub(crate) enum Kind {
    Descriptor(Descriptor),
    Queue(Arc<dyn Watched>),
}

impl<D: Into<Descriptor>> From<D> for EventSource {
    fn from(descriptor: D) -> Self {
        Self(Kind::Descriptor(descriptor.into()))
    }
}

impl<T: Send + 'static> From<&Queue<T>> for EventSource {
    fn from(queue: &Queue<T>) -> Self {
        Self(Kind::Queue(Arc::clone(&queue.0) as _))
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(descriptor) => descriptor.fmt(f),
            Self::Queue(_) => f.write_str("Queue"),
        }
    }
}

impl<T> fmt::Debug for QueueSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.items.len();
        f.debug_struct("QueueSender")
            .field("waiting", &waiting)
            .finish()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("waiting", &self.len())
            .finish()
    }
}
