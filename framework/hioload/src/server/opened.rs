//! A server between its sockets and its shards.

use std::fmt;

use hioload_platform::backend::Selection;
use hioload_platform::hand_over::Predecessor;
use hioload_platform::limits::{self, LimitError};
use hioload_platform::placement::Plan;
use hioload_platform::signals::Signals;
use hioload_platform::topology::Topology;

use super::listeners::Bound;
use super::{Running, Server, Shard, hand_over, launch, signals};
use crate::app::App;
use crate::config::{Config, SPARE_DESCRIPTORS};
use crate::error::{Error, Result};
use crate::hub::Hub;

/// A server that has its sockets and serves nobody yet, see
/// [`Server::open`]. Dropped, it closes them; a predecessor that was not
/// dismissed goes on then as if nobody had asked.
pub struct Opened {
    server: Server,
    topology: Topology,
    plan: Plan,
    selection: Selection,
    descriptors: std::result::Result<u64, LimitError>,
    bound: Bound,
    offer: Option<hand_over::Offer>,
    predecessor: Option<Predecessor>,
}

impl Opened {
    pub(super) fn new(server: Server) -> Result<Self> {
        server.config.check()?;
        Hub::check(&server.hubs)?;
        let topology = Topology::detect();
        let plan = server.config.plan(&topology)?;
        let selection = Selection::of(server.config.backend)?;
        let descriptors = raise_descriptor_limit(&server.config)?;
        let (predecessor, taken) = hand_over::take(server.take_over_from.as_deref())?;
        let bound = Bound::open(&server, plan.shards(), taken)?;
        let offer = match &server.hand_over_at {
            Some(path) => Some(hand_over::Offer::new(path, &bound, predecessor.is_none())?),
            None => None,
        };
        Ok(Self {
            server,
            topology,
            plan,
            selection,
            descriptors,
            bound,
            offer,
            predecessor,
        })
    }

    /// Whether the sockets are those of a predecessor, which serves on.
    #[must_use]
    pub fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Has the predecessor, if there is one, stop accepting and drain before
    /// this server serves: for what only one of them can have, such as a file
    /// that is locked. Returns once it has heard so, or within a few seconds if
    /// it does not answer; that it has ended is known by what it lets go.
    ///
    /// Who connects meanwhile waits in the kernel, which queues 4,096
    /// connections for each socket (fewer with a lower `net.core.somaxconn`),
    /// and lets others try again after a second. From here on there is no
    /// other server for them: if this one does not start, they are reset.
    pub fn dismiss_predecessor(&mut self) {
        if let Some(predecessor) = self.predecessor.take() {
            hand_over::accepting(predecessor);
        }
    }

    /// As [`Server::hub`].
    #[must_use]
    pub fn hub(mut self, hub: Hub) -> Self {
        self.server.hubs.push(hub);
        self
    }

    /// As [`Server::start`].
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start<A, F>(self, app: F) -> Result<Running>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        let Self {
            server,
            topology,
            plan,
            selection,
            descriptors,
            bound,
            offer,
            predecessor,
        } = self;
        Hub::check(&server.hubs)?;
        let addrs = bound.addrs();
        let tls = bound.tls_addrs();
        let handle = server.handle(plan.shards());
        handle.set_offload(server.offload_pool(&topology, &plan));
        let (listeners, distribute) = bound.seat(plan.shards(), server.config.listener);
        let launch = launch::Launch {
            handle: &handle,
            listeners,
            distribute,
            plan: &plan,
            config: &server.config,
            app,
        };
        let threads = launch.start(&selection)?;
        if let Some(predecessor) = predecessor {
            hand_over::accepting(predecessor);
        }
        let within = server.hand_over_within;
        let successors = offer.and_then(|offer| offer.wait(&handle, within));
        // Only now: a start that fails says just why.
        selection.log();
        report_descriptor_limit(descriptors);
        report_placement(&topology, &plan);
        Ok(Running {
            tls,
            addrs,
            backend: selection.backend,
            handle,
            threads,
            patience: server.config.drain_timeout,
            successors,
        })
    }

    /// As [`Server::run_with`].
    ///
    /// # Errors
    /// As [`Server::run_with`].
    pub fn run_with<A, F>(self, app: F, started: impl FnOnce(&Running)) -> Result<()>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        let signals = signals::hold(self.server.can_reload())?;
        self.serve(&signals, app, started)
    }

    pub(super) fn serve<A, F>(
        self,
        signals: &Signals,
        app: F,
        started: impl FnOnce(&Running),
    ) -> Result<()>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        let running = self.start(app)?;
        let _watch = signals::watch(signals, running.handle())?;
        started(&running);
        running.join()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("server", &self.server)
            .field("predecessor", &self.predecessor)
            .finish_non_exhaustive()
    }
}

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
