//! The loop of a shard: the only code that is generic over the driver.

use std::sync::Arc;

use hioload_platform::backend::sim::SimDriver;
use hioload_platform::{Driver, DriverError, DriverStats, Event, Nanos, Token};

use super::chain::Transport;
use super::core::ShardCore;
use super::tls::Session;
use crate::app::App;
use crate::tls::TlsConfig;

/// What tells a running shard to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopRequest {
    /// Serve.
    None,
    /// Drain.
    Graceful,
    /// Cut everything now.
    Forced,
}

/// Where a shard learns that it is to stop.
pub(crate) trait Stop {
    /// What was asked for so far.
    fn requested(&self) -> StopRequest;
    /// Asks all shards for a graceful stop.
    fn ask(&self);
}

/// A shard's driver, its core and its listeners, turn by turn.
pub(crate) struct Loop<D: Driver, A: App, S: Stop> {
    // What received bytes and connections hold goes before the driver.
    /// Empty between turns; kept for its allocation.
    events: Vec<Event<D::Socket>>,
    /// Accepted in this turn and not attached yet, with their listeners.
    accepted: Vec<(Token, D::Socket)>,
    core: ShardCore<A>,
    driver: D,
    listening: Vec<(Token, Option<TlsConfig>)>,
    /// The other shards', by index.
    wakers: Arc<[D::Waker]>,
    /// Asked after every wake.
    stop: S,
    deadline: Option<Nanos>,
}

impl<D: Driver, A: App, S: Stop> Loop<D, A, S> {
    /// Attaches the listeners and tells the app that it starts.
    ///
    /// # Errors
    /// When the driver has no room for a listener.
    pub(crate) fn start(
        mut driver: D,
        mut core: ShardCore<A>,
        listeners: Vec<(D::Listener, Option<TlsConfig>)>,
        wakers: Arc<[D::Waker]>,
        stop: S,
    ) -> Result<Self, DriverError> {
        let mut listening = Vec::with_capacity(listeners.len());
        for (listener, tls) in listeners {
            listening.push((driver.listen(listener)?, tls));
        }
        core.begin(driver.now());
        core.started();
        Ok(Self {
            // The first turn does not wait: a stop may have been asked for
            // before this shard could be woken.
            deadline: Some(driver.now()),
            core,
            driver,
            listening,
            wakers,
            stop,
            events: Vec::with_capacity(D::BATCH),
            accepted: Vec::new(),
        })
    }

    /// Runs turns until the shard was asked to stop and everything is closed.
    ///
    /// # Errors
    /// When the driver cannot go on.
    pub(crate) fn run(mut self) -> Result<(), DriverError> {
        while !self.is_over() {
            self.turn()?;
        }
        Ok(())
    }

    /// Whether the shard was asked to stop and everything is closed.
    pub(crate) fn is_over(&self) -> bool {
        self.core.is_stopping() && self.core.is_drained() && self.listening.is_empty()
    }

