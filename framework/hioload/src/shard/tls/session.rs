//! One TLS session: ciphertext in, plaintext out, and back.

use std::fmt;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};

use super::records::Records;
use crate::shard::outbox::{Outbox, OutboxPool};
use crate::tls::TlsFailure;

/// Plaintext per record: four sealed ones fill the largest pooled chunk. The
/// most that TLS allows is 2^14.
const FRAGMENT: usize = (16 << 10) - 32;

/// What a record adds at most: header, explicit nonce and tag of TLS 1.2 with
/// AES-GCM. TLS 1.3 adds 22 bytes.
const OVERHEAD: usize = 5 + 8 + 16;

/// An alert inside a record.
const ALERT: usize = 2 + OVERHEAD;

/// Plaintext sealed for one send. The rest stays plaintext, where a broadcast
/// frame is still shared with the other connections.
const SEAL_LIMIT: usize = 4 * FRAGMENT;

/// Ciphertext kept because it is not complete: one record of the largest size
/// TLS allows on the wire, or what is collected of a handshake message.
const PARTIAL_LIMIT: usize = 5 + (16 << 10) + (2 << 10);

/// A server's side of a TLS connection.
pub(crate) struct Session {
    rustls: UnbufferedServerConnection,
    phase: Phase,
    /// The peer has sent close_notify; what follows is ignored.
    deaf: bool,
    records: Records,
    /// Received, and not complete enough to be opened; empty and without memory
    /// in between.
    partial: Vec<u8>,
    /// Sealed, for the driver.
    pub(super) wire: Outbox,
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
pub(super) struct Opened {
    /// The handshake was completed just now.
    pub(super) established: bool,
    /// The peer sends nothing more.
    pub(super) ended: bool,
}

/// The session can seal nothing more: it is broken, or its keys are used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct CannotSeal;

impl Session {
    pub(crate) fn new(rustls: UnbufferedServerConnection) -> Self {
        Self {
            rustls,
            phase: Phase::Fresh,
            deaf: false,
            records: Records::default(),
            partial: Vec::new(),
            wire: Outbox::default(),
            taken: 0,
        }
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
    pub(super) fn open(
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
        if self.phase == Phase::Handshake && !self.rustls.is_handshaking() {
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
                let step = step(&mut self.rustls, received, plain, &mut self.wire, pool)?;
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
            let step = step(
                &mut self.rustls,
                &mut self.partial,
                plain,
                &mut self.wire,
                pool,
            )?;
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

    /// Moves plaintext to the wire, sealed, up to [`SEAL_LIMIT`]; once none is
    /// left and `finish` asks for it, a close_notify alert follows.
    ///
    /// Before the handshake is complete plaintext waits; afterwards an ended
    /// session drops it.
    pub(super) fn seal(
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
        loop {
            let UnbufferedStatus { discard, state } =
                self.rustls.process_tls_records(&mut self.partial);
            match state.map_err(|_| CannotSeal)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let mut sealer = Sealer {
                        traffic: &mut traffic,
                        wire: &mut self.wire,
                        pool,
                    };
                    sealer.seal_from(plain, &mut self.taken, gather)?;
                    if finish && plain.is_empty() {
                        sealer.close()?;
                        self.phase = Phase::Ended;
                    }
                    return Ok(());
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut self.wire, pool),
                ConnectionState::TransmitTlsData(data) => data.done(),
                // Everything received was dealt with when it came.
                _ => return Err(CannotSeal),
            }
            self.partial.drain(..discard);
        }
    }

    pub(super) fn clear(&mut self, pool: &mut OutboxPool) {
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

/// How far [`step`] came.
struct Step {
    used: usize,
    ended: bool,
}

/// Lets rustls work through `input` until it needs more.
fn step(
    rustls: &mut UnbufferedServerConnection,
    input: &mut [u8],
    plain: &mut Vec<u8>,
    wire: &mut Outbox,
    pool: &mut OutboxPool,
) -> Result<Step, TlsFailure> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state } = rustls.process_tls_records(&mut input[used..]);
        let mut more = true;
        let mut ended = false;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(|error| TlsFailure::from(&error))?;
                    plain.extend_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, wire, pool),
            // It leaves with the next send, in order.
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => ended = true,
            Ok(_) => more = false,
            Err(error) => {
                let rest = &mut input[used + discard..];
                // The alert, after what was due before it. Without anything to
                // write, asking again would judge the same input again.
                while rustls.wants_write()
                    && let Ok(ConnectionState::EncodeTlsData(data)) =
                        rustls.process_tls_records(rest).state
                {
                    encode(data, wire, pool);
                }
                tracing::debug!(%error, "TLS ended");
                return Err(TlsFailure::from(&error));
            }
        }
        used += discard;
        if ended || !more {
            return Ok(Step { used, ended });
        }
    }
}

