//! Between a connection and its task: messages that arrived, what the task
//! wants done.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hioload_platform::Token;
use hioload_protocol::CloseCode;
use thiserror::Error;

use super::local::{Local, TaskId};
use super::message::Message;
use super::waker::enter;
use crate::app::{self, Conn, SendOutcome};

/// Bytes that may wait for the task; then reading pauses. A receive buffer, so
/// that one arrival of messages fits.
const INBOUND_BYTES: usize = 64 << 10;

/// Messages that may wait for the task: empty ones have no bytes.
const INBOUND_MESSAGES: usize = 1024;

/// Bytes a task may send in one poll before it has to wait for the shard to
/// take them over.
const OUTBOUND_BYTES: usize = 64 << 10;

/// What each order counts beside its payload: 1,024 of them use the bytes up.
const ORDER_BYTES: usize = 64;

/// The connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the connection has ended: {code} {reason}")]
pub struct Closed {
    /// As in [`Close::code`](crate::Close::code).
    pub code: CloseCode,
    /// As in [`Close::reason`](crate::Close::reason).
    pub reason: Box<str>,
}

/// Something a task wants done with its connection.
pub(crate) enum Order {
    Send(Message),
    Close(CloseCode, Box<str>),
    /// Read again.
    Resume,
    /// Done with the connection during the turn.
    With(Box<dyn FnOnce(&mut Conn<'_>)>),
}

pub(crate) struct Port {
    local: Rc<Local>,
    token: Token,
    task: Cell<Option<TaskId>>,
    /// That of the task.
    waker: OnceCell<Waker>,
    inbound: RefCell<Inbound>,
    orders: RefCell<Vec<Order>>,
    /// What `orders` count.
    ordered: Cell<usize>,
    /// Nothing may be ordered: the connection has ended, or is above the high
    /// mark of the backpressure limit.
    shut: Cell<bool>,
    /// In the list of touched ports.
    touched: Cell<bool>,
    /// Who waits for room to send, or for an answer.
    senders: RefCell<Vec<Waker>>,
}

#[derive(Default)]
struct Inbound {
    /// Has memory only while a message waits.
    messages: VecDeque<Message>,
    bytes: usize,
    paused: bool,
    closed: Option<Box<Closed>>,
    receiver: Waiting,
}

/// Who waits for a message.
#[derive(Default)]
enum Waiting {
    #[default]
    Nobody,
    /// The connection's task, which needs no waker to be woken.
    Task,
    /// Another, that was given the receiver.
    Other(Waker),
}

impl Inbound {
    fn is_full(&self) -> bool {
        self.bytes >= INBOUND_BYTES || self.messages.len() > INBOUND_MESSAGES
    }

    fn is_half_empty(&self) -> bool {
        self.bytes <= INBOUND_BYTES / 2 && self.messages.len() <= INBOUND_MESSAGES / 2
    }
}

impl Port {
    pub(super) fn new(local: Rc<Local>, token: Token) -> Rc<Self> {
        Rc::new(Self {
            local,
            token,
            task: Cell::new(None),
            waker: OnceCell::new(),
            inbound: RefCell::default(),
            orders: RefCell::default(),
            ordered: Cell::new(0),
            shut: Cell::new(false),
            touched: Cell::new(false),
            senders: RefCell::default(),
        })
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(super) fn set_task(&self, task: TaskId, waker: Waker) {
        self.task.set(Some(task));
        self.waker.get_or_init(|| waker);
    }

    /// That of its task.
    pub(super) fn waker(&self) -> &Waker {
        self.waker.get().unwrap_or(Waker::noop())
    }

    /// The connection is gone for good: so is its task.
    pub(super) fn cancel(&self) {
        if let Some(task) = self.task.take() {
            self.local.cancel(task);
        }
    }

    // The connection's side.

    /// A message arrived; `true`: pause, until the task has caught up.
    pub(super) fn push(&self, message: app::Message<'_>) -> bool {
        let message = self.local.copied(message);
        let mut inbound = self.inbound.borrow_mut();
        inbound.bytes += message.len();
        // Only while no message waits somebody waits for one.
        let first = inbound.messages.is_empty();
        if first && inbound.messages.capacity() == 0 {
            inbound.messages = self.local.spare_queue();
        }
        inbound.messages.push_back(message);
        let pause = inbound.is_full() && !inbound.paused;
        inbound.paused |= pause;
        drop(inbound);
        if first {
            self.wake_receiver();
        }
        pause
    }

    fn wake_receiver(&self) {
        let receiver = mem::take(&mut self.inbound.borrow_mut().receiver);
        match receiver {
            Waiting::Nobody => {}
            Waiting::Task => {
                if let Some(task) = self.task.get() {
                    self.local.wake(task);
                }
            }
            Waiting::Other(waker) => self.wake(waker),
        }
    }

    /// The WebSocket ended.
    pub(super) fn end(&self, closed: Closed) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.closed.get_or_insert_with(|| Box::new(closed));
        drop(inbound);
        self.shut.set(true);
        self.wake_receiver();
        self.wake_senders();
    }

    /// The peer has taken most of what it was sent.
    pub(super) fn drained(&self) {
        self.shut.set(self.has_ended());
        self.wake_senders();
    }

    fn wake(&self, waker: Waker) {
        enter(&self.local, || waker.wake());
    }

    fn wake_senders(&self) {
        if self.senders.borrow().is_empty() {
            return;
        }
        for waker in self.senders.take() {
            self.wake(waker);
        }
    }

    /// Does what the task wants.
    pub(crate) fn apply(&self, conn: &mut Conn<'_>) {
        self.touched.set(false);
        let mut orders = self.orders.take();
        self.ordered.set(0);
        for order in orders.drain(..) {
            match order {
                Order::Send(message) => {
                    if conn.send(&message) == SendOutcome::AboveHighMark {
                        self.shut.set(true);
                    }
                    self.local.recycle(message);
                }
                Order::Close(code, reason) => conn.close(code, &reason),
                Order::Resume => conn.resume(),
                Order::With(act) => act(conn),
            }
        }
        self.local.keep_spare(orders);
        self.wake_senders();
    }

    /// There is no connection any more that anything could be done with.
    pub(crate) fn give_up(&self) {
        self.touched.set(false);
        let orders = self.orders.take();
        self.ordered.set(0);
        enter(&self.local, || drop(orders));
        self.wake_senders();
    }

    // The task's side.

    pub(crate) fn closed(&self) -> Option<Closed> {
        self.inbound.borrow().closed.as_deref().cloned()
    }

    #[inline]
    pub(super) fn poll_recv(self: &Rc<Self>, cx: &Context<'_>) -> Poll<Option<Message>> {
        let mut inbound = self.inbound.borrow_mut();
        let Some(message) = inbound.messages.pop_front() else {
            return self.await_message(&mut inbound, cx);
        };
        inbound.bytes -= message.len();
        if inbound.messages.is_empty() {
            self.local
                .keep_spare_queue(mem::take(&mut inbound.messages));
        }
        if inbound.paused {
            self.catch_up(&mut inbound);
        }
        Poll::Ready(Some(message))
    }

    #[inline(never)]
    fn await_message(&self, inbound: &mut Inbound, cx: &Context<'_>) -> Poll<Option<Message>> {
        if inbound.closed.is_some() {
            return Poll::Ready(None);
        }
        inbound.receiver = if self.waker().will_wake(cx.waker()) {
            Waiting::Task
        } else {
            Waiting::Other(cx.waker().clone())
        };
        Poll::Pending
    }

    /// Reads again, if enough was taken.
    #[cold]
    fn catch_up(self: &Rc<Self>, inbound: &mut Inbound) {
        if inbound.is_half_empty() {
            inbound.paused = false;
            self.order(Order::Resume);
        }
    }

    /// Whether something may be ordered now.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), Closed>> {
        if self.has_room() {
            return Poll::Ready(Ok(()));
        }
        if self.has_ended() {
            return Poll::Ready(Err(self.closed().unwrap_or_else(Closed::lost)));
        }
        self.wait(cx);
        Poll::Pending
    }

    /// Orders the message to be sent once there is room, and takes it then.
    #[inline]
    pub(super) fn poll_send(
        self: &Rc<Self>,
        message: &mut Option<Message>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        if !self.has_room() {
            return self.poll_room(cx);
        }
        if let Some(message) = message.take() {
            self.order_send(message);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.inbound.borrow().closed.is_some()
    }

    #[inline]
    pub(super) fn has_room(&self) -> bool {
        !self.shut.get() && self.ordered.get() < OUTBOUND_BYTES
    }

    /// Wakes the task after its orders were carried out, or the end.
    #[cold]
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut senders = self.senders.borrow_mut();
        if !senders.iter().any(|known| known.will_wake(cx.waker())) {
            senders.push(cx.waker().clone());
        }
    }

    #[inline]
    pub(super) fn order_send(self: &Rc<Self>, message: Message) {
        self.ordered.set(self.ordered.get() + message.len());
        self.order(Order::Send(message));
    }

    #[inline]
    pub(super) fn order(self: &Rc<Self>, order: Order) {
        self.ordered.set(self.ordered.get() + ORDER_BYTES);
        let mut orders = self.orders.borrow_mut();
        if orders.is_empty() {
            self.first_order(&mut orders);
        }
        orders.push(order);
    }

    #[inline(never)]
    fn first_order(self: &Rc<Self>, orders: &mut Vec<Order>) {
        if orders.capacity() == 0 {
            *orders = self.local.spare();
        }
        if !self.touched.replace(true) {
            self.local.touch(Rc::clone(self));
        }
    }
}
