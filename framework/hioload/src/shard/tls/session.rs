//! One TLS session: ciphertext in, plaintext out, and back.

mod side;

use std::fmt;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::records::Records;
use crate::client::DialError;
use crate::shard::outbox::{Outbox, OutboxPool};
use crate::tls::TlsFailure;
pub(crate) use side::CannotSeal;
use side::{Sealing, Side};

/// Ciphertext kept because it is not complete: one record of the largest size
/// TLS allows on the wire, or what is collected of a handshake message.
const PARTIAL_LIMIT: usize = 5 + (16 << 10) + (2 << 10);

/// Our side of a TLS connection.
pub(crate) struct Session {
    side: Side,
    phase: Phase,
    /// The peer has sent close_notify; what follows is ignored.
    deaf: bool,
    records: Records,
    /// Received, and not complete enough to be opened; empty and without memory
    /// in between.
    partial: Vec<u8>,
    /// Why a client's session failed.
    cause: String,
    /// It failed because of the server's certificate.
    untrusted: bool,
    /// Sealed, for the driver.
    pub(crate) wire: Outbox,
    /// Bytes of the plaintext's first segment that are sealed already.
    taken: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has been received.
    Fresh,
    Handshake,
    /// Application data flows.
    Open,
    /// An alert ended it: nothing is opened or sealed any more.
    Ended,
}

/// What received bytes led to, beside plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The handshake was completed just now.
    pub(crate) established: bool,
    /// The peer sends nothing more.
    pub(crate) ended: bool,
}

impl Session {
    pub(crate) fn server(rustls: UnbufferedServerConnection) -> Self {
        Self::new(Side::Server(rustls))
    }

    /// Speaks first: [`hello`](Self::hello) once connected.
    pub(crate) fn client(rustls: UnbufferedClientConnection) -> Self {
        Self::new(Side::Client(rustls))
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            phase: Phase::Fresh,
            deaf: false,
            records: Records::default(),
            partial: Vec::new(),
            cause: String::new(),
            untrusted: false,
            wire: Outbox::default(),
            taken: 0,
        }
    }

    /// Puts a client's first message on the wire.
    pub(crate) fn hello(&mut self, pool: &mut OutboxPool) -> Result<(), TlsFailure> {
        let mut nothing = Vec::new();
        self.side
            .step(&mut [], &mut nothing, &mut self.wire, pool)
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    /// What rustls says about the failure.
    pub(crate) fn dial_error(&self) -> DialError {
        if self.untrusted {
            DialError::Untrusted(self.cause.clone())
        } else {
            DialError::Tls(self.cause.clone())
        }
    }

    #[cold]
    fn failed(&mut self, error: &rustls::Error) -> TlsFailure {
        tracing::debug!(%error, "TLS ended");
        if self.side.is_client() {
            self.cause = error.to_string();
            self.untrusted = matches!(error, rustls::Error::InvalidCertificate(_));
        }
        TlsFailure::from(error)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Handshake)
    }

    /// Nothing is opened or sealed any more.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ended;
        self.partial = Vec::new();
    }

    /// Appends the plaintext in `received` to `plain`, and what is due to the
    /// peer (handshake, alerts) to the wire. After a failure the session has
    /// ended, and the wire holds the alert that says so.
    pub(crate) fn open(
        &mut self,
        received: &mut [u8],
        plain: &mut Vec<u8>,
        pool: &mut OutboxPool,
    ) -> Result<Opened, TlsFailure> {
        if self.deaf {
            return Ok(Opened::default());
        }
        match self.phase {
            Phase::Ended => return Ok(Opened::default()),
            // A TLS record begins with its type, 20 to 24.
            Phase::Fresh if received.first().is_some_and(u8::is_ascii_uppercase) => {
                self.end();
                return Err(TlsFailure::PlainHttp);
            }
            Phase::Fresh => self.phase = Phase::Handshake,
            Phase::Handshake | Phase::Open => {}
        }
        let mut opened = Opened::default();
        match self.open_records(received, plain, pool) {
            Ok(ended) => {
                opened.ended = ended;
                self.deaf = ended;
            }
            Err(failure) => {
                self.end();
                return Err(failure);
            }
        }
        if self.phase == Phase::Handshake && !self.side.is_handshaking() {
            self.phase = Phase::Open;
            opened.established = true;
        }
        Ok(opened)
    }

    /// Complete records are opened where they were received. One that is split
    /// over receives is put together first.
    fn open_records(
        &mut self,
        mut received: &mut [u8],
        plain: &mut Vec<u8>,
        pool: &mut OutboxPool,
    ) -> Result<bool, TlsFailure> {
        let mut ended = false;
        while !received.is_empty() && !ended {
            if self.partial.is_empty() {
                self.records.follow(received);
                let step = self.side.step(received, plain, &mut self.wire, pool);
                let step = step.map_err(|error| self.failed(&error))?;
                ended = step.ended;
                let rest = &received[step.used..];
                if !rest.is_empty() && !ended {
                    self.partial
                        .reserve_exact(rest.len() + self.records.missing());
                    self.partial.extend_from_slice(rest);
                }
                break;
            }
            let until = self.records.finish_record(received);
            let (now, later) = received.split_at_mut(until);
            received = later;
            self.partial.extend_from_slice(now);
            let step = self
                .side
                .step(&mut self.partial, plain, &mut self.wire, pool);
            let step = step.map_err(|error| self.failed(&error))?;
            ended = step.ended;
            self.partial.drain(..step.used);
            if self.partial.is_empty() || ended {
                self.partial = Vec::new();
            }
        }
        if self.partial.len() > PARTIAL_LIMIT {
            return Err(TlsFailure::Protocol);
        }
        Ok(ended)
    }

    /// Moves plaintext to the wire, sealed, up to four full records; once none is
    /// left and `finish` asks for it, a close_notify alert follows.
    ///
    /// Before the handshake is complete plaintext waits; afterwards an ended
    /// session drops it.
    pub(crate) fn seal(
        &mut self,
        plain: &mut Outbox,
        finish: bool,
        gather: &mut Vec<u8>,
        pool: &mut OutboxPool,
    ) -> Result<(), CannotSeal> {
        match self.phase {
            Phase::Ended => {
                plain.clear(pool);
                self.taken = 0;
                return Ok(());
            }
            Phase::Open if finish || !plain.is_empty() => {}
            Phase::Fresh | Phase::Handshake | Phase::Open => return Ok(()),
        }
        let ended = self.side.seal(&mut Sealing {
            partial: &mut self.partial,
            plain,
            taken: &mut self.taken,
            finish,
            gather,
            wire: &mut self.wire,
            pool,
        })?;
        if ended {
            self.phase = Phase::Ended;
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self, pool: &mut OutboxPool) {
        self.wire.clear(pool);
        self.taken = 0;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("partial", &self.partial.len())
            .field("wire", &self.wire.pending())
            .finish_non_exhaustive()
    }
}
