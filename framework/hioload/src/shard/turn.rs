//! The loop of a shard: the only code that is generic over the driver.

use std::sync::Arc;

use hioload_platform::backend::sim::SimDriver;
use hioload_platform::{Driver, DriverError, DriverStats, Event, Nanos, Token};

use super::chain::Transport;
use super::core::ShardCore;
use super::distribute::{Distribution, Given, Handed};
use super::tls::Session;
use crate::app::App;
use crate::tls::TlsConfig;

/// What tells a running shard to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopRequest {
    /// Serve.
    None,
    /// Drain, and serve who came before the successor accepted.
    HandedOver,
    /// Drain.
    Graceful,
    /// Cut everything now.
    Forced,
}

/// Where a shard learns that it is to stop.
pub(crate) trait Stop {
    /// What was asked for so far.
    fn requested(&self) -> StopRequest;
    /// The longest drain that was asked for, if it was.
    fn within(&self) -> Option<Nanos>;
    /// Asks all shards for a graceful stop.
    fn ask(&self);
}

/// What a shard knows of the others.
pub(crate) struct Peers<D: Driver> {
    /// All shards', by index.
    pub(crate) wakers: Arc<[D::Waker]>,
    /// Set when one shard accepts for all.
    pub(crate) distribution: Option<Arc<Distribution<D::Socket>>>,
}

