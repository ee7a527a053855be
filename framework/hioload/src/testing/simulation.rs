//! A simulated server: how it is made, and what can be done with it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hioload_platform::backend::sim::{
    FaultCounts, Faults, SimConfig, SimDriver, SimNet, SimSignal,
};
use hioload_platform::clock::nanos;
use hioload_platform::{Driver, ListenOptions, Nanos};
use hioload_protocol::DeflateConfig;

use super::client::Client;
use super::journal::{Entry, Journal};
use super::residue::Residue;
use super::stuck::Stuck;
use super::workshop::{LONGEST, Workshop};
use crate::app::App;
use crate::config::{Config, ListenerMode, Rules};
use crate::control::{Control, Terms};
use crate::error::Error;
use crate::hub::{HashSeed, Hub};
use crate::offload::Pool;
use crate::server::{Handle, Shard};
use crate::shard::turn::{Loop, Peers};
use crate::shard::{Distribution, Inbox};
use crate::source::Descriptor;

/// Where the server listens: an address of the simulated machine.
const ADDRESS: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

/// What a stop may take beyond [`Config::drain_timeout`]: the last
/// completions, each delayed, and the turns that take them.
const STOP_MARGIN: Nanos = 1_000_000_000;

/// Builds a simulated server.
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    config: Config,
    faults: Faults,
    driver: SimConfig,
    inbox: usize,
    stalls: f64,
    work: Nanos,
    hubs: Vec<Hub>,
}

impl Simulation {
    /// A server of two shards on a network where nothing goes wrong. `seed`
    /// decides everything that may happen in one way or another.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            config: Config {
                shards: 2,
                ..Config::default()
            },
            faults: Faults::none(),
            driver: SimConfig::default(),
            inbox: Inbox::ROOM,
            stalls: 0.0,
            work: LONGEST,
            hubs: Vec::new(),
        }
    }

    /// Declares one more hub.
    #[must_use]
    pub fn hub(mut self, hub: Hub) -> Self {
        self.hubs.push(hub);
        self
    }

    /// Replaces the configuration of the server. Where shards would run means
    /// nothing here; 0 shards are two.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets [`Config::shards`].
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.config.shards = shards;
        self
    }

    /// What goes wrong on the network and in the kernel, how often.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The sizes of each shard's driver: receive buffers, sockets.
    #[must_use]
    pub fn driver(mut self, driver: SimConfig) -> Self {
        self.driver = driver;
        self
    }

    /// Entries of each shard's inbox, at least 1. Few let publishers be
    /// paused, because other shards are behind, after few messages.
    #[must_use]
    pub fn inbox(mut self, entries: usize) -> Self {
        self.inbox = entries.max(1);
        self
    }

    /// The probability that time passes although somebody has something to
    /// do, as when the system lets a thread wait.
    #[must_use]
    pub fn stalls(mut self, probability: f64) -> Self {
        self.stalls = probability;
        self
    }

    /// How long offloaded work takes at most; the seed decides how long each
    /// takes, from a nanosecond. 10 milliseconds unless said otherwise. 0
    /// workers in [`Config::offload_workers`] are two.
    #[must_use]
    pub fn offload_time(mut self, longest: Duration) -> Self {
        self.work = nanos(longest);
        self
    }

    /// Starts the shards, each with an app of its own.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn start<A, F>(self, mut app: F) -> Result<Simulated<A>, Error>
    where
        A: App,
        F: FnMut(&Shard) -> A,
    {
        self.config.check()?;
        Hub::check(&self.hubs)?;
        let shards = match self.config.shards {
            0 => 2,
            shards => shards,
        };
        let net = SimNet::stepped(self.seed, self.faults);
        let control = Control::new(&self.config, shards, Terms::default());
        let seed = HashSeed::Given(net.bits());
        let handle = Handle::new(shards, &self.hubs, &seed, self.inbox, control);
        let pool = self.offload_pool(shards);
        handle.set_offload(pool.clone());
        let mut drivers = Vec::with_capacity(shards);
        for _ in 0..shards {
            drivers.push(SimDriver::open(&net, self.driver)?);
        }
        let wakers: Arc<[_]> = drivers.iter().map(Driver::waker).collect();
        handle.set_wakers(&wakers);
        let distribute = self.config.listener == ListenerMode::Distribute;
        let distribution = distribute.then(|| Arc::new(Distribution::new(shards)));
        let options = ListenOptions {
            reuse_port: !distribute,
            ..ListenOptions::new(ADDRESS.into())
        };
        let mut loops = Vec::with_capacity(shards);
        for (index, driver) in drivers.into_iter().enumerate() {
            let shard = Shard::new(index, handle.clone());
            let rules = Rules::from(&self.config);
            let core = shard.core(app(&shard), rules, net.bits(), driver.now())?;
            let listeners = if index == 0 || !distribute {
                vec![(net.listen(&options)?, None)]
            } else {
                Vec::new()
            };
            let peers = Peers {
                wakers: Arc::clone(&wakers),
                distribution: distribution.clone(),
            };
            let shard = Loop::start(driver, core, listeners, peers, handle.clone())?;
            loops.push(Some(shard));
        }
        Ok(Simulated {
            clients: Vec::new(),
            shards: loops,
            workshop: Workshop::new(pool, self.work),
            drain: nanos(self.config.drain_timeout),
            stalls: self.stalls,
            journal: Journal::default(),
            residue: Residue::default(),
            still: 0,
            handle,
            net,
        })
    }
}

