//! What the connections of a shard share, whatever the app.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hioload_platform::{Nanos, Token};
use hioload_protocol::{MaskKeys, Resources};

use super::dial::{DIALS, Dialling};
use super::inbox::Outgoing;
use super::outbox::OutboxPool;
use super::sources::Sources;
use super::tls::Scratch;
use crate::client::{ClientTls, Dial, DialsFull};
use crate::config::{MAX_SHARDS, Rules};
use crate::http::Proxies;
use crate::hub::{Home, HubId, Publication, Recent, SharedHub, TopicId, Topics, Work, is_topic};
use crate::metrics::{BackpressureAction, Metrics, ShardMetrics};
use crate::offload::Desk;
use crate::server::Handle;
use crate::task::{Local, Tasks};
use crate::timer::{Agenda, Timer, TimersFull, Wheel};

/// Which of the apps that share a shard behind a router something belongs to;
/// 0 is the shard's app itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner(pub(crate) u32);

/// An app's key of a timer or a dial. Keys of different owners may be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) key: u64,
    pub(crate) owner: Owner,
}

/// The shared part of a shard: pools, timers, topics, queues, counters.
pub(crate) struct Context {
    pub(crate) shard: usize,
    pub(crate) now: Nanos,
    pub(crate) rules: Rules,
    /// What was last seen of the handle's notice, and which rules these are.
    pub(super) notice: u64,
    pub(super) epoch: u64,
    /// Connections since the last one that got a span, as a fraction of those
    /// it takes.
    pub(super) sampled: f64,
    pub(crate) outboxes: OutboxPool,
    pub(crate) resources: Resources,
    pub(crate) tls: Scratch,
    pub(crate) wheel: Wheel<Token>,
    /// The app's timers.
    pub(crate) agenda: Agenda,
    /// The work it has offloaded.
    pub(crate) offload: Desk,
    /// Whose callback runs; what is scheduled or dialled now is its own.
    pub(crate) owner: Owner,
    /// Dials to be started, at most [`DIALS`].
    pub(crate) dials: VecDeque<Dialling>,
    /// Whom the system trusts, read by the first dial that needs it.
    pub(crate) system_tls: Option<ClientTls>,
    /// A callback asked to stop all shards.
    pub(crate) stop_asked: bool,
    pub(crate) topics: Topics,
    pub(crate) outgoing: Outgoing,
    /// The ordered topics this shard is home of, by hub.
    pub(crate) homes: Box<[Option<Home>]>,
    /// What callbacks left to do, in order.
    pub(crate) work: VecDeque<Work>,
    /// What publications are made of.
    pub(super) recent: Recent,
    /// Empty between publications; kept for its allocation.
    pub(crate) matched: Vec<TopicId>,
    /// Empty between publications; kept for its allocation.
    pub(crate) receivers: Vec<Token>,
    /// What connections that are behind are given once there is room: the
    /// latest of each topic, at most as many as subscriptions.
    latest: HashMap<Token, VecDeque<Publication>>,
    /// Connections touched since the last flush, each once.
    pub(crate) dirty: Vec<Token>,
    /// Connections that may read again and hold unread bytes.
    pub(crate) resumed: Vec<Token>,
    /// Memory of bytes received from connections that are not read from.
    pub(crate) held: usize,
    /// Publishers paused until the congestion is over.
    congested: Vec<Token>,
    /// The app's event sources.
    pub(crate) sources: Sources,
    pub(crate) tasks: Tasks,
    /// What a message is serialised in.
    pub(crate) json: Vec<u8>,
    /// Whom it believes where connections come from.
    pub(crate) proxies: Proxies,
    /// The state of [`draw`](Self::draw).
    random: u64,
    metrics: Metrics,
    pub(crate) handle: Handle,
}

/// What makes a [`Context`].
pub(crate) struct ContextParts {
    pub(crate) shard: usize,
    pub(crate) now: Nanos,
    pub(crate) rules: Rules,
    pub(crate) mask_seed: u64,
    pub(crate) handle: Handle,
}

