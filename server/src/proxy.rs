//! The application, asked over HTTP about what clients do.
//!
//! Shards [ask](Proxy::ask) and go on; what is asked waits, is sent and answered
//! on the threads of the [bridge](crate::bridge). Everything is bounded: events
//! that are not answered yet ([`NotAsked::Full`]), requests in flight, the time for each
//! and for all that is tried, bytes of answers.

mod batch;
mod breaker;
mod call;
mod endpoint;
mod failure;
mod http;
mod stats;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hioload::Request;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::config::{Application, Event};
use batch::Collector;
use call::{Caller, Patience};
use endpoint::Endpoint;
pub(crate) use failure::Failure;
use http::Http;
pub(crate) use http::StartError;
use stats::Stats;
use wire::Letter;
pub(crate) use wire::{
    ConnectResult, Data, Headers, MessageResult, Override, PublishResult, Question, RefreshResult,
    RpcResult, Said, SubscribeResult,
};

/// Bytes of the headers that are kept of a client, at most.
const MAX_HEADERS: usize = 16 << 10;

/// All applications. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Proxies(Arc<[Arc<Proxy>]>);

/// One application.
pub(crate) struct Proxy {
    settings: Application,
    /// Set at the start, which shards do not wait for.
    tokio: OnceLock<Handle>,
    caller: Arc<Caller<Http>>,
    /// Each is a request, or several at once to different endpoints.
    permits: Arc<Semaphore>,
    /// Events that are not answered.
    open: AtomicUsize,
    collector: Collector,
    stats: Stats,
}

/// An event about which the application is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAsked {
    /// So many are not answered yet that no more is taken.
    #[error("max_queued events wait for the application")]
    Full,
    #[error("the server has just been started")]
    Early,
}

/// An event that is not answered.
struct Open {
    proxy: Arc<Proxy>,
    question: Vec<u8>,
    headers: Option<Headers>,
    tell: Box<dyn FnOnce(Result<Said, Failure>) + Send>,
}

/// Whether the applications of the settings could be asked, other than by asking
/// them.
pub(crate) fn check(settings: &[Application]) -> Result<(), StartError> {
    settings
        .iter()
        .try_for_each(|one| Http::new(one).map(|_| ()))
}

impl Proxies {
    /// The applications of the settings, which nobody is asked about yet.
    pub(crate) fn new(settings: &[Application]) -> Result<Self, StartError> {
        let proxy = |one: &Application| Proxy::new(one.clone()).map(Arc::new);
        let all: Result<Vec<_>, _> = settings.iter().map(proxy).collect();
        Ok(Self(all?.into()))
    }

    pub(crate) fn are_some(&self) -> bool {
        !self.0.is_empty()
    }

    /// From now on they are asked, and their health is looked at.
    pub(crate) fn start(&self, tokio: &Handle) {
        for proxy in self.0.iter() {
            if proxy.tokio.set(tokio.clone()).is_ok() {
                proxy.watch();
            }
        }
    }

    /// Who is asked about an event, in a namespace where it has one.
    pub(crate) fn of(&self, event: Event, namespace: &str) -> Option<&Arc<Proxy>> {
        self.0
            .iter()
            .find(|one| one.settings.takes(event, namespace))
    }

    /// What is passed on of a client's request.
    pub(crate) fn headers(&self, request: &Request<'_>) -> Option<Headers> {
        let mut kept = BTreeMap::new();
        let mut room = MAX_HEADERS;
        for name in self.0.iter().flat_map(|one| &one.settings.headers) {
            if let Some(value) = request.header(name) {
                keep(&mut kept, &mut room, name, value);
            }
        }
        (!kept.is_empty()).then(|| Arc::new(kept))
    }

    /// The same with those that a client says in its connect command, as pages
    /// can not say them otherwise. They take the place of none.
    pub(crate) fn with_emulated<'h>(
        &self,
        headers: Option<Headers>,
        emulated: impl Iterator<Item = (&'h str, &'h str)>,
    ) -> Option<Headers> {
        let mut kept = headers
            .as_ref()
            .map(|all| (**all).clone())
            .unwrap_or_default();
        let before = kept.len();
        let used = kept.iter().map(|(name, value)| name.len() + value.len());
        let mut room = MAX_HEADERS.saturating_sub(used.sum());
        for (name, value) in emulated {
            let mut allowed = self.0.iter().flat_map(|one| &one.settings.headers);
            let known = allowed.find(|known| known.eq_ignore_ascii_case(name));
            if let Some(known) = known.filter(|known| !kept.contains_key(known.as_str())) {
                keep(&mut kept, &mut room, known, value);
            }
        }
        if kept.len() == before {
            return headers;
        }
        Some(Arc::new(kept))
    }

    /// In the Prometheus text format.
    pub(crate) fn render(&self) -> String {
        stats::render(&self.0)
    }
}

fn keep(kept: &mut BTreeMap<Box<str>, Box<str>>, room: &mut usize, name: &str, value: &str) {
    if let Some(left) = room.checked_sub(name.len() + value.len()) {
        *room = left;
        kept.insert(name.into(), value.into());
    }
}

