//! One run: a server, its clients, the model beside them.

use std::sync::Arc;
use std::time::Duration;

use hioload::Nanos;
use hioload::client::Dial;
use hioload::hub::{History, Hub};
use hioload::testing::{ClientId, End, Fault, FaultCounts, Simulated, Simulation};
use hioload_platform::backend::sim::SimRandom;

use crate::model::{Excuses, Fate, Keeps, Model, Verdict};
use crate::plan::{FATAL, Plan};
use crate::service::{ORDERED, Service};

/// How long the run may take to deliver what is owed, or to find out who is
/// gone, on the simulation's clock: a reader with the smallest window takes
/// some seconds for what is sent to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What a stop may take that waits for nobody: some completions, each delayed,
/// and wakes.
const CUT: Nanos = 300_000_000;

pub(crate) struct Swarm {
    pub(crate) plan: Plan,
    pub(crate) server: Simulated<Service>,
    pub(crate) model: Model,
    /// What the script draws from.
    pub(crate) random: SimRandom,
    /// By name.
    ids: Vec<ClientId>,
    /// Clients that vanished by script.
    pub(crate) vanished: u64,
}

/// What a run amounted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) digest: u64,
    pub(crate) faults: FaultCounts,
    pub(crate) delivered: u64,
    pub(crate) answered: u64,
    pub(crate) time: Nanos,
}

impl Swarm {
    pub(crate) fn start(seed: u64) -> Self {
        let plan = Plan::of(seed);
        let dial = Dial::new("ws://10.0.0.1/far").expect("the simulation's address");
        let dial = Arc::new(dial.timeout(Duration::from_secs(5)));
        let server = Simulation::new(seed)
            .config(plan.config.clone())
            .faults(plan.faults)
            .driver(plan.driver)
            .inbox(plan.inbox)
            .stalls(plan.stalls)
            .hub(ordered_hub(&plan))
            .start(|shard| {
                let ordered = shard.handle().hub_id(ORDERED);
                Service::new(&dial, ordered.expect("it is declared"))
            })
            .expect("a plan can be carried out");
        let excuses = Excuses {
            tight: plan.is_tight(),
            deadly: plan.is_rough(),
            lost: plan.faults.probability(Fault::ConnectSilent) > 0.0,
            idles: plan.config.idle_timeout.is_some(),
            slow: plan.faults.probability(Fault::SlowReader) > 0.0,
        };
        let keeps = Keeps {
            size: plan.history as u64,
            tight: plan.is_tight(),
        };
        Self {
            random: SimRandom::new(seed ^ 0x5eed),
            plan,
            server,
            model: Model::new(excuses, keeps),
            ids: Vec::new(),
            vanished: 0,
        }
    }

    /// The whole run.
    pub(crate) fn run(&mut self) -> Result<Report, String> {
        for _ in 0..self.plan.deeds {
            self.deed()?;
            self.pause()?;
        }
        self.server.limit_sockets(None);
        if self.plan.settles {
            self.settle()?;
        }
        self.stop()?;
        Ok(Report {
            digest: self.server.digest(),
            faults: self.server.injected(),
            delivered: self.model.delivered,
            answered: self.model.answered,
            time: self.server.now(),
        })
    }

    /// One more client; its name.
    pub(crate) fn connect(&mut self, deflates: bool) -> usize {
        let name = self.model.add();
        let deflate = deflates.then(hioload::DeflateConfig::default);
        let id = self
            .server
            .connect_with(&format!("/{name}"), deflate.as_ref());
        self.ids.push(id);
        name
    }

    pub(crate) fn client(&mut self, name: usize) -> &mut hioload::testing::Client {
        self.server.client(self.ids[name])
    }

    /// Clients so far.
    pub(crate) fn clients(&self) -> usize {
        self.ids.len()
    }

    /// Lets some time pass: mostly little, so that things happen at once.
    fn pause(&mut self) -> Verdict {
        let micros = match self.random.below(20) {
            0 => 300_000,
            1..4 => 20_000,
            4..12 => 1_000,
            _ => 50,
        };
        let micros = self.random.below(micros);
        self.pass(Duration::from_micros(micros))
    }

    pub(crate) fn pass(&mut self, time: Duration) -> Verdict {
        let ran = self.server.run_for(time);
        ran.map_err(|stuck| stuck.to_string())?;
        self.look()
    }

    /// Tells the model what the clients saw.
    fn look(&mut self) -> Verdict {
        let now = self.server.now();
        for name in 0..self.ids.len() {
            while let Some(what) = self.client(name).next() {
                self.model.saw(name, now, what)?;
            }
        }
        Ok(())
    }

