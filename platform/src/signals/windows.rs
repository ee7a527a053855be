//! The console's control events, and events with a name for those who do not
//! share the console.

mod event;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use super::Signal;
use event::Event;

/// The name of the event that asks a process to stop.
fn stop_name(process: u32) -> String {
    format!(r"Local\hioload-stop-{process}")
}

/// The name of the event that asks a process to reload.
fn reload_name(process: u32) -> String {
    format!(r"Local\hioload-reload-{process}")
}

/// Where the handler leaves what it is told: the handler is a plain function,
/// and one for the process.
static CONSOLE: Mutex<Option<Arc<Console>>> = Mutex::new(None);

#[derive(Debug)]
struct Console {
    told: Event,
    /// What it was told last.
    what: AtomicU32,
}

fn console() -> MutexGuard<'static, Option<Arc<Console>>> {
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by the system on a thread it starts for the purpose, so it may lock.
unsafe extern "system" fn heed_console(what: u32) -> BOOL {
    let Some(console) = console().clone() else {
        return FALSE;
    };
    if name_of(what).is_none() {
        return FALSE;
    }
    console.what.store(what, Ordering::SeqCst);
    console.told.set();
    if matches!(
        what,
        CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT
    ) {
        // The process ends when this returns, or by itself when it has
        // stopped.
        loop {
            thread::park();
        }
    }
    TRUE
}

fn name_of(what: u32) -> Option<&'static str> {
    match what {
        CTRL_C_EVENT => Some("Ctrl-C"),
        CTRL_BREAK_EVENT => Some("Ctrl-Break"),
        CTRL_CLOSE_EVENT => Some("the end of the console"),
        CTRL_LOGOFF_EVENT => Some("the end of the session"),
        CTRL_SHUTDOWN_EVENT => Some("the shutdown"),
        _ => None,
    }
}

/// The handler is installed and the events have their names.
#[derive(Debug)]
pub(super) struct Held {
    console: Arc<Console>,
    stop: Arc<Event>,
    /// Without a name where nobody may ask for it.
    reload: Arc<Event>,
}

impl Held {
    pub(super) fn new(reload: bool) -> io::Result<Self> {
        let process = std::process::id();
        // Of this name there is one, and so there is one of these.
        let stop = Event::named(&stop_name(process))?;
        let reload = if reload {
            Event::named(&reload_name(process))?
        } else {
            Event::new()?
        };
        let held = Self {
            console: Arc::new(Console {
                told: Event::new()?,
                what: AtomicU32::new(CTRL_C_EVENT),
            }),
            stop: Arc::new(stop),
            reload: Arc::new(reload),
        };
        *console() = Some(Arc::clone(&held.console));
        // SAFETY: the handler is a function of this process and stays.
        if unsafe { SetConsoleCtrlHandler(Some(heed_console), TRUE) } == FALSE {
            return Err(io::Error::last_os_error());
        }
        Ok(held)
    }

    pub(super) fn watch(&self, mut heed: impl FnMut(Signal) + Send + 'static) -> io::Result<Watch> {
        let end = Arc::new(Event::new()?);
        let ended = Arc::clone(&end);
        let console = Arc::clone(&self.console);
        let (stop, reload) = (Arc::clone(&self.stop), Arc::clone(&self.reload));
        let thread = thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                // The end comes first, whatever else there is.
                let events = [&*ended, &console.told, &*stop, &*reload];
                loop {
                    match Event::wait(events) {
                        Ok(0) => return,
                        Ok(1) => heed(Signal::Stop {
                            by: name_of(console.what.load(Ordering::SeqCst)).unwrap_or("console"),
                        }),
                        Ok(2) => heed(Signal::Stop { by: "a request" }),
                        Ok(_) => heed(Signal::Reload),
                        Err(error) => {
                            tracing::error!(%error, "requests to stop are not heeded any more");
                            return;
                        }
                    }
                }
            })?;
        Ok(Watch {
            thread: Some(thread),
            end,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the handler is a function of this process. It fails only for
        // one that is not installed.
        let _removed = unsafe { SetConsoleCtrlHandler(Some(heed_console), FALSE) };
        *console() = None;
    }
}

/// The thread that heeds signals; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    thread: Option<JoinHandle<()>>,
    end: Arc<Event>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.set();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

pub(super) fn ask_to_stop(process: u32) -> io::Result<()> {
    Event::open(&stop_name(process)).map(|event| event.set())
}

pub(super) fn ask_to_reload(process: u32) -> io::Result<()> {
    Event::open(&reload_name(process)).map(|event| event.set())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// One test, since there is one handler for the process.
    #[test]
    fn every_request_is_kept_for_the_one_who_heeds_it() {
        let held = Held::new(true).expect("requests can be held");
        let error = Held::new(false).expect_err("they are held");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        // SAFETY: the handler takes a number.
        assert_eq!(unsafe { heed_console(99) }, FALSE);
        // SAFETY: the handler takes a number.
        assert_eq!(unsafe { heed_console(CTRL_BREAK_EVENT) }, TRUE);
        let process = std::process::id();
        ask_to_stop(process).expect("it holds");
        ask_to_reload(process).expect("it holds");

        let (heeded, seen) = channel();
        let watch = held
            .watch(move |signal| heeded.send(signal).expect("the test waits"))
            .expect("a thread starts");
        let mut seen: Vec<_> = seen.iter().take(3).collect();
        drop(watch);
        seen.sort_by_key(|signal| *signal == Signal::Reload);
        assert!(seen.contains(&Signal::Stop { by: "Ctrl-Break" }));
        assert!(seen.contains(&Signal::Stop { by: "a request" }));
        assert_eq!(seen[2], Signal::Reload);

        let watch = held
            .watch(|signal| panic!("nobody asked again: {signal:?}"))
            .expect("a thread starts");
        drop(watch);
        drop(held);
        // SAFETY: the handler takes a number.
        assert_eq!(unsafe { heed_console(CTRL_C_EVENT) }, FALSE);
        ask_to_stop(process).expect_err("nobody holds");

        let held = Held::new(false).expect("they are free again");
        ask_to_reload(process).expect_err("that was not asked for");
        drop(held);
    }
}
