//! One wait: poll, serve what is over, receive and accept what is due.

use std::io;
use std::time::Duration;

use compio_buf::BufResult;
use compio_driver::{Key, OpCode, PushEntry};

use super::CompioDriver;
use super::finished::{Kind, Tag};
use super::system;
use super::table::{Flags, Role};
use crate::clock::Nanos;
use crate::driver::{Driver, Event};
use crate::error::DriverError;
use crate::socket::Socket;

impl CompioDriver {
    pub(super) fn turn(
        &mut self,
        deadline: Option<Nanos>,
        events: &mut Vec<Event<Socket>>,
    ) -> Result<(), DriverError> {
        let before = events.len();
        self.table.release();
        // The last place is for `Woken`.
        let limit = before + Self::BATCH - 1;
        loop {
            self.restock();
            self.retry();
            self.poll(self.block(deadline))?;
            let woken = self.waker.rung();
            if woken && system::WOKEN_POLL_IS_BLIND {
                self.poll(Some(Duration::ZERO))?;
            }
            self.serve(events, limit);
            if woken && self.waker.lower() {
                events.push(Event::Woken);
            }
            // A poll may end early, and what is over need not make events: the
            // clock alone says whether the deadline has passed.
            if events.len() > before || deadline.is_some_and(|deadline| self.now() >= deadline) {
                return Ok(());
            }
        }
    }

    /// Turns what has happened into events, until there are `limit`.
    pub(super) fn serve(&mut self, events: &mut Vec<Event<Socket>>, limit: usize) {
        while events.len() < limit
            && let Some(tag) = self.finished_tags.pop_front()
        {
            events.extend(self.finish(tag));
        }
        self.accept_due(events, limit);
        self.receive_due(events, limit);
        self.deliver(events, limit);
    }

    /// Does what the driver itself had put off.
    fn retry(&mut self) {
        if let Some(due) = self.accept_retry
            && due <= self.now()
        {
            self.resume_accepts();
        }
        if !self.connect_deadlines.is_empty() {
            self.expire_connects();
        }
        if !self.watches.is_empty() {
            self.rearm_watches();
        }
        if let Some(due) = self.buffers.shrink_due() {
            let now = self.now();
            if due <= now {
                self.buffers.shrink(now);
            }
        }
    }

    /// How long the poll may wait: until the caller's deadline or the driver's
    /// own, and not at all while there is something to do.
    fn block(&self, deadline: Option<Nanos>) -> Option<Duration> {
        let busy = !self.backlog.is_empty()
            || !self.finished_tags.is_empty()
            || !self.due.is_empty()
            || !self.due_listeners.is_empty();
        if busy {
            return Some(Duration::ZERO);
        }
        let connect = self.connect_deadlines.first().map(|&(due, _)| due);
        let shrink = self.buffers.shrink_due();
        let due = [deadline, self.accept_retry, connect, shrink];
        let due = due.into_iter().flatten().min()?;
        let left = due.saturating_sub(self.now());
        Some(system::round_up(Duration::from_nanos(left)))
    }

    pub(super) fn poll(&mut self, timeout: Option<Duration>) -> Result<(), DriverError> {
        self.stats.enters += 1;
        if let Err(error) = self.proactor.poll(timeout)
            && !system::is_timeout(&error)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(DriverError::system("polling", error));
        }
        self.finished.take(&mut self.finished_tags);
        Ok(())
    }

    /// Starts an operation, which counts until it is over.
    pub(super) fn submit<T: OpCode + 'static>(
        &mut self,
        op: T,
        tag: Tag,
    ) -> PushEntry<Key<T>, BufResult<usize, T>> {
        let pushed = self.proactor.push(op);
        if let PushEntry::Pending(key) = &pushed {
            self.proactor.update_waker(key, &self.finished.waker(tag));
            self.in_flight += 1;
            self.table.slot_mut(tag.token.slot()).ops += 1;
        }
        pushed
    }

    /// The result of an operation that is over.
    pub(super) fn result<T: OpCode>(&mut self, key: Key<T>) -> Option<(io::Result<usize>, T)> {
        match self.proactor.pop(key) {
            PushEntry::Ready(BufResult(result, op)) => Some((result, op)),
            PushEntry::Pending(_) => {
                debug_assert!(false, "its waker said that it is over");
                None
            }
        }
    }

    /// Hands an operation that is over to whom it concerns: at most one event.
    fn finish(&mut self, tag: Tag) -> Option<Event<Socket>> {
        let token = tag.token;
        self.stats.completions += 1;
        self.in_flight -= 1;
        let Some(entry) = self.table.get_mut(token) else {
            self.stats.stale += 1;
            return None;
        };
        entry.ops -= 1;
        let event = match tag.kind {
            Kind::Ready => {
                let role = entry.role;
                let key = entry.ready.take()?;
                let (result, _) = self.result(key)?;
                if role == Role::Source {
                    self.source_ready(token, result.is_ok())
                } else {
                    // Whatever made it ready, the receive will tell.
                    self.list_due(token.slot());
                    None
                }
            }
            Kind::Send => {
                let key = entry.send.take()?;
                let (result, op) = self.result(key)?;
                self.send_finished(token, result, op);
                None
            }
            Kind::Accept => {
                let ops = self.accepts.get_mut(&token)?;
                let key = ops.get_mut(usize::from(tag.index))?.take()?;
                let (result, op) = self.result(key)?;
                self.accept_finished(token, result, op)
            }
            Kind::Connect => self.connect_finished(token),
        };
        self.settle(token);
        event
    }

    /// Moves the backlog to `events`; what it says is true from then on.
    fn deliver(&mut self, events: &mut Vec<Event<Socket>>, limit: usize) {
        while events.len() < limit
            && let Some(event) = self.backlog.pop_front()
        {
            match &event {
                Event::Sent { token, .. } => {
                    if let Some(entry) = self.table.get_mut(*token) {
                        entry.flags.clear(Flags::SENDING);
                    }
                }
                Event::Closed { token } => self.table.remove(*token),
                Event::RecvEnded { token, .. } if self.table.open_mut(*token).is_none() => {
                    continue;
                }
                Event::Ready { token } => {
                    let token = *token;
                    let Some(entry) = self.table.open_mut(token) else {
                        continue;
                    };
                    if entry.has(Flags::WATCH_AGAIN) {
                        entry.flags.clear(Flags::WATCH_AGAIN);
                        self.watch_again(token);
                    }
                }
                _ => {}
            }
            events.push(event);
        }
    }
}