impl Proxy {
    fn new(settings: Application) -> Result<Self, StartError> {
        let endpoint = |address: &crate::config::Address| {
            let cooldown = settings.breaker_cooldown();
            Endpoint::new(address.to_string(), settings.breaker_failures, cooldown)
        };
        let caller = Caller {
            transport: Http::new(&settings)?,
            endpoints: settings.endpoints.iter().map(endpoint).collect(),
            mode: settings.mode,
            patience: Patience {
                timeout: settings.timeout(),
                retries: settings.retries,
                backoff: settings.backoff(),
                backoff_max: settings.backoff_max(),
            },
        };
        Ok(Self {
            caller: Arc::new(caller),
            permits: Arc::new(Semaphore::new(settings.max_in_flight)),
            open: AtomicUsize::new(0),
            collector: Collector::default(),
            stats: Stats::default(),
            tokio: OnceLock::new(),
            settings,
        })
    }

    fn watch(&self) {
        if self.settings.health_path.is_empty() {
            return;
        }
        for index in 0..self.caller.endpoints.len() {
            let (caller, interval) = (self.caller.clone(), self.settings.health_interval());
            self.spawn(async move { caller.watch(index, interval).await });
        }
    }

    /// Only after the start is there anything to do.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tokio) = self.tokio.get() {
            tokio.spawn(task);
        }
    }

    /// Events of a client that may be unanswered at once.
    pub(crate) fn max_per_client(&self) -> u32 {
        self.settings.max_per_client
    }

    /// Whether what clients say is passed on in base64, whatever it is.
    pub(crate) fn is_binary(&self) -> bool {
        self.settings.binary
    }

    /// How long all that is tried about an event may take.
    pub(crate) fn total_timeout(&self) -> std::time::Duration {
        self.settings.total_timeout()
    }

    /// How long an answer takes at most.
    pub(crate) fn patience(&self) -> std::time::Duration {
        self.settings.total_timeout() + self.settings.batch_wait()
    }

    /// Those of the kept headers that are for this application.
    fn own(&self, headers: Option<&Headers>) -> Option<Headers> {
        let headers = headers?;
        let is_own = |name: &str| self.settings.headers.iter().any(|one| one == name);
        if headers.keys().all(|name| is_own(name)) {
            return Some(headers.clone());
        }
        let own = headers.iter().filter(|(name, _)| is_own(name));
        let own: BTreeMap<_, _> = own.map(|(n, v)| (n.clone(), v.clone())).collect();
        (!own.is_empty()).then(|| Arc::new(own))
    }

    /// Asks about an event; `tell` hears what is said, on another thread.
    pub(crate) fn ask<R: DeserializeOwned + 'static>(
        self: &Arc<Self>,
        event: Event,
        question: Vec<u8>,
        headers: Option<&Headers>,
        tell: impl FnOnce(Result<Said<R>, Failure>) + Send + 'static,
    ) -> Result<(), NotAsked> {
        if self.tokio.get().is_none() {
            return Err(NotAsked::Early);
        }
        let bound = self.settings.max_in_flight + self.settings.max_queued;
        if self.open.fetch_add(1, Ordering::Relaxed) >= bound {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.stats.full(event);
            return Err(NotAsked::Full);
        }
        let open = Open {
            proxy: self.clone(),
            question,
            headers: self.own(headers),
            tell: Box::new(move |said| tell(said.and_then(Said::parsed))),
        };
        if self.settings.batch_max > 1 {
            self.collect(event, open);
        } else {
            let letter = Letter::single(event, open.question.clone(), open.headers.clone());
            self.send(letter, vec![open]);
        }
        Ok(())
    }

    /// Sends a letter when there is room, and tells what is said.
    fn send(self: &Arc<Self>, letter: Letter, waiting: Vec<Open>) {
        let proxy = self.clone();
        let deadline = Instant::now() + self.settings.total_timeout();
        self.spawn(async move {
            let event = letter.event;
            let permit = timeout_at(deadline, proxy.permits.clone().acquire_owned()).await;
            let answers = match permit {
                Ok(Ok(_permit)) => proxy.caller.call(Arc::new(letter), deadline).await,
                Ok(Err(_closed)) => Err(Failure::GivenUp),
                Err(_elapsed) => Err(Failure::Timeout),
            };
            if let Err(failure) = &answers {
                tracing::debug!(
                    application = proxy.settings.name,
                    event = event.name(),
                    %failure,
                    "the application gave no answer"
                );
            }
            let mut answers = answers.map(Vec::into_iter);
            for open in waiting {
                let said = match &mut answers {
                    Ok(answers) => answers.next().ok_or(Failure::GivenUp),
                    Err(failure) => Err(failure.clone()),
                };
                proxy.stats.ended(event, &said);
                open.tell(said);
            }
        });
    }
}

impl Open {
    fn tell(mut self, said: Result<Said, Failure>) {
        let tell = std::mem::replace(&mut self.tell, Box::new(|_| {}));
        // Whoever hears it may ask again.
        drop(self);
        tell(said);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.proxy.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A number from 0 to 1, by chance.
fn chance() -> f64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    let low = u32::try_from(low & u64::from(u32::MAX)).unwrap_or(0);
    f64::from(low) / f64::from(u32::MAX)
}
