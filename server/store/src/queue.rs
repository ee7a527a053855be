//! What waits to be written, with bounds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Refused;
use crate::stats::Stats;

/// Entries of a batch at most, and their bytes: what a failed one repeats, and
/// how long the first of it waits for the last.
const BATCH: usize = 4096;
const BATCH_BYTES: usize = 8 << 20;

/// What an entry takes beside its bytes.
const ENTRY: usize = 128;

/// Something to be written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// Who is told.
    pub(crate) lane: usize,
    pub(crate) namespace: usize,
    pub(crate) channel: Arc<str>,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Publication {
        epoch: u64,
        offset: u64,
        /// Milliseconds since 1970.
        at: u64,
        body: Arc<str>,
    },
    /// All publications of the channel go; its position stays.
    Forget,
}

impl Entry {
    pub(crate) fn bytes(&self) -> usize {
        let body = match &self.what {
            What::Publication { body, .. } => body.len(),
            What::Forget => 0,
        };
        ENTRY + self.channel.len() + body
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
    most_bytes: usize,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Of those that wait and of those that are being written.
    count: usize,
    bytes: usize,
    last: u64,
    /// Nothing more is taken; what is here is written until then.
    closed: Option<Instant>,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    Write(Vec<Entry>),
    /// Nothing came in time.
    Idle,
    /// All is written, and nothing more comes.
    End,
}

impl Queue {
    pub(crate) fn new(most: usize, most_bytes: usize, stats: Arc<Stats>) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            most,
            most_bytes,
            stats,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an entry and gives it a number. A single one of any size is taken.
    pub(crate) fn push(&self, mut entry: Entry) -> Result<u64, Refused> {
        let bytes = entry.bytes();
        let mut state = self.lock();
        if state.closed.is_some() {
            return Err(Refused::Closed);
        }
        let no_room = state.bytes > 0 && state.bytes + bytes > self.most_bytes;
        if state.count >= self.most || no_room {
            self.stats.refused.add(1);
            return Err(Refused::Full);
        }
        state.last += 1;
        entry.seq = state.last;
        state.count += 1;
        state.bytes += bytes;
        self.show(&state);
        let sleeps = state.entries.is_empty();
        state.entries.push_back(entry);
        let seq = state.last;
        drop(state);
        if sleeps {
            self.changed.notify_one();
        }
        Ok(seq)
    }

    fn show(&self, state: &State) {
        self.stats.queued.set(state.count as u64);
        self.stats.queued_bytes.set(state.bytes as u64);
    }

    /// The next batch. Waits for it, but not beyond `patience`.
    pub(crate) fn take(&self, patience: Duration) -> Next {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.entries.is_empty() {
            if state.closed.is_some() {
                return Next::End;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Idle;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut batch = Vec::new();
        let mut room = BATCH_BYTES;
        while batch.len() < BATCH
            && let Some(entry) = state.entries.front()
            && (batch.is_empty() || entry.bytes() <= room)
        {
            room = room.saturating_sub(entry.bytes());
            batch.extend(state.entries.pop_front());
        }
        Next::Write(batch)
    }

    /// A batch is written: its room is free.
    pub(crate) fn written(&self, batch: &[Entry]) {
        let mut state = self.lock();
        state.count -= batch.len();
        state.bytes -= batch.iter().map(Entry::bytes).sum::<usize>();
        self.show(&state);
    }

    /// Waits before something is tried again; `false` when there is no time for
    /// another try.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.closed.is_some_and(|end| end <= now) {
                return false;
            }
            let next = state.closed.map_or(until, |end| end.min(until));
            let left = next.saturating_duration_since(now);
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes nothing more; what is here may be tried until then.
    pub(crate) fn close(&self, until: Instant) {
        let mut state = self.lock();
        let end = state.closed.map_or(until, |end| end.min(until));
        state.closed = Some(end);
        drop(state);
        self.changed.notify_all();
    }

    /// Entries that were taken and are not written.
    pub(crate) fn left(&self) -> usize {
        self.lock().count
    }
}
