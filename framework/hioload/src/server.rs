//! A server: addresses, shards and their threads, start and stop.

mod hand_over;
mod handle;
mod launch;
mod listeners;
mod mail;
mod opened;
mod reload;
mod signals;

pub use handle::{Handle, InboxFull, Shard};
pub use listeners::InheritedSocket;
pub use mail::{PostError, Reservation};
pub use opened::Opened;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use hioload_platform::Listener;
use hioload_platform::backend::{Backend, Choice};
use hioload_platform::placement::{CpuList, Placement, Plan};
use hioload_platform::topology::Topology;

use crate::app::App;
use crate::config::{Backpressure, Config, ListenerMode};
use crate::control::Terms;
use crate::error::Result;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::offload::{self, Queued, Seats};
use crate::tls::TlsConfig;
use listeners::Source;

/// Builds a server. Nothing happens before [`start`](Self::start) or
/// [`run`](Self::run), which report every error.
#[derive(Clone, Debug, Default)]
pub struct Server {
    sources: Vec<(Source, Option<TlsConfig>)>,
    config: Config,
    hubs: Vec<Hub>,
    /// Shards that only dial need no address.
    client: bool,
    take_over_from: Option<PathBuf>,
    hand_over_at: Option<PathBuf>,
    hand_over_within: Option<Duration>,
    /// Who has a say in a reload; the certificates come with the start.
    terms: Terms,
}

impl Server {
    pub(crate) fn without_address(config: Config) -> Self {
        Self {
            config,
            client: true,
            ..Self::default()
        }
    }

    /// A server on `addr`, such as `127.0.0.1:8000`, `[::]:80`, or a name with
    /// a port; port 0 lets the kernel choose.
    #[must_use]
    pub fn bind(addr: impl Into<String>) -> Self {
        Self::default().listen(addr)
    }

    /// Listens on one more address, written as for [`bind`](Self::bind). What is
    /// wrong with it, or taken, is reported by the start.
    #[must_use]
    pub fn listen(mut self, addr: impl Into<String>) -> Self {
        self.sources.push((Source::Address(addr.into()), None));
        self
    }

    /// Listens with TLS on one more address. Under [`run`](Self::run), SIGHUP
    /// reads the certificates again.
    #[must_use]
    pub fn listen_tls(mut self, addr: impl Into<String>, tls: TlsConfig) -> Self {
        self.sources.push((Source::Address(addr.into()), Some(tls)));
        self
    }

    /// Listens on sockets this process was started with: socket activation, as
    /// systemd does it (`sd_listen_fds(3)`). They keep listening while no
    /// server runs, so that a restart refuses nobody.
    ///
    /// One socket serves all shards: the first accepts, and each connection
    /// goes to the shard with the fewest, as in [`ListenerMode::Distribute`].
    /// If all accepted from it, the kernel would wake the same one nearly every
    /// time. Sockets of one address (`ReusePort=` of several socket units) go
    /// to one shard each.
    #[must_use]
    pub fn listen_inherited(mut self, which: InheritedSocket) -> Self {
        self.sources.push((Source::Inherited(which), None));
        self
    }

    /// As [`listen_inherited`](Self::listen_inherited), with TLS.
    #[must_use]
    pub fn listen_inherited_tls(mut self, which: InheritedSocket, tls: TlsConfig) -> Self {
        self.sources.push((Source::Inherited(which), Some(tls)));
        self
    }

    /// Hands the listening sockets to a successor that asks at this path, by
    /// [`take_over_from`](Self::take_over_from): then this server closes its
    /// connections as at a stop, and ends. Connections that came before are
    /// served to their first answers. A successor that fails before it accepts
    /// changes nothing.
    ///
    /// The path becomes a Unix socket of mode 0600, of at most 90 bytes; only
    /// this user's processes and root's are answered. Put it where nobody else
    /// may write, such as `/run/NAME/`.
    ///
    /// Not on Windows, where [`start`](Self::start) fails with
    /// [`Error::HandOver`](crate::Error::HandOver).
    #[must_use]
    pub fn hand_over_at(mut self, path: impl Into<PathBuf>) -> Self {
        self.hand_over_at = Some(path.into());
        self
    }

