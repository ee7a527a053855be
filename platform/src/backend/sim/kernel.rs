//! The kernel's side of a driver: operations, lent buffers, completions.
//!
//! It checks what a driver owes it. A buffer lent twice, a second receive or
//! send of one socket, a descriptor closed under an operation: the real kernel
//! would corrupt memory, this one panics.

use std::collections::{BTreeMap, VecDeque};

use super::agenda::Action;
use super::faults::Fault;
use super::op::{Completion, Descriptor, Failure, Kind, Payload, Request, Tag};
use super::trace::Happening;
use super::world::{DriverId, World};
use crate::clock::Nanos;
use crate::driver::Token;

/// What a late completion for an earlier occupant of a slot says.
const STALE: &[u8] = b"somebody else's bytes";

/// What the kernel knows of one driver.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Completions the driver may take.
    ready: VecDeque<Completion>,
    /// Completions the driver's queue has room for; more are kept back until
    /// it has taken some.
    capacity: usize,
    pub(super) overflows: u64,
    /// Buffers lent, in the order they will be filled.
    posted: VecDeque<u16>,
    buffer_size: usize,
    ops: BTreeMap<Tag, Descriptor>,
    /// Per socket: operations whose terminal completion the driver has not
    /// taken.
    owed: BTreeMap<Token, u32>,
    /// Per socket: when its latest delayed completion is due, and how many are
    /// delayed. None may overtake another.
    delayed: BTreeMap<Token, (Nanos, u32)>,
}

impl Kernel {
    pub(super) fn new(capacity: usize, buffer_size: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            capacity,
            overflows: 0,
            posted: VecDeque::new(),
            buffer_size,
            ops: BTreeMap::new(),
            owed: BTreeMap::new(),
            delayed: BTreeMap::new(),
        }
    }

    pub(super) fn has_completions(&self) -> bool {
        !self.ready.is_empty()
    }

    /// At most `limit` completions, and no more than the queue holds.
    pub(super) fn take(&mut self, limit: usize, into: &mut Vec<Completion>) {
        for _ in 0..limit.min(self.capacity) {
            let Some(completion) = self.ready.pop_front() else {
                return;
            };
            if !completion.more && Kind::HELD.contains(&completion.tag.kind) {
                self.settle(completion.tag.token);
            }
            into.push(completion);
        }
    }

    /// The driver has taken a terminal completion.
    fn settle(&mut self, token: Token) {
        if let Some(owed) = self.owed.get_mut(&token) {
            *owed -= 1;
            if *owed == 0 {
                self.owed.remove(&token);
            }
        }
    }

    fn start(&mut self, tag: Tag, on: Descriptor) {
        let earlier = self.ops.insert(tag, on);
        assert!(earlier.is_none(), "{tag:?} is in flight already");
        *self.owed.entry(tag.token).or_default() += 1;
    }
}

impl World {
    pub(super) fn submit(&mut self, driver: DriverId, request: Request) {
        match request {
            Request::Accept { listener, tag } => {
                self.start(driver, tag, Descriptor::Listener(listener));
                if let Some(backlog) = self.listeners.get_mut(&listener) {
                    backlog.accept = Some((driver, tag));
                }
                self.run_accept(listener);
            }
            Request::Recv { end, tag } => {
                self.start(driver, tag, Descriptor::End(end));
                if let Some(endpoint) = self.ends.get_mut(&end) {
                    endpoint.recv = Some((driver, tag));
                }
                self.run_recv(end);
            }
            Request::Send { end, tag, bytes } => {
                self.start(driver, tag, Descriptor::End(end));
                self.start_send(end, driver, tag, bytes);
            }
            Request::Connect { end, tag, timeout } => {
                self.start(driver, tag, Descriptor::End(end));
                self.await_answer(end, driver, tag, timeout);
            }
            Request::Poll { source, tag } => {
                self.start(driver, tag, Descriptor::Source(source));
                self.start_poll(source, driver, tag);
            }
            Request::Cancel { target, tag } => self.cancel(driver, target, tag),
            Request::Close { descriptor, tag } => self.close(driver, descriptor, tag),
            Request::Post(buffer) => self.post(driver, buffer),
            Request::Ring(peer) => self.ring(peer),
        }
    }

