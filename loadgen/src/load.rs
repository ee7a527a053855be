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

    /// Whether connections open when the workload wants them to
    /// ([`Links::want`]), not all before the start.
    fn opens_by_itself(&self) -> bool {
        false
    }

    /// Whether all connections that are open are ready for the start: what
    /// comes before it is between the workload and the server.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether it has connections opened again after they ended, so that a
    /// moment without any is not the end.
    fn reopens(&self) -> bool {
        self.opens_by_itself()
    }

    /// The handshake of connection `link` is done.
    fn opened(&mut self, _links: &mut Links, _link: usize, _now: Nanos) {}

    /// Connection `link` failed, before it was open or while it was. Whether
    /// that is part of the load, which counts it, and no fault.
    fn takes_failure(&mut self, _link: usize, _cause: &str, _now: Nanos) -> bool {
        false
    }

    /// Connection `link` has no socket any more; it may be wanted again.
    /// `clean` tells whether both Close frames were exchanged.
    fn released(&mut self, _link: usize, _now: Nanos, _clean: bool) {}

    /// The server pinged connection `link`; the protocol core has answered.
    fn pinged(&mut self, _link: usize, _now: Nanos) {}

    /// The server answered a ping on connection `link`, or sent a pong
    /// unasked.
    fn ponged(&mut self, _link: usize, _payload: &[u8], _now: Nanos) {}

    /// Sending starts at `start`; measured is `window`.
    fn begin(&mut self, start: Nanos, window: Window);

    /// A message arrived on connection `link` at `now`.
    fn received(&mut self, links: &mut Links, link: usize, kind: Kind, payload: &[u8], now: Nanos);

    /// The kernel took what connection `link` had to send.
    fn unblocked(&mut self, link: usize);

    /// Connection `link` did not open, or ended before its time; that was
    /// counted.
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
