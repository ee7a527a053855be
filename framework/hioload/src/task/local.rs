//! The tasks of one shard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use hioload_platform::Nanos;

use super::message::Message;
use super::payloads::Payloads;
use super::port::{Order, Port};
use super::waker::{Home, TaskWaker, enter};
use crate::app;
use crate::server::Handle;
use crate::timer::{TimerId, Wheel};

/// Tasks spawned on a shard, beside those of its connections: each is some
/// hundred bytes.
const MOST_SPAWNED: usize = 1 << 16;

/// Polls per turn, so that tasks that wake themselves or each other cannot
/// keep the shard from its connections; the rest comes in the next turn.
pub(crate) const POLLS_PER_TURN: usize = 1024;

/// Messages that may come before tasks are polled for them within a turn: their
/// memory is then used again while it is in the cache.
pub(super) const CROWD: usize = 64;

/// Lists of orders and queues of messages kept, as many as a crowd fills, and the
/// longest of them.
const SPARE: usize = 64;
const SPARE_ORDERS: usize = 32;

/// Names a task of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    index: u32,
    generation: u32,
}

/// What a connection's task results in.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A task's code and what it holds.
pub(super) enum Body {
    /// The handler of a connection.
    Handler {
        future: Pin<Box<dyn Future<Output = Outcome>>>,
        port: Rc<Port>,
    },
    /// Spawned beside.
    Spawned(Pin<Box<dyn Future<Output = ()>>>),
}

/// Something only the shard can do.
pub(crate) type Ask = Box<dyn FnOnce(&mut crate::shard::Context)>;

struct Slot {
    generation: u32,
    waker: Option<Arc<TaskWaker>>,
    /// Not there while it is polled.
    body: Option<Body>,
}

/// The tasks of a shard, its clock and timers for them. Only its own thread
/// touches it; others wake through the inbox.
pub(crate) struct Local {
    home: Arc<Home>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    spawned: Cell<usize>,
    ready: RefCell<VecDeque<TaskId>>,
    /// Ports with something for their connection.
    touched: RefCell<Vec<Rc<Port>>>,
    /// Emptied lists of orders, for the next ports.
    spare: RefCell<Vec<Vec<Order>>>,
    now: Cell<Nanos>,
    /// Made by the first task that sleeps: it has 37 KiB.
    wheel: RefCell<Option<Wheel<Waker>>>,
    /// Emptied queues of messages, for the next bursts.
    queues: RefCell<Vec<VecDeque<Message>>>,
    /// Memory of payloads, for the next ones.
    payloads: Payloads,
    /// Messages that came since tasks were polled.
    came: Cell<usize>,
    /// For the shard to do, once a task has been polled.
    asked: RefCell<Vec<Ask>>,
    panicked: Cell<u64>,
}

/// What the shard is to do after a task has ended.
pub(crate) enum Ended {
    Returned(Rc<Port>, Outcome),
    Panicked(Option<Rc<Port>>),
}

static KEYS: AtomicU64 = AtomicU64::new(0);

impl Local {
    pub(crate) fn new(handle: Handle, shard: usize, now: Nanos) -> Rc<Self> {
        Rc::new(Self {
            home: Arc::new(Home {
                handle,
                shard,
                key: KEYS.fetch_add(1, Ordering::Relaxed),
            }),
            slots: RefCell::default(),
            free: RefCell::default(),
            spawned: Cell::new(0),
            ready: RefCell::default(),
            touched: RefCell::default(),
            spare: RefCell::default(),
            now: Cell::new(now),
            wheel: RefCell::default(),
            queues: RefCell::default(),
            payloads: Payloads::default(),
            came: Cell::new(0),
            asked: RefCell::default(),
            panicked: Cell::new(0),
        })
    }

    pub(super) fn key(&self) -> u64 {
        self.home.key
    }

    /// Whether nothing may run beside the shards.
    #[cfg(feature = "tokio")]
    pub(super) fn is_simulated(&self) -> bool {
        self.home.handle.offload().is_stepped()
    }

    pub(crate) fn set_now(&self, now: Nanos) {
        self.now.set(now);
    }

    pub(super) fn now(&self) -> Nanos {
        self.now.get()
    }