fn encode(
    mut data: EncodeTlsData<'_, ServerConnectionData>,
    wire: &mut Outbox,
    pool: &mut OutboxPool,
) {
    // The first call asks for the size.
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        data.encode(&mut [])
    {
        let written = wire.append_with(required_size, 0, pool, |space| data.encode(space));
        debug_assert!(written.is_ok(), "rustls asked for this size");
    }
}

/// Seals plaintext while rustls allows it.
struct Sealer<'s, 'c> {
    traffic: &'s mut WriteTraffic<'c, ServerConnectionData>,
    wire: &'s mut Outbox,
    pool: &'s mut OutboxPool,
}

impl Sealer<'_, '_> {
    /// Seals from the front of `plain` in as few records as possible: small
    /// segments are gathered, a large one is sealed from where it lies.
    fn seal_from(
        &mut self,
        plain: &mut Outbox,
        taken: &mut usize,
        gather: &mut Vec<u8>,
    ) -> Result<(), CannotSeal> {
        let mut budget = SEAL_LIMIT.min(plain.pending());
        while budget > 0 {
            let most = FRAGMENT.min(budget);
            // So that what is left of this send goes into one chunk.
            let records = budget.div_ceil(FRAGMENT);
            let room = budget + records * OVERHEAD + ALERT;
            let Some(queue) = plain.queue() else { break };
            let only = queue.len() == 1;
            let first = queue.front().map_or(&[][..], |segment| segment.bytes());
            let first = &first[*taken..];
            let sealed = if only || first.len() >= most {
                let fragment = &first[..first.len().min(most)];
                self.seal(fragment, room)?;
                fragment.len()
            } else {
                gather.clear();
                let mut skip = *taken;
                for segment in queue.iter() {
                    let bytes = &segment.bytes()[skip..];
                    skip = 0;
                    gather.extend_from_slice(&bytes[..bytes.len().min(most - gather.len())]);
                    if gather.len() == most {
                        break;
                    }
                }
                self.seal(gather, room)?;
                gather.len()
            };
            plain.consume(sealed, taken, self.pool);
            budget -= sealed;
        }
        Ok(())
    }

    fn seal(&mut self, fragment: &[u8], room: usize) -> Result<(), CannotSeal> {
        self.write(fragment.len() + OVERHEAD, room, |traffic, space| {
            traffic.encrypt(fragment, space)
        })
    }

    fn close(&mut self) -> Result<(), CannotSeal> {
        self.write(ALERT, 0, |traffic, space| traffic.queue_close_notify(space))
    }

    fn write(
        &mut self,
        mut size: usize,
        room: usize,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), CannotSeal> {
        loop {
            let traffic = &mut *self.traffic;
            let written = self
                .wire
                .append_with(size, room, self.pool, |space| write(traffic, space));
            match written {
                Ok(_) => return Ok(()),
                // A key update goes before it.
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                    if required_size > size =>
                {
                    size = required_size;
                }
                Err(_) => return Err(CannotSeal),
            }
        }
    }
}
