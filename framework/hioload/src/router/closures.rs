//! Services that are a closure or two.

use std::fmt;

use crate::app::{App, Close, Conn, Message, Upgrade};
use crate::http::Request;

type OnUpgrade = Box<dyn FnMut(&Request<'_>) -> Upgrade>;
type OnOpen = Box<dyn FnMut(&mut Conn<'_>)>;
type OnMessage = Box<dyn FnMut(&mut Conn<'_>, Message<'_>)>;
type OnClose = Box<dyn FnMut(&mut Conn<'_>, &Close<'_>)>;

/// An app without state of its own, made of closures; see [`on_message`].
pub struct Closures {
    message: OnMessage,
    upgrade: Option<OnUpgrade>,
    open: Option<OnOpen>,
    close: Option<OnClose>,
}

/// An app that does this with each message:
/// `on_message(|conn, message| { conn.send(message); })`.
#[must_use]
pub fn on_message(callback: impl FnMut(&mut Conn<'_>, Message<'_>) + 'static) -> Closures {
    Closures {
        message: Box::new(callback),
        upgrade: None,
        open: None,
        close: None,
    }
}

impl Closures {
    /// Decides upgrades; without it all are accepted.
    #[must_use]
    pub fn on_upgrade(mut self, callback: impl FnMut(&Request<'_>) -> Upgrade + 'static) -> Self {
        self.upgrade = Some(Box::new(callback));
        self
    }

    /// Does this when a WebSocket is open.
    #[must_use]
    pub fn on_open(mut self, callback: impl FnMut(&mut Conn<'_>) + 'static) -> Self {
        self.open = Some(Box::new(callback));
        self
    }

    /// Does this when a WebSocket has ended.
    #[must_use]
    pub fn on_close(mut self, callback: impl FnMut(&mut Conn<'_>, &Close<'_>) + 'static) -> Self {
        self.close = Some(Box::new(callback));
        self
    }
}

impl App for Closures {
    type State = ();

    fn upgrade(&mut self, request: &Request<'_>, (): &mut ()) -> Upgrade {
        match &mut self.upgrade {
            Some(decide) => decide(request),
            None => Upgrade::accept(),
        }
    }

    fn open(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        if let Some(callback) = &mut self.open {
            callback(conn);
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        (self.message)(conn, message);
    }

    fn close(&mut self, conn: &mut Conn<'_>, (): &mut (), close: &Close<'_>) {
        if let Some(callback) = &mut self.close {
            callback(conn, close);
        }
    }
}

impl fmt::Debug for Closures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closures").finish_non_exhaustive()
    }
}
