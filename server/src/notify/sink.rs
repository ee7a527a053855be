//! One receiver of events: what it wants to hear, its queue, and its workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::StartError;
use super::deliver::{Closing, Complaints, deliver};
use super::event::{Event, Kinds};
use super::flood::Flood;
use super::mail::Postman;
use super::queue::{Batching, Queue};
use super::stats::Stats;
use super::webhook::{Delivery, Poster};
use crate::config::{Mail, SinkSettings, Smtp, Webhook};

/// A mail is about one event.
const ALONE: Batching = Batching {
    max: 1,
    wait: Duration::ZERO,
};

#[derive(Debug)]
pub(super) struct Sink {
    /// In the log.
    title: String,
    /// In the labels of its numbers.
    pub(super) label: String,
    pub(super) stats: Arc<Stats>,
    pub(super) queue: Queue,
    settings: SinkSettings,
    kinds: Kinds,
    complaints: Complaints,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Webhook(Box<Webhook>),
    Mail(Box<Letters>),
}

/// What mails are about, where they are handed in, and who had one.
#[derive(Debug)]
struct Letters {
    mail: Mail,
    smtp: Smtp,
    text_field: String,
    flood: Flood,
}

impl Sink {
    pub(super) fn webhook(settings: &Webhook) -> Self {
        let target = Target::Webhook(Box::new(settings.clone()));
        Self::new("webhook", &settings.sink, target)
    }

    pub(super) fn mail(settings: &Mail, smtp: &Smtp, text_field: &str) -> Self {
        let letters = Box::new(Letters {
            mail: settings.clone(),
            smtp: smtp.clone(),
            text_field: text_field.to_owned(),
            flood: Flood::new(settings.interval),
        });
        Self::new("mail", &settings.sink, Target::Mail(letters))
    }

    fn new(what: &str, settings: &SinkSettings, target: Target) -> Self {
        let stats = Arc::<Stats>::default();
        Self {
            title: format!("{what} {}", settings.name),
            label: format!("sink=\"{what}\",name=\"{}\"", settings.name),
            queue: Queue::new(settings.queue, settings.queue_bytes, stats.clone()),
            stats,
            kinds: settings.events.iter().copied().collect(),
            settings: settings.clone(),
            complaints: Complaints::default(),
            target,
        }
    }

    /// What it wants to hear of a namespace, or of what has none.
    pub(super) fn kinds(&self, namespace: Option<usize>) -> Kinds {
        let chosen = &self.settings.namespaces;
        let is_chosen = |namespace| chosen.is_empty() || chosen.contains(&namespace);
        if namespace.is_none_or(is_chosen) {
            self.kinds
        } else {
            Kinds::default()
        }
    }

    /// Takes an event that it wants to hear, or counts why not. Never waits.
    pub(super) fn offer(&self, event: &Arc<Event>, namespace: Option<usize>) {
        if !self.kinds(namespace).has(event.kind) {
            return;
        }
        let Target::Mail(letters) = &self.target else {
            self.queue.push(event);
            return;
        };
        let Some(to) = letters.mail.to.address(event.addressee()) else {
            self.stats.refused.add(1);
            return;
        };
        let (flood, channel) = (&letters.flood, &event.channel);
        if !flood.admit(to.as_ref(), channel, Instant::now()) {
            self.stats.held_back.add(1);
        } else if !self.queue.push(event) {
            flood.forgive(to.as_ref(), channel);
        }
    }

    /// Starts its workers.
    pub(super) fn start(
        self: &Arc<Self>,
        closing: &Arc<Closing>,
        runtime: &Handle,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let failed = |source| StartError {
            sink: self.title.clone(),
            source,
        };
        let workers = 0..self.settings.workers;
        Ok(match &self.target {
            Target::Webhook(settings) => {
                let poster = Poster::new(settings).map_err(|error| failed(error.into()))?;
                let poster = Arc::new(poster);
                let batching = Batching {
                    max: settings.batch_max,
                    wait: settings.batch_wait,
                };
                let work = |_| self.clone().post(poster.clone(), batching, closing.clone());
                workers.map(work).map(|work| runtime.spawn(work)).collect()
            }
            Target::Mail(letters) => {
                // Connections that nobody uses are closed by a task.
                let _entered = runtime.enter();
                let postman = |_| {
                    let made = Postman::new(&letters.mail, &letters.smtp, &letters.text_field);
                    made.map_err(|error| failed(error.into()))
                };
                let postmen: Result<Vec<_>, _> = workers.map(postman).collect();
                let work = |postman| self.clone().mail_out(postman, closing.clone());
                let work = postmen?.into_iter().map(work);
                work.map(|work| runtime.spawn(work)).collect()
            }
        })
    }

    async fn post(self: Arc<Self>, poster: Arc<Poster>, batching: Batching, closing: Arc<Closing>) {
        while let Some(batch) = self.queue.batch(batching).await {
            let delivery = Delivery::new(&batch);
            let attempt = || poster.post(&delivery);
            let (backoff, stats) = (self.settings.backoff, &self.stats);
            let outcome = deliver(backoff, &closing, stats, attempt).await;
            self.settle(&batch, outcome);
        }
    }

    async fn mail_out(self: Arc<Self>, postman: Postman, closing: Arc<Closing>) {
        while let Some(batch) = self.queue.batch(ALONE).await {
            for event in &batch {
                let outcome = match postman.write(event) {
                    Some(mail) => {
                        let attempt = || postman.send(&mail);
                        let (backoff, stats) = (self.settings.backoff, &self.stats);
                        deliver(backoff, &closing, stats, attempt).await
                    }
                    None => Err("it can not be written".into()),
                };
                self.settle(std::slice::from_ref(event), outcome);
            }
        }
    }

    /// Counts what became of events.
    fn settle(&self, events: &[Arc<Event>], outcome: Result<(), String>) {
        self.stats.underway.sub(events.len());
        let Err(why) = outcome else {
            let began = events.iter().map(|event| event.began);
            began.for_each(|began| self.stats.delivered(began.elapsed()));
            return;
        };
        self.stats.failed.add(events.len());
        if let Target::Mail(letters) = &self.target {
            for event in events {
                if let Some(to) = letters.mail.to.address(event.addressee()) {
                    letters.flood.forgive(to.as_ref(), &event.channel);
                }
            }
        }
        let now = tokio::time::Instant::now();
        if let Some(failed) = self.complaints.due(events.len(), now) {
            let sink = &*self.title;
            tracing::warn!(sink, failed, why, "notifications are not delivered");
        }
    }
}
