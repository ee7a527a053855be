//! The loop of a shard: the only code that is generic over the driver.

use hioload_platform::{Driver, DriverError, Event, Token};

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

/// Runs turns until the shard was asked to stop and everything is closed.
///
/// `stop` is asked after every wake, and `wakers` are the other shards', by
/// index.
///
/// # Errors
/// When the driver cannot go on.
pub(crate) fn run<D: Driver, A: App>(
    driver: &mut D,
    core: &mut ShardCore<A>,
    listeners: Vec<(D::Listener, Option<TlsConfig>)>,
    wakers: &[D::Waker],
    stop: &impl Stop,
) -> Result<(), DriverError> {
    let mut listening = Vec::with_capacity(listeners.len());
    for (listener, tls) in listeners {
        listening.push((driver.listen(listener)?, tls));
    }
    let mut events = Vec::with_capacity(D::BATCH);
    core.begin(driver.now());
    core.started();
    // The first turn does not wait: a stop may have been asked for before this
    // shard could be woken.
    let mut deadline = Some(driver.now());
    while !(core.is_stopping() && core.is_drained() && listening.is_empty()) {
        driver.wait(deadline, &mut events)?;
        core.begin(driver.now());
        for event in events.drain(..) {
            dispatch(driver, core, &mut listening, event);
        }
        match stop.requested() {
            StopRequest::None => {}
            request => {
                if !core.is_stopping() {
                    listening.iter().for_each(|(token, _)| driver.close(*token));
                }
                core.stop();
                if request == StopRequest::Forced {
                    core.force_stop();
                }
            }
        }
        core.fire_timers();
        core.exchange();
        dial(driver, core);
        if core.take_stop_asked() {
            stop.ask();
        }
        flush(driver, core);
        for shard in core.take_wakes() {
            driver.wake(&wakers[shard]);
        }
        core.context().metrics().driver(&driver.stats());
        deadline = core.next_deadline();
    }
    Ok(())
}

fn dispatch<D: Driver, A: App>(
    driver: &mut D,
    core: &mut ShardCore<A>,
    listening: &mut Vec<(Token, Option<TlsConfig>)>,
    event: Event<D::Socket>,
) {
    match event {
        Event::Received { token, mut lease } => core.received(token, &mut lease),
        Event::Sent { token, outcome } => core.sent(token, &outcome),
        Event::RecvEnded { token, end } => core.receive_ended(token, &end),
        Event::Accepted { listener, socket } => match driver.adopt(socket) {
            Ok(token) => match transport(listening, listener) {
                Some(transport) => core.accepted(token, driver.peer_addr(token), transport),
                None => driver.close(token),
            },
            Err(error) => tracing::warn!(%error, "an accepted socket was refused"),
        },
        Event::Closed { token } => {
            if let Some(index) = listening
                .iter()
                .position(|(listener, _)| *listener == token)
            {
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

/// Starts the connections the app has dialled.
fn dial<D: Driver, A: App>(driver: &mut D, core: &mut ShardCore<A>) {
    for dialling in core.take_dials() {
        match driver.connect(&dialling.dial.connect()) {
            Ok(token) => core.dialling(token, dialling),
            Err(error) => core.report_dial(dialling.key, &error.into()),
        }
    }
}

/// Hands every touched connection's work to the driver: at most one send each.
fn flush<D: Driver, A: App>(driver: &mut D, core: &mut ShardCore<A>) {
    while let Some(token) = core.next_touched() {
        let Some((link, cx)) = core.link(token) else {
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
