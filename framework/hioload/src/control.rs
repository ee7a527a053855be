//! What an operator changes and looks at while a server runs.
//!
//! [`Handle::config`](crate::Handle::config) is the configuration in force,
//! [`Handle::reload`](crate::Handle::reload) replaces it. A reload happens as a
//! whole or not at all: everything that can refuse it is asked before anything
//! changes, and a [`ReloadError`] says who refused and why. SIGHUP does the
//! same under [`Server::run`](crate::Server::run), from what
//! [`Server::reload_from`](crate::Server::reload_from) reads.
//!
//! Shards take new rules over at the start of a turn and are woken for it;
//! what that means for connections that are there already:
//!
//! | field | connections that are there |
//! |---|---|
//! | `max_message`, `backpressure_limit`, `send_memory` | at once; a frame that has begun to arrive is still taken |
//! | `idle_timeout`, `ping_interval`, `pong_timeout` | at once; a shard looks at 1024 connections per turn, as silent as they are by then |
//! | `max_subscriptions` | with their next subscription |
//! | `close_timeout`, `drain_timeout`, `drain_waves`, `drain_spread` | those that begin to close later |
//! | `max_head`, `max_headers`, `handshake_timeout` | with their next request |
//! | `backpressure`, `deflate`, `trace_sample` | not at all: each keeps what it was opened with, compressed with the new level |
//! | `max_connections` | all stay; new ones are answered 503 until there is room |

mod change;
pub(crate) mod debug;
mod endpoint;
mod questions;
mod reload;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use change::Change;
pub use debug::{
    ConnectionState, Connections, DebugState, HubState, Queues, ShardReport, ShardState,
    TopicState, WheelState,
};
pub use endpoint::{DebugEndpoint, DebugToken, WeakToken};
use questions::Questions;
pub use reload::{Agreed, Fresh, ReloadError, Reloaded};
pub(crate) use reload::{Hook, Source};

use crate::config::{Config, Rules};
use crate::tls::TlsConfig;

/// The configuration in force, and who decides on the next one.
pub(crate) struct Control {
    /// Moves whenever there is something for shards to look at: they compare
    /// it once a turn, and read the rest only when it has moved.
    notice: AtomicU64,
    current: RwLock<Current>,
    /// Held by the one reload at a time.
    reloading: Mutex<()>,
    /// Connections the drivers were made for.
    capacity: usize,
    terms: Terms,
    questions: Questions,
}

/// What is in force.
struct Current {
    config: Arc<Config>,
    rules: Rules,
    /// How often it was replaced.
    epoch: u64,
}

/// Who has a say in a reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) source: Option<Source>,
    pub(crate) certificates: Vec<TlsConfig>,
}

impl Control {
    pub(crate) fn new(config: &Config, shards: usize, terms: Terms) -> Self {
        Self {
            notice: AtomicU64::new(0),
            current: RwLock::new(Current {
                config: Arc::new(config.clone()),
                rules: Rules::from(config),
                epoch: 0,
            }),
            reloading: Mutex::new(()),
            capacity: config.connections(),
            terms,
            questions: Questions::new(shards),
        }
    }

    /// Moves when there is something to look at. Whoever moves it wakes the
    /// shards afterwards.
    pub(crate) fn notice(&self) -> u64 {
        self.notice.load(Ordering::Relaxed)
    }

    fn raise_notice(&self) {
        self.notice.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.config)
    }

    /// The rules in force, unless they are those of `epoch`.
    pub(crate) fn rules_since(&self, epoch: u64) -> Option<(u64, Rules)> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (current.epoch != epoch).then_some((current.epoch, current.rules))
    }

    pub(crate) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Asks the shards for their state; wake them, then give the number to
    /// [`collect`](Self::collect).
    pub(crate) fn ask(&self) -> u64 {
        let question = self.questions.ask();
        self.raise_notice();
        question
    }

    /// Waits for the answers of these shards, then says what all have said.
    pub(crate) fn collect(
        &self,
        question: u64,
        shards: impl Iterator<Item = usize>,
        within: Duration,
    ) -> DebugState {
        let deadline = Instant::now() + within;
        shards.for_each(|shard| self.questions.wait(shard, question, deadline));
        self.questions.collect(question)
    }

    /// What the shards have said to the latest question, if that is not long
    /// ago, and whether they were asked again and are to be woken.
    pub(crate) fn poll(&self) -> (Option<DebugState>, bool) {
        let (fresh, due) = self.questions.standing();
        let state = fresh.then(|| self.questions.collect(self.questions.latest()));
        if due {
            self.ask();
        }
        (state, due)
    }

    fn replace(&self, config: Config) {
        let rules = Rules::from(&config);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current {
            config: Arc::new(config),
            rules,
            epoch: current.epoch + 1,
        };
        drop(current);
        self.raise_notice();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("notice", &self.notice)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}
