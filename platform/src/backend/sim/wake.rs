//! Waking a simulated driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SimDriver;
use super::net::SimNet;
use super::op::Request;
use super::socket::SimSocket;
use super::world::DriverId;
use crate::driver::Event;
use crate::wake::Wake;

/// Wakes a [`SimDriver`], from any thread.
#[derive(Clone, Debug)]
pub struct SimWaker {
    net: SimNet,
    driver: DriverId,
    /// Whether a wake is under way. Raised by who wakes, after it stored what
    /// it has to say; lowered by the driver before its `Woken`.
    rung: Arc<AtomicBool>,
}

impl SimWaker {
    pub(super) fn new(net: SimNet, driver: DriverId) -> Self {
        Self {
            net,
            driver,
            rung: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Whether the caller has to ring.
    fn raise(&self) -> bool {
        !self.rung.swap(true, Ordering::SeqCst)
    }

    fn lower(&self) {
        self.rung.swap(false, Ordering::SeqCst);
    }

    fn ring(&self) {
        self.net.with(|world| world.ring(self.driver));
    }
}

impl Wake for SimWaker {
    fn wake(&self) {
        if self.raise() {
            self.ring();
        }
    }
}

impl SimDriver {
    pub(super) fn wake_peer(&mut self, peer: &SimWaker) {
        if !peer.raise() {
            return;
        }
        if peer.net.is(&self.net) {
            self.requests.push(Request::Ring(peer.driver));
        } else {
            peer.ring();
        }
    }

    /// A wake arrived.
    pub(super) fn rung(&mut self, events: &mut Vec<Event<SimSocket>>) {
        self.waker.lower();
        // Several wakes in one turn are one event: whatever the second
        // announces is visible already.
        if !std::mem::replace(&mut self.woken, true) {
            events.push(Event::Woken);
        }
    }
}