    /// After a hand-over connections end within this, instead of
    /// [`Config::drain_timeout`]: for a server whose successor waits until it
    /// has ended ([`Opened::dismiss_predecessor`]), and whose clients wait
    /// meanwhile.
    #[must_use]
    pub fn hand_over_within(mut self, within: Duration) -> Self {
        self.hand_over_within = Some(within);
        self
    }

    /// Takes the listening sockets of the server that hands over at this path,
    /// if there is one. What the kernel has queued on them is not lost, and no
    /// connection is refused meanwhile.
    ///
    /// Its addresses that are asked for here too, with or without TLS as there,
    /// are taken; port 0 is any port of that address. Others are bound, and
    /// those nobody asks for are closed. With fewer sockets of an address than
    /// shards, those that have one accept for all, as in
    /// [`ListenerMode::Distribute`]; with more, a shard accepts from several.
    ///
    /// The same path may be given to [`hand_over_at`](Self::hand_over_at), for
    /// the next one.
    #[must_use]
    pub fn take_over_from(mut self, path: impl Into<PathBuf>) -> Self {
        self.take_over_from = Some(path.into());
        self
    }

    /// Declares one more hub: see [`hub`](crate::hub).
    #[must_use]
    pub fn hub(mut self, hub: Hub) -> Self {
        self.hubs.push(hub);
        self
    }

    /// Replaces the whole configuration, also what was set before by other
    /// methods; it is checked at the start.
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

    /// Sets [`Config::placement`].
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.config.placement = placement;
        self
    }

    /// Sets [`Config::cpus`]: the CPU of each shard, in their order.
    #[must_use]
    pub fn cpus(mut self, cpus: impl Into<CpuList>) -> Self {
        self.config.cpus = cpus.into();
        self
    }

    /// Sets [`Config::backend`].
    #[must_use]
    pub fn backend(mut self, backend: Choice) -> Self {
        self.config.backend = backend;
        self
    }

    /// Sets [`Config::listener`].
    #[must_use]
    pub fn listener(mut self, mode: ListenerMode) -> Self {
        self.config.listener = mode;
        self
    }

    /// Sets [`Config::max_message`], in bytes.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.config.max_message = bytes;
        self
    }

    /// Sets [`Config::idle_timeout`]; `None` switches it off.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        self
    }

    /// Sets [`Config::ping_interval`]; `None` switches it off.
    #[must_use]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.config.ping_interval = interval.into();
        self
    }

    /// Sets [`Config::backpressure_limit`], in bytes, and
    /// [`Config::backpressure`].
    #[must_use]
    pub fn backpressure(mut self, limit: usize, policy: Backpressure) -> Self {
        self.config.backpressure_limit = limit;
        self.config.backpressure = policy;
        self
    }

    /// Starts the shards, each with an app of its own made by `app` on the
    /// shard's thread, and returns once all of them accept.
    ///
    /// # Errors
    /// Whatever keeps the server from serving; nothing is left running then.
    pub fn start<A, F>(self, app: F) -> Result<Running>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        self.open()?.start(app)
    }

    /// Opens all sockets, those of a predecessor or new ones, and serves
    /// nobody yet. Who connects waits in the kernel. For what is to happen
    /// between the two; [`start`](Self::start) does both.
    ///
    /// # Errors
    /// Whatever can be known to keep the server from serving.
    pub fn open(self) -> Result<Opened> {
        Opened::new(self)
    }

    /// Starts, and serves until SIGINT or SIGTERM, on Windows until Ctrl-C,
    /// Ctrl-Break or the end of the console; then drains and returns. A second
    /// signal cuts the connections that are left. With TLS, with
    /// [`reload_from`](Self::reload_from) or [`on_reload`](Self::on_reload),
    /// SIGHUP reads certificates and configuration again; if something is
    /// refused, all of the old stays. Other programs ask with
    /// [`hioload_platform::signals`].
    ///
    /// The signals are blocked for the process while it runs and handled by
    /// this call. Call it from the main thread, before other threads start.
    ///
    /// # Errors
    /// As [`start`](Self::start), or a shard that could not go on.
    pub fn run<A, F>(self, app: F) -> Result<()>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        self.run_with(app, |_| {})
    }

    /// As [`run`](Self::run), and calls `started` once the shards accept.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with<A, F>(self, app: F, started: impl FnOnce(&Running)) -> Result<()>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        let signals = signals::hold(self.can_reload())?;
        self.open()?.serve(&signals, app, started)
    }

    /// The TLS configurations in use, each once.
    fn certificates(&self) -> Vec<TlsConfig> {
        let mut distinct: Vec<TlsConfig> = Vec::new();
        for tls in self.sources.iter().filter_map(|(_, tls)| tls.as_ref()) {
            if !distinct.iter().any(|known| known.is_same(tls)) {
                distinct.push(tls.clone());
            }
        }
        distinct
    }

    fn offload_pool(&self, topology: &Topology, plan: &Plan) -> offload::Pool {
        let seats = Seats::of(topology, plan);
        let workers = match self.config.offload_workers {
            0 => seats.workers(),
            workers => workers,
        };
        offload::Pool::new(workers, self.config.offload_queue, seats)
    }
}

