//! Which bytes of a connection somebody waits for.

use std::collections::VecDeque;

use hioload_protocol::CloseCode;

use super::link::{Flags, Link};
use crate::app::{Completion, SendFailed};

/// The tracked messages of one connection, by where each ends in the stream of
/// its bytes. Over TLS a message goes through two streams: of plaintext, until
/// it is sealed, then of what goes to the kernel.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    plain: Stream,
    wire: Stream,
}

/// Bytes that pass, and marks among those that have not.
#[derive(Debug, Default)]
struct Stream {
    /// Bytes passed since `marks` was last empty.
    passed: usize,
    /// In the order of their ends, which count as `passed` does. Bounded with
    /// what may wait to be sent: each is a message of at least two bytes.
    marks: VecDeque<(usize, Completion)>,
}

impl Stream {
    fn mark(&mut self, pending: usize, completion: Completion) {
        if self.marks.is_empty() {
            self.passed = 0;
        }
        self.marks.push_back((self.passed + pending, completion));
    }

    fn pass(&mut self, bytes: usize) {
        if !self.marks.is_empty() {
            self.passed += bytes;
        }
    }

    fn next(&mut self) -> Option<Completion> {
        let &(end, _) = self.marks.front()?;
        (end <= self.passed)
            .then(|| self.marks.pop_front())
            .flatten()
            .map(|(_, completion)| completion)
    }
}

impl Tracking {
    /// The message queued last is the last of `pending` bytes in the outbox.
    pub(super) fn queued(&mut self, sealed: bool, pending: usize, completion: Completion) {
        let stream = if sealed {
            &mut self.plain
        } else {
            &mut self.wire
        };
        stream.mark(pending, completion);
    }

    /// `bytes` of plaintext were sealed; `pending` bytes wait for the kernel
    /// now.
    pub(super) fn sealed(&mut self, bytes: usize, pending: usize) {
        self.plain.pass(bytes);
        while let Some(completion) = self.plain.next() {
            self.wire.mark(pending, completion);
        }
    }

    /// The kernel took `bytes`.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.wire.pass(bytes);
        while let Some(completion) = self.wire.next() {
            completion.resolve(Ok(()));
        }
    }

    /// Nothing more is sent.
    pub(super) fn fail(&mut self, code: CloseCode, reason: &str) {
        let plain = self.plain.marks.drain(..);
        for (_, completion) in self.wire.marks.drain(..).chain(plain) {
            completion.resolve(Err(SendFailed::Closed {
                code,
                reason: reason.into(),
            }));
        }
    }
}

impl Link {
    /// Resolves `completion` when all that is queued now is with the kernel.
    pub(crate) fn track(&mut self, completion: Completion) {
        let sealed = self.is_tls();
        let pending = if sealed {
            self.outbox.pending()
        } else {
            self.pending()
        };
        let tracking = self.extras().tracking.get_or_insert_default();
        tracking.queued(sealed, pending, completion);
    }

    pub(super) fn tracking(&mut self) -> Option<&mut Tracking> {
        self.extras_mut()?.tracking.as_mut()
    }

    /// Why a message was not queued.
    pub(crate) fn refusal(&self) -> SendFailed {
        if self.is(Flags::CLOSING) {
            SendFailed::Closed {
                code: self.close_code(),
                reason: self
                    .extras_ref()
                    .map(|extras| extras.close_reason.clone())
                    .unwrap_or_default(),
            }
        } else {
            SendFailed::Dropped
        }
    }

    /// The connection is gone, and with it what was not sent.
    pub(super) fn fail_tracked(&mut self) {
        let code = self.close_code();
        if let Some(extras) = self.extras_mut()
            && let Some(mut tracking) = extras.tracking.take()
        {
            tracking.fail(code, &extras.close_reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Tracked;

    #[test]
    fn a_message_is_sent_when_its_last_byte_is() {
        let mut tracking = Tracking::default();
        let (first, completion) = Tracked::new();
        tracking.queued(false, 10, completion);
        tracking.sent(4);
        let (second, completion) = Tracked::new();
        tracking.queued(false, 6 + 5, completion);
        tracking.sent(5);
        assert_eq!(first.outcome(), None);
        tracking.sent(1);
        assert_eq!(first.outcome(), Some(Ok(())));
        tracking.sent(4);
        assert_eq!(second.outcome(), None);
        tracking.sent(1);
        assert_eq!(second.outcome(), Some(Ok(())));
        tracking.sent(1000);
        let (third, completion) = Tracked::new();
        tracking.queued(false, 3, completion);
        tracking.sent(2);
        assert_eq!(third.outcome(), None);
        tracking.fail(CloseCode::NORMAL, "bye");
        let failed = SendFailed::Closed {
            code: CloseCode::NORMAL,
            reason: "bye".into(),
        };
        assert_eq!(third.outcome(), Some(Err(failed)));
    }

    #[test]
    fn over_tls_it_counts_what_was_sealed() {
        let mut tracking = Tracking::default();
        let (tracked, completion) = Tracked::new();
        tracking.queued(true, 100, completion);
        tracking.sealed(60, 82);
        tracking.sent(82);
        assert_eq!(tracked.outcome(), None);
        tracking.sealed(40, 62);
        tracking.sent(61);
        assert_eq!(tracked.outcome(), None);
        tracking.sent(1);
        assert_eq!(tracked.outcome(), Some(Ok(())));
    }
}
