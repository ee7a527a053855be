//! Signals, blocked and awaited.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{self, SigSet, SigmaskHow};
use nix::unistd::Pid;

use super::Signal;

/// Blocked, so that they wait for whoever asks.
#[derive(Debug)]
pub(super) struct Held {
    set: SigSet,
    before: SigSet,
}

impl Held {
    pub(super) fn new(reload: bool) -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(signal::SIGINT);
        set.add(signal::SIGTERM);
        if reload {
            set.add(signal::SIGHUP);
        }
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { set, before })
    }

    pub(super) fn watch(&self, mut heed: impl FnMut(Signal) + Send + 'static) -> io::Result<Watch> {
        let set = self.set;
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                while let Ok(signal) = set.wait() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    heed(match signal {
                        signal::SIGHUP => Signal::Reload,
                        _ => Signal::Stop {
                            by: signal.as_str(),
                        },
                    });
                }
            })?;
        Ok(Watch {
            thread: Some(thread),
            done,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Only an invalid argument fails, and these come from the kernel.
        let _restored = self.before.thread_set_mask();
    }
}

/// The thread that heeds signals; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    thread: Option<JoinHandle<()>>,
    done: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            // The signal is blocked there and ends its wait; it fails only
            // when the thread is gone already.
            && pthread_kill(thread.as_pthread_t(), signal::SIGTERM).is_ok()
        {
            let _panicked = thread.join();
        }
    }
}

pub(super) fn ask_to_stop(process: u32) -> io::Result<()> {
    send(process, signal::SIGTERM)
}

pub(super) fn ask_to_reload(process: u32) -> io::Result<()> {
    send(process, signal::SIGHUP)
}

fn send(process: u32, signal: signal::Signal) -> io::Result<()> {
    let process = i32::try_from(process)
        .ok()
        .filter(|&process| process > 0)
        .ok_or(io::ErrorKind::InvalidInput)?;
    Ok(signal::kill(Pid::from_raw(process), signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_ends_without_a_signal() {
        let held = Held::new(true).expect("signals can be held");
        for _again in 0..2 {
            let watch = held
                .watch(|signal| panic!("nobody asked: {signal:?}"))
                .expect("a thread starts");
            drop(watch);
        }
    }
}