/// A shard's driver, its core and its listeners, turn by turn.
pub(crate) struct Loop<D: Driver, A: App, S: Stop> {
    // What received bytes and connections hold goes before the driver.
    /// Empty between turns; kept for its allocation.
    events: Vec<Event<D::Socket>>,
    core: ShardCore<A>,
    driver: D,
    listening: Vec<(Token, Option<TlsConfig>)>,
    /// Descriptors watched for the app, and not closed.
    sources: Vec<Token>,
    peers: Peers<D>,
    /// One bit per shard that was handed a socket and not yet woken.
    handed: u64,
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
        peers: Peers<D>,
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
            sources: Vec::new(),
            peers,
            handed: 0,
            stop,
            events: Vec::with_capacity(D::BATCH),
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
        self.core.is_stopping()
            && self.core.is_drained()
            && self.listening.is_empty()
            && self.sources.is_empty()
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
        self.take_handed();
        self.heed_stop();
        self.core.fire_timers();
        self.core.exchange();
        self.core.run_tasks();
        self.dial();
        self.watch();
        if self.core.take_stop_asked() {
            self.stop.ask();
        }
        self.core.settle();
        self.flush();
        for shard in self.core.take_wakes() {
            self.driver.wake(&self.peers.wakers[shard]);
        }
        self.wake_handed();
        self.core.report(&self.driver.stats());
        self.deadline = self.core.next_deadline();
        self.end_distribution();
        Ok(())
    }

    /// About to end, the shard says so to those that hand it sockets; what came
    /// before makes it go on.
    fn end_distribution(&mut self) {
        if self.is_over()
            && let Some(distribution) = &self.peers.distribution
        {
            distribution.end(self.core.context().shard);
            self.take_handed();
            self.deadline = Some(self.core.context().now);
        }
    }

    pub(crate) fn app(&self) -> &A {
        self.core.app()
    }

    /// The core, and the driver's counters.
    pub(crate) fn parts(&self) -> (&ShardCore<A>, DriverStats) {
        (&self.core, self.driver.stats())
    }

    fn dispatch(&mut self, event: Event<D::Socket>) {
        let core = &mut self.core;
        match event {
            Event::Received { token, mut lease } => core.received(token, &mut lease),
            Event::Sent { token, outcome } => core.sent(token, &outcome),
            Event::RecvEnded { token, end } => core.receive_ended(token, &end),
            Event::Accepted { listener, socket } => self.accepted(listener, socket),
            Event::Closed { token } => self.closed(token),
            Event::Woken => {}
            Event::Connected { token, outcome } => core.connected(token, outcome),
            Event::Ready { token } => core.source_ready(token),
        }
    }

    /// Keeps an accepted socket, or hands it to the shard that has fewer.
    fn accepted(&mut self, listener: Token, socket: D::Socket) {
        let known = self.listening.iter().find(|(token, _)| *token == listener);
        let Some((_, tls)) = known else {
            // `Closed` is a listener's last event, and what forgets it.
            debug_assert!(false, "{listener:?} accepted after its end");
            return;
        };
        let mut handed = Handed {
            socket,
            tls: tls.clone(),
        };
        let own = self.core.context().shard;
        match &self.peers.distribution {
            // Others may have ended; what is accepted now is refused here.
            Some(distribution) if self.core.is_stopping() => distribution.add(own),
            Some(distribution) => match distribution.give(own, handed) {
                Given::Away(shard) => {
                    self.handed |= 1 << shard;
                    return;
                }
                Given::Here(back) => handed = back,
            },
            None => {}
        }
        self.adopt(handed);
    }

    /// Takes what the accepting shard has handed over: at most as many as one
    /// turn of it accepts.
    fn take_handed(&mut self) {
        let own = self.core.context().shard;
        for _ in 0..D::BATCH {
            let shared = self.peers.distribution.as_ref();
            let Some(handed) = shared.and_then(|shared| shared.take(own)) else {
                return;
            };
            self.adopt(handed);
        }
        // More may be there, and whoever brought it need not come again.
        self.handed |= 1 << own;
    }

    fn wake_handed(&mut self) {
        while self.handed != 0 {
            let shard = self.handed.trailing_zeros();
            self.handed &= self.handed - 1;
            self.driver.wake(&self.peers.wakers[shard as usize]);
        }
    }

    /// A socket, counted for this shard, becomes a connection.
    fn adopt(&mut self, handed: Handed<D::Socket>) {
        let token = match self.driver.adopt(handed.socket) {
            Ok(token) => token,
            Err(error) => {
                tracing::warn!(%error, "an accepted socket was refused");
                self.uncount();
                return;
            }
        };
        match transport(handed.tls.as_ref()) {
            Some(transport) => {
                let peer = self.driver.peer_addr(token);
                self.core.accepted(token, peer, transport);
            }
            None => self.driver.close(token),
        }
    }

    fn closed(&mut self, token: Token) {
        let listener = self.listening.iter().position(|(known, _)| *known == token);
        if let Some(index) = listener {
            self.listening.swap_remove(index);
        } else if let Some(index) = self.sources.iter().position(|known| *known == token) {
            self.sources.swap_remove(index);
        } else {
            self.core.closed(token);
            self.uncount();
        }
    }

    /// A socket of this shard is gone.
    fn uncount(&self) {
        if let Some(distribution) = &self.peers.distribution {
            distribution.remove(self.core.context().shard);
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
        let serves = request == StopRequest::HandedOver;
        self.core.stop(serves, self.stop.within());
        if request == StopRequest::Forced {
            self.core.force_stop();
        }
    }

    /// Starts the connections the app has dialled.
    fn dial(&mut self) {
        for dialling in self.core.take_dials() {
            match self.driver.connect(&dialling.dial.connect()) {
                Ok(token) => {
                    if let Some(distribution) = &self.peers.distribution {
                        distribution.add(self.core.context().shard);
                    }
                    self.core.dialling(token, dialling);
                }
                Err(error) => self.core.report_dial(dialling.key, &error.into()),
            }
        }
    }

    /// Has the driver watch the app's new sources, and forget old ones.
    fn watch(&mut self) {
        while let Some((id, descriptor)) = self.core.next_source() {
            let outcome = self.driver.watch(descriptor);
            self.sources.extend(outcome.as_ref().ok());
            self.core.watched(id, outcome);
        }
        while let Some(token) = self.core.next_leaving() {
            self.driver.close(token);
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

/// What a new connection speaks; `None`: it can not be served.
fn transport(tls: Option<&TlsConfig>) -> Option<Transport> {
    let Some(tls) = tls else {
        return Some(Transport::PLAIN);
    };
    match tls.accept() {
        Ok(rustls) => Some(Transport::tls(Session::server(rustls))),
        Err(error) => {
            tracing::error!(%error, "TLS cannot accept a connection");
            None
        }
    }
}
