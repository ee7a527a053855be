//! The thread that writes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{Durability, StorageBackend};

use crate::ledger::{Done, Ledger};
use crate::options::{Options, Sync};
use crate::queue::{Entry, Next, Queue};
use crate::rewriting::{Rewriting, Unsynced};
use crate::stats::Stats;
use crate::store::Listeners;

/// Before the first retry; each next one waits twice as long, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(5);

/// Between looks for what has expired, while nothing is written.
const SWEEP: Duration = Duration::from_secs(5);

/// Entries that are told to be safe before the disk has them, and their bytes:
/// what is written again after an error.
const LOOSE: usize = 16_384;
const LOOSE_BYTES: usize = 32 << 20;

/// The ledger; `None` while it is opened again.
pub(crate) type Shared = Arc<RwLock<Option<Ledger>>>;

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

pub(crate) struct Writer<M> {
    pub(crate) options: Options,
    pub(crate) ledger: Shared,
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) listeners: Arc<Listeners>,
    /// What is opened again after an error.
    pub(crate) medium: M,
    pub(crate) unsynced: Unsynced,
    /// Entries that the disk may not have, and how many of them are in the
    /// ledger as it is open now.
    pub(crate) loose: Vec<Entry>,
    pub(crate) applied: usize,
    pub(crate) synced: Instant,
}

/// How the thread has ended: with what the last try came to, if not all of it
/// was written.
pub(crate) type Ended = Result<(), String>;

impl<B, M> Writer<M>
where
    B: StorageBackend,
    M: FnMut() -> io::Result<B>,
{
    pub(crate) fn run(mut self) -> Ended {
        loop {
            match self.queue.take(self.patience()) {
                Next::Write(batch) => self.write(&batch)?,
                Next::Idle => self.idle()?,
                Next::End => return self.end(),
            }
        }
    }

    /// How long nothing has to be done if nothing comes.
    fn patience(&self) -> Duration {
        match self.options.sync {
            Sync::Interval(every) if !self.loose.is_empty() => {
                every.saturating_sub(self.synced.elapsed())
            }
            _ => SWEEP,
        }
    }

    /// Writes a batch, however often it takes, and tells those who wait for it.
    fn write(&mut self, batch: &[Entry]) -> Ended {
        let began = Instant::now();
        self.loose.extend_from_slice(batch);
        let durability = match self.options.sync {
            Sync::Interval(every) if self.synced.elapsed() < every && self.may_be_loose() => {
                Durability::None
            }
            _ => Durability::Immediate,
        };
        self.commit(durability)?;
        self.stats.took(began.elapsed());
        self.stats.batches.add(1);
        self.stats.written.add(batch.len() as u64);
        self.queue.written(batch);
        let mut lanes = BTreeMap::new();
        for entry in batch {
            lanes.insert(entry.lane, entry.seq);
        }
        for (lane, seq) in lanes {
            self.listeners.tell(lane, seq);
        }
        Ok(())
    }

    fn may_be_loose(&self) -> bool {
        let bytes = || self.loose.iter().map(Entry::bytes).sum::<usize>();
        self.loose.len() < LOOSE && bytes() < LOOSE_BYTES
    }

    /// Syncs what waits for it, and gives up what has expired.
    fn idle(&mut self) -> Ended {
        let due = || {
            let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
            let ledger = ledger.as_ref()?;
            ledger.is_due(now(), self.options.max_size).ok()
        };
        if !self.loose.is_empty() || due() != Some(false) {
            self.commit(Durability::Immediate)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Ended {
        if !self.loose.is_empty() {
            self.commit(Durability::Immediate)?;
        }
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        let closed = ledger.as_ref().map_or(Ok(()), Ledger::close);
        closed.map_err(|error| error.to_string())
    }

    /// Writes what is loose, with retries.
    fn commit(&mut self, durability: Durability) -> Ended {
        let mut pause = SHORTEST;
        loop {
            let error = match self.attempt(durability) {
                Ok(done) => {
                    self.stats.expired.add(done.expired as u64);
                    self.stats.kept_bytes.set(done.bytes);
                    self.applied = self.loose.len();
                    if matches!(durability, Durability::Immediate) {
                        self.loose.clear();
                        self.applied = 0;
                        self.synced = Instant::now();
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            self.stats.failures.add(1);
            tracing::error!(
                path = %self.options.path.display(),
                %error,
                waiting = self.queue.left(),
                "the store could not be written; publications wait for the next try"
            );
            if !self.queue.pause(pause) {
                return Err(error.to_string());
            }
            pause = (2 * pause).min(LONGEST);
            self.stats.retries.add(1);
        }
    }

    fn attempt(&mut self, durability: Durability) -> Result<Done, redb::Error> {
        let mut ledger = self.ledger.write().unwrap_or_else(PoisonError::into_inner);
        if ledger.is_none() {
            let backend = (self.medium)()?;
            let backend = Rewriting::new(backend, self.unsynced.clone(), Arc::clone(&self.stats));
            *ledger = Some(Ledger::open(backend, false)?);
        }
        let Some(open) = ledger.as_mut() else {
            return Err(io::Error::other("the store is not open").into());
        };
        let entries = &self.loose[self.applied..];
        let written = open.write(entries, &self.options, now(), durability);
        if written.is_err() {
            // After an error the database takes nothing more until it is opened
            // again, and what no sync has confirmed may be gone from it.
            *ledger = None;
            self.applied = 0;
        }
        written
    }
}