    /// Runs until `left` says that nothing is left to wait for.
    fn wait(&mut self, mut left: impl FnMut(&Self) -> Vec<String>) -> Verdict {
        let until = self.server.now() + hioload_platform::clock::nanos(PATIENCE);
        loop {
            let waits = left(self);
            if waits.is_empty() {
                return Ok(());
            }
            if self.server.now() >= until {
                return Err(format!("in vain waited for {waits:#?}"));
            }
            self.pass(LOOK)?;
        }
    }

    /// Everything owed is delivered, and whoever is gone is found to be.
    fn settle(&mut self) -> Verdict {
        for name in 0..self.clients() {
            if !self.model.person(name).excused {
                self.client(name).read_freely();
            }
        }
        self.wait(|swarm| swarm.model.owed())?;
        self.wait(|swarm| {
            let dials = swarm.apps().map(Service::dials);
            let undecided = dials.filter(|dials| dials.begun != dials.granted + dials.failed);
            undecided.map(|dials| format!("{dials:?}")).collect()
        })?;
        let silent = self.plan.config.ping_interval.is_none();
        self.wait(|swarm| {
            let gone = swarm.server.injected().of(Fault::HalfOpen) + swarm.vanished;
            let most = swarm.model.alive() as u64 + if silent { gone } else { 0 };
            let sockets = swarm.server.handle().metrics().sockets();
            let surplus = sockets.saturating_sub(most);
            (0..surplus)
                .map(|_| format!("the end of {sockets} sockets, alive are {most}"))
                .collect()
        })?;
        self.check_apps()
    }

    fn apps(&self) -> impl Iterator<Item = &Service> {
        (0..self.plan.config.shards).filter_map(|shard| self.server.app(shard))
    }

    /// The apps have heard of every end.
    fn check_apps(&self) -> Verdict {
        let failed: usize = self.apps().map(|app| app.dials().failed).sum();
        if failed > 0 && !self.plan.is_rough() && !self.plan.starves {
            return Err(format!("{failed} dials failed for no reason"));
        }
        let open: usize = self.apps().map(Service::open).sum();
        let counted = self.server.handle().metrics().connections();
        if counted == open as u64 {
            return Ok(());
        }
        Err(format!(
            "{counted} WebSockets are counted, the apps know {open}"
        ))
    }

    /// The server stops by its deadline and leaves nothing behind.
    fn stop(&mut self) -> Verdict {
        self.model.stopping = true;
        if self.plan.cuts {
            self.server.handle().stop_now();
        }
        let before = self.server.now();
        let residue = self.server.stop().map_err(|stuck| stuck.to_string())?;
        let took = self.server.now() - before;
        if self.plan.cuts && took > CUT {
            return Err(format!("{took} ns to cut everything"));
        }
        self.look()?;
        if !residue.is_nothing() {
            return Err(format!("something is left: {residue:?}"));
        }
        // What the server sent last arrives.
        self.pass(Duration::from_secs(10))?;
        self.check_farewells()?;
        self.check_deaths()
    }

    /// In a network that loses nobody, whoever reads was told of the stop.
    fn check_farewells(&self) -> Verdict {
        if self.plan.is_rough() || self.model.excuses.slow || !self.plan.settles || self.plan.cuts {
            return Ok(());
        }
        for (name, person) in self.model.people().iter().enumerate() {
            if !person.opened || person.excused {
                continue;
            }
            let told = person.closed && person.end == Some(End::Eof);
            let stayed = matches!(person.fate, None | Some(Fate::Closed));
            if !person.is_over() || (stayed && !told) {
                return Err(format!("client {name} was not told of the end: {person:?}"));
            }
        }
        Ok(())
    }

    /// No more connections died for no reason than faults that kill happened.
    fn check_deaths(&self) -> Verdict {
        let faults = self.server.injected();
        let excused: u64 = FATAL.iter().map(|&fault| faults.of(fault)).sum();
        let deaths = &self.model.unexplained;
        if deaths.len() as u64 <= excused {
            return Ok(());
        }
        Err(format!("{excused} faults kill, but: {deaths:#?}"))
    }
}

/// Ordered topics whose messages say where they stand. What is kept is kept to
/// the end of the run.
fn ordered_hub(plan: &Plan) -> Hub {
    let history = History::new(plan.history, Duration::from_secs(24 * 3600));
    let hub = Hub::new(ORDERED).ordered(true).through_app(true);
    hub.history(history)
}
