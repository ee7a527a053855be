//! What the connections of a shard share, whatever the app.

use std::collections::VecDeque;
use std::sync::Arc;

use hioload_platform::{Nanos, Token};
use hioload_protocol::{MaskKeys, Resources};

use super::dial::{DIALS, Dialling};
use super::inbox::{Inbox, InboxEntry, Outgoing, Pushed};
use super::outbox::OutboxPool;
use super::tls::Scratch;
use crate::app::{Message, PublishOutcome};
use crate::client::{ClientTls, Dial, DialsFull};
use crate::config::Rules;
use crate::hub::{Encoded, Interest, Publication, Topics};
use crate::metrics::{BackpressureAction, Metrics, ShardMetrics};
use crate::timer::{TimerId, Wheel};

/// Publications of one callback: what an app may publish before the shard
/// delivers. Beyond it a publish is refused.
const LOCAL_PUBLICATIONS: usize = 1 << 16;

/// The shared part of a shard: pools, timers, topics, queues, counters.
pub(crate) struct Context {
    pub(crate) shard: usize,
    pub(crate) now: Nanos,
    pub(crate) rules: Rules,
    pub(crate) outboxes: OutboxPool,
    pub(crate) resources: Resources,
    pub(crate) tls: Scratch,
    pub(crate) wheel: Wheel<Token>,
    /// The app's timers, by its keys. Apart from those of connections, whose
    /// entries are smaller.
    pub(crate) scheduler: Wheel<u64>,
    /// Dials to be started, at most [`DIALS`].
    pub(crate) dials: VecDeque<Dialling>,
    /// Whom the system trusts, read by the first dial that needs it.
    pub(crate) system_tls: Option<ClientTls>,
    /// A callback asked to stop all shards.
    pub(crate) stop_asked: bool,
    pub(crate) topics: Topics,
    pub(crate) outgoing: Outgoing,
    /// Published on this shard, to be delivered to its subscribers.
    pub(crate) local: VecDeque<Publication>,
    /// Connections touched since the last flush, each once.
    pub(crate) dirty: Vec<Token>,
    /// Connections that may read again and hold unread bytes.
    pub(crate) resumed: Vec<Token>,
    /// Memory of bytes received from connections that are not read from.
    pub(crate) held: usize,
    /// Publishers paused until the congestion is over.
    congested: Vec<Token>,
    metrics: Metrics,
}

/// What makes a [`Context`].
pub(crate) struct ContextParts {
    pub(crate) shard: usize,
    pub(crate) now: Nanos,
    pub(crate) rules: Rules,
    pub(crate) mask_seed: u64,
    pub(crate) interest: Interest,
    pub(crate) inboxes: Arc<[Inbox]>,
    pub(crate) metrics: Metrics,
}

impl Context {
    pub(crate) fn new(parts: ContextParts) -> Self {
        Self {
            shard: parts.shard,
            now: parts.now,
            rules: parts.rules,
            outboxes: OutboxPool::default(),
            resources: Resources::new(
                parts.rules.limits,
                MaskKeys::from_seed(parts.mask_seed),
                parts.rules.deflate.unwrap_or_default(),
            ),
            tls: Scratch::default(),
            wheel: Wheel::new(parts.now),
            scheduler: Wheel::new(parts.now),
            dials: VecDeque::new(),
            system_tls: None,
            stop_asked: false,
            topics: Topics::new(parts.shard, parts.interest),
            outgoing: Outgoing::new(parts.shard, parts.inboxes),
            local: VecDeque::new(),
            dirty: Vec::new(),
            resumed: Vec::new(),
            held: 0,
            congested: Vec::new(),
            metrics: parts.metrics,
        }
    }

    pub(crate) fn metrics(&self) -> &ShardMetrics {
        self.metrics.shard(self.shard)
    }

    /// Queues a dial.
    pub(crate) fn connect(&mut self, dial: &Arc<Dial>, key: u64) -> Result<(), DialsFull> {
        if self.dials.len() >= DIALS {
            return Err(DialsFull);
        }
        let dial = Arc::clone(dial);
        self.dials.push_back(Dialling { dial, key });
        Ok(())
    }

    pub(crate) fn schedule(&mut self, delay: Nanos, key: u64) -> TimerId {
        self.scheduler.insert(self.now.saturating_add(delay), key)
    }

    /// Encodes `message` once and hands it to every shard with subscribers.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        message: Message<'_>,
        publisher: Token,
    ) -> PublishOutcome {
        let known = self.topics.name(topic);
        let here = known.is_some();
        let (topic, hash) =
            known.unwrap_or_else(|| (topic.into(), self.topics.interest().hash(topic)));
        let remote = self.topics.interest().shards(hash) & !(1 << self.shard);
        self.metrics().publishes.add(1);
        if !here && remote == 0 {
            return PublishOutcome::Published;
        }
        if self.local.len() >= LOCAL_PUBLICATIONS {
            self.metrics().backpressure(BackpressureAction::Refused);
            return PublishOutcome::Full;
        }
        let encoded = Encoded::new(message);
        let mut congested = false;
        if remote != 0 {
            let topic = Arc::clone(&topic);
            let entry = InboxEntry::Publish {
                topic,
                encoded: encoded.clone(),
            };
            match self.outgoing.push(remote, &entry) {
                Pushed::Accepted => {}
                Pushed::Congested => congested = true,
                Pushed::Full => {
                    self.metrics().backpressure(BackpressureAction::Refused);
                    return PublishOutcome::Full;
                }
            }
        }
        if here {
            self.local.push_back(Publication {
                topic,
                encoded,
                except: Some(publisher),
            });
        }
        if congested {
            PublishOutcome::Congested
        } else {
            PublishOutcome::Published
        }
    }

    /// `publisher` was paused for congestion; it is resumed by
    /// [`relieve`](Self::relieve).
    pub(crate) fn wait_for_relief(&mut self, publisher: Token) {
        self.congested.push(publisher);
    }

    /// Retries what other shards had no room for. Returns the publishers to
    /// resume once the congestion is over.
    pub(crate) fn relieve(&mut self) -> Vec<Token> {
        if self.outgoing.retry() {
            std::mem::take(&mut self.congested)
        } else {
            Vec::new()
        }
    }
}
