//! A server: addresses, shards and their threads, start and stop.

mod handle;
mod launch;
mod signals;

pub use handle::{Handle, InboxFull, Shard};

use std::net::{SocketAddr, ToSocketAddrs};
use std::thread::JoinHandle;
use std::time::Duration;

use hioload_platform::backend::{Backend, Choice, Selection};
use hioload_platform::limits::{self, LimitError};
use hioload_platform::placement::{CpuList, Placement, Plan};
use hioload_platform::topology::Topology;
use hioload_platform::{ListenOptions, Listener};

use crate::app::App;
use crate::config::{Backpressure, Config, ListenerMode, SPARE_DESCRIPTORS};
use crate::error::{ConfigError, Error, Result};
use crate::hub::HashSeed;
use crate::metrics::Metrics;
use crate::shard::Inbox;
use crate::tls::TlsConfig;

/// Builds a server. Nothing happens before [`start`](Self::start) or
/// [`run`](Self::run), which report every error.
#[derive(Clone, Debug, Default)]
pub struct Server {
    addrs: Vec<(String, Option<TlsConfig>)>,
    config: Config,
    /// Shards that only dial need no address.
    client: bool,
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

    /// Listens on one more address.
    #[must_use]
    pub fn listen(mut self, addr: impl Into<String>) -> Self {
        self.addrs.push((addr.into(), None));
        self
    }

    /// Listens with TLS on one more address. Under [`run`](Self::run), SIGHUP
    /// reads the certificates again.
    #[must_use]
    pub fn listen_tls(mut self, addr: impl Into<String>, tls: TlsConfig) -> Self {
        self.addrs.push((addr.into(), Some(tls)));
        self
    }

    /// Replaces the whole configuration.
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
        self.config.check()?;
        let topology = Topology::detect();
        let plan = self.config.plan(&topology)?;
        let selection = Selection::of(self.config.backend)?;
        let descriptors = raise_descriptor_limit(&self.config)?;
        let bound = self.open_listeners(plan.shards())?;
        let handle = Handle::new(plan.shards(), HashSeed::random(), Inbox::ROOM);
        let launch = launch::Launch {
            handle: &handle,
            listeners: bound.listeners,
            plan: &plan,
            config: &self.config,
            app,
        };
        let threads = launch.start(&selection)?;
        // Only now: a start that fails says just why.
        selection.log();
        report_descriptor_limit(descriptors);
        report_placement(&topology, &plan);
        Ok(Running {
            tls: bound.tls,
            addrs: bound.addrs,
            backend: selection.backend,
            handle,
            threads,
        })
    }

    /// Starts, and serves until SIGINT or SIGTERM, on Windows until Ctrl-C,
    /// Ctrl-Break or the end of the console; then drains and returns. A second
    /// signal cuts the connections that are left. With TLS, SIGHUP reads the
    /// certificates again; if one cannot be used, the old ones stay. Other
    /// programs ask with [`hioload_platform::signals`].
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
        let certificates = self.certificates();
        let signals = signals::hold(!certificates.is_empty())?;
        let running = self.start(app)?;
        let _watch = signals::watch(&signals, running.handle(), certificates)?;
        started(&running);
        running.join()
    }

    /// The TLS configurations in use, each once.
    fn certificates(&self) -> Vec<TlsConfig> {
        let mut distinct: Vec<TlsConfig> = Vec::new();
        for tls in self.addrs.iter().filter_map(|(_, tls)| tls.as_ref()) {
            if !distinct.iter().any(|known| known.is_same(tls)) {
                distinct.push(tls.clone());
            }
        }
        distinct
    }

    /// One listener per address, and for each shard unless one accepts for all;
    /// all bound before any shard starts.
    fn open_listeners(&self, shards: usize) -> Result<Bound> {
        let mut bound = Bound {
            addrs: Vec::new(),
            tls: Vec::new(),
            listeners: (0..shards).map(|_| Vec::new()).collect(),
        };
        for (text, tls) in &self.addrs {
            let resolved = text.to_socket_addrs().map_err(|source| Error::Address {
                addr: text.clone(),
                source,
            })?;
            for mut addr in resolved {
                let reuse_port = self.config.listener == ListenerMode::ReusePort;
                let accepting = if reuse_port {
                    Self::check_free(addr)?;
                    shards
                } else {
                    1
                };
                for list in bound.listeners.iter_mut().take(accepting) {
                    let listener = Listener::bind(&ListenOptions {
                        reuse_port,
                        ..ListenOptions::new(addr)
                    })?;
                    // With port 0 the first listener chooses for all.
                    addr = listener.local_addr().map_err(|source| Error::System {
                        call: "getsockname",
                        source,
                    })?;
                    list.push((listener, tls.clone()));
                }
                bound.addrs.push(addr);
                if tls.is_some() {
                    bound.tls.push(addr);
                }
            }
        }
        if bound.addrs.is_empty() && !self.client {
            return Err(ConfigError::NoAddress.into());
        }
        Ok(bound)
    }

    /// The shards share a port, and the kernel would let another server of the
    /// same user share it too: one started by mistake would silently take a
    /// part of the connections. A listener that shares with nobody finds it.
    fn check_free(addr: SocketAddr) -> Result<()> {
        if addr.port() != 0 {
            drop(Listener::bind(&ListenOptions {
                reuse_port: false,
                ..ListenOptions::new(addr)
            })?);
        }
        Ok(())
    }
}

