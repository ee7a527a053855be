//! The tasks' part of a turn.

use std::rc::Rc;

use hioload_protocol::CloseCode;

use super::core::ShardCore;
use crate::app::{App, Conn};
use crate::task::{Ended, POLLS_PER_TURN, Port};

impl<A: App> ShardCore<A> {
    /// Polls the tasks that were woken, does what they want, and again while
    /// that wakes others; up to a bound of polls.
    pub(crate) fn run_tasks(&mut self) {
        if self.cx.tasks.local().is_ready() {
            self.poll_tasks(POLLS_PER_TURN);
        }
        let tasks = self.cx.tasks.local();
        let metrics = self.cx.metrics();
        metrics.tasks.set(tasks.len() as u64);
        let panicked = tasks.take_panicked();
        if panicked > 0 {
            metrics.tasks_panicked.add(panicked);
        }
    }

    /// Before the end of the turn, when much waits for tasks: those that are
    /// ready, each once.
    #[inline]
    pub(super) fn relieve_tasks(&mut self) {
        if self.cx.tasks.local().is_crowded() {
            self.poll_tasks(self.cx.tasks.local().ready());
        }
    }

    #[inline(never)]
    fn poll_tasks(&mut self, most: usize) {
        let tasks = Rc::clone(self.cx.tasks.local());
        let mut polls = 0;
        while tasks.is_ready() {
            let before = polls;
            let ended = tasks.poll(&mut polls, most);
            let mut touched = tasks.take_touched();
            for port in touched.drain(..) {
                self.carry_out(&port);
            }
            tasks.keep_touched(touched);
            for ask in tasks.take_asked() {
                ask(&mut self.cx);
            }
            match ended {
                Some(ended) => self.task_ended(ended),
                // All polls of this turn are used up.
                None if polls == before => break,
                None => {}
            }
        }
    }

    fn carry_out(&mut self, port: &Port) {
        let entry = self.slab.get(port.token());
        let Some(entry) = entry.filter(|entry| entry.link.is_open()) else {
            return port.give_up();
        };
        port.apply(&mut Conn {
            link: &mut entry.link,
            cx: &mut self.cx,
        });
        self.deliver();
    }

    fn task_ended(&mut self, ended: Ended) {
        let (port, code, reason) = match ended {
            Ended::Returned(port, Ok(())) => (port, CloseCode::NORMAL, ""),
            Ended::Returned(port, Err(error)) => {
                if port.closed().is_none() {
                    self.cx.metrics().tasks_failed.add(1);
                    tracing::warn!(%error, shard = self.cx.shard, "a connection's task failed");
                }
                (port, CloseCode::INTERNAL, "internal error")
            }
            Ended::Panicked(None) => return,
            Ended::Panicked(Some(port)) => (port, CloseCode::INTERNAL, "internal error"),
        };
        self.with_open(port.token(), |link, cx| link.close(code, reason, cx));
    }
}
