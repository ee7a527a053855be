//! What a connection does with messages, whatever library carries them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;

/// Messages that wait for one subscriber; what exceeds it is dropped, and the
/// generator counts it as lost.
const QUEUE: usize = 1024;

/// All connections of a server.
#[derive(Debug)]
pub struct Hub<M> {
    next: Arc<AtomicU64>,
    members: Arc<Mutex<HashMap<u64, mpsc::Sender<M>>>>,
}

impl<M> Clone for Hub<M> {
    fn clone(&self) -> Self {
        Self {
            next: Arc::clone(&self.next),
            members: Arc::clone(&self.members),
        }
    }
}

impl<M> Default for Hub<M> {
    fn default() -> Self {
        Self {
            next: Arc::default(),
            members: Arc::default(),
        }
    }
}

/// Sends every message back; a library's `send` flushes each.
pub async fn echo<M>(mut read: impl Stream<Item = M> + Unpin, mut write: impl Sink<M> + Unpin) {
    while let Some(message) = read.next().await {
        if write.send(message).await.is_err() {
            break;
        }
    }
}

impl<M: Clone> Hub<M> {
    /// A connection that sends each message to all others, and flushes once for
    /// all that wait for it.
    pub async fn join(
        &self,
        mut read: impl Stream<Item = M> + Unpin,
        mut write: impl Sink<M> + Unpin,
    ) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, mut inbox) = mpsc::channel(QUEUE);
        self.locked(|members| members.insert(id, sender));
        loop {
            tokio::select! {
                message = read.next() => match message {
                    Some(message) => self.publish(id, &message),
                    None => break,
                },
                Some(message) = inbox.recv() => {
                    let mut sent = write.feed(message).await;
                    while sent.is_ok() && let Ok(message) = inbox.try_recv() {
                        sent = write.feed(message).await;
                    }
                    if sent.is_err() || write.flush().await.is_err() {
                        break;
                    }
                }
            }
        }
        self.locked(|members| members.remove(&id));
    }

    fn publish(&self, from: u64, message: &M) {
        self.locked(|members| {
            for (&id, member) in members.iter() {
                if id != from {
                    // Full or gone: the generator misses the message.
                    drop(member.try_send(message.clone()));
                }
            }
        });
    }

    fn locked<T>(&self, change: impl FnOnce(&mut HashMap<u64, mpsc::Sender<M>>) -> T) -> T {
        change(&mut self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
