//! SIGINT and SIGTERM as requests to stop, SIGHUP as one to read certificates
//! again.

use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::handle::Handle;
use crate::error::{Error, Result};
use crate::tls::TlsConfig;

/// The signals, blocked in this thread and in all it starts, so that they wait
/// for whoever asks; as before once dropped.
pub(super) struct Signals {
    set: SigSet,
    before: SigSet,
}

impl Signals {
    /// `reload`: SIGHUP too, which otherwise keeps its default action.
    pub(super) fn block(reload: bool) -> Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        if reload {
            set.add(Signal::SIGHUP);
        }
        let before = set
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .map_err(|errno| Error::System {
                call: "sigprocmask",
                source: errno.into(),
            })?;
        Ok(Self { set, before })
    }

    /// Turns signals into stop requests on a thread of its own: the first is a
    /// graceful one, the second cuts what is left.
    pub(super) fn watch(&self, handle: Handle, certificates: Vec<TlsConfig>) -> Result<Watch> {
        let set = self.set;
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut graceful = true;
                while let Ok(signal) = set.wait() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    if signal == Signal::SIGHUP {
                        reload(&certificates);
                        continue;
                    }
                    tracing::info!(%signal, graceful, "stopping");
                    if graceful {
                        handle.stop();
                    } else {
                        handle.stop_now();
                    }
                    graceful = false;
                }
            })
            .map_err(|source| Error::System {
                call: "starting the signal thread",
                source,
            })?;
        Ok(Watch {
            thread: Some(thread),
            done,
        })
    }
}

fn reload(certificates: &[TlsConfig]) {
    for tls in certificates {
        match tls.reload() {
            Ok(()) => tracing::info!("the certificates are loaded anew"),
            Err(error) => tracing::error!(%error, "the old certificates stay in use"),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Only an invalid argument fails, and these come from the kernel.
        let _restored = self.before.thread_set_mask();
    }
}

/// The signal thread; ends when dropped.
pub(super) struct Watch {
    thread: Option<JoinHandle<()>>,
    done: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            // The signal is blocked there and ends its wait; it fails only
            // when the thread is gone already.
            && pthread_kill(thread.as_pthread_t(), Signal::SIGTERM).is_ok()
        {
            let _panicked = thread.join();
        }
    }
}
