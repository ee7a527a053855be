//! A WebSocket as a task sees it.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hioload_protocol::CloseCode;

use super::message::Message;
use super::port::{Closed, Order, Port};
use crate::app::{Conn, ConnId, PublishOutcome, SendOutcome};
use crate::hub::SubscribeOutcome;

/// A connection, for the task that serves it. It lives on its shard and cannot
/// be sent to other threads; a [`Conn::reference`], asked for by
/// [`with`](Self::with), can.
///
/// Every method can be cancelled by dropping its future, as `select!` does:
/// what was not done then is not done later, and nothing that arrived is lost.
pub struct WebSocket {
    sender: Sender,
    receiver: Receiver,
}

/// The sending half of a [`WebSocket`]. Dropping it does not close anything.
pub struct Sender(Rc<Port>);

/// The receiving half of a [`WebSocket`].
pub struct Receiver(Rc<Port>);

impl WebSocket {
    pub(super) fn new(port: &Rc<Port>) -> Self {
        Self {
            sender: Sender(Rc::clone(port)),
            receiver: Receiver(Rc::clone(port)),
        }
    }

    /// As [`Receiver::recv`].
    #[inline]
    pub fn recv(&mut self) -> impl Future<Output = Option<Message>> {
        self.receiver.recv()
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// [`Closed`]; the message was not sent.
    #[inline]
    pub fn send(
        &mut self,
        message: impl Into<Message>,
    ) -> impl Future<Output = Result<(), Closed>> {
        self.sender.send(message)
    }

    /// As [`Sender::close`].
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.sender.close(code, reason);
    }

    /// As [`Sender::subscribe`].
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn subscribe(&mut self, topic: &str) -> Result<SubscribeOutcome, Closed> {
        self.sender.subscribe(topic).await
    }

    /// As [`Sender::publish`].
    ///
    /// # Errors
    /// [`Closed`]; nothing was published.
    pub async fn publish(
        &mut self,
        topic: &str,
        message: impl Into<Message>,
    ) -> Result<PublishOutcome, Closed> {
        self.sender.publish(topic, message).await
    }

    /// As [`Sender::with`].
    ///
    /// # Errors
    /// [`Closed`]; `act` was not called.
    pub async fn with<T: 'static>(
        &mut self,
        act: impl FnOnce(&mut Conn<'_>) -> T + 'static,
    ) -> Result<T, Closed> {
        self.sender.with(act).await
    }

    /// As [`Sender::peer_addr`].
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn peer_addr(&mut self) -> Result<Option<SocketAddr>, Closed> {
        self.sender.peer_addr().await
    }

    /// Its name on its shard.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.sender.id()
    }

    /// How the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.sender.closed()
    }

    /// Both halves, for two tasks of the shard. The connection still ends when
    /// its handler returns.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The future of [`Receiver::recv`].
struct Recv<'a>(&'a Rc<Port>);

impl Future for Recv<'_> {
    type Output = Option<Message>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_recv(cx)
    }
}

/// The future of [`Sender::send`].
struct Sending<'a> {
    port: &'a Rc<Port>,
    message: Option<Message>,
}

impl Future for Sending<'_> {
    type Output = Result<(), Closed>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.port.poll_send(&mut self.message, cx)
    }
}

impl Receiver {
    /// The next message; `None` once the connection has ended and all that
    /// arrived before was taken. Cancel safe: a message is taken when this
    /// returns it, or not at all.
    ///
    /// At most 64 KiB and 1,024 messages wait to be taken (one message may go
    /// beyond it); then the peer is not read from until half of them are.
    #[inline]
    pub fn recv(&mut self) -> impl Future<Output = Option<Message>> {
        Recv(&self.0)
    }

    /// How the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.0.closed()
    }
}

impl Sender {
    /// Queues a message; waits while more than half of the backpressure limit
    /// waits to be sent, until the peer has taken it. Cancel safe: a message
    /// is queued when this returns, or not at all.
    ///
    /// # Errors
    /// [`Closed`]; the message was not sent.
    #[inline]
    pub fn send(
        &mut self,
        message: impl Into<Message>,
    ) -> impl Future<Output = Result<(), Closed>> {
        Sending {
            port: &self.0,
            message: Some(message.into()),
        }
    }

    /// Queues a message if that needs no waiting.
    ///
    /// # Errors
    /// The message, when the connection has ended or is above the high mark.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<SendOutcome, Message> {
        let message = message.into();
        if !self.0.has_room() {
            return Err(message);
        }
        self.0.order_send(message);
        Ok(SendOutcome::Queued)
    }

    async fn room(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| self.0.poll_room(cx)).await
    }

    /// Starts the close handshake, as [`Conn::close`]; what was sent before
    /// leaves first.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if !self.0.has_ended() {
            self.0.order(Order::Close(code, reason.into()));
        }
    }

    /// Calls `act` with the connection as callbacks have it, for whatever it
    /// can do: hubs, pauses, references, parameters. It waits for room like
    /// [`send`](Self::send), and is called after what was ordered before.
    /// Cancelled before its first poll it is not called; afterwards it is.
    ///
    /// # Errors
    /// [`Closed`]; `act` was not called.
    pub async fn with<T: 'static>(
        &mut self,
        act: impl FnOnce(&mut Conn<'_>) -> T + 'static,
    ) -> Result<T, Closed> {
        self.room().await?;
        let answer = Rc::new(RefCell::new(None));
        let told = Rc::clone(&answer);
        self.0.order(Order::With(Box::new(move |conn| {
            told.replace(Some(act(conn)));
        })));
        poll_fn(move |cx| {
            if let Some(answer) = answer.take() {
                return Poll::Ready(Ok(answer));
            }
            // Not to be answered any more: the order was dropped.
            if Rc::strong_count(&answer) == 1 {
                return Poll::Ready(Err(self.0.closed().unwrap_or_else(Closed::lost)));
            }
            self.0.wait(cx);
            Poll::Pending
        })
        .await
    }

    /// Subscribes to a topic, as [`Conn::subscribe`]. What is published to it
    /// goes straight to the peer.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn subscribe(&mut self, topic: &str) -> Result<SubscribeOutcome, Closed> {
        let topic = topic.to_owned();
        self.with(move |conn| conn.subscribe(&topic)).await
    }

    /// Ends a subscription, as [`Conn::unsubscribe`].
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn unsubscribe(&mut self, topic: &str) -> Result<bool, Closed> {
        let topic = topic.to_owned();
        self.with(move |conn| conn.unsubscribe(&topic)).await
    }

    /// Publishes to all subscribers but this connection, as [`Conn::publish`].
    ///
    /// # Errors
    /// [`Closed`]; nothing was published.
    pub async fn publish(
        &mut self,
        topic: &str,
        message: impl Into<Message>,
    ) -> Result<PublishOutcome, Closed> {
        let (topic, message) = (topic.to_owned(), message.into());
        self.with(move |conn| conn.publish(&topic, &message)).await
    }

    /// The address of the other side, as [`Conn::peer_addr`].
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn peer_addr(&mut self) -> Result<Option<SocketAddr>, Closed> {
        self.with(|conn| conn.peer_addr()).await
    }

    /// Its name on its shard.
    #[must_use]
    pub fn id(&self) -> ConnId {
        ConnId(self.0.token())
    }

    /// How the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.0.closed()
    }
}

impl Closed {
    /// Nobody said how.
    pub(super) fn lost() -> Self {
        Self {
            code: CloseCode::ABNORMAL,
            reason: Box::default(),
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocket").field(&self.id()).finish()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.id()).finish()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.0.token()).finish()
    }
}