    /// Tasks that have not ended.
    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    /// Whether so much has come that tasks should be polled now.
    pub(crate) fn is_crowded(&self) -> bool {
        self.came.get() >= CROWD
    }

    /// Tasks that are to be polled.
    pub(crate) fn ready(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Wakes a task, on its shard's thread.
    pub(super) fn wake(&self, id: TaskId) {
        if let Some(slot) = self.slots.borrow().get(id.index as usize)
            && slot.generation == id.generation
            && let Some(waker) = &slot.waker
            && waker.is_first()
        {
            self.make_ready(id);
        }
    }

    /// A task to be polled soon.
    pub(crate) fn make_ready(&self, id: TaskId) {
        self.ready.borrow_mut().push_back(id);
    }

    /// Adds a task, which is polled in this turn.
    pub(super) fn add(&self, make: impl FnOnce(TaskId, &Arc<TaskWaker>) -> Body) -> TaskId {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot {
                generation: 0,
                waker: None,
                body: None,
            });
            u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut slots[index as usize];
        let id = TaskId {
            index,
            generation: slot.generation,
        };
        let waker = TaskWaker::new(Arc::clone(&self.home), id);
        slot.body = Some(make(id, &waker));
        slot.waker = Some(waker);
        self.make_ready(id);
        id
    }

    /// Adds a task beside those of connections; `None` when there are too many.
    pub(super) fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Option<TaskId> {
        if self.spawned.get() >= MOST_SPAWNED {
            return None;
        }
        self.spawned.set(self.spawned.get() + 1);
        Some(self.add(|_, _| Body::Spawned(future)))
    }

    /// Drops a task wherever it is.
    pub(super) fn cancel(self: &Rc<Self>, id: TaskId) {
        let body = self.remove(id);
        // What its destructors do may come back here, so nothing is borrowed.
        enter(self, || drop(body));
    }