    /// One turn.
    ///
    /// # Errors
    /// When the driver cannot go on.
    pub(crate) fn turn(&mut self) -> Result<(), DriverError> {
        self.driver.wait(self.deadline, &mut self.events)?;
        self.core.begin(self.driver.now());
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.dispatch(event);
        }
        self.events = events;
        self.attach();
        self.heed_stop();
        self.core.fire_timers();
        self.core.exchange();
        self.dial();
        if self.core.take_stop_asked() {
            self.stop.ask();
        }
        self.flush();
        for shard in self.core.take_wakes() {
            self.driver.wake(&self.wakers[shard]);
        }
        self.core.context().metrics().driver(&self.driver.stats());
        self.deadline = self.core.next_deadline();
        Ok(())
    }

    pub(crate) fn app(&self) -> &A {
        self.core.app()
    }

    /// The core, and the driver's counters.
    pub(crate) fn parts(&self) -> (&ShardCore<A>, DriverStats) {
        (&self.core, self.driver.stats())
    }

    fn dispatch(&mut self, event: Event<D::Socket>) {
        let Self {
            core,
            listening,
            accepted,
            ..
        } = self;
        match event {
            Event::Received { token, mut lease } => core.received(token, &mut lease),
            Event::Sent { token, outcome } => core.sent(token, &outcome),
            Event::RecvEnded { token, end } => core.receive_ended(token, &end),
            Event::Accepted { listener, socket } => accepted.push((listener, socket)),
            Event::Closed { token } => {
                let listener = listening.iter().position(|(known, _)| *known == token);
                if let Some(index) = listener {
                    listening.swap_remove(index);
                } else {
                    core.closed(token);
                }
            }
            Event::Woken => {}
            Event::Connected { token, outcome } => core.connected(token, outcome),
            Event::Ready { token } => debug_assert!(false, "nothing is watched: {token:?}"),
        }
    }

    /// Attaches what was accepted. After all events of the turn: a socket that
    /// ended in it has left its slot to the next one, and the core must have
    /// heard of that end before somebody else lives there.
    fn attach(&mut self) {
        for (listener, socket) in self.accepted.drain(..) {
            // Dropping the socket closes it.
            let Some(transport) = transport(&self.listening, listener) else {
                continue;
            };
            match self.driver.adopt(socket) {
                Ok(token) => {
                    let peer = self.driver.peer_addr(token);
                    self.core.accepted(token, peer, transport);
                }
                Err(error) => tracing::warn!(%error, "an accepted socket was refused"),
            }
        }
    }

    /// Stops when that was asked for.
    fn heed_stop(&mut self) {
        let request = self.stop.requested();
        if request == StopRequest::None {
            return;
        }
        if !self.core.is_stopping() {
            for (token, _) in &self.listening {
                self.driver.close(*token);
            }
        }
        self.core.stop();
        if request == StopRequest::Forced {
            self.core.force_stop();
        }
    }

    /// Starts the connections the app has dialled.
    fn dial(&mut self) {
        for dialling in self.core.take_dials() {
            match self.driver.connect(&dialling.dial.connect()) {
                Ok(token) => self.core.dialling(token, dialling),
                Err(error) => self.core.report_dial(dialling.key, &error.into()),
            }
        }
    }

    /// Hands every touched connection's work to the driver: at most one send
    /// each.
    fn flush(&mut self) {
        let driver = &mut self.driver;
        while let Some(token) = self.core.next_touched() {
            let Some((link, cx)) = self.core.link(token) else {
                continue;
            };
            let free = !driver.send_in_flight(token);
            if free {
                link.seal(cx);
            }
            let orders = link.orders();
            if free
                && link.may_send()
                && let Some(queue) = link.queue()
            {
                driver.send(token, queue);
            }
            match orders.receive {
                Some(true) => driver.recv_start(token),
                Some(false) => driver.recv_pause(token),
                None => {}
            }
            if orders.shutdown {
                driver.shutdown(token);
            }
            if orders.close {
                driver.close(token);
            }
        }
    }
}

impl<A: App, S: Stop> Loop<SimDriver, A, S> {
    /// Receive buffers the driver has lost.
    pub(crate) fn lost_buffers(&mut self) -> usize {
        self.driver.lost_buffers()
    }

    /// When a turn has something to do: now or later. `None`: not before
    /// something happens on the network.
    pub(crate) fn next_time(&self) -> Option<Nanos> {
        self.driver.next_time(self.deadline)
    }
}

/// What a new connection of a listener speaks; `None`: it can not be served.
fn transport(listening: &[(Token, Option<TlsConfig>)], listener: Token) -> Option<Transport> {
    let (_, tls) = listening.iter().find(|(token, _)| *token == listener)?;
    let Some(tls) = tls else {
        return Some(Transport::Plain);
    };
    match tls.accept() {
        Ok(rustls) => Some(Transport::Tls(Box::new(Session::server(rustls)))),
        Err(error) => {
            tracing::error!(%error, "TLS cannot accept a connection");
            None
        }
    }
}