    fn start(&mut self, driver: DriverId, tag: Tag, on: Descriptor) {
        if let Some(kernel) = self.drivers.get_mut(&driver) {
            kernel.start(tag, on);
        }
    }

    fn post(&mut self, driver: DriverId, buffer: u16) {
        if let Some(kernel) = self.drivers.get_mut(&driver) {
            assert!(
                !kernel.posted.contains(&buffer),
                "buffer {buffer} is lent twice"
            );
            kernel.posted.push_back(buffer);
        }
    }

    /// Forgets all buffers of the first `count` from `first` on, if it has
    /// every one of them.
    pub(super) fn withdraw(&mut self, driver: DriverId, first: u16, count: u16) -> bool {
        let Some(kernel) = self.drivers.get_mut(&driver) else {
            return false;
        };
        let all = (first..count).all(|buffer| kernel.posted.contains(&buffer));
        if all {
            kernel.posted.retain(|&buffer| buffer < first);
        }
        all
    }

    pub(super) fn has_buffer(&self, driver: DriverId) -> bool {
        self.drivers
            .get(&driver)
            .is_some_and(|kernel| !kernel.posted.is_empty())
    }

    /// The next lent buffer and its size.
    pub(super) fn take_buffer(&mut self, driver: DriverId) -> Option<(u16, usize)> {
        let kernel = self.drivers.get_mut(&driver)?;
        Some((kernel.posted.pop_front()?, kernel.buffer_size))
    }

    /// The terminal completion of an operation.
    pub(super) fn finish(&mut self, driver: DriverId, tag: Tag, outcome: Result<usize, Failure>) {
        let Some(kernel) = self.drivers.get_mut(&driver) else {
            return;
        };
        match kernel.ops.remove(&tag) {
            Some(Descriptor::End(end)) => {
                if let Some(end) = self.ends.get_mut(&end) {
                    match tag.kind {
                        Kind::Recv => end.recv = None,
                        Kind::Send => end.send = None,
                        _ => end.connect = None,
                    }
                }
            }
            Some(Descriptor::Listener(id)) => {
                if let Some(backlog) = self.listeners.get_mut(&id) {
                    backlog.accept = None;
                }
            }
            Some(Descriptor::Source(id)) => self.stop_poll(id),
            None => return,
        }
        self.complete(driver, Completion::last(tag, outcome));
    }

    /// What an operation in flight works on.
    pub(super) fn target(&self, driver: DriverId, tag: Tag) -> Option<Descriptor> {
        self.drivers.get(&driver)?.ops.get(&tag).copied()
    }

    fn cancel(&mut self, driver: DriverId, target: Tag, tag: Tag) {
        let on = self.target(driver, target);
        if let Some(on) = on {
            // A send that is cancelled says what was taken before.
            let taken = match on {
                Descriptor::End(end) if target.kind == Kind::Send => self.taken(end),
                _ => 0,
            };
            let outcome = Some(taken).filter(|&taken| taken > 0);
            self.finish(driver, target, outcome.ok_or(Failure::Cancelled));
        }
        let outcome = on.map(|_| 0).ok_or(Failure::NotFound);
        self.complete(driver, Completion::last(tag, outcome));
    }

    fn close(&mut self, driver: DriverId, descriptor: Descriptor, tag: Tag) {
        let kernel = self.drivers.get(&driver);
        let owed = kernel.and_then(|kernel| kernel.owed.get(&tag.token));
        assert_eq!(owed, None, "{tag:?} comes before a terminal completion");
        match descriptor {
            Descriptor::End(end) => self.close_end(end, false),
            Descriptor::Listener(listener) => self.close_listener(listener),
            Descriptor::Source(source) => self.close_source(source),
        }
        self.complete(driver, Completion::last(tag, Ok(0)));
        if matches!(descriptor, Descriptor::End(_)) && self.suffers(Fault::Stale) {
            let at = self.now + 1 + self.random.below(self.faults.longest_delay);
            let tag = Tag::new(Kind::Recv, tag.token);
            let completion = Completion {
                more: true,
                ..Completion::last(tag, Ok(0))
            };
            self.schedule(driver, completion, at);
        }
    }

