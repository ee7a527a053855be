//! Calls with an idempotency key, done once: whoever calls again with the same
//! key for the same channel gets the first result, also while that is on its
//! way. Kept on the channel's home, through which all its publications go.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hioload::Nanos;
use hioload_centrifugo::Error;

use super::Back;
use super::answer::Done;

/// How long a result is known.
const TTL: Duration = Duration::from_secs(300);

/// Results that a shard knows at most, some 40 MiB of the longest names; the
/// oldest is forgotten for one more.
const MAX_RESULTS: usize = 1 << 16;

/// Bytes of a key at most.
pub(super) const MAX_KEY: usize = 255;

/// Calls that wait for the result of another one at most.
const MAX_WAITING: usize = 1024;

/// The results, each known by its channel and key.
#[derive(Debug, Default)]
pub(in crate::chat) struct Once {
    results: HashMap<Arc<str>, Cell>,
    /// Oldest first, with the end of each. One that was replaced is still here.
    ends: VecDeque<(Nanos, Arc<str>, Cell)>,
}

/// A result that is there or on its way. Only its shard looks into it, but what
/// goes to other shards may hold it.
#[derive(Clone)]
pub(super) struct Cell(Arc<Mutex<State>>);

enum State {
    /// These wait.
    Pending(Vec<Back>),
    Done(Done),
    /// It may be tried again.
    Failed,
}

impl Once {
    /// Whether a call is to be done: it is given back, and keeps its result
    /// here. Otherwise it is answered from here. An empty key is none.
    pub(super) fn begin(
        &mut self,
        now: Nanos,
        channel: &str,
        key: &str,
        mut back: Back,
    ) -> Option<Back> {
        if key.is_empty() {
            return Some(back);
        }
        self.forget(now);
        // No channel's name holds it.
        let name: Arc<str> = format!("{channel}\0{key}").into();
        if let Some(cell) = self.results.get(&name) {
            back = cell.join(back)?;
        }
        let cell = Cell(Arc::new(Mutex::new(State::Pending(Vec::new()))));
        let ttl = u64::try_from(TTL.as_nanos()).unwrap_or(u64::MAX);
        let end = now.saturating_add(ttl);
        self.ends.push_back((end, name.clone(), cell.clone()));
        self.results.insert(name, cell.clone());
        back.once = Some(cell);
        Some(back)
    }

    /// Forgets what is too old, and makes room for one more.
    fn forget(&mut self, now: Nanos) {
        while let Some((end, ..)) = self.ends.front()
            && (*end <= now || self.ends.len() >= MAX_RESULTS)
            && let Some((_, name, cell)) = self.ends.pop_front()
        {
            let is_current = self.results.get(&name).is_some_and(|one| one.is(&cell));
            if is_current {
                self.results.remove(&name);
            }
        }
    }
}

impl Cell {
    /// Answers a call with the result, now or later. Gives it back if it is to
    /// be done.
    fn join(&self, back: Back) -> Option<Back> {
        let done = match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Failed => return Some(back),
            State::Pending(waiting) if waiting.len() < MAX_WAITING => {
                waiting.push(back);
                return None;
            }
            State::Pending(_) => Done::Failed(Error::TooManyRequests),
            State::Done(done) => done.clone(),
        };
        back.tell(done);
        None
    }

    /// The result is there; who waits for it.
    pub(super) fn finish(&self, done: &Done) -> Vec<Back> {
        let state = match done {
            Done::Failed(_) => State::Failed,
            done => State::Done(done.clone()),
        };
        let mut locked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *locked, state) {
            State::Pending(waiting) => waiting,
            State::Done(_) | State::Failed => Vec::new(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cell")
    }
}
