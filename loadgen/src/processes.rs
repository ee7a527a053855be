//! A run that several processes share: the limit on open files is each
//! process's own.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;

use hioload_platform::backend::Backend;
use hioload_platform::clock::Clock;

use crate::control::Control;
use crate::part::{Call, Order, Parcel, Word};
use crate::progress::Progress;
use crate::rooms::Rooms;
use crate::server_process::Watcher;
use crate::settings::{Part, Settings};
use crate::summary::Ended;
use crate::tally::{Tally, Window};
use crate::together::{News, Place, Together};
use crate::worker::Failure;

/// The longest line of a part: a result with 64 steps has some 130 histograms
/// of up to 60,000 values, and 600 points in time of up to 5,000.
const MAX_LINE: u64 = 256 << 20;

/// What the parts and the other runs tell.
enum Note {
    Word(usize, Word),
    /// A part has closed its output.
    Gone(usize),
    Heard(News),
}

/// Runs the load in as many processes as the settings say, all on the backend
/// that this one found.
///
/// # Errors
/// When this machine does not allow the run.
pub(crate) fn run(
    settings: &Settings,
    together: &Together,
    backend: Backend,
) -> Result<Ended, String> {
    let server = Watcher::begin(settings)?;
    let (notes, inbox) = mpsc::channel();
    let listener = notes.clone();
    let place = together.enter(move |news| drop(listener.send(Note::Heard(news))));
    let parts = (0..settings.processes)
        .map(|number| start(settings, number, &notes))
        .collect::<Result<Vec<_>, _>>()?;
    let mut conductor = Conductor {
        settings,
        place,
        control: Control::new(parts.len(), settings.publishers(), Rooms::new(0, 0)),
        parts,
        inbox,
        ready: 0,
        published: 0,
        interrupted: false,
        server,
    };
    conductor.conduct();
    let Conductor {
        parts,
        interrupted,
        server,
        ..
    } = conductor;
    let mut ended = Ended {
        backend,
        tally: Tally::new(Window { from: 0, to: 0 }),
        threads: Vec::new(),
        steps: Vec::new(),
        server: server.end(),
        interrupted,
        failure: None,
    };
    for result in parts.into_iter().filter_map(|mut part| part.result.take()) {
        let parcel = result?;
        ended.tally.merge(&parcel.tally);
        ended.threads.extend(parcel.threads);
        ended.steps.extend(parcel.steps);
        ended.failure = ended.failure.or(parcel.failure);
    }
    ended.tally.settle();
    Ok(ended)
}

/// Starts a part and a thread that reads what it tells.
fn start(settings: &Settings, number: usize, notes: &Sender<Note>) -> Result<Running, String> {
    let failed = |error: std::io::Error| format!("cannot start a generator process: {error}");
    let mut child = Command::new(env::current_exe().map_err(failed)?)
        .args(env::args_os().skip(1))
        .arg("--part")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let mut part = Running {
        child,
        input,
        result: None,
    };
    let order = Order {
        part: Part {
            number,
            of: settings.processes,
        },
        run: settings.run,
        rate: settings.rate(),
    };
    part.write(&order);
    let notes = notes.clone();
    thread::Builder::new()
        .name(format!("part-{number}"))
        .spawn(move || {
            let mut output = output.map(BufReader::new);
            while let Some(word) = output.as_mut().and_then(read) {
                // The conductor is gone only when the run is over.
                drop(notes.send(Note::Word(number, word)));
            }
            drop(notes.send(Note::Gone(number)));
        })
        .map_err(failed)?;
    Ok(part)
}

/// The next line of a part; `None` at its end, or when it makes no sense.
fn read(output: &mut BufReader<impl std::io::Read>) -> Option<Word> {
    let mut line = String::new();
    output.take(MAX_LINE).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// A part that was started.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    result: Option<Result<Box<Parcel>, String>>,
}