    /// Shows a completion to a driver, now or later.
    pub(super) fn complete(&mut self, driver: DriverId, completion: Completion) {
        let due = self.now + self.delay(Fault::Delay);
        let token = completion.tag.token;
        let Some(kernel) = self.drivers.get(&driver) else {
            return;
        };
        if due <= self.now && !kernel.delayed.contains_key(&token) {
            self.deliver(driver, completion);
        } else {
            self.schedule(driver, completion, due);
        }
    }

    /// Shows a completion to a driver at `due`, or when those of its socket
    /// that are delayed have been shown.
    fn schedule(&mut self, driver: DriverId, completion: Completion, due: Nanos) {
        if let Some(kernel) = self.drivers.get_mut(&driver) {
            let delayed = kernel.delayed.entry(completion.tag.token);
            let (latest, count) = delayed.or_default();
            *latest = due.max(*latest);
            *count += 1;
            let action = Action::Complete { driver, completion };
            self.agenda.add(*latest, action);
        }
    }

    /// A delayed completion is due.
    pub(super) fn deliver_late(&mut self, driver: DriverId, mut completion: Completion) {
        let Some(kernel) = self.drivers.get_mut(&driver) else {
            return;
        };
        let tag = completion.tag;
        if let Some((_, count)) = kernel.delayed.get_mut(&tag.token) {
            *count -= 1;
            if *count == 0 {
                kernel.delayed.remove(&tag.token);
            }
        }
        let late = tag.kind == Kind::Recv
            && completion.more
            && matches!(completion.payload, Payload::None);
        if late {
            // For an earlier occupant of the slot: with somebody's bytes if
            // there is a buffer, else with an end.
            match self.take_buffer(driver) {
                Some((buffer, size)) => {
                    let bytes = STALE[..size.min(STALE.len())].to_vec();
                    completion.outcome = Ok(bytes.len());
                    completion.payload = Payload::Buffer { buffer, bytes };
                }
                None => completion.more = false,
            }
        }
        self.deliver(driver, completion);
    }

    fn deliver(&mut self, driver: DriverId, completion: Completion) {
        let overtakes = self.strikes(Fault::Reorder);
        let Completion { tag, outcome, .. } = completion;
        let Some(kernel) = self.drivers.get_mut(&driver) else {
            return;
        };
        let len = kernel.ready.len();
        if len == kernel.capacity {
            kernel.overflows += 1;
        }
        let own = |other: &Completion| other.tag.token == tag.token;
        let mut at = len;
        if overtakes {
            let first = kernel.ready.iter().rposition(own).map_or(0, |at| at + 1);
            at = first + self.random.index(len - first);
        }
        if at < len {
            self.injected.add(Fault::Reorder);
        }
        kernel.ready.insert(at, completion);
        self.note(Happening::Completed {
            driver,
            tag,
            outcome,
        });
    }

    /// Wakes a driver.
    pub(super) fn ring(&mut self, driver: DriverId) {
        let completion = Completion::last(Tag::RUNG, Ok(0));
        let late = self.delay(Fault::WakeDelay);
        if late == 0 {
            self.deliver(driver, completion);
        } else {
            self.schedule(driver, completion, self.now + late);
        }
    }

    /// A driver is gone. What it has not taken goes where it came from.
    pub(super) fn forget_driver(&mut self, driver: DriverId) {
        let Some(kernel) = self.drivers.remove(&driver) else {
            return;
        };
        for completion in kernel.ready {
            if let Payload::Accepted(end) = completion.payload {
                self.close_end(end, false);
            }
        }
    }
}
