//! Notifications: what happens in the chat, told to the application by HTTP
//! and to people by mail.
//!
//! Shards put events into the bounded queues of sinks and never wait; workers
//! on the [`Bridge`](crate::bridge::Bridge) deliver them, at least once: who
//! receives an event a second time knows it by its id.

mod deliver;
mod event;
mod flood;
mod mail;
mod mentions;
mod queue;
mod sign;
mod sink;
mod stats;
mod template;
mod webhook;

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::chat::{Rules, unix_millis};
use crate::config::NotifySettings;
pub(crate) use deliver::Backoff;
use deliver::Closing;
pub(crate) use event::Kind;
use event::{Data, Event, Kinds};
use mentions::mentioned;
use sink::Sink;
pub(crate) use template::Template;

/// A sink can not begin.
#[derive(Debug, Error)]
#[error("notifications to {sink}: {source}")]
pub(crate) struct StartError {
    sink: String,
    source: Box<dyn Error + Send + Sync>,
}

/// Where shards say what happens. Cheap to clone; while nobody wants to hear
/// anything, to say it is a branch.
#[derive(Clone, Default)]
pub(crate) struct Notices(Option<Arc<Inner>>);

struct Inner {
    sinks: Vec<Arc<Sink>>,
    /// What anybody wants to hear, by namespace.
    wanted: Vec<Kinds>,
    /// And of what is about no channel.
    wanted_elsewhere: Kinds,
    mention_field: String,
    /// Know who has a connection.
    rules: Rules,
    /// Begins the ids of this run's events.
    run: String,
    next: AtomicU64,
    flush: Duration,
    closing: Arc<Closing>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// Who does something, and where.
#[derive(Clone, Debug)]
pub(crate) struct Doer {
    /// Empty: in none.
    pub(crate) channel: Arc<str>,
    /// Empty: nobody in particular, or the application.
    pub(crate) user: Arc<str>,
    pub(crate) client: Arc<str>,
}

impl Doer {
    pub(crate) fn application(channel: &str) -> Self {
        Self {
            channel: channel.into(),
            user: "".into(),
            client: "".into(),
        }
    }
}

/// A publication that somebody may want to hear of, once it is made.
pub(crate) struct Notice {
    inner: Arc<Inner>,
    namespace: usize,
    by: Doer,
    data: Arc<Data>,
}

impl Notices {
    /// For the chat that goes by these rules.
    pub(crate) fn new(settings: &NotifySettings, rules: &Rules) -> Self {
        if !settings.is_on() {
            return Self::default();
        }
        let mut sinks: Vec<_> = settings.webhooks.iter().map(Sink::webhook).collect();
        let mails = settings.mails.iter().zip(settings.smtp.iter().cycle());
        sinks.extend(mails.map(|(mail, smtp)| Sink::mail(mail, smtp, &settings.text_field)));
        let wanted = |namespace| {
            let kinds = sinks.iter().map(|sink: &Sink| sink.kinds(namespace));
            kinds.fold(Kinds::default(), Kinds::and)
        };
        Self(Some(Arc::new(Inner {
            wanted: (0..rules.settings().namespaces.len())
                .map(|one| wanted(Some(one)))
                .collect(),
            wanted_elsewhere: wanted(None),
            sinks: sinks.into_iter().map(Arc::new).collect(),
            mention_field: settings.mention_field.clone(),
            rules: rules.clone(),
            run: Uuid::new_v4().simple().to_string(),
            next: AtomicU64::new(1),
            flush: settings.flush,
            closing: Arc::default(),
            workers: Mutex::default(),
        })))
    }

    /// Whether there is anybody to be told.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Starts to deliver.
    pub(crate) fn start(&self, runtime: &Handle) -> Result<(), StartError> {
        let Some(inner) = &self.0 else {
            return Ok(());
        };
        for sink in &inner.sinks {
            let started = sink.start(&inner.closing, runtime)?;
            inner.workers().extend(started);
        }
        Ok(())
    }