impl Context {
    pub(crate) fn new(parts: ContextParts) -> Self {
        let home = |(number, hub): (usize, &SharedHub)| {
            let number = (number * MAX_SHARDS + parts.shard) as u64;
            let (options, seed) = (&hub.options, hub.interest.seed().clone());
            let ordered = options.is_ordered();
            ordered.then(|| Home::new(options, hub.shards(), number, seed))
        };
        Self {
            homes: parts.handle.hubs().iter().enumerate().map(home).collect(),
            shard: parts.shard,
            now: parts.now,
            rules: parts.rules,
            notice: 0,
            epoch: 0,
            sampled: 0.0,
            outboxes: OutboxPool::default(),
            resources: Resources::new(
                parts.rules.limits,
                MaskKeys::from_seed(parts.mask_seed),
                parts.rules.deflate.unwrap_or_default(),
            ),
            tls: Scratch::default(),
            wheel: Wheel::new(parts.now),
            agenda: Agenda::new(parts.now),
            offload: Desk::new(&parts.handle),
            owner: Owner::default(),
            dials: VecDeque::new(),
            system_tls: None,
            stop_asked: false,
            topics: Topics::new(parts.shard, parts.handle.hubs().clone()),
            outgoing: Outgoing::new(parts.shard, parts.handle.inboxes()),
            work: VecDeque::new(),
            recent: Recent::default(),
            matched: Vec::new(),
            receivers: Vec::new(),
            latest: HashMap::new(),
            dirty: Vec::new(),
            resumed: Vec::new(),
            held: 0,
            congested: Vec::new(),
            sources: Sources::default(),
            tasks: Tasks::new(Local::new(parts.handle.clone(), parts.shard, parts.now)),
            json: Vec::new(),
            proxies: Proxies::new(&parts.handle.control().config()),
            random: parts.mask_seed.rotate_left(32),
            metrics: parts.handle.metrics(),
            handle: parts.handle,
        }
    }

    /// Gives this shard's homes what they had before the start.
    pub(crate) fn restore(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Self {
            homes,
            handle,
            now,
            shard,
            ..
        } = self;
        for (home, shared) in homes.iter_mut().zip(handle.hubs().iter()) {
            let (Some(home), Some(source)) = (home, &shared.options.source) else {
                continue;
            };
            let is_home = |topic: &str| is_topic(topic) && shared.home(topic) == *shard;
            source
                .0
                .restore(&is_home, &mut |topic| home.restore(&topic, *now))?;
            home.restored();
        }
        Ok(())
    }

    pub(crate) fn metrics(&self) -> &ShardMetrics {
        self.metrics.shard(self.shard)
    }

    /// A number from the shard's seed (splitmix64), for jitter: nothing a peer
    /// must not guess.
    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether the server has it.
    pub(crate) fn has_hub(&self, hub: HubId) -> bool {
        hub.index() < self.homes.len()
    }

    /// Queues a dial.
    pub(crate) fn connect(&mut self, dial: &Arc<Dial>, key: u64) -> Result<(), DialsFull> {
        if self.dials.len() >= DIALS {
            return Err(DialsFull);
        }
        let dial = Arc::clone(dial);
        let key = self.owned(key);
        self.dials.push_back(Dialling { dial, key });
        Ok(())
    }

    pub(crate) fn schedule(&mut self, delay: Nanos, key: u64) -> Result<Timer, TimersFull> {
        let key = self.owned(key);
        self.agenda.key(self.now.saturating_add(delay), key)
    }

    /// A key of whose callback runs.
    fn owned(&self, key: u64) -> Owned {
        let owner = self.owner;
        Owned { key, owner }
    }

    /// Keeps a publication for a connection that is behind, instead of earlier
    /// ones of its topic.
    pub(crate) fn keep_latest(&mut self, token: Token, publication: &Publication) {
        let waiting = self.latest.entry(token).or_default();
        let same = |other: &Publication| {
            (other.hub, &other.topic) == (publication.hub, &publication.topic)
        };
        let earlier = waiting.iter().position(same);
        let gone = match earlier {
            Some(index) => waiting.remove(index),
            // A filter may match any number of topics.
            None if waiting.len() >= self.rules.max_subscriptions => waiting.pop_front(),
            None => None,
        };
        waiting.push_back(publication.clone());
        if gone.is_some() {
            self.metrics().backpressure(BackpressureAction::Dropped);
        }
    }

    /// What was kept for a connection.
    pub(crate) fn take_latest(&mut self, token: Token) -> Option<VecDeque<Publication>> {
        if self.latest.is_empty() {
            return None;
        }
        self.latest.remove(&token)
    }

    /// `publisher` was paused for congestion; it is resumed by
    /// [`relieve`](Self::relieve).
    pub(crate) fn wait_for_relief(&mut self, publisher: Token) {
        self.congested.push(publisher);
    }

    /// Publishers that are paused for congestion.
    pub(super) fn congested(&self) -> usize {
        self.congested.len()
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