impl Running {
    /// Writes a line. A part that does not read has ended, which its output
    /// tells.
    fn write(&mut self, line: &impl serde::Serialize) {
        if let (Some(input), Ok(mut text)) = (&mut self.input, serde_json::to_string(line)) {
            text.push('\n');
            drop(input.write_all(text.as_bytes()));
        }
    }
}

impl Drop for Running {
    /// A part ends by itself when its input does, at the latest when it has
    /// closed its sockets.
    fn drop(&mut self) {
        drop(self.input.take());
        // Its result is here, or was given up.
        let _status = self.child.wait();
    }
}

/// The first process's view of a run.
struct Conductor<'a> {
    settings: &'a Settings,
    place: Place<'a>,
    /// What the parts told, for the progress.
    control: Control,
    parts: Vec<Running>,
    inbox: Receiver<Note>,
    ready: usize,
    /// Parts whose publishers have sent their last message.
    published: usize,
    interrupted: bool,
    server: Watcher,
}

impl Conductor<'_> {
    fn conduct(&mut self) {
        let clock = Clock::new();
        let mut progress = Progress::new(self.settings);
        while self.parts.iter().any(|part| part.result.is_none()) {
            let most = progress.interval();
            let interval = self.server.interval(&self.control, clock.now(), most);
            match self.inbox.recv_timeout(interval) {
                Ok(Note::Word(number, word)) => self.heed(number, word),
                Ok(Note::Gone(number)) => self.gone(number),
                Ok(Note::Heard(news)) => self.pass_on(&news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = clock.now();
            self.server.look(&self.control, now);
            progress.show(&self.control, now);
        }
        progress.end();
    }

    fn heed(&mut self, number: usize, word: Word) {
        match word {
            Word::Ready => {
                self.ready += 1;
                if self.ready == self.parts.len() {
                    self.place.ready();
                }
            }
            Word::Live(open, sent, received, faults) => {
                let live = self.control.live(number);
                live.set(
                    usize::try_from(open).unwrap_or(usize::MAX),
                    sent,
                    received,
                    faults,
                );
            }
            Word::Stopped if self.control.stopped() => {}
            Word::Stopped => {
                self.control.stop();
                self.call(&Call::Stop);
            }
            Word::Measured => self.control.finish_measuring(),
            Word::Published(counts) => {
                for (publisher, said) in counts {
                    self.control.pass_on_published(publisher, said);
                }
                self.published += 1;
                if self.published == self.parts.len() {
                    let counts = self.control.publishers().map(|publisher| publisher.1);
                    let call = Call::Published(counts.collect());
                    self.call(&call);
                }
            }
            Word::Ended(parcel) => {
                let failed = parcel.failure.is_some();
                self.parts[number].result = Some(Ok(parcel));
                if failed {
                    self.place.fail();
                }
            }
            Word::Refused(message) => {
                self.parts[number].result = Some(Err(message));
                self.place.fail();
            }
        }
    }

    /// A part that ends without a result has died.
    fn gone(&mut self, number: usize) {
        if self.parts[number].result.is_none() {
            let failure = Failure::Machine(format!(
                "generator process {number} ended without a result; its last words are above"
            ));
            self.parts[number].result = Some(Ok(Box::new(Parcel {
                tally: Tally::new(Window { from: 0, to: 0 }),
                threads: Vec::new(),
                steps: Vec::new(),
                failure: Some(failure),
            })));
            self.place.fail();
        }
    }

    fn pass_on(&mut self, news: &News) {
        match news {
            News::Start(at) => {
                self.control.start_at(*at);
                self.call(&Call::Start);
            }
            News::Stop => {
                self.interrupted = true;
                self.control.stop();
                self.call(&Call::Stop);
            }
            News::Abort => self.call(&Call::Abort),
            News::Published(_) => {}
        }
    }

    fn call(&mut self, call: &Call) {
        self.parts.iter_mut().for_each(|part| part.write(call));
    }
}