    fn remove(&self, id: TaskId) -> Option<Body> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.waker = None;
        self.free.borrow_mut().push(id.index);
        let body = slot.body.take();
        if matches!(body, Some(Body::Spawned(_))) {
            self.spawned.set(self.spawned.get() - 1);
        }
        body
    }

    /// Polls what is ready, up to so many in all.
    pub(crate) fn poll(self: &Rc<Self>, polls: &mut usize, most: usize) -> Option<Ended> {
        self.came.set(0);
        enter(self, || {
            while *polls < most {
                let id = self.ready.borrow_mut().pop_front()?;
                let Some((body, waker)) = self.begin(id) else {
                    continue;
                };
                *polls += 1;
                if let Some(ended) = self.poll_one(id, body, waker.as_ref()) {
                    return Some(ended);
                }
            }
            None
        })
    }

    /// What to poll, and with which waker, if not the port's.
    fn begin(&self, id: TaskId) -> Option<(Body, Option<Waker>)> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let waker = slot.waker.as_ref()?;
        waker.about_to_poll();
        let body = slot.body.take()?;
        let waker = match &body {
            Body::Handler { .. } => None,
            Body::Spawned(_) => Some(Waker::from(Arc::clone(waker))),
        };
        Some((body, waker))
    }

    fn poll_one(
        self: &Rc<Self>,
        id: TaskId,
        mut body: Body,
        waker: Option<&Waker>,
    ) -> Option<Ended> {
        // A task that panicked is dropped and not polled again; what it shared
        // with others is theirs to judge, as with a thread.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let cx = |waker| Context::from_waker(waker);
            match &mut body {
                Body::Handler { future, port } => future.as_mut().poll(&mut cx(port.waker())),
                Body::Spawned(future) => {
                    let waker = waker.unwrap_or(Waker::noop());
                    future.as_mut().poll(&mut cx(waker)).map(Ok)
                }
            }
        }));
        let ended = match polled {
            Ok(Poll::Pending) => {
                self.put_back(id, body);
                return None;
            }
            Ok(Poll::Ready(outcome)) => match &body {
                Body::Handler { port, .. } => Some(Ended::Returned(Rc::clone(port), outcome)),
                Body::Spawned(_) => None,
            },
            Err(_panic) => {
                self.panicked.set(self.panicked.get() + 1);
                Some(Ended::Panicked(match &body {
                    Body::Handler { port, .. } => Some(Rc::clone(port)),
                    Body::Spawned(_) => None,
                }))
            }
        };
        self.put_back(id, body);
        let dropped = catch_unwind(AssertUnwindSafe(|| self.cancel(id)));
        if dropped.is_err() {
            self.panicked.set(self.panicked.get() + 1);
        }
        ended
    }

    /// It may have been cancelled by what it did itself.
    fn put_back(self: &Rc<Self>, id: TaskId, body: Body) {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(id.index as usize) {
            Some(slot) if slot.generation == id.generation => slot.body = Some(body),
            _ => {
                drop(slots);
                if matches!(body, Body::Spawned(_)) {
                    self.spawned.set(self.spawned.get() - 1);
                }
                enter(self, || drop(body));
            }
        }
    }

    /// Whether something is to be done without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
            || !self.touched.borrow().is_empty()
            || !self.asked.borrow().is_empty()
    }

    pub(super) fn spare_queue(&self) -> VecDeque<Message> {
        self.queues.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn keep_spare_queue(&self, queue: VecDeque<Message>) {
        let mut queues = self.queues.borrow_mut();
        if queues.len() < SPARE && queue.capacity() <= SPARE_ORDERS {
            queues.push(queue);
        }
    }

    /// A message that arrived, owned.
    pub(super) fn copied(&self, message: app::Message<'_>) -> Message {
        self.came.set(self.came.get() + 1);
        self.payloads.copy(message)
    }

    pub(super) fn recycle(&self, message: Message) {
        self.payloads.recycle(message);
    }

    pub(super) fn ask(&self, ask: Ask) {
        self.asked.borrow_mut().push(ask);
    }

    pub(crate) fn take_asked(&self) -> Vec<Ask> {
        std::mem::take(&mut self.asked.borrow_mut())
    }

    pub(super) fn spare(&self) -> Vec<Order> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn keep_spare(&self, orders: Vec<Order>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE && orders.capacity() <= SPARE_ORDERS {
            spare.push(orders);
        }
    }

    pub(super) fn touch(&self, port: Rc<Port>) {
        self.touched.borrow_mut().push(port);
    }

    pub(crate) fn take_touched(&self) -> Vec<Rc<Port>> {
        self.touched.take()
    }

    /// Takes the emptied list back.
    pub(crate) fn keep_touched(&self, list: Vec<Rc<Port>>) {
        let mut touched = self.touched.borrow_mut();
        if touched.capacity() == 0 && list.capacity() <= POLLS_PER_TURN {
            *touched = list;
        }
    }

    /// Tasks that have panicked since it was asked last.
    pub(crate) fn take_panicked(&self) -> u64 {
        self.panicked.take()
    }

    pub(super) fn set_timer(&self, deadline: Nanos, waker: Waker) -> TimerId {
        let mut wheel = self.wheel.borrow_mut();
        let wheel = wheel.get_or_insert_with(|| Wheel::new(self.now.get()));
        wheel.insert(deadline, waker)
    }

    pub(super) fn cancel_timer(&self, timer: TimerId) {
        let cancelled = self
            .wheel
            .borrow_mut()
            .as_mut()
            .and_then(|wheel| wheel.cancel(timer));
        drop(cancelled);
    }

    /// Wakes who has slept long enough.
    pub(crate) fn fire_timers(self: &Rc<Self>) {
        let due = || self.wheel.borrow_mut().as_mut()?.pop(self.now.get());
        while let Some((_, waker)) = due() {
            enter(self, || waker.wake());
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Nanos> {
        self.wheel.borrow().as_ref()?.next_deadline()
    }

    /// The shard ends: so do its tasks.
    pub(crate) fn clear(self: &Rc<Self>) {
        let ids: Vec<TaskId> = {
            let slots = self.slots.borrow();
            let id = |(index, slot): (usize, &Slot)| TaskId {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                generation: slot.generation,
            };
            slots.iter().enumerate().map(id).collect()
        };
        for id in ids {
            if self.slots.borrow()[id.index as usize].body.is_some() {
                self.cancel(id);
            }
        }
        let wheel = self.wheel.take();
        drop((wheel, self.take_touched(), self.take_asked()));
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("shard", &self.home.shard)
            .field("tasks", &self.len())
            .finish_non_exhaustive()
    }
}
