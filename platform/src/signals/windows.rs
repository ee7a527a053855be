//! The console's control events.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use super::Signal;

/// Events kept for a thread that heeds them. The third changes nothing: the
/// first asks to stop, the second to stop at once.
const KEPT: usize = 2;

enum Note {
    Event(Signal),
    /// Nothing but a reason to look whether the thread is to end.
    Look,
}

/// Where the handler leaves what it is told: the handler is a plain function,
/// and one for the process.
static INBOX: Mutex<Option<SyncSender<Note>>> = Mutex::new(None);

fn inbox() -> MutexGuard<'static, Option<SyncSender<Note>>> {
    INBOX.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by the system on a thread it starts for the purpose, so it may lock.
unsafe extern "system" fn heed_console(event: u32) -> BOOL {
    let (by, last) = match event {
        CTRL_C_EVENT => ("Ctrl-C", false),
        CTRL_BREAK_EVENT => ("Ctrl-Break", false),
        CTRL_CLOSE_EVENT => ("the end of the console", true),
        CTRL_LOGOFF_EVENT => ("the end of the session", true),
        CTRL_SHUTDOWN_EVENT => ("the shutdown", true),
        _ => return FALSE,
    };
    {
        let inbox = inbox();
        let Some(inbox) = inbox.as_ref() else {
            return FALSE;
        };
        // Full: what was asked before has not been heeded yet and says as much.
        let _full = inbox.try_send(Note::Event(Signal::Stop { by }));
    }
    // The process ends when this returns, or by itself when it has stopped.
    if last {
        loop {
            thread::park();
        }
    }
    TRUE
}

/// The handler is installed.
#[derive(Debug)]
pub(super) struct Held {
    /// For the one thread that heeds; another waits until it is gone.
    notes: Arc<Mutex<Receiver<Note>>>,
    to_notes: SyncSender<Note>,
}

impl Held {
    /// There is no event that asks to reload.
    pub(super) fn new(_reload: bool) -> io::Result<Self> {
        let mut inbox = inbox();
        if inbox.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the console's events are held already, once for the process",
            ));
        }
        // SAFETY: the handler is a function of this process and stays.
        if unsafe { SetConsoleCtrlHandler(Some(heed_console), TRUE) } == FALSE {
            return Err(io::Error::last_os_error());
        }
        let (to_notes, notes) = sync_channel(KEPT);
        *inbox = Some(to_notes.clone());
        Ok(Self {
            notes: Arc::new(Mutex::new(notes)),
            to_notes,
        })
    }

    pub(super) fn watch(&self, mut heed: impl FnMut(Signal) + Send + 'static) -> io::Result<Watch> {
        let notes = Arc::clone(&self.notes);
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let thread = thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                while let Ok(note) = notes.recv() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Note::Event(signal) = note {
                        heed(signal);
                    }
                }
            })?;
        Ok(Watch {
            thread: Some(thread),
            to_notes: self.to_notes.clone(),
            done,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It fails only for a handler that is not installed.
        // SAFETY: the handler is a function of this process.
        let _removed = unsafe { SetConsoleCtrlHandler(Some(heed_console), FALSE) };
        *inbox() = None;
    }
}

/// The thread that heeds events; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    thread: Option<JoinHandle<()>>,
    to_notes: SyncSender<Note>,
    done: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        // A full inbox is reason enough to look.
        let _full = self.to_notes.try_send(Note::Look);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

pub(super) fn ask_to_stop(process: u32) -> io::Result<()> {
    // Group 0 would be everyone on this console.
    if process == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the call takes and returns numbers.
    if unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, process) } == FALSE {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since there is one handler for the process.
    #[test]
    fn events_are_kept_for_the_one_who_heeds_them_and_a_flood_is_cut() {
        let held = Held::new(false).expect("events can be held");
        let error = Held::new(false).expect_err("they are held");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        for event in [CTRL_C_EVENT, CTRL_BREAK_EVENT, CTRL_C_EVENT] {
            // SAFETY: the handler takes a number.
            assert_eq!(unsafe { heed_console(event) }, TRUE);
        }
        let (heeded, seen) = sync_channel(KEPT + 1);
        let watch = held
            .watch(move |signal| heeded.send(signal).expect("the test waits"))
            .expect("a thread starts");
        for by in ["Ctrl-C", "Ctrl-Break"] {
            assert_eq!(seen.recv(), Ok(Signal::Stop { by }));
        }
        drop(watch);
        assert!(seen.recv().is_err(), "the third was not kept");
        let watch = held
            .watch(|signal| panic!("nobody asked: {signal:?}"))
            .expect("a thread starts");
        drop(watch);
        drop(held);
        // SAFETY: the handler takes a number.
        assert_eq!(unsafe { heed_console(CTRL_C_EVENT) }, FALSE);
        drop(Held::new(false).expect("they are free again"));
    }
}