/// One shard's listeners; with TLS or without.
type Listeners = Vec<(Listener, Option<TlsConfig>)>;

/// A started server. Dropping it does not stop it; [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct Running {
    addrs: Vec<SocketAddr>,
    /// Those of `addrs` that speak TLS.
    tls: Vec<SocketAddr>,
    backend: Backend,
    handle: Handle,
    threads: Vec<JoinHandle<Result<()>>>,
    /// How long offloaded work may take to end once the shards have.
    patience: Duration,
    /// Waits for a successor; ends when the server stops.
    successors: Option<JoinHandle<()>>,
}

impl Running {
    /// The bound addresses, with the ports the kernel chose.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Whether `addr`, one of [`addrs`](Self::addrs), speaks TLS.
    #[must_use]
    pub fn is_tls(&self, addr: SocketAddr) -> bool {
        self.tls.contains(&addr)
    }

    /// What the shards' drivers stand on.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// A handle for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The counters, live: cheap to clone, readable from any thread also after
    /// the stop.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Stops gracefully: no new connections, open ones are closed with the
    /// app's code, in waves ([`Config::drain_waves`]), and end within
    /// [`Config::drain_timeout`].
    ///
    /// # Errors
    /// A shard that could not go on, or panicked.
    pub fn stop(self) -> Result<()> {
        self.handle.stop();
        self.join()
    }

    /// As [`stop`](Self::stop), within `deadline` instead of
    /// [`Config::drain_timeout`].
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn stop_within(self, deadline: Duration) -> Result<()> {
        self.handle.stop_within(deadline);
        self.join()
    }

    /// Waits until the server has stopped, or has been replaced by a successor
    /// (see [`Server::hand_over_at`]) and its connections have ended; and then
    /// for offloaded work that runs, [`Config::drain_timeout`] more at most.
    ///
    /// # Errors
    /// A shard that could not go on, or panicked.
    pub fn join(self) -> Result<()> {
        let ended = launch::join(self.threads);
        let offload = self.handle.offload().stop(self.patience, Queued::Drop);
        if offload.abandoned > 0 {
            tracing::warn!(
                abandoned = offload.abandoned,
                "offloaded work does not end; its threads are left to themselves"
            );
        }
        if let Some(successors) = self.successors {
            // Nothing of it is of use to anybody now.
            let _panicked = successors.join();
        }
        ended
    }
}
