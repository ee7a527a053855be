//! The store, which one process has at a time, and the place of a server that
//! has it.
//!
//! Where a server is to hand over, its store is taken over too: the successor
//! takes the sockets, has the predecessor end, and serves nobody before it has
//! the store. Who connects meanwhile waits in the kernel.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hioload::{Opened, Server};
use hioload_store::{OpenError, Options, Store};
use thiserror::Error;

use crate::chat;
use crate::config::Settings;

/// What the connections of a server with a store have to end after a hand-over:
/// others wait for that. An answer to the Close frame takes a round trip; who
/// gives none costs everybody this long.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a predecessor may take beside what it is known to wait for.
const MARGIN: Duration = Duration::from_secs(5);

/// Between two looks at a store that is in use: what clients wait longer than
/// they have to.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A predecessor has not let the store go.
#[derive(Debug, Error)]
#[error(
    "the store {} is in use still, {waited:?} after the server before was told to let it go: \
     that one hangs, or another process has the store. Its sockets were taken over and nobody \
     serves them now: end the process that has the store, and start again", path.display()
)]
pub(crate) struct NotLetGo {
    path: PathBuf,
    waited: Duration,
}

/// Opens a server's sockets and its store, with the hubs of the chat.
pub(crate) fn open(
    server: Server,
    settings: &Settings,
) -> Result<(Opened, Option<Store>), Box<dyn std::error::Error>> {
    let (opened, store) = opened(replaceable(server, settings), settings)?;
    let hubs = chat::hubs(&settings.chat, store.as_ref());
    Ok((hubs.fold(opened, Opened::hub), store))
}

/// A server that hands over where the settings want it.
fn replaceable(server: Server, settings: &Settings) -> Server {
    let Some(path) = &settings.hand_over else {
        return server;
    };
    let server = server.take_over_from(path).hand_over_at(path);
    match settings.persistence {
        Some(_) => server.hand_over_within(FAREWELL.min(settings.config.drain_timeout)),
        None => server,
    }
}

/// What is wrong with the store, other than that it is in use, is found before
/// the predecessor hears of anything.
fn opened(
    server: Server,
    settings: &Settings,
) -> Result<(Opened, Option<Store>), Box<dyn std::error::Error>> {
    let Some(options) = &settings.persistence else {
        return Ok((server.open()?, None));
    };
    let in_use = match Store::open(options.clone()) {
        Ok(store) => return Ok((server.open()?, Some(store))),
        Err(in_use @ OpenError::Locked { .. }) if settings.hand_over.is_some() => in_use,
        Err(error) => return Err(error.into()),
    };
    let mut opened = server.open()?;
    if !opened.has_predecessor() {
        return Err(in_use.into());
    }
    opened.dismiss_predecessor();
    // Its connections, its work elsewhere, its store: it waits for each of them
    // as long as this server would.
    let patience = settings.config.drain_timeout.saturating_mul(3);
    let patience = patience.saturating_add(MARGIN);
    let store = let_go(options, patience)?;
    Ok((opened, Some(store)))
}

/// Waits until a store is let go.
#[expect(clippy::disallowed_methods, reason = "no shard runs yet")]
fn let_go(options: &Options, patience: Duration) -> Result<Store, Box<dyn std::error::Error>> {
    let began = Instant::now();
    loop {
        match Store::open(options.clone()) {
            Ok(store) => {
                let waited = began.elapsed();
                tracing::info!(?waited, "the store is taken over");
                return Ok(store);
            }
            Err(OpenError::Locked { path }) => {
                let waited = began.elapsed();
                if waited >= patience {
                    return Err(NotLetGo { path, waited }.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
