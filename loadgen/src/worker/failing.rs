//! Connections that fail: what they count as, and whether the run goes on.

use std::io;

use hioload::client::DialError;
use hioload_platform::{Driver, DriverError};
use hioload_protocol::handshake::ResponseError;

use super::{Failure, Phase, Worker};
use crate::cause::{self, Trouble};
use crate::link::Stage;
use crate::load::Workload;

impl<D: Driver, W: Workload> Worker<D, W> {
    /// Connection `index` did not open. Counts it, unless the load does, and
    /// ends the run when that is more than it tolerates.
    pub(super) fn fail(&mut self, index: usize, trouble: Trouble) {
        self.discard(index);
        if matches!(self.phase, Phase::Closing(_) | Phase::Leaving) {
            return;
        }
        let Trouble { cause, message } = trouble;
        if self.load.takes_failure(index, &cause, self.now) {
            return;
        }
        self.load.tally_mut().opens.failed(&cause);
        self.load.ended(index);
        self.exceeded(message);
    }

    /// A failed connection beyond those that are tolerated ends the run: while
    /// the connections are opened beforehand there is nothing to report yet,
    /// later what was measured is.
    fn exceeded(&mut self, message: String) {
        let failed = self.control.count_failed();
        if self.settings.gives_up(failed) {
            if self.phase == Phase::Opening {
                self.failure.get_or_insert(Failure::Connect(message));
                self.control.abort();
            } else {
                self.load.tally_mut().faults.describe(|| message);
                self.control.stop();
            }
        } else {
            self.load.tally_mut().faults.describe(|| message);
        }
    }

    /// No socket could be made: nobody's fault but this machine's.
    pub(super) fn fail_driver(&mut self, error: DriverError) {
        let failure = match &error {
            DriverError::System { source, .. } => Failure::Connect(self.explain(source).message),
            _ => error.into(),
        };
        self.failure.get_or_insert(failure);
        self.control.abort();
    }

    /// The transport is gone: whether that was to be expected depends on how
    /// far the connection is.
    pub(super) fn broken(&mut self, index: usize, what: &str) {
        let link = self.links.get_mut(index);
        match link.stage {
            Stage::Shaking(_) => {
                let server = &self.settings.target;
                let trouble = Trouble {
                    cause: format!("handshake: {what}"),
                    message: format!("{server}: {what} during the handshake"),
                };
                return self.fail(index, trouble);
            }
            Stage::Open => self.ended(index, what),
            Stage::Closing if !link.ws.is_closed() => self.count_unclean(),
            Stage::Closing | Stage::Idle | Stage::Connecting | Stage::Gone => {}
        }
        self.discard(index);
    }

    /// An open connection ended before its time.
    pub(super) fn ended(&mut self, index: usize, cause: &str) {
        if !self.links.is_open(index) || self.load.takes_failure(index, cause, self.now) {
            return;
        }
        self.load.tally_mut().faults.closed(cause);
        self.load.ended(index);
        let failed = self.control.count_failed();
        if self.phase == Phase::Opening && self.settings.gives_up(failed) {
            let message = format!("{}: {cause} at once", self.settings.target);
            self.failure.get_or_insert(Failure::Connect(message));
            self.control.abort();
        }
    }

    /// A connection ended without an answer to our Close frame.
    fn count_unclean(&mut self) {
        self.load.tally_mut().faults.unclean += 1;
        self.control.count_failed();
    }

    /// Closes sockets whose server does not end the stream after the close
    /// handshake.
    pub(super) fn give_up_ended(&mut self) {
        while let Some(&(deadline, token)) = self.ending.front() {
            if deadline > self.now {
                break;
            }
            self.ending.pop_front();
            if let Some(index) = self.links.find(token) {
                self.discard(index);
            }
        }
    }

    /// Closes sockets whose server does not answer the Close frame.
    pub(super) fn give_up_closing(&mut self) {
        let deadline = self.now + self.settings.timeout;
        let begun = self.links.take_closing();
        self.closing.extend(begun.map(|token| (deadline, token)));
        while let Some(&(deadline, token)) = self.closing.front() {
            let index = self.links.find(token);
            let waits = index.is_some_and(|index| {
                let link = self.links.get_mut(index);
                link.is_closing() && !link.ws.is_closed()
            });
            if waits && deadline > self.now {
                break;
            }
            self.closing.pop_front();
            if let Some(index) = index.filter(|_| waits) {
                self.count_unclean();
                self.discard(index);
            }
        }
    }

    /// The run ends while a connection is being opened.
    pub(super) fn abandon(&mut self, index: usize) {
        let late = self.links.get_mut(index).is_opening()
            && !self.control.stopped()
            && !self.control.aborted();
        if late {
            let cause = "still being opened when the run ended";
            if !self.load.takes_failure(index, cause, self.now) {
                self.load.tally_mut().opens.failed(cause);
                self.load.ended(index);
            }
        }
        self.discard(index);
    }

    /// Whose fault a failed connect is, and what to do about it.
    pub(super) fn explain(&self, error: &io::Error) -> Trouble {
        let server = self.settings.target.addr();
        let opened = self.control.sum(|live| &live.open);
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused if opened == 0 => "is the server running there?",
            io::ErrorKind::ConnectionRefused => "the server stopped accepting",
            io::ErrorKind::TimedOut => {
                "the server does not accept in time; raise --timeout or lower --connect-rate"
            }
            io::ErrorKind::ConnectionReset => "the server closed the connection while it opened",
            io::ErrorKind::AddrNotAvailable => {
                "no local port is left, or --source is no address of this machine; \
                 add addresses with --source (or --source-count on loopback)"
            }
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                "there is no route; check the address"
            }
            _ if hioload_platform::limits::is_out_of_descriptors(error) => {
                "too few open files are allowed; see ulimit -n"
            }
            _ => "the connection could not be opened",
        };
        Trouble {
            cause: cause::of_connect(error),
            message: format!(
                "cannot connect to {server} ({opened} connections open): {error}: {advice}"
            ),
        }
    }

    pub(super) fn timed_out(&mut self, index: usize) -> Trouble {
        if matches!(self.links.get_mut(index).stage, Stage::Connecting) {
            return self.explain(&io::ErrorKind::TimedOut.into());
        }
        Trouble {
            cause: "handshake: not answered in time".to_owned(),
            message: format!(
                "{} accepted a connection ({} are open) but did not answer the handshake in time; \
                 raise --timeout or lower --connect-concurrency",
                self.settings.target,
                self.control.sum(|live| &live.open),
            ),
        }
    }

    /// Whose fault it is that TLS did not come about.
    pub(super) fn distrusted(&self, error: &DialError) -> Trouble {
        let advice = match error {
            DialError::Untrusted(_) => {
                " (name its certificate with --ca, or trust any with --insecure)"
            }
            _ => "",
        };
        Trouble {
            cause: cause::of_tls(error),
            message: format!("{}: {error}{advice}", self.settings.target),
        }
    }

    pub(super) fn refused(&self, error: &ResponseError) -> Trouble {
        let advice = match error {
            ResponseError::Status(404, _) => "; the path is wrong, or the server has it disabled",
            ResponseError::Status(401 | 403, _) => "; the server does not allow it",
            ResponseError::Status(429 | 503, _) => "; the server is at its limit",
            ResponseError::Malformed(_) => "; is it a WebSocket server?",
            _ => "",
        };
        let message = format!(
            "{} refused the handshake: {error}{advice}",
            self.settings.target
        );
        Trouble {
            cause: cause::of_answer(error),
            message,
        }
    }
}
