//! Taking over from a predecessor, and waiting for a successor.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hioload_platform::hand_over::{Bell, HandOverError, Passed, Post, Predecessor, Successor};

use super::handle::Handle;
use super::listeners::Bound;
use crate::error::Result;

/// Between two tries to wait for a successor when the system refuses to.
const RETRY: Duration = Duration::from_secs(1);

/// What a running server keeps for its successor. Dropped at the stop: the
/// sockets listen as long as anybody holds them.
pub(super) struct Kept {
    listeners: Arc<[Passed]>,
    /// Ends the wait for a successor.
    _bell: Bell,
}

/// Asks the server at `path`, if there is one, for its listeners.
pub(super) fn take(path: Option<&Path>) -> Result<(Option<Predecessor>, Vec<Passed>)> {
    let Some(path) = path else {
        return Ok((None, Vec::new()));
    };
    Ok(match Predecessor::ask(path)? {
        Some((predecessor, listeners)) => (Some(predecessor), listeners),
        None => (None, Vec::new()),
    })
}

/// Tells the predecessor to accept no more: the shards do, or will. From here on
/// this server is on its own, whatever the answer.
pub(super) fn accepting(predecessor: Predecessor) {
    match predecessor.accepting() {
        Ok(()) => tracing::info!("took the listeners over; the predecessor drains"),
        Err(error) => {
            tracing::warn!(%error, "the predecessor's listeners are taken over all the same");
        }
    }
}

/// Listeners for a successor, before anybody waits for one.
pub(super) struct Offer {
    path: Box<Path>,
    listeners: Vec<Passed>,
    /// `None` until a predecessor that waits there has gone.
    post: Option<(Post, Bell)>,
}

impl Offer {
    /// `now`: nobody is to leave the path before, so that what is wrong with it
    /// keeps the server from starting.
    pub(super) fn new(path: &Path, bound: &Bound, now: bool) -> Result<Self> {
        Ok(Self {
            path: path.into(),
            listeners: bound.for_successor()?,
            post: if now { Some(Post::open(path)?) } else { None },
        })
    }

    /// Waits for a successor on a thread of its own, until the server stops.
    /// What goes wrong now is no reason not to serve.
    /// `within`: how long connections have after it, if not as at a stop.
    pub(super) fn wait(self, handle: &Handle, within: Option<Duration>) -> Option<JoinHandle<()>> {
        let post = match self.post {
            Some(post) => Ok(post),
            None => Post::open(&self.path),
        };
        let (post, bell) = match post {
            Ok(post) => post,
            Err(error) => {
                tracing::error!(%error, "this server can not hand over to a successor");
                return None;
            }
        };
        handle.keep(Kept {
            listeners: self.listeners.into(),
            _bell: bell,
        });
        let handle = handle.clone();
        let thread = std::thread::Builder::new().name("hand-over".into());
        match thread.spawn(move || serve(post, &handle, within)) {
            Ok(thread) => Some(thread),
            Err(error) => {
                tracing::error!(%error, "this server can not hand over to a successor");
                None
            }
        }
    }
}

/// One successor after the other, until one accepts or the server stops.
fn serve(post: Post, handle: &Handle, within: Option<Duration>) {
    loop {
        let mut successor = match post.next() {
            Ok(Some(successor)) => successor,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "nothing is handed over to who asked");
                if matches!(error, HandOverError::System { .. }) && !post.pause(RETRY) {
                    return;
                }
                continue;
            }
        };
        match pass(&mut successor, &post, handle) {
            Ok(()) => {
                tracing::info!("a successor has the listeners; this server drains");
                // Its place is free before the successor hears so.
                drop(post);
                handle.handed_over(within);
                if let Err(error) = successor.draining() {
                    tracing::warn!(%error, "the successor did not wait for the answer");
                }
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the successor does not accept; this server goes on");
            }
        }
    }
}

fn pass(
    successor: &mut Successor,
    post: &Post,
    handle: &Handle,
) -> std::result::Result<(), HandOverError> {
    let listeners = handle.kept(|kept| Arc::clone(&kept.listeners));
    successor.offer(&listeners.ok_or(HandOverError::Ended)?)?;
    successor.accepts(post)
}