impl Simulation {
    fn offload_pool(&self, shards: usize) -> Pool {
        let workers = match self.config.offload_workers {
            0 => 2,
            workers => workers,
        };
        Pool::stepped(workers, self.config.offload_queue, shards)
    }
}

/// Names a client of a simulated server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(usize);

/// A simulated server, its clients and its clock.
pub struct Simulated<A: App> {
    pub(super) clients: Vec<Client>,
    /// Those that have not ended.
    pub(super) shards: Vec<Option<Loop<SimDriver, A, Handle>>>,
    pub(super) workshop: Workshop,
    pub(super) net: SimNet,
    pub(super) journal: Journal,
    pub(super) residue: Residue,
    /// Steps since time has passed.
    pub(super) still: u32,
    pub(super) stalls: f64,
    drain: Nanos,
    pub(super) handle: Handle,
}

impl<A: App> Simulated<A> {
    /// A client that asks for a WebSocket at `path`.
    pub fn connect(&mut self, path: &str) -> ClientId {
        self.connect_with(path, None)
    }

    /// As [`connect`](Self::connect), offering permessage-deflate.
    pub fn connect_with(&mut self, path: &str, deflate: Option<&DeflateConfig>) -> ClientId {
        let peer = self.net.connect(None, SocketAddr::from(ADDRESS));
        let client = Client::new(peer, path, deflate, self.net.bits());
        self.clients.push(client);
        ClientId(self.clients.len() - 1)
    }

    /// A client, to tell it what to do and to ask what it saw.
    pub fn client(&mut self, id: ClientId) -> &mut Client {
        &mut self.clients[id.0]
    }

    /// The app of a shard; `None` once the shard has ended.
    #[must_use]
    pub fn app(&self, shard: usize) -> Option<&A> {
        self.shards[shard].as_ref().map(Loop::app)
    }

    /// An event source for [`Turn::register`](crate::Turn::register), and its
    /// far side, which makes it ready.
    #[must_use]
    pub fn source(&self) -> (Descriptor, SimSignal) {
        let (source, signal) = self.net.source();
        (source.into(), signal)
    }

    /// A handle of the server.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The time: nanoseconds of the simulation's clock.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.net.now()
    }

    /// One of `len` possibilities, chosen by the seed: for whoever writes a
    /// script that differs from seed to seed.
    #[must_use]
    pub fn choose(&self, len: usize) -> usize {
        self.net.choose(len)
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.net.set_faults(faults);
    }

    /// Lets the machine have only so many sockets more than it has now;
    /// `None`: as many as it likes.
    pub fn limit_sockets(&self, more: Option<u32>) {
        let limit = more.map_or(u32::MAX, |more| self.net.descriptors().saturating_add(more));
        self.net.limit_descriptors(limit);
    }

    /// What went wrong so far.
    #[must_use]
    pub fn injected(&self) -> FaultCounts {
        self.net.injected()
    }

    /// A number for everything that happened, in its order: equal for equal
    /// runs.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.journal.digest(self.net.digest())
    }

    /// The latest things that happened, to explain a failure: on the network
    /// and among shards and clients, each with its time, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        let mut lines = self.net.history();
        lines.extend(self.journal.latest());
        lines.sort_by_key(|line| time(line));
        lines
    }

    /// Whether all shards have ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shards.iter().all(Option::is_none)
    }

    /// Stops the server gracefully and runs until it has ended; what is left
    /// then, which should be nothing.
    ///
    /// # Errors
    /// [`Stuck::Unstopped`] when its deadline,
    /// [`Config::drain_timeout`] and a second, passes before; and as
    /// [`run_until`](Self::run_until).
    pub fn stop(&mut self) -> Result<Residue, Stuck> {
        self.handle.stop();
        let within = Duration::from_nanos(self.drain.saturating_add(STOP_MARGIN));
        match self.run_until(within, |server| server.is_over()) {
            Err(Stuck::Unmet { at, .. }) => {
                let shards = (0..self.shards.len())
                    .filter(|&shard| self.shards[shard].is_some())
                    .collect();
                Err(Stuck::Unstopped { at, shards })
            }
            ended => ended.map(|()| self.residue()),
        }
    }

    /// What the shards that have ended left behind.
    #[must_use]
    pub fn residue(&self) -> Residue {
        Residue {
            counted: self.handle.sockets() as u64,
            of_addresses: self.handle.addresses().counted() as u64,
            interest: self.handle.marked() as u64,
            counted_topics: self.handle.counted_topics() as u64,
            descriptors: self.net.descriptors().into(),
            ..self.residue
        }
    }

    /// Notes what a client saw.
    pub(super) fn note_seen(&mut self, client: usize) {
        let now = self.net.now();
        for what in self.clients[client].take_fresh() {
            self.journal.note(now, Entry::Saw { client, what });
        }
    }
}

/// The time a line of history begins with.
fn time(line: &str) -> u64 {
    let first = line.split_ascii_whitespace().next();
    first.and_then(|at| at.parse().ok()).unwrap_or(0)
}

impl<A: App> fmt::Debug for Simulated<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated")
            .field("now", &self.now())
            .field("shards", &self.shards.len())
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}
