//! What the thread loop asks of a kind of load.

use hioload_platform::Nanos;
use hioload_protocol::Kind;

use crate::links::Links;
use crate::tally::{Tally, Window};

/// Planned messages taken in one turn: a generator that has fallen behind goes
/// on receiving while it catches up. Some four milliseconds of sending.
pub(crate) const TURN: usize = 1024;

/// What connections do once they are open. The loop owns sockets, handshakes
/// and time; a workload decides what is sent and verifies what is received.
pub(crate) trait Workload {
    /// The request target of connection `link`.
    fn target(&self, link: usize) -> String;

    /// Sending starts at `start`; measured is `window`.
    fn begin(&mut self, start: Nanos, window: Window);

    /// A message arrived on connection `link` at `now`.
    fn received(&mut self, link: usize, kind: Kind, payload: &[u8], now: Nanos);

    /// The kernel took what connection `link` had to send.
    fn unblocked(&mut self, link: usize);

    /// Connection `link` ended before the end.
    fn ended(&mut self, link: usize);

    /// Queues what is to be sent at `now`.
    fn produce(&mut self, links: &mut Links, now: Nanos);

    /// When `produce` has something to do at the latest.
    fn next_send(&self) -> Option<Nanos>;

    /// Plans nothing beyond `now`; what is owed may still be sent.
    fn stop(&mut self, now: Nanos);

    /// Whether nothing is owed or outstanding any more.
    fn drained(&mut self, links: &Links) -> bool;

    /// Counts what is still owed or outstanding after the drain.
    fn settle(&mut self);

    /// The counts so far.
    fn tally(&self) -> &Tally;

    /// The counts, to add what the loop sees.
    fn tally_mut(&mut self) -> &mut Tally;
}
