//! The echo handler: the only one in the workspace.

use super::{App, Conn, Message, Upgrade};
use crate::config::Backpressure;
use crate::http::Request;

/// Sends every message back as it came. A client that does not read its echoes
/// is not read from either.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl App for Echo {
    type State = ();

    fn upgrade(&mut self, _request: &Request<'_>, (): &mut ()) -> Upgrade {
        Upgrade::accept().backpressure(Backpressure::PauseReading)
    }

    fn message(&mut self, conn: &mut Conn<'_>, (): &mut (), message: Message<'_>) {
        conn.send(message);
    }
}
