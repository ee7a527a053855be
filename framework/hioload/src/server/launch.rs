//! The shards' threads.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use hioload_platform::Socket;
use hioload_platform::affinity;
use hioload_platform::backend::{Native, Run, Selection, Sizes};
use hioload_platform::placement::Plan;

use super::Listeners;
use super::handle::{Handle, Shard};
use crate::app::App;
use crate::config::{Config, Rules};
use crate::error::{Error, Result};
use crate::shard::Distribution;
use crate::shard::turn::{Loop, Peers};

/// What a shard's thread is started with; `W` is a driver's waker.
struct Seat<W> {
    shard: Shard,
    listeners: Listeners,
    cpu: Option<usize>,
    config: Config,
    distribution: Option<Arc<Distribution<Socket>>>,
    /// Its driver's waker goes out when the driver is open.
    ready: SyncSender<(usize, W)>,
    /// All wakers come in when every shard is ready; closed without them when
    /// one failed.
    go: Receiver<Arc<[W]>>,
}

/// Shards about to start.
pub(super) struct Launch<'a, F> {
    pub(super) handle: &'a Handle,
    /// Each shard's.
    pub(super) listeners: Vec<Listeners>,
    /// Whether shards that accept do so for all.
    pub(super) distribute: bool,
    pub(super) plan: &'a Plan,
    pub(super) config: &'a Config,
    pub(super) app: F,
}

impl<F> Launch<'_, F> {
    /// Starts one thread per shard; returns when every driver is open.
    pub(super) fn start<A>(self, selection: &Selection) -> Result<Vec<JoinHandle<Result<()>>>>
    where
        A: App,
        F: Fn(&Shard) -> A + Send + Sync + 'static,
    {
        selection.run(Typed(self, PhantomData))
    }
}

/// A launch that knows the app's type.
struct Typed<'a, A, F>(Launch<'a, F>, PhantomData<fn() -> A>);

impl<A, F> Run for Typed<'_, A, F>
where
    A: App,
    F: Fn(&Shard) -> A + Send + Sync + 'static,
{
    type Output = Result<Vec<JoinHandle<Result<()>>>>;

    fn run<D: Native>(self) -> Self::Output {
        start::<D, A, F>(self.0)
    }
}

fn start<D, A, F>(launch: Launch<'_, F>) -> Result<Vec<JoinHandle<Result<()>>>>
where
    D: Native,
    A: App,
    F: Fn(&Shard) -> A + Send + Sync + 'static,
{
    let Launch {
        handle,
        listeners,
        distribute,
        plan,
        config,
        app,
    } = launch;
    let shards = listeners.len();
    let app = Arc::new(app);
    let distribution = distribute.then(|| Arc::new(Distribution::new(shards)));
    let (ready, readies) = sync_channel(shards);
    let mut threads = Vec::with_capacity(shards);
    let mut gates = Vec::with_capacity(shards);
    for (index, listeners) in listeners.into_iter().enumerate() {
        let (gate, go) = sync_channel(1);
        let place = plan.places().get(index);
        let node = place.and_then(|place| place.node);
        handle.metrics().shard(index).pools.set_node(node);
        let seat = Seat {
            shard: Shard::new(index, handle.clone()),
            listeners,
            cpu: place.and_then(|place| place.cpu),
            config: config.clone(),
            distribution: distribution.clone(),
            ready: ready.clone(),
            go,
        };
        let app = Arc::clone(&app);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || seat.run::<D, A>(|shard| app(shard)))
            .map_err(|source| Error::System {
                call: "starting a shard's thread",
                source,
            })?;
        threads.push(thread);
        gates.push(gate);
    }
    drop(ready);
    let mut wakers: Vec<(usize, D::Waker)> = readies.iter().take(shards).collect();
    if wakers.len() < shards {
        drop(gates);
        join(threads)?;
        return Err(Error::ShardPanicked {
            shard: missing(&wakers, shards),
        });
    }
    wakers.sort_unstable_by_key(|&(index, _)| index);
    let wakers: Arc<[D::Waker]> = wakers.into_iter().map(|(_, waker)| waker).collect();
    handle.set_wakers(&wakers);
    for gate in gates {
        // A shard that is gone already is found by whoever joins it.
        let _gone = gate.send(Arc::clone(&wakers));
    }
    Ok(threads)
}

fn missing<W>(ready: &[(usize, W)], shards: usize) -> usize {
    (0..shards)
        .find(|shard| !ready.iter().any(|(index, _)| index == shard))
        .unwrap_or(0)
}

/// Waits for all shards; the first failure is the result.
pub(super) fn join(threads: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    let mut result = Ok(());
    for (shard, thread) in threads.into_iter().enumerate() {
        let ended = thread.join().unwrap_or(Err(Error::ShardPanicked { shard }));
        result = result.and(ended);
    }
    result
}

impl<W> Seat<W> {
    /// The life of a shard's thread.
    fn run<D, A>(self, app: impl FnOnce(&Shard) -> A) -> Result<()>
    where
        D: Native<Waker = W>,
        A: App,
    {
        let index = self.shard.index();
        let handle = self.shard.handle();
        let _guard = StopOthers(handle.clone(), index);
        if let Some(cpu) = self.cpu
            && let Err(error) = affinity::pin(cpu)
        {
            tracing::warn!(shard = index, cpu, %error, "the shard is not pinned");
        }
        // After pinning, so that memory is first touched on the CPU's node.
        let driver = D::open(sizes(&self.config))?;
        let now = driver.now();
        let mask_seed = getrandom::u64().map_err(|error| Error::System {
            call: "getrandom",
            source: std::io::Error::other(error),
        })?;
        let app = app(&self.shard);
        let core = self
            .shard
            .core(app, Rules::from(&self.config), mask_seed, now)?;
        let Self {
            listeners,
            distribution,
            ready,
            go,
            ..
        } = self;
        // Nobody listens when another shard failed; `go` is closed then too.
        let _failed = ready.send((index, driver.waker()));
        drop(ready);
        let Ok(wakers) = go.recv() else { return Ok(()) };
        let peers = Peers::<D> {
            wakers,
            distribution,
        };
        Loop::start(driver, core, listeners, peers, handle)?.run()?;
        Ok(())
    }
}

/// A shard that ends, for whatever reason, stops the server: the rest would
/// serve only some of the connections the kernel spreads over all listeners.
struct StopOthers(Handle, usize);

impl Drop for StopOthers {
    fn drop(&mut self) {
        self.0.end(self.1);
        self.0.stop();
    }
}

/// Sockets a shard's driver may hold beyond the connection limit: refusals
/// being answered, listeners.
const SPARE_SOCKETS: usize = 1024;

fn sizes(config: &Config) -> Sizes {
    let sockets = config.connections().saturating_add(SPARE_SOCKETS);
    Sizes {
        max_sockets: u32::try_from(sockets).unwrap_or(u32::MAX),
        recv_buffers: config.recv_buffers,
        recv_buffers_max: config.recv_buffers_max,
    }
}