/// What was bound: addresses with the ports the kernel chose, which of them
/// speak TLS, and each shard's listeners.
struct Bound {
    addrs: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    listeners: Vec<Listeners>,
}

/// One shard's listeners; with TLS or without.
type Listeners = Vec<(Listener, Option<TlsConfig>)>;

/// The usual soft limit of 1024 descriptors is for programs that use
/// `select`; this one needs one per connection. Too low a hard limit is an
/// error only when a number of connections was promised.
fn raise_descriptor_limit(config: &Config) -> Result<std::result::Result<u64, LimitError>> {
    match limits::raise_nofile(config.descriptors()) {
        Err(LimitError::TooLow { needed, now }) if config.max_connections > 0 => {
            Err(Error::Descriptors {
                connections: config.max_connections,
                needed,
                now,
            })
        }
        outcome => Ok(outcome),
    }
}

fn report_descriptor_limit(descriptors: std::result::Result<u64, LimitError>) {
    match descriptors {
        Ok(_) => {}
        Err(LimitError::TooLow { now, .. }) => tracing::info!(
            "the limit of open files is as high as the hard limit lets it, {now}: about {} connections; \
             beyond them connections wait to be accepted (raise the hard limit: ulimit -Hn, \
             LimitNOFILE= of systemd, --ulimit nofile of docker)",
            now.saturating_sub(SPARE_DESCRIPTORS)
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

fn report_placement(topology: &Topology, plan: &Plan) {
    let shards = plan.shards();
    let cpus = plan.cpus();
    tracing::info!(shards, ?cpus, "shards are placed");
    if let Some(quota) = topology.quota()
        && quota.whole_cpus() < shards
    {
        tracing::warn!(
            "the control group allows the time of {quota} CPUs to {shards} shards, which stall \
             together when it is used up; start {} or raise cpu.max",
            quota.whole_cpus()
        );
    }
}

/// A started server. Dropping it does not stop it; [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct Running {
    addrs: Vec<SocketAddr>,
    /// Those of `addrs` that speak TLS.
    tls: Vec<SocketAddr>,
    backend: Backend,
    handle: Handle,
    threads: Vec<JoinHandle<Result<()>>>,
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

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Stops gracefully: no new connections, open ones are closed with the
    /// app's code and end within [`Config::drain_timeout`].
    ///
    /// # Errors
    /// A shard that could not go on, or panicked.
    pub fn stop(self) -> Result<()> {
        self.handle.stop();
        self.join()
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    /// A shard that could not go on, or panicked.
    pub fn join(self) -> Result<()> {
        launch::join(self.threads)
    }
}
