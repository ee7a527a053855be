//! Events that go together: those of one kind within a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wire::Letter;
use super::{Open, Proxy};
use crate::config::Event;

/// Bytes of questions in a batch after which it goes, full or not.
const MAX_BYTES: usize = 1 << 20;

/// What waits to go, by kind.
#[derive(Default)]
pub(super) struct Collector(Mutex<HashMap<Event, Batch>>);

#[derive(Default)]
struct Batch {
    waiting: Vec<Open>,
    bytes: usize,
    /// Batches of this kind that have gone: a timer is for one of them.
    gone: u64,
}

impl Batch {
    fn take(&mut self) -> Vec<Open> {
        self.gone += 1;
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

impl Collector {
    fn batches(&self) -> MutexGuard<'_, HashMap<Event, Batch>> {
        // What a panic left behind is a batch that goes later.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Sends an event with others: when there are enough, or the first of them
    /// has waited long enough.
    pub(super) fn collect(self: &Arc<Self>, event: Event, open: Open) {
        let (full, timed) = {
            let mut batches = self.collector.batches();
            let batch = batches.entry(event).or_default();
            batch.bytes += open.question.len();
            batch.waiting.push(open);
            let is_full =
                batch.waiting.len() >= self.settings.batch_max || batch.bytes >= MAX_BYTES;
            let is_first = batch.waiting.len() == 1;
            let full = if is_full { batch.take() } else { Vec::new() };
            (full, (is_first && !is_full).then_some(batch.gone))
        };
        self.send_batch(event, full);
        let Some(gone) = timed else {
            return;
        };
        let proxy = self.clone();
        self.spawn(async move {
            tokio::time::sleep(proxy.settings.batch_wait()).await;
            let late = {
                let mut batches = proxy.collector.batches();
                let batch = batches.get_mut(&event).filter(|batch| batch.gone == gone);
                batch.map(Batch::take).unwrap_or_default()
            };
            proxy.send_batch(event, late);
        });
    }

    fn send_batch(self: &Arc<Self>, event: Event, waiting: Vec<Open>) {
        if waiting.is_empty() {
            return;
        }
        let questions = waiting.iter();
        let questions = questions.map(|open| (&*open.question, open.headers.as_ref()));
        let letter = Letter::batch(event, questions);
        self.send(letter, waiting);
    }
}
