//! The handle on a simulated network, and how its time passes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::endpoint::Holder;
use super::faults::{FaultCounts, Faults};
use super::peer::SimPeer;
use super::socket::{SimListener, SimSocket};
use super::source::{SimSignal, SimSource};
use super::world::{DriverId, World};
use crate::clock::Nanos;
use crate::error::BindError;
use crate::socket::ListenOptions;

/// A simulated network with its clock. Clones are the same network.
///
/// Everything that happens is decided by the seed and by the order of calls,
/// so one thread that makes the same calls sees the same history. It may be
/// used from several threads, which then decide the order.
///
/// Time passes in one of two ways:
///
/// - [`new`](Self::new): whoever waits in [`Driver::wait`](crate::Driver::wait)
///   moves the clock on to whatever happens next, or to its deadline;
/// - [`stepped`](Self::stepped): `wait` takes what is due and returns at once,
///   and a scheduler moves the clock with [`advance_to`](Self::advance_to). It
///   learns from [`next_event_time`](Self::next_event_time) and
///   [`SimDriver::next_time`](super::SimDriver::next_time) how far.
#[derive(Clone)]
pub struct SimNet(Arc<Shared>);

struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

impl SimNet {
    /// A network whose clock is moved by those who wait.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::of(World::new(seed, faults, false))
    }

    /// A network whose clock is moved by a scheduler.
    #[must_use]
    pub fn stepped(seed: u64, faults: Faults) -> Self {
        Self::of(World::new(seed, faults, true))
    }

    fn of(world: World) -> Self {
        Self(Arc::new(Shared {
            world: Mutex::new(world),
            changed: Condvar::new(),
        }))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.with(|world| world.now)
    }

    /// When the next thing happens on the network; `None`: never, unless
    /// somebody does something.
    #[must_use]
    pub fn next_event_time(&self) -> Option<Nanos> {
        self.with(|world| world.agenda.next().map(|at| at.max(world.now)))
    }

    /// Lets everything happen that is due by `until`; then it is `until`.
    pub fn advance_to(&self, until: Nanos) {
        self.with(|world| world.advance_to(until));
    }

    /// Lets the next thing happen. When nothing will, waits for another thread
    /// to change that, for at most `patience` of real time; false after that.
    #[must_use]
    pub fn pass(&self, patience: Duration) -> bool {
        let mut world = self.lock();
        if !world.step(None) {
            world.waiting += 1;
            let (again, timeout) = self
                .0
                .changed
                .wait_timeout(world, patience)
                .unwrap_or_else(PoisonError::into_inner);
            world = again;
            world.waiting -= 1;
            return !timeout.timed_out();
        }
        self.tell(world);
        true
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.with(|world| world.faults = faults);
    }

    /// What went wrong so far.
    #[must_use]
    pub fn injected(&self) -> FaultCounts {
        self.with(|world| world.injected)
    }

    /// A number for everything that happened, in its order: equal for equal
    /// histories.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.with(|world| world.trace.digest())
    }

    /// The latest things that happened, oldest first, to explain a failure.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        self.with(|world| world.trace.latest())
    }

    /// A random number of the one seed, for whoever takes part.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.with(|world| world.random.bits())
    }

    /// One of `len` possibilities, chosen by the seed.
    #[must_use]
    pub fn choose(&self, len: usize) -> usize {
        self.with(|world| world.random.index(len))
    }

    /// How many sockets and listeners of the machine under test may be open;
    /// accepting more fails with `EMFILE`.
    pub fn limit_descriptors(&self, limit: u32) {
        self.with(|world| world.descriptor_limit = limit);
    }

    /// Sockets and listeners of the machine under test that are open.
    #[must_use]
    pub fn descriptors(&self) -> u32 {
        self.with(|world| world.descriptors)
    }

    /// Binds and listens. A backlog of 0 takes nobody: connecting to it gets
    /// no answer.
    ///
    /// # Errors
    /// As for a real listener: the address is in use, or not ours. Ours are
    /// all loopback and private addresses.
    pub fn listen(&self, options: &ListenOptions) -> Result<SimListener, BindError> {
        let limit = usize::try_from(options.backlog).unwrap_or(0);
        let bound = self.with(|world| {
            let id = world.listen(options.addr, options.reuse_port, limit)?;
            let addr = world.listeners.get(&id).map(|backlog| backlog.addr);
            Ok((id, addr.unwrap_or(options.addr)))
        });
        let (id, addr) = bound.map_err(|source| BindError {
            addr: options.addr,
            source,
        })?;
        Ok(SimListener::new(self.clone(), id, addr))
    }

    /// A peer that asks for a connection to `addr`, from `source` if given.
    ///
    /// # Errors
    /// When the source address is not ours or in use.
    pub fn connect(&self, source: Option<SocketAddr>, addr: SocketAddr) -> io::Result<SimPeer> {
        let end = self.with(|world| world.start_connect(source, addr, Holder::Peer))?;
        Ok(SimPeer::new(self.clone(), end))
    }

    /// A connection made past the driver.
    #[must_use]
    pub fn pair(&self) -> (SimSocket, SimPeer) {
        let (socket, peer) = self.connected_pair();
        (
            SimSocket::new(self.clone(), socket),
            SimPeer::new(self.clone(), peer),
        )
    }

    /// A foreign event source and its far side.
    #[must_use]
    pub fn source(&self) -> (SimSource, SimSignal) {
        let id = self.with(World::add_source);
        (
            SimSource::new(self.clone(), id),
            SimSignal::new(self.clone(), id),
        )
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Acts on the world, and tells the threads that wait for a change.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let result = act(&mut world);
        self.tell(world);
        result
    }

    /// Waits until `driver` has completions or something happens, but not past
    /// `until`. Without either it waits for another thread.
    pub(super) fn idle(&self, driver: DriverId, until: Option<Nanos>) {
        let mut world = self.lock();
        loop {
            let ready = world.drivers.get(&driver);
            if ready.is_none_or(super::kernel::Kernel::has_completions) || world.step(until) {
                return self.tell(world);
            }
            world.waiting += 1;
            world = self
                .0
                .changed
                .wait(world)
                .unwrap_or_else(PoisonError::into_inner);
            world.waiting -= 1;
        }
    }

    /// A kernel check that failed has poisoned the lock; those who clean up
    /// after the panic still get in.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, world: MutexGuard<'_, World>) {
        let waiting = world.waiting > 0;
        drop(world);
        if waiting {
            self.0.changed.notify_all();
        }
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").finish_non_exhaustive()
    }
}
