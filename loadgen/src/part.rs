//! A process that is one of several that share a run.
//!
//! It gets its [`Order`] and then [`Call`]s on standard input and answers with
//! [`Word`]s on standard output, each a line of JSON. It ends when its input
//! does, so that it never outlives the process that started it.

use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::descriptors;
use crate::exit::Exit;
use crate::run;
use crate::settings::{Part, Settings};
use crate::signals;
use crate::tally::Tally;
use crate::together::{News, Together};
use crate::validity::Spent;
use crate::worker::Failure;

/// What a part is to do besides what its command line says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which part it is.
    pub(crate) part: Part,
    /// The number of the run.
    pub(crate) run: u32,
    /// Messages per second over all parts, in an open loop.
    pub(crate) rate: Option<f64>,
}

/// What a part is told while it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// All parts are ready.
    Start,
    /// End now and report.
    Stop,
    /// Give up.
    Abort,
    /// What each publisher of the run said when it had sent its last message.
    Published(Vec<u64>),
}

/// What a part tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// All its connections are open.
    Ready,
    /// Counts until now: open connections, messages sent, received, faults.
    Live(u64, u64, u64, u64),
    /// Its measurement is over.
    Measured,
    /// It ends early, since more connections failed than are tolerated.
    Stopped,
    /// Its publishers have sent their last message: publisher and what it said.
    Published(Vec<(usize, u64)>),
    /// What it came to.
    Ended(Box<Parcel>),
    /// Why this machine does not allow it.
    Refused(String),
}

/// What a part came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parcel {
    pub(crate) tally: Tally,
    /// What each thread spent, and its connections.
    pub(crate) threads: Vec<(Spent, usize)>,
    /// What each thread spent in each step of the rate.
    pub(crate) steps: Vec<Vec<Spent>>,
    pub(crate) failure: Option<Failure>,
}

/// Takes part in a run, to the end.
pub(crate) fn serve(settings: Settings) -> Exit {
    let result = match ordered(settings) {
        Ok(settings) => take_part(&settings),
        Err(message) => Err(message),
    };
    let word = match result {
        Ok(parcel) => Word::Ended(parcel),
        Err(message) => Word::Refused(message),
    };
    tell(&word);
    Exit::Ok
}

/// The settings that the first line of the input makes of the command line's.
fn ordered(mut settings: Settings) -> Result<Settings, String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| format!("--part is for the generator's own use: {error}"))?;
    let order: Order = serde_json::from_str(&line)
        .map_err(|error| format!("--part is for the generator's own use: {error}"))?;
    settings.run = order.run;
    if let Some(rate) = order.rate {
        settings = settings.at_rate(rate, 0);
    }
    settings.part = Some(order.part);
    settings.quiet = true;
    Ok(settings)
}

fn take_part(settings: &Settings) -> Result<Box<Parcel>, String> {
    let own = settings.own_threads();
    let connections = own.clone().map(|thread| settings.share(thread)).sum();
    descriptors::reserve(descriptors::needed(connections, own.len()))?;
    let together = Arc::new(Together::gated(|| tell(&Word::Ready)));
    // The process that started this one is asked to stop as well and says so.
    let _watched = signals::watch(|| {}).map_err(|error| error.to_string())?;
    let listener = Arc::clone(&together);
    thread::Builder::new()
        .name("part".into())
        .spawn(move || listen(&listener))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let ended = run::run(settings, &together)?;
    Ok(Box::new(Parcel {
        tally: ended.tally,
        threads: ended.threads,
        steps: ended.steps,
        failure: ended.failure,
    }))
}

/// Passes on what is called, until the end of the input, which is an abort.
fn listen(together: &Together) {
    for line in io::stdin().lock().lines() {
        let call = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        match call {
            Some(Call::Start) => together.start(),
            Some(Call::Stop) => together.interrupt(),
            Some(Call::Published(counts)) => together.tell(&News::Published(counts.into())),
            Some(Call::Abort) | None => break,
        }
    }
    together.abort();
}

/// What was told once.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    measured: bool,
    published: bool,
    stopped: bool,
}

/// Tells the counts until now; and once that it ends early, that the measurement
/// is over, and what the publishers sent when all of them have sent their last
/// message.
pub(crate) fn report(settings: &Settings, control: &Control, told: &mut Reported) {
    tell(&Word::Live(
        control.sum(|live| &live.open),
        control.sum(|live| &live.sent),
        control.sum(|live| &live.received),
        control.sum(|live| &live.faults),
    ));
    if !told.stopped && control.stopped() {
        told.stopped = true;
        tell(&Word::Stopped);
    }
    let own = settings.own_threads();
    if !told.measured && control.finished_measuring() >= own.len() {
        told.measured = true;
        tell(&Word::Measured);
    }
    if !told.published && control.finished() == own.len() {
        told.published = true;
        let published = (control.publishers())
            .filter(|(publisher, _)| own.contains(&(publisher % settings.threads)));
        tell(&Word::Published(published.collect()));
    }
}

/// Writes a line. When nobody reads any more, the input has ended too.
fn tell(word: &Word) {
    if let Ok(mut line) = serde_json::to_string(word) {
        line.push('\n');
        let mut out = io::stdout().lock();
        drop(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
    }
}
