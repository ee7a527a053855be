//! A run from start to result: threads, start signal, progress, the end.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};

use hioload_platform::backend::{Backend, Native, Run, Selection, Sizes};
use hioload_platform::clock::{self, Clock};
use hioload_platform::{DriverError, Nanos, Wake, affinity};

use crate::broadcast::{Broadcast, Membership};
use crate::chat::{Chat, Clients};
use crate::connect::Connect;
use crate::control::Control;
use crate::echo::Echo;
use crate::idle::Idle;
use crate::load::Workload;
use crate::part;
use crate::processes;
use crate::progress::Progress;
use crate::reconnect::Reconnect;
use crate::rooms::Rooms;
use crate::server_process::Watcher;
use crate::settings::{Load, Settings};
use crate::summary::Ended;
use crate::tally::{Tally, Window};
use crate::together::{News, Place, Together};
use crate::validity::Spent;
use crate::worker::{Failure, Outcome, Worker};

/// How late the kernel may wake a generator thread, in nanoseconds. With the
/// default of 50 microseconds half of all messages left 45 microseconds late,
/// half of the latency of an idle server; now 29 on the same virtual machine.
const TIMER_SLACK: Nanos = 1_000;

/// What threads tell the main thread; `W` is a driver's waker.
enum Note<W> {
    /// The driver exists.
    Started(W),
    /// All connections of a thread are open.
    Ready,
    /// A thread ends before its time; every thread is to look whether to end
    /// now, or to give up.
    GivenUp,
    /// What concerns all runs.
    Heard(News),
    /// A thread is done.
    Done(usize, Box<Result<Outcome, Failure>>),
}

/// Runs the load, `together` with others, and returns what it came to.
///
/// # Errors
/// When this machine does not allow the run.
pub(crate) fn run(settings: &Settings, together: &Together) -> Result<Ended, String> {
    let selection = Selection::of(settings.backend).map_err(|error| error.to_string())?;
    if let Some(cause) = &selection.fallback
        && !settings.quiet
    {
        let backend = selection.backend;
        eprintln!("hioload-loadgen: generating with {backend}: {cause}");
    }
    if settings.processes > 1 && settings.part.is_none() {
        return processes::run(settings, together, selection.backend);
    }
    selection.run(Generate { settings, together })
}

/// A run on the backend that was selected.
struct Generate<'a> {
    settings: &'a Settings,
    together: &'a Together,
}

impl Run for Generate<'_> {
    type Output = Result<Ended, String>;

    fn run<D: Native>(self) -> Self::Output {
        generate::<D>(self.settings, self.together)
    }
}

fn generate<D: Native>(settings: &Settings, together: &Together) -> Result<Ended, String> {
    let server = Watcher::begin(settings)?;
    let rooms = match settings.load {
        Load::Chat(talk) => Rooms::new(talk.rooms, talk.grace),
        _ => Rooms::new(0, 0),
    };
    let mut control = Control::new(settings.threads, settings.publishers(), rooms);
    if settings.centrifugo.is_some() {
        control.clients = Clients::new(settings.connections());
    }
    let control = Arc::new(control);
    let (notes, inbox) = mpsc::channel();
    let listener = notes.clone();
    // The conductor is gone only after its place is.
    let place = together.enter(move |news| drop(listener.send(Note::Heard(news))));
    let mut threads = Vec::new();
    for thread in settings.own_threads() {
        let handle = start::<D>(settings, thread, &control, &notes)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        threads.push(handle);
    }
    let mut conductor = Conductor {
        settings,
        place,
        control,
        inbox,
        clock: Clock::new(),
        wakers: Vec::new(),
        ready: 0,
        interrupted: false,
        reported: part::Reported::default(),
        server,
        outcomes: settings.own_threads().map(|_| None).collect(),
    };
    conductor.conduct(&threads);
    Ok(conductor.end(D::BACKEND))
}

fn start<D: Native>(
    settings: &Settings,
    thread: usize,
    control: &Arc<Control>,
    notes: &Sender<Note<D::Waker>>,
) -> std::io::Result<JoinHandle<()>> {
    let (settings, control, notes) = (settings.clone(), Arc::clone(control), notes.clone());
    thread::Builder::new()
        .name(format!("loadgen-{thread}"))
        .spawn(move || {
            let result = work::<D>(&settings, thread, &control, &notes);
            if result.is_err() {
                control.abort();
            }
            drop(notes.send(Note::Done(thread, Box::new(result))));
        })
}

/// One generator thread, from its first to its last instruction.
fn work<D: Native>(
    settings: &Settings,
    thread: usize,
    control: &Arc<Control>,
    notes: &Sender<Note<D::Waker>>,
) -> Result<Outcome, Failure> {
    if let Some(&cpu) = settings.cpus.get(thread % settings.cpus.len().max(1)) {
        affinity::pin(cpu).map_err(|error| Failure::Machine(error.to_string()))?;
    }
    // Where it is refused, sends are planned as precisely and leave some 50
    // microseconds later, which the lateness shows.
    let _later = clock::limit_slack(TIMER_SLACK);
    let driver: D = open_driver(settings, thread)?;
    drop(notes.send(Note::Started(driver.waker())));
    match settings.load {
        Load::Echo { pace, .. } => drive(
            driver,
            Echo::new(settings, pace, thread),
            settings,
            control,
            thread,
            notes,
        ),
        Load::Broadcast {
            publishers,
            subscribers,
            topics,
            rate,
        } => {
            let members = Membership {
                publishers,
                subscribers,
                topics,
            };
            let load = Broadcast::new(settings, members, rate, thread, Arc::clone(control));
            drive(driver, load, settings, control, thread, notes)
        }
        Load::Idle { ping_interval, .. } => {
            let load = Idle::new(settings, ping_interval, thread);
            drive(driver, load, settings, control, thread, notes)
        }
        Load::Reconnect { backoff, .. } => {
            let load = Reconnect::new(settings, backoff, thread);
            drive(driver, load, settings, control, thread, notes)
        }
        Load::Chat(talk) => {
            let load = Chat::new(settings, talk, thread, Arc::clone(control));
            drive(driver, load, settings, control, thread, notes)
        }
        Load::Connect(storm) => {
            let load = Connect::new(settings, storm, thread);
            drive(driver, load, settings, control, thread, notes)
        }
    }
}

