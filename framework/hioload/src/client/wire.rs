//! TLS for callers with a loop of their own.

use std::collections::VecDeque;
use std::fmt;

use hioload_platform::Segment;

use super::{ClientTls, DialError};
use crate::shard::{Outbox, OutboxPool, Session};
use crate::tls::TlsFailure;

/// A client's TLS session without I/O: ciphertext in, plaintext out, and
/// back. For callers that drive their own sockets, as a load generator does;
/// dialled connections have it built in.
///
/// A new one has its first message to send already. After every call
/// [`queue`](Self::queue) may have something for the socket, while the
/// handshake is under way without any plaintext.
pub struct TlsWire {
    session: Session,
    plain: Outbox,
}

/// Memory that the [`TlsWire`]s of one thread share.
#[derive(Debug, Default)]
pub struct TlsPool {
    outboxes: OutboxPool,
    gather: Vec<u8>,
}

impl TlsWire {
    /// A session with the server of that name.
    ///
    /// # Errors
    /// [`DialError::Tls`] when `name` is no name a certificate can have.
    pub fn new(tls: &ClientTls, name: &str, pool: &mut TlsPool) -> Result<Self, DialError> {
        let mut session = Session::client(tls.connect(name).map_err(DialError::Tls)?);
        match session.hello(&mut pool.outboxes) {
            Ok(()) => Ok(Self {
                session,
                plain: Outbox::default(),
            }),
            Err(_) => Err(session.dial_error()),
        }
    }

    /// Appends the plaintext in `bytes`, which arrived, to `plain`. Returns
    /// whether the server sends nothing more.
    ///
    /// # Errors
    /// [`DialError::Untrusted`] or [`DialError::Tls`]; an alert may be queued,
    /// then the connection is of no further use.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        pool: &mut TlsPool,
    ) -> Result<bool, DialError> {
        match self.session.open(bytes, plain, &mut pool.outboxes) {
            Ok(opened) => Ok(opened.ended),
            Err(TlsFailure::PlainHttp) => Err(DialError::plain_http()),
            Err(_) => Err(self.session.dial_error()),
        }
    }

    /// Queues plaintext.
    pub fn write(&mut self, bytes: &[u8], pool: &mut TlsPool) {
        self.plain.append(bytes, &mut pool.outboxes);
    }

    /// Bytes queued and not yet [`sent`](Self::sent).
    #[must_use]
    pub fn pending(&self) -> usize {
        self.plain.pending() + self.session.wire.pending()
    }

    /// What the socket may be given, if there is anything: at most 64 KiB of
    /// plaintext are sealed at once. Call it only when no send is in flight.
    ///
    /// # Errors
    /// [`DialError::Tls`] when the session is broken or its keys are used up.
    pub fn queue(
        &mut self,
        pool: &mut TlsPool,
    ) -> Result<Option<&mut VecDeque<Segment>>, DialError> {
        let TlsPool { outboxes, gather } = pool;
        let sealed = self.session.seal(&mut self.plain, false, gather, outboxes);
        match sealed {
            Ok(()) => Ok(self.session.wire.queue()),
            Err(_) => Err(DialError::Tls("the session can seal nothing more".into())),
        }
    }

    /// The socket took so many bytes of the queue.
    pub fn sent(&mut self, bytes: usize, pool: &mut TlsPool) {
        self.session.wire.sent(bytes, &mut pool.outboxes);
    }

    /// Throws everything away.
    pub fn clear(&mut self, pool: &mut TlsPool) {
        self.plain.clear(&mut pool.outboxes);
        self.session.clear(&mut pool.outboxes);
    }
}

impl fmt::Debug for TlsWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsWire")
            .field("session", &self.session)
            .field("plain", &self.plain.pending())
            .finish()
    }
}
