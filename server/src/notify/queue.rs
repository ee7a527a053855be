//! What waits for a sink: events from any shard, taken by its workers.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use super::event::Event;
use super::stats::Stats;

/// Bytes of events after which a batch is not made larger.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Bounded in events and bytes. When it is full the newest event is dropped:
/// whoever has something to tell never waits.
#[derive(Debug)]
pub(super) struct Queue {
    /// `None`: nothing is taken any more.
    intake: RwLock<Option<Sender<Arc<Event>>>>,
    outlet: Mutex<Receiver<Arc<Event>>>,
    max_bytes: usize,
    stats: Arc<Stats>,
}

/// How events are put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    /// Events of a batch at most.
    pub(super) max: usize,
    /// From the first event to the last one.
    pub(super) wait: Duration,
}

impl Queue {
    pub(super) fn new(max: usize, max_bytes: usize, stats: Arc<Stats>) -> Self {
        let (intake, outlet) = mpsc::channel(max);
        Self {
            intake: RwLock::new(Some(intake)),
            outlet: Mutex::new(outlet),
            max_bytes,
            stats,
        }
    }

    /// Takes an event, or drops and counts it. `false`: it was dropped.
    pub(super) fn push(&self, event: &Arc<Event>) -> bool {
        let intake = self.intake.read().unwrap_or_else(PoisonError::into_inner);
        let stats = &self.stats;
        let size = event.size();
        let place = intake.as_ref().and_then(|intake| intake.try_reserve().ok());
        match place {
            Some(place) if stats.queued_bytes.add_within(size, self.max_bytes) => {
                stats.queued.add(1);
                place.send(event.clone());
                true
            }
            _ => {
                stats.dropped.add(1);
                false
            }
        }
    }

    /// From now on events are dropped; those that are there can be taken.
    pub(super) fn close(&self) {
        let mut intake = self.intake.write().unwrap_or_else(PoisonError::into_inner);
        *intake = None;
    }

    /// The next events, in order. `None`: the queue is closed and empty.
    pub(super) async fn batch(&self, batching: Batching) -> Option<Vec<Arc<Event>>> {
        // Held while a batch is put together, so that two workers do not share
        // out what one request could carry.
        let mut outlet = self.outlet.lock().await;
        let first = outlet.recv().await?;
        let mut bytes = self.taken(&first);
        let mut batch = vec![first];
        let until = Instant::now() + batching.wait;
        while batch.len() < batching.max && bytes < MAX_BATCH_BYTES {
            // At the deadline what is there already is taken all the same.
            let Ok(Some(event)) = timeout_at(until, outlet.recv()).await else {
                break;
            };
            bytes += self.taken(&event);
            batch.push(event);
        }
        Some(batch)
    }

    fn taken(&self, event: &Event) -> usize {
        let size = event.size();
        self.stats.underway.add(1);
        self.stats.queued.sub(1);
        self.stats.queued_bytes.sub(size);
        size
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::testing::event;
    use super::super::testing::paused;
    use super::*;

    const BATCHING: Batching = Batching {
        max: 3,
        wait: Duration::from_millis(200),
    };

    fn queue(max: usize, max_bytes: usize) -> Queue {
        Queue::new(max, max_bytes, Arc::default())
    }

    async fn ids(queue: &Queue) -> Option<Vec<String>> {
        let batch = queue.batch(BATCHING).await?;
        Some(batch.iter().map(|event| event.id.clone()).collect())
    }

    #[test]
    fn a_batch_goes_when_it_is_full_or_its_time_has_come() {
        paused(async {
            let queue = queue(10, 1 << 20);
            for n in 0..4 {
                assert!(queue.push(&event(n, "0")));
            }
            let began = Instant::now();
            assert_eq!(ids(&queue).await.unwrap(), ["run-0", "run-1", "run-2"]);
            assert_eq!(began.elapsed(), Duration::ZERO, "a full one does not wait");
            assert_eq!(ids(&queue).await.unwrap(), ["run-3"]);
            assert_eq!(began.elapsed(), BATCHING.wait);
        });
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_it() {
        paused(async {
            let few = queue(2, 1 << 20);
            assert_eq!(
                [0, 1, 2].map(|n| few.push(&event(n, "0"))),
                [true, true, false]
            );
            assert_eq!((few.stats.queued.get(), few.stats.dropped.get()), (2, 1));
            assert_eq!(ids(&few).await.unwrap(), ["run-0", "run-1"]);
            assert!(few.push(&event(3, "0")), "there is room again");

            let size = event(0, "0").size();
            let small = queue(10, 2 * size);
            assert_eq!(
                [0, 1, 2].map(|n| small.push(&event(n, "0"))),
                [true, true, false]
            );
            assert_eq!(small.stats.queued_bytes.get(), 2 * size as u64);
            ids(&small).await.unwrap();
            assert_eq!(small.stats.queued_bytes.get(), 0);
            assert_eq!(small.stats.underway.get(), 2);
        });
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        paused(async {
            let queue = queue(10, 1 << 20);
            queue.push(&event(0, "0"));
            queue.close();
            assert!(!queue.push(&event(1, "0")));
            let began = Instant::now();
            assert_eq!(ids(&queue).await.unwrap(), ["run-0"]);
            assert_eq!(ids(&queue).await, None);
            assert_eq!(began.elapsed(), Duration::ZERO, "nothing more can come");
        });
    }
}