fn open_driver<D: Native>(settings: &Settings, thread: usize) -> Result<D, DriverError> {
    let sockets = u32::try_from(settings.share(thread)).unwrap_or(u32::MAX);
    let least = Sizes::default().max_sockets;
    D::open(Sizes {
        max_sockets: sockets.saturating_add(16).max(least),
        ..Sizes::default()
    })
}

fn drive<D: Native, W: Workload>(
    driver: D,
    load: W,
    settings: &Settings,
    control: &Arc<Control>,
    thread: usize,
    notes: &Sender<Note<D::Waker>>,
) -> Result<Outcome, Failure> {
    let seed = getrandom::u64()
        .map_err(|error| Failure::Machine(format!("no random numbers: {error}")))?;
    let worker = Worker::new(driver, load, settings, Arc::clone(control), thread, seed);
    // The main thread outlives the workers, so a note always arrives.
    let ready = || drop(notes.send(Note::Ready));
    let given_up = || drop(notes.send(Note::GivenUp));
    worker.run(ready, given_up)
}

/// The main thread's view of a run.
struct Conductor<'a, W> {
    settings: &'a Settings,
    place: Place<'a>,
    control: Arc<Control>,
    inbox: Receiver<Note<W>>,
    clock: Clock,
    wakers: Vec<W>,
    ready: usize,
    interrupted: bool,
    /// What another process knows of this one.
    reported: part::Reported,
    server: Watcher,
    outcomes: Vec<Option<Result<Outcome, Failure>>>,
}

impl<W: Wake> Conductor<'_, W> {
    /// Gives the signals and shows the progress until all threads are done.
    fn conduct(&mut self, threads: &[JoinHandle<()>]) {
        let mut progress = Progress::new(self.settings);
        while self.outcomes.iter().any(Option::is_none) {
            let now = self.clock.now();
            let interval = self
                .server
                .interval(&self.control, now, progress.interval());
            match self.inbox.recv_timeout(interval) {
                Ok(note) => self.heed(note),
                Err(RecvTimeoutError::Timeout) => self.bury(threads),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.clock.now();
            self.server.look(&self.control, now);
            progress.show(&self.control, now);
            if self.settings.part.is_some() {
                part::report(self.settings, &self.control, &mut self.reported);
            }
        }
        progress.end();
    }

    fn heed(&mut self, note: Note<W>) {
        match note {
            Note::Started(waker) => {
                self.wakers.push(waker);
                if self.control.aborted() {
                    self.wake_all();
                }
            }
            Note::Ready => {
                self.ready += 1;
                if self.ready == self.outcomes.len() {
                    self.place.ready();
                }
            }
            Note::Heard(News::Start(at)) => {
                self.control.start_at(at + self.settings.start);
                self.wake_all();
            }
            Note::Heard(News::Stop) => {
                self.interrupted = true;
                self.control.stop();
                self.wake_all();
            }
            Note::Heard(News::Abort) => {
                self.control.abort();
                self.wake_all();
            }
            Note::Heard(News::Published(counts)) => self.control.finish_all(&counts),
            Note::GivenUp => {
                // A run that ends early for its own reasons leaves the others.
                if self.control.aborted() {
                    self.place.fail();
                }
                self.wake_all();
            }
            Note::Done(thread, result) => {
                if result.is_err() {
                    self.place.fail();
                    self.wake_all();
                }
                let index = thread - self.settings.own_threads().start;
                self.outcomes[index] = Some(*result);
            }
        }
    }

    /// A thread that ended without a note has panicked.
    fn bury(&mut self, threads: &[JoinHandle<()>]) {
        for (outcome, thread) in self.outcomes.iter_mut().zip(threads) {
            if outcome.is_none() && thread.is_finished() {
                self.control.abort();
                self.place.fail();
                let died = "a generator thread panicked; this is a bug of the generator";
                *outcome = Some(Err(Failure::Machine(died.into())));
            }
        }
        if self.control.aborted() {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        self.wakers.iter().for_each(Wake::wake);
    }

    fn end(self, backend: Backend) -> Ended {
        let mut tally = Tally::new(Window { from: 0, to: 0 });
        let mut threads = Vec::new();
        let mut steps = Vec::new();
        let mut failure: Option<Failure> = None;
        for outcome in self.outcomes.into_iter().flatten() {
            match outcome {
                Ok(outcome) => {
                    tally.merge(&outcome.tally);
                    let spent = Spent {
                        cpu: outcome.cpu,
                        measured: outcome.measured,
                    };
                    threads.push((spent, outcome.connections));
                    steps.push(outcome.steps);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        tally.settle();
        Ended {
            backend,
            tally,
            threads,
            steps,
            server: self.server.end(),
            interrupted: self.interrupted,
            failure,
        }
    }
}
