//! Between a connection and its task: messages that arrived, what the task
//! wants done.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hioload_platform::Token;
use hioload_protocol::{CloseCode, Kind};
use thiserror::Error;

use super::local::{Local, TaskId};
use super::message::Message;
use super::waker::enter;
use crate::app::{Conn, SendOutcome};

/// Bytes that may wait for the task; then reading pauses. A receive buffer, so
/// that one arrival of messages fits.
const INBOUND_BYTES: usize = 64 << 10;

/// Messages that may wait for the task: empty ones have no bytes.
const INBOUND_MESSAGES: usize = 1024;

/// Bytes a task may send in one poll before it has to wait for the shard to
/// take them over.
const OUTBOUND_BYTES: usize = 64 << 10;

/// Things a task may ask for in one poll, likewise.
const OUTBOUND_ORDERS: usize = 1024;

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
    inbound: RefCell<Inbound>,
    orders: RefCell<Vec<Order>>,
    /// Bytes in `orders`.
    ordered: Cell<usize>,
    /// Above the high mark of the backpressure limit.
    blocked: Cell<bool>,
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
    receiver: Option<Waker>,
}

impl Inbound {
    fn push(&mut self, message: Message, local: &Local) {
        self.bytes += message.len();
        if self.messages.capacity() == 0 {
            self.messages = local.spare_queue();
        }
        self.messages.push_back(message);
    }

    fn pop(&mut self, local: &Local) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        if self.messages.is_empty() {
            local.keep_spare_queue(mem::take(&mut self.messages));
        }
        Some(message)
    }

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
            inbound: RefCell::default(),
            orders: RefCell::default(),
            ordered: Cell::new(0),
            blocked: Cell::new(false),
            touched: Cell::new(false),
            senders: RefCell::default(),
        })
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(super) fn set_task(&self, task: TaskId) {
        self.task.set(Some(task));
    }

    /// The connection is gone for good: so is its task.
    pub(super) fn cancel(&self) {
        if let Some(task) = self.task.take() {
            self.local.cancel(task);
        }
    }

    // The connection's side.

    /// A message arrived; `true`: pause, until the task has caught up.
    pub(super) fn push(&self, kind: Kind, payload: &[u8]) -> bool {
        let message = Message::received(kind, self.local.copied(payload));
        let mut inbound = self.inbound.borrow_mut();
        inbound.push(message, &self.local);
        let pause = inbound.is_full() && !inbound.paused;
        inbound.paused |= pause;
        let receiver = inbound.receiver.take();
        drop(inbound);
        self.wake(receiver);
        pause
    }

    /// The WebSocket ended.
    pub(super) fn end(&self, closed: Closed) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.closed.get_or_insert_with(|| Box::new(closed));
        let receiver = inbound.receiver.take();
        drop(inbound);
        self.wake(receiver);
        self.wake_senders();
    }

    /// The peer has taken most of what it was sent.
    pub(super) fn drained(&self) {
        self.blocked.set(false);
        self.wake_senders();
    }

    fn wake(&self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            enter(&self.local, || waker.wake());
        }
    }

    fn wake_senders(&self) {
        for waker in mem::take(&mut *self.senders.borrow_mut()) {
            self.wake(Some(waker));
        }
    }

    /// Does what the task wants.
    pub(crate) fn apply(&self, conn: &mut Conn<'_>) {
        self.touched.set(false);
        let mut orders = mem::take(&mut *self.orders.borrow_mut());
        self.ordered.set(0);
        for order in orders.drain(..) {
            match order {
                Order::Send(message) => {
                    if conn.send(&message) == SendOutcome::AboveHighMark {
                        self.blocked.set(true);
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
        let orders = mem::take(&mut *self.orders.borrow_mut());
        self.ordered.set(0);
        enter(&self.local, || drop(orders));
        self.wake_senders();
    }

    // The task's side.

    pub(crate) fn closed(&self) -> Option<Closed> {
        self.inbound.borrow().closed.as_deref().cloned()
    }

    pub(super) fn poll_recv(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut inbound = self.inbound.borrow_mut();
        let Some(message) = inbound.pop(&self.local) else {
            if inbound.closed.is_some() {
                return Poll::Ready(None);
            }
            inbound.receiver = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if inbound.paused && inbound.is_half_empty() {
            inbound.paused = false;
            drop(inbound);
            self.order(Order::Resume);
        }
        Poll::Ready(Some(message))
    }

    /// Whether something may be ordered now.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        if self.has_ended() {
            return Poll::Ready(Err(self.closed().unwrap_or_else(Closed::lost)));
        }
        if self.has_room() {
            return Poll::Ready(Ok(()));
        }
        self.wait(cx);
        Poll::Pending
    }

    /// Orders the message to be sent once there is room, and takes it then.
    pub(super) fn poll_send(
        self: &Rc<Self>,
        message: &mut Option<Message>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let room = self.poll_room(cx);
        if let Poll::Ready(Ok(())) = room
            && let Some(message) = message.take()
        {
            self.order(Order::Send(message));
        }
        room
    }

    fn has_ended(&self) -> bool {
        self.inbound.borrow().closed.is_some()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.blocked.get()
            && self.ordered.get() < OUTBOUND_BYTES
            && self.orders.borrow().len() < OUTBOUND_ORDERS
    }

    /// Wakes the task after its orders were carried out, or the end.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut senders = self.senders.borrow_mut();
        if !senders.iter().any(|known| known.will_wake(cx.waker())) {
            senders.push(cx.waker().clone());
        }
    }

    pub(super) fn order(self: &Rc<Self>, order: Order) {
        if let Order::Send(message) = &order {
            self.ordered.set(self.ordered.get() + message.len());
        }
        let mut orders = self.orders.borrow_mut();
        if orders.capacity() == 0 {
            *orders = self.local.spare();
        }
        orders.push(order);
        drop(orders);
        if !self.touched.replace(true) {
            self.local.touch(Rc::clone(self));
        }
    }
}
