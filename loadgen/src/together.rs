//! What the runs of this process have in common: when they start, and why they
//! end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hioload_platform::Nanos;
use hioload_platform::clock::Clock;

/// From the last handshake to the first message: time for the server's shards
/// to learn of the last subscription, and for every thread to be woken.
const SETTLE: Nanos = 200_000_000;

/// What a run is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// All runs are ready; this is when they start.
    Start(Nanos),
    /// A signal asks to end now and report.
    Stop,
    /// Another run could not take place; give up.
    Abort,
    /// How many messages each publisher sent, those of other processes as well.
    Published(Arc<[u64]>),
}

type Tell = Box<dyn Fn(News) + Send>;
type Gate = Box<dyn Fn() + Send + Sync>;

/// Runs that start at the same time, and again at the same time when each
/// entered anew.
pub(crate) struct Together {
    runs: usize,
    clock: Clock,
    /// Called instead of starting when all are ready.
    gate: Option<Gate>,
    state: Mutex<State>,
}

/// Who is there, and what those who come later have to hear.
#[derive(Default)]
struct State {
    listeners: Vec<(u64, Tell)>,
    entered: u64,
    ready: usize,
    interrupted: bool,
    failed: bool,
}

/// One run's place; a run that leaves it without having been ready fails the
/// others, who would wait for it forever.
pub(crate) struct Place<'a> {
    together: &'a Together,
    id: u64,
    ready: bool,
}

impl Together {
    /// For so many runs.
    pub(crate) fn new(runs: usize) -> Self {
        Self {
            runs,
            clock: Clock::new(),
            gate: None,
            state: Mutex::default(),
        }
    }

    /// For one run that starts when [`start`](Self::start) says so, some time
    /// after `ready` was called.
    pub(crate) fn gated(ready: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            gate: Some(Box::new(ready)),
            ..Self::new(1)
        }
    }

    /// All start soon.
    pub(crate) fn start(&self) {
        self.tell(&News::Start(self.clock.now() + SETTLE));
    }

    /// Tells all runs.
    pub(crate) fn tell(&self, news: &News) {
        self.lock().tell(news);
    }

    /// All give up, those to come as well.
    pub(crate) fn abort(&self) {
        let mut state = self.lock();
        if !state.failed {
            state.failed = true;
            state.tell(&News::Abort);
        }
    }

    /// A run that hears through `tell` of what concerns all.
    pub(crate) fn enter(&self, tell: impl Fn(News) + Send + 'static) -> Place<'_> {
        let mut state = self.lock();
        if state.interrupted {
            tell(News::Stop);
        }
        if state.failed {
            tell(News::Abort);
        }
        state.entered += 1;
        let id = state.entered;
        state.listeners.push((id, Box::new(tell)));
        Place {
            together: self,
            id,
            ready: false,
        }
    }

    /// Ends all runs, those to come as well.
    pub(crate) fn interrupt(&self) {
        let mut state = self.lock();
        state.interrupted = true;
        state.tell(&News::Stop);
    }

    /// Whether a signal has arrived.
    pub(crate) fn interrupted(&self) -> bool {
        self.lock().interrupted
    }

    /// Nothing is done under the lock that could leave the state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&self, news: &News) {
        for (_, tell) in &self.listeners {
            tell(news.clone());
        }
    }
}

impl Place<'_> {
    /// All connections of this run are open. The last run to say so decides
    /// when all start.
    pub(crate) fn ready(&mut self) {
        self.ready = true;
        let mut state = self.together.lock();
        state.ready += 1;
        if state.ready < self.together.runs {
            return;
        }
        state.ready = 0;
        drop(state);
        match &self.together.gate {
            Some(gate) => gate(),
            None => self.together.start(),
        }
    }

    /// This run can not go on; the others give up.
    pub(crate) fn fail(&self) {
        self.together.abort();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.ready {
            self.fail();
        }
        let id = self.id;
        self.together.lock().listeners.retain(|other| other.0 != id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn enter(together: &Together) -> (Place<'_>, Receiver<News>) {
        let (tell, told) = channel();
        let place = together.enter(move |news| tell.send(news).unwrap_or_default());
        (place, told)
    }

    fn heard(told: &Receiver<News>) -> Vec<News> {
        told.try_iter().collect()
    }

    #[test]
    fn all_start_at_the_same_time_once_the_last_is_ready() {
        let together = Together::new(2);
        for _round in 0..2 {
            let ((mut one, to_one), (mut other, to_other)) = (enter(&together), enter(&together));
            one.ready();
            assert_eq!(heard(&to_one), []);
            other.ready();
            let news = heard(&to_one);
            assert!(matches!(news[..], [News::Start(_)]), "{news:?}");
            assert_eq!(heard(&to_other), news);
        }
    }

    #[test]
    fn who_leaves_without_being_ready_fails_the_others() {
        let together = Together::new(2);
        let (mut one, told) = enter(&together);
        one.ready();
        drop(enter(&together));
        assert_eq!(heard(&told), [News::Abort]);
        assert_eq!(heard(&enter(&together).1), [News::Abort]);
    }

    #[test]
    fn a_gate_holds_the_start_back() {
        let (tell, told) = channel();
        let together = Together::gated(move || tell.send(()).unwrap_or_default());
        let (mut place, news) = enter(&together);
        place.ready();
        assert_eq!((told.try_iter().count(), heard(&news)), (1, vec![]));
        together.start();
        assert!(matches!(heard(&news)[..], [News::Start(_)]));
    }

    #[test]
    fn an_interrupt_reaches_those_who_come_later() {
        let together = Together::new(1);
        let (mut one, told) = enter(&together);
        one.ready();
        together.interrupt();
        assert!(matches!(heard(&told)[..], [News::Start(_), News::Stop]));
        drop(one);
        assert_eq!(heard(&enter(&together).1), [News::Stop]);
        assert!(together.interrupted());
    }
}