    /// Takes nothing more, and delivers what there is for as long as the
    /// settings say, and as the server may take to stop.
    pub(crate) fn close(&self, runtime: &Handle, patience: Duration) {
        let Some(inner) = &self.0 else {
            return;
        };
        inner.sinks.iter().for_each(|sink| sink.queue.close());
        inner.closing.begin();
        let workers = std::mem::take(&mut *inner.workers());
        let patience = patience.min(inner.flush);
        let flush = async {
            for worker in workers {
                if let Err(error) = worker.await {
                    tracing::error!(%error, "a worker of notifications has failed");
                }
            }
        };
        // Within the runtime, whose clock it goes by.
        let flushed = runtime.block_on(async { timeout(patience, flush).await });
        let left: u64 = inner.sinks.iter().map(|sink| sink.stats.left()).sum();
        if flushed.is_err() || left > 0 {
            tracing::warn!(
                left,
                "the server stops before all notifications are delivered"
            );
        }
    }

    /// In the Prometheus text format.
    pub(crate) fn metrics(&self) -> Option<String> {
        let sinks = self.0.as_ref()?.sinks.iter();
        let sinks: Vec<_> = sinks.map(|sink| (&*sink.label, &*sink.stats)).collect();
        Some(stats::render(&sinks))
    }

    /// Something has happened that is no publication, in a channel of this
    /// namespace.
    pub(crate) fn tell(&self, kind: Kind, namespace: Option<usize>, by: impl FnOnce() -> Doer) {
        if let Some(inner) = &self.0
            && inner.wanted(namespace).has(kind)
        {
            inner.tell(kind, namespace, by(), "", None);
        }
    }

    /// Something is about to be published. `None`: nobody wants to hear of it.
    pub(crate) fn publication(
        &self,
        namespace: usize,
        by: impl FnOnce() -> Doer,
        data: &[u8],
    ) -> Option<Notice> {
        let inner = self.0.as_ref()?;
        let wanted = inner.wanted(Some(namespace));
        let is_heard = wanted.has(Kind::Publish) || wanted.has(Kind::Mention);
        is_heard.then(|| Notice {
            inner: inner.clone(),
            namespace,
            by: by(),
            data: Arc::new(Data::new(data)),
        })
    }
}

impl Inner {
    fn wanted(&self, namespace: Option<usize>) -> Kinds {
        match namespace {
            Some(namespace) => self.wanted[namespace],
            None => self.wanted_elsewhere,
        }
    }

    fn tell(
        &self,
        kind: Kind,
        namespace: Option<usize>,
        by: Doer,
        mentioned: &str,
        data: Option<Arc<Data>>,
    ) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let event = Arc::new(Event {
            kind,
            id: format!("{}-{number}", self.run),
            time: unix_millis(),
            began: Instant::now(),
            channel: by.channel,
            user: by.user,
            client: by.client,
            mentioned: mentioned.into(),
            data,
        });
        for sink in &self.sinks {
            sink.offer(&event, namespace);
        }
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notice {
    /// It is made, if anybody wants to hear of it.
    pub(crate) fn made(notice: Option<Self>) {
        if let Some(notice) = notice {
            notice.tell();
        }
    }

    fn tell(self) {
        let Self {
            inner,
            namespace,
            by,
            data,
        } = self;
        let place = Some(namespace);
        let wanted = inner.wanted(place);
        if wanted.has(Kind::Publish) {
            inner.tell(Kind::Publish, place, by.clone(), "", Some(data.clone()));
        }
        if !wanted.has(Kind::Mention) {
            return;
        }
        for user in mentioned(&data, &inner.mention_field) {
            if !inner.rules.is_connected(&user) {
                inner.tell(Kind::Mention, place, by.clone(), &user, Some(data.clone()));
            }
        }
    }
}

#[cfg(test)]
mod testing {
    /// Runs to its end what waits, without waiting.
    pub(super) fn paused<T>(work: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(work)
    }
}
